"""Resolve what a user gives for a checkpoint: the path of a file, a folder that holds one, or a name."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadInputError, MidframeError, WeightsNotFoundError
from .checkpoint import readable
from .manifest import EXTENSIONS

_log = logging.getLogger(__name__)

ADVICE = "Give an existing file, or a name such as default or rife-4.25."
# Characters of a name that an error shows.
_SHOWN = 80
_SHOWN_FILES = 8
# model-00001-of-00003.safetensors: a piece of a checkpoint.
_SHARD = re.compile(r".+-\d+-of-\d+\.\w+")
# EINVAL: Windows says it of names with a colon, a star or a question mark.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL)


def as_text(given: object) -> str:
    """Return the path or name that was given, a text without spaces around it.

    Raises:
        BadInputError: it is neither a text nor a path.
        WeightsNotFoundError: an empty text, or one that no file can have for a name.
    """
    path = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(path, str):
        raise BadInputError("A checkpoint is given by a path or a name.", type(given).__name__, ADVICE)
    text = path.strip()
    try:
        valid = bool(os.fsencode(text)) and "\0" not in text
    except UnicodeEncodeError:  # half of a pair that UTF-16 is made of
        valid = False
    if not valid:
        raise invalid_name(path)
    return text


def invalid_name(text: str) -> MidframeError:
    """Return the error for a text that cannot be the name of a file."""
    return WeightsNotFoundError("This cannot be the name of a file.", ascii(text[:_SHOWN]), ADVICE)


def as_path(text: str) -> Path:
    """Return a text as a path, with ``~`` spelt out.

    Raises:
        WeightsNotFoundError: ``~`` and the name of nobody.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise invalid_name(text) from error


def resolve(path: Path) -> Path | None:
    """Return the file of weights that a path means: itself, or the only one in a folder.

    Returns:
        The file, or None where there is nothing of that name.

    Raises:
        WeightsNotFoundError: a folder without weights, or a name that is too long.
        BadInputError: a folder with several files of weights, something that is neither file nor folder, or
            what may not be looked at.
    """
    try:
        with readable(path):
            mode = path.stat().st_mode
    except WeightsNotFoundError:
        return None
    except BadInputError as error:
        number = getattr(error.__cause__, "errno", None)
        if number == errno.ENAMETOOLONG:
            raise invalid_name(str(path)) from error
        if number in _NO_FILE:
            return None
        raise
    if stat.S_ISDIR(mode):
        return _only_one(path)
    if not stat.S_ISREG(mode):
        raise BadInputError("This is no file of weights.", f"{path} is a device or a pipe", ADVICE)
    return path


def _only_one(folder: Path) -> Path:
    """Return the only file of weights in a folder, or else in the folders right below it."""
    # list_weights passes over a folder that may not be read; one that the user named is an error.
    with readable(folder):
        inside = sorted(os.listdir(folder))
    files = list(list_weights(folder, 0)) or list(list_weights(folder, 1))
    if not files:
        raise WeightsNotFoundError(
            "This folder holds no weights.",
            f"{folder}: {_listed(inside) or 'it is empty'}",
            f"Give the file itself; weights end in {', '.join(EXTENSIONS)}.",
        )
    shards = all(_SHARD.fullmatch(file.name) for file in files)
    if len(files) == 1 and not shards and not _is_unpacked(files[0]):
        return files[0]
    names = _listed([file.relative_to(folder).as_posix() for file in files])
    if shards:
        found, advice = "a checkpoint in several pieces", "Get it as one file: pieces are not put together."
    elif len(files) == 1:
        found, advice = (
            "a checkpoint that was unpacked",
            "Get the file as it was published, and leave it packed.",
        )
    else:
        found, advice = "several files of weights", "Give one of these files instead of the folder."
    raise BadInputError(f"This folder holds {found}.", f"{folder}: {names}", advice)


def _listed(names: list[str]) -> str:
    """Return names in one line, the first few of many."""
    more = len(names) - _SHOWN_FILES
    return ", ".join(names[:_SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")


def _is_unpacked(file: Path) -> bool:
    """Tell whether a file is the description in a zip of ``torch.save`` that somebody unpacked."""
    return file.name == "data.pkl" and (file.parent / "data").is_dir()


def list_weights(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the files of weights in a folder, sorted, then those in the folders ``depth`` levels down."""
    try:
        inside = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError as error:
        _log.debug("%s is not searched: %s", folder, error)
        return
    visible = [Path(item.path) for item in inside if not item.name.startswith(".")]  # unfinished downloads
    yield from filter(is_weights_file, visible)
    if depth:
        for path in visible:
            if os.path.isdir(path):  # False, and no error, for links in a circle
                yield from list_weights(path, depth - 1)


def is_weights_file(path: Path) -> bool:
    """Tell whether this is a file with an extension of weights and something in it.

    Unfinished downloads have other names.
    """
    try:
        return path.suffix.lower() in EXTENSIONS and path.is_file() and path.stat().st_size > 0
    except OSError:
        return False
