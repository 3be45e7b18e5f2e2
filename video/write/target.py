"""The output's place: it has a temporary name beside its own until it is whole."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from itertools import chain, count
from pathlib import Path

from ...errors import BadInputError, MidframeError
from .formats import file_suffix

_LOG = logging.getLogger(__name__)

_NAME_BYTES = 255


class Target:
    """One output file or folder.

    Args:
        path: where it shall be.
        overwrite: whether something that is there may be replaced. A folder only if it holds nothing but
            numbered pictures.
        suffix: of what is written, where the name does not say it.
        mark: part of the temporary name; where it is left out, one that nobody else has. Who tries again
            under the same mark does not leave the halves of earlier tries behind.

    Raises:
        BadInputError: something is there already, or the folder around it is not.
    """

    def __init__(self, path: Path, *, overwrite: bool, suffix: str | None = None, mark: str = "") -> None:
        self.path = path
        self.suffix = file_suffix(path) if suffix is None else suffix
        self._overwrite = overwrite
        if not path.parent.is_dir():
            raise BadInputError(
                "The folder for the output does not exist.",
                str(path.parent),
                "Make it, or choose another place.",
            )
        self._check_free()
        # Beside its place, so that giving it its name is one step of the file system; hidden, so that
        # nobody takes a half for the whole.
        mark = mark or uuid.uuid4().hex[:8]
        self.temporary = fitting(path, ".", f".{mark}.tmp{self.suffix}")

    def _check_free(self) -> None:
        if not self.path.exists():
            return
        if not self._overwrite:
            raise BadInputError(
                "The output is there already.", str(self.path), "Choose another name, or allow overwriting."
            )
        if self.path.is_dir() and not _is_picture_folder(self.path):
            raise BadInputError(
                "This folder holds more than numbered pictures and is not overwritten.",
                str(self.path),
                "Choose another folder.",
            )

    def commit(self) -> Path:
        """Give the output, which is whole, its name; return that."""
        # Hours may have passed since the check at the start.
        if not self._overwrite and self.path.exists():
            kept = self.keep_partial()
            raise BadInputError(
                "Something has taken the output's name meanwhile.",
                str(self.path),
                f"The whole output is in {kept}; rename it.",
            )
        return self._rename(self.path)

    def keep_partial(self) -> Path:
        """Keep output that is closed but not whole as ``<name>.partial.<extension>``; return that name.

        Nothing that is there is replaced: a number is added to the name.
        """
        suffix = self.suffix and self.path.suffix
        marks = chain(("",), (f"-{number}" for number in count(2)))
        names = (fitting(self.path, "", f".partial{mark}{suffix}") for mark in marks)
        return self._rename(next(name for name in names if not name.exists()))

    def discard(self) -> None:
        """Remove what was written."""
        try:
            if self.temporary.is_dir():
                shutil.rmtree(self.temporary)
            else:
                self.temporary.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("Could not remove %s: %s", self.temporary, error)

    def _rename(self, path: Path) -> Path:
        try:
            # os.replace puts no folder onto one that is not empty.
            if path.is_dir() and self.temporary.is_dir():
                shutil.rmtree(path)
            os.replace(self.temporary, path)
        except OSError as error:
            raise MidframeError(
                "The finished output could not be given its name.",
                f"{path}: {error}; it is in {self.temporary}",
                "Close programs that have the old file open, and rename it yourself.",
            ) from error
        return path


def fitting(path: Path, before: str, after: str) -> Path:
    """Return a name beside ``path`` of its stem between two texts, shortened where a name cannot be as long.

    File systems take 255 bytes (of UTF-8; a Chinese character has three) or characters.
    """
    room = _NAME_BYTES - len((before + after).encode())
    stem = path.stem.encode(errors="surrogateescape")[:room].decode(errors="ignore")
    return path.with_name(f"{before}{stem}{after}")


def _is_picture_folder(folder: Path) -> bool:
    return all(entry.is_file() and entry.stem.isdigit() for entry in folder.iterdir())
