"""Open and decode clips: video files, animated images, folders of images."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from itertools import chain
from math import floor
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.container
import av.error
import av.stream
import numpy as np
import torch

from ...errors import BadInputError
from ...inputs.rates import common_tick
from .clip import ClipInfo, Frame, FrameTime, TimedClip
from .colour import Converter, colour_of, has_alpha
from .images import ImageFolder

_LOG = logging.getLogger(__name__)

# Rates that need a finer tick than one over this are not used to straighten timestamps.
_FINEST = 10**7
_FALLBACK_RATE = Fraction(24)
# Far between what is to be told apart: 48000/1001 read as 7001/146 is off by 1.4e-7, 24 and 24000/1001 are
# 1e-3 apart.
_SAME_RATE = Fraction(1, 10**5)
_IN_MEMORY = Path("video in memory")
# What the source's muxer said about its own file; the output's says it anew.
_DROPPED_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")


def open_clip(source: str | Path | BytesIO, *, rate: Fraction | None = None, alpha: bool = True) -> TimedClip:
    """Open a clip and decode its first frame.

    Args:
        source: a video file, which may be in memory, an animated image, or a folder of images, which are
            taken in natural order of their names.
        rate: frames a second of a folder of images; 24 where it is left out. Files know their own.
        alpha: keep transparency where the clip has it.

    Raises:
        BadInputError: nothing is there, or it cannot be read as a picture.
    """
    if isinstance(source, BytesIO):
        return VideoFile(source, alpha=alpha)
    path = Path(source)
    if not path.exists():
        raise BadInputError("There is no such file or folder.", str(path), "Check the name.")
    if path.is_dir():
        return ImageFolder(path, rate=rate or _FALLBACK_RATE, alpha=alpha)
    if rate is not None:
        raise BadInputError(
            "A source rate is for folders of images; a file knows its own.",
            str(path),
            "Leave the source rate out.",
        )
    return VideoFile(path, alpha=alpha)


class VideoFile:
    """A video file or animated image."""

    def __init__(self, source: Path | BytesIO, *, alpha: bool) -> None:
        self._source = source
        path = _IN_MEMORY if isinstance(source, BytesIO) else source
        self._container = self._opened(path)
        try:
            self._stream, self._decoder = _picture_stream(self._container, path)
            self._damaged = 0
            self._decoded = self._decode(path)
            # Headers do not say everything: pixel format, rotation and fields are those of the first frame.
            first = next(self._decoded, None)
            if first is None:
                raise _unreadable(path, "no frame could be decoded")
            self._decoded = chain((first,), self._decoded)
            # 90 kHz is the clock of MPEG streams.
            self._base: Fraction = self._stream.time_base or Fraction(1, 90000)
            self.info = _describe(path, self._container, self._stream, first, alpha=alpha)
            if isinstance(source, BytesIO):
                self.info = replace(self.info, sound_from=source)
            self._straight = Straightener(self.info.rate, self._base, self.info.start)
            self._turns = _quarter_turns(first, path)
        except BaseException:
            self._container.close()
            raise
        self._convert: Converter | None = None
        self._converts_from: tuple[int, int, str] | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the frames, see :class:`~.clip.Clip`.

        Damaged packets are left out with a warning; the gap is part of the timing.
        """
        info = self.info
        previous: Fraction | None = None
        for frame in self._decoded:
            pts = self._time(frame)
            # Damaged files and some AVI files repeat times or have none; muxers need them to rise.
            if previous is not None and (pts is None or pts <= previous):
                pts = previous + 1 / info.rate
            previous = pts = pts if pts is not None else info.start
            duration = getattr(frame, "duration", None) or 0  # PyAV before 15 does not tell
            length = self._straight.length(duration * (frame.time_base or self._base))
            yield Frame(self._pixels(frame), pts, length)
        if self._damaged:
            _LOG.warning("%s: %d damaged packets were left out.", info.path.name, self._damaged)

    def start_at(self, time: Fraction) -> None:
        """Seek to a key frame at or before ``time``, see :class:`~.clip.Clip`.

        Containers seek by decoding time, by an index that may be coarse, or not at all: what a seek gives is
        checked, and if it is past ``time``, a seek further back is tried, at last to the beginning.
        """
        back = Fraction(1)
        while (goal := time - back) > self.info.start:
            if self._seek(goal, time):
                return
            # 1, 4, 16, ... seconds before: few tries even where key frames are minutes apart.
            back *= 4
        self._rewind()

    def _seek(self, goal: Fraction, time: Fraction) -> bool:
        """Seek to ``goal``, and tell whether decoding goes on at a key frame that is not past ``time``."""
        try:
            # In ticks of the stream, and in the file's own time, which is `origin` at time 0 of the clip.
            self._container.seek(floor((goal + self.info.origin) / self._base), stream=self._stream)
        except (av.error.FFmpegError, OSError):
            return False
        # The decoder still holds frames of where it was before.
        self._decoder.flush_buffers()
        self._decoded = self._decode(self.info.path)
        for frame in self._decoded:
            pts = self._time(frame)
            if pts is None or pts > time:
                return False
            # What comes before a key frame may refer to pictures that were not decoded.
            if frame.key_frame:
                self._decoded = chain((frame,), self._decoded)
                return True
        return False

    def _rewind(self) -> None:
        """Open the file again: not every container can seek to its beginning."""
        path = self.info.path
        self._container.close()
        self._container = self._opened(path)
        self._stream, self._decoder = _picture_stream(self._container, path)
        self._decoded = self._decode(path)

    def _time(self, frame: av.VideoFrame) -> Fraction | None:
        """Return when a frame is shown, seconds since the start of the clip; None where it has no time."""
        if frame.pts is None:
            return None
        return self._straight(frame.pts * (frame.time_base or self._base) - self.info.origin)

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def times(self) -> Iterator[FrameTime]:
        """Yield the times of all frames, see :class:`~.clip.TimedClip`; reads all packets of the file first.

        Where the file does not say when its frames are shown (AVI), they are taken to come at its rate.
        """
        info, stamps = self.info, []
        # A container of its own: frames may be decoded from the other one meanwhile.
        with self._opened(info.path) as container:
            stream, _ = _picture_stream(container, info.path)
            for packet in container.demux(stream):
                # Discarded packets are decoded for others to refer to, but never shown.
                if packet.size and not packet.is_discard:
                    stamps.append((packet.pts, packet.duration or 0))
        if any(pts is None for pts, _ in stamps):
            for index in range(len(stamps)):
                yield FrameTime(info.start + index / info.rate, None)
            return
        # Packets come in the order of decoding, in which B-frames are later than they are shown.
        for pts, duration in sorted(stamps):
            straight = self._straight(pts * self._base - info.origin)
            yield FrameTime(straight, self._straight.length(duration * self._base))

    def _opened(self, path: Path) -> av.container.InputContainer:
        """Open the file, once more where it is open already."""
        try:
            return open_source(self._source)
        except (av.error.FFmpegError, OSError) as error:
            raise _unreadable(path, str(error)) from error

    def _decode(self, path: Path) -> Iterator[av.VideoFrame]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from self._decoder.decode(packet)
                except av.error.InvalidDataError:
                    self._damaged += 1
        except av.error.FFmpegError as error:
            raise _unreadable(path, str(error)) from error

    def _pixels(self, frame: av.VideoFrame) -> torch.Tensor:
        # Size and format may change in the middle of a file.
        source = (frame.height, frame.width, frame.format.name)
        if self._convert is None or source != self._converts_from:
            self._convert = Converter(source[:2], source[2], self.info.pixel_format, self.info.colour)
            self._converts_from = source
        pixels = self._convert(frame).to_ndarray()
        # rot90 gives a view with negative strides, which torch does not take.
        return torch.from_numpy(np.ascontiguousarray(np.rot90(pixels, self._turns)))


