"""Animated WebP and AVIF, which FFmpeg (8.1) cannot read or reads the first picture of, by Pillow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av.error
import numpy as np
import torch
from PIL import Image, ImageSequence

from ...errors import BadInputError
from .clip import ClipInfo, Frame, FrameTime
from .describe import FALLBACK_RATE
from .opening import open_image, open_source, packets_of
from .straight import usual_rate

_LOG = logging.getLogger(__name__)

# Players show frames without a duration for a tenth of a second.
_UNSAID = Fraction(1, 10)
_SUFFIXES = (".webp", ".avif")


def is_animated(path: Path) -> bool:
    """Tell whether a file is an animated image that is read here."""
    if path.suffix.lower() not in _SUFFIXES:
        return False
    try:
        with open_image(path) as image:
            return bool(getattr(image, "is_animated", False))
    except OSError:  # FFmpeg says better what is wrong with it
        return False


class AnimatedImage:
    """An animated image as a clip, decoded as it is read.

    Args:
        path: the file.
        alpha: keep transparency.
        rate: frames a second, instead of the file's own times.
    """

    def __init__(self, path: Path, *, alpha: bool, rate: Fraction | None = None) -> None:
        self._path = path
        # Each frame is made of the one before: their durations are known only once all are decoded.
        try:
            with open_image(path) as image:
                lengths = [self._length(frame, rate) for frame in ImageSequence.Iterator(image)]
                loops = image.info.get("loop")
                transparent = "A" in image.getbands()
                width, height = image.size
        except OSError as error:
            raise _unreadable(path, error) from error
        tick = Fraction(1, 1000) if rate is None else 1 / rate
        if rate is None and path.suffix.lower() == ".avif":
            lengths, tick = _exact_lengths(path, len(lengths)) or (lengths, tick)
        starts = [Fraction(0)]
        for length in lengths:
            starts.append(starts[-1] + length)
        self._times = [FrameTime(start, length) for start, length in zip(starts, lengths, strict=False)]
        self._first = 0
        average = usual_rate(len(lengths) / starts[-1]) if starts[-1] else FALLBACK_RATE
        self.info = ClipInfo(
            path=path,
            height=height,
            width=width,
            bits=8,
            alpha=alpha and transparent,
            rate=average,
            tick=tick,
            frames_estimate=len(lengths),
            codec=path.suffix[1:].lower(),
            loops=loops,
        )

    @staticmethod
    def _length(frame: Image.Image, rate: Fraction | None) -> Fraction:
        if rate is not None:
            return 1 / rate
        frame.load()  # before that Pillow has the duration of another frame
        return Fraction(frame.info.get("duration") or 0).limit_denominator(1000) / 1000 or _UNSAID

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        earlier = [index for index, (pts, _) in enumerate(self._times) if pts <= time]
        self._first = earlier[-1] if earlier else 0

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~.clip.TimedClip`."""
        return iter(self._times)

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        mode = "RGBA" if self.info.alpha else "RGB"
        try:
            with open_image(self._path) as image:
                for index in range(self._first, len(self._times)):
                    image.seek(index)
                    pixels = torch.from_numpy(np.array(image.convert(mode)))
                    yield Frame(pixels, *self._times[index])
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def __enter__(self) -> AnimatedImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no file is open between two frames."""


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError("This animated image cannot be read.", f"{path}: {error}", "Save it again.")


def _exact_lengths(path: Path, count: int) -> tuple[list[Fraction], Fraction] | None:
    """Return how long the pictures of an AVIF are shown, and the tick of that; None where it is not told.

    Pillow rounds them to milliseconds, 42 for a 24th of a second: eight of them late after a second.
    """
    try:
        with open_source(path) as container:
            for stream in container.streams.video:
                if stream.frames == count and stream.time_base:
                    base = Fraction(stream.time_base)
                    packets = packets_of(container, stream)
                    return [
                        (packet.duration or 0) * base or _UNSAID for packet in packets if packet.size
                    ], base
    except (av.error.FFmpegError, OSError) as error:
        _LOG.debug("FFmpeg does not tell the times of %s: %s", path, error)
    return None
