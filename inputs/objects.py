"""Check objects from links and scripts for what they must be able to do, and show them in errors."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadInputError

_LONGEST = 80
# Types whose text shows what they are.
_PLAIN = (str, int, float, list, dict, type(None))


def described(value: Any) -> str:
    """Return one line on ``value`` for an error, whatever it is: its type and shape, or its text."""
    kind = type(value).__name__
    try:
        shape = tuple(getattr(value, "shape", ()))
        if shape and hasattr(value, "dtype"):
            return f"{kind} of shape {shape}, {value.dtype}"
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 -- nested tensors have no shape, an int of 5000 digits has no text
        return kind
    if len(text) <= _LONGEST:
        return text if kind in text or isinstance(value, _PLAIN) else f"{text} ({kind})"
    if isinstance(value, (list, tuple)):
        return f"{kind} of {len(value)}, the first {described(value[0])}"
    return f"{kind}: {text[:_LONGEST]} ..."


def require_like(value: Any, parts: Collection[str], *, wrong: str, advice: str) -> None:
    """Check that ``value`` has all of ``parts``: what counts is what an object can do, not its class.

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