def open_source(source: Path | BytesIO) -> av.container.InputContainer:
    """Open a file for reading; one in memory gets a position of its own."""
    return av.open(BytesIO(source.getvalue()) if isinstance(source, BytesIO) else str(source), "r")


class Straightener:
    """Takes the rounding of a container's clock out of timestamps.

    Matroska counts milliseconds and GIF hundredths; frames at 24000/1001 a second then come 41, 42, 42 ms
    apart. Where a timestamp is within one tick of an exact multiple of the frame time, that is what was
    meant. Timestamps of a truly variable rate are left alone.

    Args:
        rate: average frames a second.
        base: the container's tick, seconds.
        start: first timestamp.
    """

    def __init__(self, rate: Fraction, base: Fraction, start: Fraction) -> None:
        self._rate = rate
        self._base = base
        self._on = can_straighten(rate, base)
        self._start = start

    def __call__(self, pts: Fraction) -> Fraction:
        """Return ``pts`` as it was meant."""
        grid = self._start + round((pts - self._start) * self._rate) / self._rate
        return grid if self._on and abs(grid - pts) <= self._base else pts

    def length(self, duration: Fraction) -> Fraction | None:
        """Return a duration as it was meant; None where there is none."""
        if duration <= 0:
            return None
        return 1 / self._rate if self._on and abs(1 / self._rate - duration) <= self._base else duration


def can_straighten(rate: Fraction, base: Fraction) -> bool:
    """Tell whether frame times at ``rate`` are multiples of a tick that a file can have."""
    # With a tick as long as a frame, any timestamp would be within one tick of the grid.
    return common_tick(base, 1 / rate).denominator <= _FINEST and base < 1 / rate


