"""Open and decode clips: video files, animated images, folders of images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
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
import torch

from ...errors import BadInputError
from .animated import AnimatedImage, is_animated
from .clip import ClipInfo, Frame, FrameTime, TimedClip
from .deinterlace import deinterlaced
from .describe import FALLBACK_RATE, describe, stated_rate
from .images import ImageFolder, is_pattern
from .opening import films_of, hides_another, is_unfinished, open_source, packets_of
from .orientation import orientation_of
from .straight import Straightener
from .times import DAMAGE, InOrder, Joins, repeated_within, squeeze
from .uniform import Uniform

_LOG = logging.getLogger(__name__)

_IN_MEMORY = Path("video in memory")
# Seconds that may be missing at the end of a file without a word: durations in headers are rounded.
_SHORT = Fraction(1, 4)
# A header may count the last frame or not; more than this part of it is missing where a file was cut short.
_SHORT_PART = Fraction(1, 20)
# Seconds of decoding times read past the time that is looked for: pictures come in another order.
_REORDERED = Fraction(10)


def open_clip(
    source: str | Path | BytesIO,
    *,
    rate: Fraction | None = None,
    alpha: bool = True,
    deinterlace: bool = False,
) -> TimedClip:
    """Open a clip and decode its first frame.

    Args:
        source: a video file, which may be in memory, an animated image, or a folder of images, which are
            taken in natural order of their names; ``shot_%04d.png`` means those that are named so.
        rate: frames a second of a folder of images, 24 where it is left out. Of a file: instead of its own,
            by which all times are stretched; its sound is not.
        alpha: keep transparency where the clip has it.
        deinterlace: make whole pictures of the two fields of each frame of a video file.

    Raises:
        BadInputError: nothing is there, or it cannot be read as a picture.
    """
    if isinstance(source, BytesIO):
        return VideoFile(source, alpha=alpha)
    path = Path(source)
    if is_pattern(path):
        return ImageFolder(path, rate=rate or FALLBACK_RATE, alpha=alpha)
    if not path.exists():
        raise BadInputError("There is no such file or folder.", str(path), "Check the name.")
    if path.is_dir():
        return ImageFolder(path, rate=rate or FALLBACK_RATE, alpha=alpha)
    if is_animated(path):
        return AnimatedImage(path, alpha=alpha, rate=rate)
    return VideoFile(path, alpha=alpha, rate=rate, deinterlace=deinterlace)


class VideoFile:
    """A video file or animated image.

    Args:
        source: the file.
        alpha: keep transparency.
        rate: frames a second, instead of the file's own.
        deinterlace: make whole pictures of the two fields of each frame.
    """

    def __init__(
        self, source: Path | BytesIO, *, alpha: bool, rate: Fraction | None = None, deinterlace: bool = False
    ) -> None:
        self._source = source
        path = _IN_MEMORY if isinstance(source, BytesIO) else source
        self._container = self._opened(path)
        try:
            self._stream, self._decoder = picture_stream(self._container, self._source)
            self._damaged = 0
            self._decoded = self._decode(path)
            # Headers do not say everything: pixel format, rotation and fields are those of the first frame.
            first = next(self._decoded, None)
            if first is None:
                raise _unreadable(path, "no frame could be decoded")
            self._decoded = chain((first,), self._decoded)
            # 90 kHz is the clock of MPEG streams.
            self._base: Fraction = self._stream.time_base or Fraction(1, 90000)
            info = describe(path, self._container, self._stream, first, alpha=alpha)
            stated = stated_rate(path, self._container, self._stream)
            # Durations of such a stream are by its own rate, times by FFmpeg's 25 frames a second.
            self._timed = stated is None
            rate = rate or stated
            self._orientation = orientation_of(first, path, info.codec or "")
        except BaseException:
            self._container.close()
            raise
        self._straight = Straightener(info.rate, self._base, info.start)
        self._stretch = Fraction(1) if rate is None else info.rate / rate
        self.info = _stretched(info, self._stretch)
        if isinstance(source, BytesIO):
            self.info = replace(self.info, sound_from=source)
        self._deinterlace = deinterlace
        if info.path.is_file() and self._container.format.name.startswith("mov,") and hides_another(path):
            _LOG.warning(
                "%s is two files in one, as `cat` joins them, of which MP4 and MOV play the first.", path.name
            )
        if info.interlaced and not deinterlace:
            _LOG.warning("%s is interlaced; use --deinterlace, or made frames will show combs.", path.name)

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the frames, see :class:`~.clip.Clip`.

        Damaged packets are left out with a warning; the gap is part of the timing.
        """
        info, end = self.info, Fraction(0)
        pixels = Uniform(info, self._orientation)
        decoded = deinterlaced(self._decoded) if self._deinterlace else self._decoded
        for frame, pts in squeeze(((f, self._time(f)) for f in decoded), 1 / info.rate):
            duration = getattr(frame, "duration", None) or 0  # PyAV before 15 does not tell
            length = self._length(duration * (frame.time_base or self._base))
            end = pts + (length or 1 / info.rate) - info.start
            yield Frame(torch.from_numpy(pixels(frame)), pts, length)
        if self._damaged:
            _LOG.warning("%s: %d damaged packets were left out.", info.path.name, self._damaged)
        stated = info.stated
        if (
            stated is not None
            and end + _SHORT < stated * (1 - _SHORT_PART)
            and not self._sounds_longer(stated)
        ):
            _LOG.warning(
                "%s is cut short: its header says %.2f s, %.2f s of picture came.",
                info.path.name,
                stated,
                end,
            )

    def _sounds_longer(self, stated: Fraction) -> bool:
        """Tell whether the header's duration is that of another stream, which is longer than the picture."""
        if self._stream.duration or not self.info.sound:
            return False
        with self._opened(self.info.path) as container:
            ends = (
                (packet.pts + (packet.duration or 0)) * packet.time_base - self.info.origin
                for packet in packets_of(container, *container.streams.audio, *container.streams.subtitles)
                if packet.pts is not None
            )
            return max(ends, default=Fraction(0)) + _SHORT > stated * (1 - _SHORT_PART)

    def start_at(self, time: Fraction) -> None:
        """Seek to a key frame at or before ``time``, see :class:`~.clip.Clip`.

        Containers seek by decoding time, by an index that may be coarse, or not at all: what a seek gives is
        checked, and if it is past ``time``, a seek further back is tried, at last to the beginning.
        """
        if InOrder(self._container, self._stream).possible:
            self._rewind()
            return
        if Joins(self._container, self._stream.index).possible:
            # The same time may be in the file twice: packets are counted from the beginning instead.
            self._rewind(self._packets_before(time))
            return
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
            ticks = floor((goal / self._stretch + self.info.origin) / self._base)
            self._container.seek(ticks, stream=self._stream)
        except (av.error.FFmpegError, OSError):
            return False
        # The decoder still holds frames of where it was before.
        self._decoder.flush_buffers()
        self._decoded = from_key_frame(self._decode(self.info.path))
        # The time of the first frame may be one that is repaired by the frames before it, which are not
        # read: only what follows is sure.
        ahead = [frame for _, frame in zip(range(2), self._decoded, strict=False)]
        self._decoded = chain(ahead, self._decoded)
        times = [self._time(frame) for frame in ahead]
        return bool(times) and all(pts is not None and pts <= time for pts in times)

    def _packets_before(self, time: Fraction) -> int:
        """Return the number of packets before the last key frame that is shown at ``time`` or earlier."""
        best = 0
        for count, packet in enumerate(self._packets()):
            if packet.pts is not None and packet.stream.index == self._stream.index:
                shown = (packet.pts * packet.time_base - self.info.origin) * self._stretch
                if packet.is_keyframe and shown + 2 / self.info.rate <= time:
                    best = count
                if shown > time + _REORDERED:
                    break
        return best

    def _rewind(self, skipped: int = 0) -> None:
        """Open the file again, since not every container can seek to its beginning; skip some packets."""
        path = self.info.path
        self._container.close()
        self._container = self._opened(path)
        self._stream, self._decoder = picture_stream(self._container, self._source)
        decoded = self._decode(path, skipped)
        self._decoded = from_key_frame(decoded) if skipped else decoded

    def _time(self, frame: av.VideoFrame) -> Fraction | None:
        """Return when a frame is shown, seconds since the start of the clip; None where it has no time."""
        return None if frame.pts is None else self._shown(frame.pts * (frame.time_base or self._base))

    def _shown(self, time: Fraction) -> Fraction:
        """Return a time of the file as it was meant, in seconds of the clip."""
        return self._straight(time - self.info.origin) * self._stretch

    def _length(self, duration: Fraction) -> Fraction | None:
        """Return how long a frame is shown; None where that is not told, or is no time, as of last ones."""
        if not self._timed or duration <= repeated_within(1 / self.info.rate):
            return None
        length = self._straight.length(duration)
        return None if length is None else length * self._stretch

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
        info = self.info
        stamps: list[tuple[int | None, int]] = []
        for packet in self._packets():
            # Discarded packets are decoded for others to refer to, but never shown.
            if packet.size and not packet.is_discard and packet.stream.index == self._stream.index:
                stamps.append((packet.pts, packet.duration or 0))
        if any(pts is None for pts, _ in stamps):
            for index in range(len(stamps)):
                yield FrameTime(info.start + index / info.rate, None)
            return
        # Packets come in the order of decoding, in which B-frames are later than they are shown.
        shown = sorted((pts, duration) for pts, duration in stamps if pts is not None)
        items = ((duration, self._shown(pts * self._base)) for pts, duration in shown)
        for duration, time in squeeze(items, 1 / info.rate):
            yield FrameTime(time, self._length(duration * self._base))

    def _packets(self) -> Iterator[Any]:
        """Yield the packets of the file from its beginning, with the times that :class:`Joins` gives them."""
        # A container of its own: frames may be decoded from the other one meanwhile.
        with self._opened(self.info.path) as container:
            stream, _ = picture_stream(container, self._source)
            try:
                yield from joined_packets(container, stream)
            except av.error.FFmpegError as error:
                raise _unreadable(self.info.path, str(error)) from error

    def _opened(self, path: Path) -> av.container.InputContainer:
        """Open the file, once more where it is open already."""
        try:
            return open_source(self._source)
        except (av.error.FFmpegError, OSError) as error:
            if is_unfinished(path):
                raise BadInputError(
                    "This recording was never finished: its index is missing, and nothing reads it without.",
                    str(path),
                    "Repair it with its camera or its maker's program, or by a file of the same camera.",
                ) from error
            raise _unreadable(path, str(error)) from error

    def _decode(self, path: Path, skipped: int = 0) -> Iterator[av.VideoFrame]:
        index = self._stream.index
        in_order = InOrder(self._container, self._stream)
        try:
            for count, packet in enumerate(joined_packets(self._container, self._stream)):
                # Theora repeats a picture by a packet without bytes; that at the end of all has no time.
                empty = not packet.size and packet.dts is not None
                if count < skipped or packet.stream.index != index or empty:
                    continue
                try:
                    yield from in_order(packet, self._decoder)
                except DAMAGE:
                    self._damaged += 1
        except av.error.FFmpegError as error:
            raise _unreadable(path, str(error)) from error


