"""Objects as they come from links and scripts: whether they are what is expected, and what errors call them."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence, Sized
from pathlib import Path
from typing import Any

from ..errors import BadInputError

_LONGEST = 80


def described(value: Any) -> str:
    """Return a few words on ``value`` for an error, whatever it is: its type, and its shape, size or text."""
    kind = type(value).__name__
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None and getattr(value, "ndim", 0):
        return f"{kind} of shape {tuple(shape)}, {dtype}"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 -- an object of any kind; int of 5000 digits has no text either
        text = f"a {kind}"
    if len(text) <= _LONGEST:
        return text if kind in text or isinstance(value, (str, int, float)) else f"{text} ({kind})"
    size = f" of {len(value)}" if isinstance(value, Sized) and not isinstance(value, str) else ""
    return f"{kind}{size}: {text[:_LONGEST]} ..."


def require_like(value: Any, parts: Collection[str], *, wrong: str, advice: str) -> None:
    """Check that ``value`` has all of ``parts``: objects are known by what they can do.

    Args:
        value: an object; a class is none.
        parts: names of attributes and methods.
        wrong: what the error says first.
        advice: what it says last.

    Raises:
        BadInputError: one is missing.
    """
    if isinstance(value, type) or not all(hasattr(value, part) for part in parts):
        raise BadInputError(wrong, described(value), advice)


def path_of(value: Any, name: str) -> Path:
    """Return ``value`` as a path.

    Args:
        value: a text or a path.
        name: of what it is, for the error.

    Raises:
        BadInputError: something else.
    """
    if isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str):
        return Path(value)
    raise BadInputError(
        f"The {name} must be the name of a file or folder.",
        described(value),
        "Give a text or a pathlib.Path.",
    )


def require_one_of(value: Any, allowed: Sequence[str], name: str) -> None:
    """Check that ``value`` is in a menu.

    Args:
        value: what was chosen.
        allowed: what there is.
        name: of the menu, for the error.

    Raises:
        BadInputError: it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise BadInputError(
            f"There is no such {name}.", described(value), f"Use one of {', '.join(map(repr, allowed))}."
        )
