"""Folders of images as clips."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from types import TracebackType

import av
import av.container
import av.error
import torch
from torch import Tensor

from ...errors import BadInputError
from .clip import ClipInfo, Frame, FrameTime
from .colour import Converter, colour_of, has_alpha
from .opening import file_address
from .orientation import orientation_of_picture

_LOG = logging.getLogger(__name__)

# %d, %4d or %04d: the number of digits, if any, is its group.
_PATTERN = re.compile(r"%0?([0-9]*)d")
_EXTENSIONS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which ``frame2`` comes before ``frame10``."""
    # The split gives text and digits by turns, so that at any place numbers meet numbers. Only the digits of
    # ASCII: str.isdigit() holds for a raised 2 as well, of which int() makes no number.
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if index % 2 else (-1, part.lower()) for index, part in enumerate(parts)]


def _gap(names: list[str]) -> str:
    """Return which number is missing first in a numbered sequence; empty where none is, or no sequence."""
    numbers = [found[-1] for name in names if (found := re.findall(r"[0-9]+", name))]
    if len(numbers) != len(names):
        return ""
    pairs = ((int(a), int(b)) for a, b in pairwise(numbers))
    missing = [(a, b) for a, b in pairs if b > a + 1]
    steps = sum(b == a + 1 for a, b in ((int(a), int(b)) for a, b in pairwise(numbers)))
    # Where numbers that follow each other are the exception, they count something else than frames.
    return f"{missing[0][0] + 1}" if missing and steps >= len(missing) else ""


def is_pattern(path: Path) -> bool:
    """Tell whether a path means numbered pictures, as ``shot_%04d.png`` does, and is no file itself."""
    return bool(_PATTERN.search(path.name)) and path.parent.is_dir() and not path.exists()


def pictures_of(path: Path) -> list[Path]:
    """Return the pictures of a folder, or those that a pattern means, in natural order of their names."""
    if path.is_dir():
        folder, wanted = path, re.compile(".*")
    else:
        before, digits, after = _PATTERN.split(path.name, maxsplit=1)
        # As FFmpeg counts: %04d is four digits, or more where the number has more.
        least = int(digits or 1)
        number = f"([1-9][0-9]{{{least},}}|[0-9]{{{least}}})"
        folder, wanted = path.parent, re.compile(re.escape(before) + number + re.escape(after))
    return sorted(
        (
            file
            for file in folder.iterdir()
            if file.suffix.lower() in _EXTENSIONS
            and not file.name.startswith(".")
            and wanted.fullmatch(file.name)
        ),
        key=lambda file: natural_key(file.name),
    )


class ImageFolder:
    """The images of a folder, or those that a pattern means, in natural order, at a constant rate.

    The first one says size, depth and transparency of all; the others are converted to its depth.
    """

    def __init__(self, path: Path, *, rate: Fraction, alpha: bool) -> None:
        self._files = pictures_of(path)
        if not self._files:
            raise BadInputError(
                "There are no images in this folder.",
                str(path),
                f"Give a folder of {', '.join(sorted(_EXTENSIONS))} files.",
            )
        missing = _gap([file.stem for file in self._files])
        if missing:
            _LOG.warning("%s: picture %s is missing; the next one is taken for it.", path.name, missing)
        # Of the others, none is opened yet: a folder may hold a hundred thousand.
        first = _decode(self._files[0])
        transposed = orientation_of_picture(first, self._files[0]).transposed
        self._first = 0
        self.info = ClipInfo(
            path=path,
            height=first.width if transposed else first.height,
            width=first.height if transposed else first.width,
            bits=max(component.bits for component in first.format.components),
            alpha=alpha and has_alpha(first.format),
            rate=rate,
            tick=1 / rate,
            frames_estimate=len(self._files),
        )

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        self._first = max(0, min(floor(time * self.info.rate), len(self._files) - 1))

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        duration = 1 / self.info.rate
        for index in range(self._first, len(self._files)):
            yield Frame(self._read(self._files[index]), index * duration, duration)

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~.clip.TimedClip`."""
        duration = 1 / self.info.rate
        return (FrameTime(index * duration, duration) for index in range(len(self._files)))

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no file is open."""

    def _read(self, file: Path) -> Tensor:
        frame = _decode(file)
        size = (frame.height, frame.width)
        # One for each picture: files of a folder may differ in format. JPEG is YUV, though the clip is
        # RGB: its matrix and range are those of the file.
        convert = Converter(size, frame.format.name, self.info.pixel_format, colour_of(frame))
        return torch.from_numpy(orientation_of_picture(frame, file).apply(convert(frame).to_ndarray()))


def _decode(file: Path) -> av.VideoFrame:
    try:
        with av.open(file_address(file)) as container:
            frame: av.VideoFrame = next(container.decode(video=0))
            return frame
    except (av.error.FFmpegError, OSError, StopIteration) as error:
        raise BadInputError(
            "This image cannot be read.", f"{file}: {error}", "Save it again, or take it out of the folder."
        ) from error