def _stretched(info: ClipInfo, stretch: Fraction) -> ClipInfo:
    """Return what is known of a clip whose times are ``stretch`` times as far apart."""
    if stretch == 1:
        return info
    if info.sound:
        _LOG.warning("%s gets another rate; its sound is left as it is.", info.path.name)
    stated = None if info.stated is None else info.stated * stretch
    return replace(
        info, rate=info.rate / stretch, tick=info.tick * stretch, start=info.start * stretch, stated=stated
    )


def joined_packets(container: av.container.InputContainer, stream: Any, *others: Any) -> Iterator[Any]:
    """Yield the packets of a picture stream, and of others, with their times on one line.

    Where the clock of the file may jump, packets of sound are among them: the jump is one of all streams.
    """
    joins = Joins(container, stream.index)
    sound = container.streams.audio if joins.possible else ()
    for packet in packets_of(container, stream, *{*others, *sound}):
        joins(packet)
        yield packet


def from_key_frame(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield the frames from the first key frame on: those before may refer to what was not decoded."""
    found = False
    for frame in frames:
        found = found or bool(frame.key_frame)
        if found:
            yield frame


def picture_stream(container: av.container.InputContainer, source: Path | BytesIO) -> tuple[Any, Any]:
    """Return the video stream of a file, which is no cover picture, and its decoder.

    Args:
        container: the file.
        source: the same file, see :func:`~.opening.films_of`.

    Raises:
        BadInputError: there is none.
    """
    streams = films_of(container, source)
    if not streams:
        raise _unreadable(_IN_MEMORY if isinstance(source, BytesIO) else source, "it holds no picture")
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


def _unreadable(path: Path, why: str) -> BadInputError:
    return BadInputError(
        "This cannot be read as a video, an animated image or a folder of images.",
        f"{path}: {why}",
        "Check that it plays, or convert it to MP4 or to a folder of PNG pictures.",
    )
