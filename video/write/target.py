"""The output's place: it has a temporary name beside its own until it is whole."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from ...errors import BadInputError, MidframeError
from .formats import file_suffix
from .pictures import Numbering, images_named

_LOG = logging.getLogger(__name__)

_NAME_BYTES = 255


class Target:
    """One output file, folder, or pattern of numbered pictures in one.

    Args:
        path: where it shall be.
        overwrite: whether something that is there may be replaced. A folder only if it holds nothing but
            numbered pictures; of a pattern, all pictures that it means.
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
        # A pattern means pictures in a folder, which need not be there yet.
        self._numbering = None
        self._place = path
        images = images_named(path)
        if images is not None and not self.suffix:
            self._numbering = Numbering.of(path, images, 0)
            self._place = path if path.parent.is_dir() else path.parent
        if not self._place.parent.is_dir():
            raise BadInputError(
                "The folder for the output does not exist.",
                str(self._place.parent),
                "Make it, or choose another place.",
            )
        self._check_free()
        # Beside its place, so that giving it its name is one step of the file system; hidden, so that
        # nobody takes a half for the whole.
        mark = mark or uuid.uuid4().hex[:8]
        self.temporary = fitting(self._place, ".", f".{mark}.tmp{self.suffix}")

    def _there(self) -> list[Path]:
        """Return what has the output's name: one path, or the pictures of a pattern."""
        if self._numbering is None:
            return [self.path] if self.path.exists() else []
        folder = self.path.parent
        return (
            [file for file in folder.iterdir() if self._numbering.holds(file.name)] if folder.is_dir() else []
        )

    def _check_free(self) -> None:
        if not self._there():
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
        if not self._overwrite and self._there():
            kept = self.keep_partial()
            raise BadInputError(
                "Something has taken the output's name meanwhile.",
                str(self.path),
                f"The whole output is in {kept}; rename it.",
            )
        if self._numbering is not None and self.path.parent.is_dir():
            return self._fill(self.path.parent)
        self._rename(self._place)
        return self.path

    def keep_partial(self) -> Path:
        """Keep output that is closed but not whole as ``<name>.partial.<extension>``; return that name.

        Nothing that is there is replaced: a number is added to the name.
        """
        suffix = self.suffix and self.path.suffix
        marks = chain(("",), (f"-{number}" for number in count(2)))
        names = (fitting(self._place, "", f".partial{mark}{suffix}") for mark in marks)
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

    def _fill(self, folder: Path) -> Path:
        """Move the pictures of a pattern into a folder that is there, in place of older ones."""
        with self._finishing(folder):
            for old in self._there():
                old.unlink()
            for picture in sorted(self.temporary.iterdir()):
                os.replace(picture, folder / picture.name)
            self.temporary.rmdir()
        return self.path

    def _rename(self, path: Path) -> Path:
        with self._finishing(path):
            # os.replace puts no folder onto one that is not empty.
            if path.is_dir() and self.temporary.is_dir():
                shutil.rmtree(path)
            os.replace(self.temporary, path)
        return path

    @contextlib.contextmanager
    def _finishing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MidframeError(
                "The finished output could not be given its name.",
                f"{path}: {error}; it is in {self.temporary}",
                "Close programs that have the old file open, and rename it yourself.",
            ) from error


def fitting(path: Path, before: str, after: str) -> Path:
    """Return a name beside ``path`` of its stem between two texts, shortened where a name cannot be as long.

    File systems take 255 bytes (of UTF-8; a Chinese character has three) or characters.
    """
    room = _NAME_BYTES - len((before + after).encode())
    stem = path.stem.encode(errors="surrogateescape")[:room].decode(errors="ignore")
    return path.with_name(f"{before}{stem}{after}")


def _is_picture_folder(folder: Path) -> bool:
    return all(entry.is_file() and entry.stem.isdigit() for entry in folder.iterdir())
