"""The decoded frames of a file as pixels of one size and format, whatever changes in the middle of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import av.error
import numpy.typing as npt

from .clip import UNSPECIFIED, ClipInfo, Colour
from .colour import Converter, colour_of
from .opening import films_of, open_source, packets_of
from .orientation import Orientation

_LOG = logging.getLogger(__name__)

# Parts of a file's length at which a frame is decoded to see whether the size changes: in the middle and near
# the end, for recordings are joined end to end. Each is a seek and a few packets.
_PLACES = (Fraction(1, 2), Fraction(19, 20))
# Packets of the picture that are decoded at a place before it is given up: a decoder holds some back.
_TRIED = 64


class Uniform:
    """Converts decoded frames to the pixels of a clip. Frames of another size are scaled, as players do.

    Args:
        info: of the clip, as its first frame says it.
        orientation: of its pictures.
    """

    def __init__(self, info: ClipInfo, orientation: Orientation) -> None:
        self._info = info
        self._orientation = orientation
        size = (info.height, info.width)
        self._size = size[::-1] if orientation.transposed else size
        self._convert: Converter | None = None
        self._converts: tuple[tuple[int, int], str, Colour | None] | None = None

    def __call__(self, frame: av.VideoFrame) -> npt.NDArray[Any]:
        """Return the upright picture of a frame, (H, W, C)."""
        form = ((frame.height, frame.width), frame.format.name, self._colour(frame))
        if self._convert is None or form != self._converts:
            self._convert, self._converts = self._converter(*form), form
        return self._orientation.apply(self._convert(frame).to_ndarray())

    def _colour(self, frame: av.VideoFrame) -> Colour | None:
        """Return how the YUV of a frame is meant: what it does not say itself is as in the first."""
        own, first = colour_of(frame), self._info.colour
        if own is None or first is None:
            return own
        # 0 is a range that is not stated.
        ranged = int(frame.color_range) != 0 or frame.format.name.startswith("yuvj")
        return replace(
            first,
            matrix=first.matrix if own.matrix == UNSPECIFIED else own.matrix,
            full_range=own.full_range if ranged else first.full_range,
        )

    def _converter(self, size: tuple[int, int], name: str, colour: Colour | None) -> Converter:
        info = self._info
        if size == self._size:
            return Converter(size, name, info.pixel_format, colour)
        if self._converts is None or self._converts[0] != size:
            _LOG.warning(
                "%s changes its size: frames of %d x %d are scaled to %d x %d, the size of the first.",
                info.path.name,
                *size[::-1],
                *self._size[::-1],
            )
        return Converter(size, name, info.pixel_format, colour, scaled_to=self._size)


def other_sizes(source: Path | BytesIO) -> list[tuple[int, int]]:
    """Return the sizes, (height, width) as stored, that frames have at some places of a file, but the first.

    A look and no proof: a size that comes between two places is said when its frames are read.

    Args:
        source: a video file.
    """
    try:
        with open_source(source) as container:
            stream: Any = next(iter(films_of(container, source)), None)
            first = None if stream is None else _decoded(container, stream)
            if first is None:
                return []
            found = {_size_at(container, stream, place) for place in _PLACES if container.duration}
    except (av.error.FFmpegError, OSError):
        return []  # what cannot be read is said where it is
    return sorted(size for size in found if size not in (None, (first.height, first.width)))


def _size_at(container: Any, stream: Any, place: Fraction) -> tuple[int, int] | None:
    """Return the size of a frame at a part of a file's length; None where nothing can be decoded there."""
    time = (
        Fraction(container.start_time or 0, av.time_base) + Fraction(container.duration, av.time_base) * place
    )
    try:
        container.seek(int(time / stream.time_base), stream=stream)
        stream.codec_context.flush_buffers()
        frame = _decoded(container, stream)
    except (av.error.FFmpegError, OSError):
        return None
    return None if frame is None else (frame.height, frame.width)


def _decoded(container: Any, stream: Any) -> av.VideoFrame | None:
    """Return the first frame that is decoded from here on; None where none comes soon."""
    for count, packet in enumerate(packets_of(container, stream)):
        frames: list[av.VideoFrame] = stream.codec_context.decode(packet)
        if frames:
            return frames[0]
        if count > _TRIED:
            return None
    return None
