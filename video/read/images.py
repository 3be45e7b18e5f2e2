"""Folders of images as clips."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
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

_EXTENSIONS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which ``frame2`` comes before ``frame10``."""
    # The split gives text and digits by turns, so that at any place numbers meet numbers.
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


class ImageFolder:
    """The images of a folder in natural order, at a constant rate.

    The first one says size, depth and transparency of all; the others are converted to its depth.
    """

    def __init__(self, path: Path, *, rate: Fraction, alpha: bool) -> None:
        self._files = sorted(
            (f for f in path.iterdir() if f.suffix.lower() in _EXTENSIONS and not f.name.startswith(".")),
            key=lambda f: natural_key(f.name),
        )
        if not self._files:
            raise BadInputError(
                "There are no images in this folder.",
                str(path),
                f"Give a folder of {', '.join(sorted(_EXTENSIONS))} files.",
            )
        # Of the others, none is opened yet: a folder may hold a hundred thousand.
        first = _decode(self._files[0])
        self._first = 0
        self.info = ClipInfo(
            path=path,
            height=first.height,
            width=first.width,
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
        return torch.from_numpy(convert(frame).to_ndarray())


def _decode(file: Path) -> av.VideoFrame:
    try:
        with av.open(str(file)) as container:
            frame: av.VideoFrame = next(container.decode(video=0))
            return frame
    except (av.error.FFmpegError, OSError, StopIteration) as error:
        raise BadInputError(
            "This image cannot be read.", f"{file}: {error}", "Save it again, or take it out of the folder."
        ) from error