def usual_rate(rate: Fraction) -> Fraction:
    """Return the whole or NTSC rate (a whole number times 1000/1001) within 1e-5 of a header's, or that.

    Matroska stores whole nanoseconds a frame, which makes 48000/1001 into 7001/146.
    """
    for candidate in (Fraction(round(rate)), Fraction(1000 * round(rate * 1001 / 1000), 1001)):
        if abs(candidate / rate - 1) < _SAME_RATE:
            return candidate
    return rate


def _picture_stream(container: av.container.InputContainer, path: Path) -> tuple[Any, Any]:
    """Return the video stream of a file, which is no cover picture, and its decoder."""
    # A cover is a video stream of one frame, which would be taken for the film. Not every PyAV tells it.
    covers = getattr(av.stream, "Disposition", None)
    streams = [
        s for s in container.streams.video if covers is None or not (s.disposition & covers.attached_pic)
    ]
    if not streams:
        raise _unreadable(path, "it holds no picture")
    stream = streams[0]
    name = stream.codec_context.name
    better = f"libvpx{'-vp9' if name == 'vp9' else ''}"
    marked = {k.lower(): v for k, v in stream.metadata.items()}.get("alpha_mode") == "1"
    if marked and name in ("vp8", "vp9") and better in av.codecs_available:
        # FFmpeg's own VP8 and VP9 decoders drop the transparency that WebM carries beside the picture.
        return stream, av.CodecContext.create(better, "r")
    # Over frames as well as slices; PyAV's default is slices alone, which many files do not have.
    stream.thread_type = "AUTO"
    return stream, stream.codec_context


def _describe(
    path: Path, container: av.container.InputContainer, stream: Any, first: av.VideoFrame, *, alpha: bool
) -> ClipInfo:
    base: Fraction = stream.time_base or Fraction(1, 90000)
    rate = usual_rate(Fraction(stream.average_rate or stream.guessed_rate or _FALLBACK_RATE))
    if first.interlaced_frame:
        _LOG.warning("%s is interlaced; deinterlace it first, or made frames will show combs.", path.name)
    turns = _quarter_turns(first, path)
    height, width = (first.width, first.height) if turns % 2 else (first.height, first.width)
    # None and 0 both say that nothing is known: square pixels.
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    # Recordings of cameras and broadcasts begin at any time: picture and sound are moved by the same.
    carried = (*container.streams.audio, *container.streams.subtitles)
    starts = [
        s.start_time * s.time_base for s in (stream, *carried) if s.start_time is not None and s.time_base
    ]
    origin = max(Fraction(0), min(starts, default=Fraction(0)))
    shown = None if first.pts is None else first.pts * (first.time_base or base)
    metadata = {k: v for k, v in container.metadata.items() if k.lower() not in _DROPPED_TAGS}
    return ClipInfo(
        path=path,
        height=height,
        width=width,
        bits=max(component.bits for component in first.format.components),
        alpha=alpha and has_alpha(first.format),
        rate=rate,
        tick=common_tick(base, 1 / rate) if can_straighten(rate, base) else base,
        frames_estimate=_estimate(container, stream, rate),
        colour=colour_of(first, stream.codec_context),
        pixel_aspect=1 / aspect if turns % 2 else aspect,
        start=Fraction(0) if shown is None else shown - origin,
        origin=origin,
        sound=bool(carried),
        metadata=metadata,
    )


def _estimate(container: av.container.InputContainer, stream: Any, rate: Fraction) -> int | None:
    # MP4 and AVI count their frames; Matroska tells only the duration of the whole file.
    if stream.frames:
        return int(stream.frames)
    if stream.duration and stream.time_base:
        return round(Fraction(stream.duration * stream.time_base) * rate)
    if container.duration:
        return round(Fraction(container.duration, av.time_base) * rate)
    return None


def _quarter_turns(frame: av.VideoFrame, path: Path) -> int:
    """Return the quarter turns, counter-clockwise, that bring the picture upright."""
    # Phones store the picture as the sensor has it, and how the phone was held.
    degrees = 0
    # Not every PyAV tells it.
    with contextlib.suppress(AttributeError):
        degrees = int(frame.rotation)
    if degrees % 90:
        _LOG.warning("%s is turned by %d degrees, which is left as it is.", path.name, degrees)
        return 0
    return degrees // 90 % 4


def _unreadable(path: Path, why: str) -> BadInputError:
    return BadInputError(
        "This cannot be read as a video, an animated image or a folder of images.",
        f"{path}: {why}",
        "Check that it plays, or convert it to MP4 or to a folder of PNG pictures.",
    )
