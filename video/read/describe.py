"""Describe an opened video file once its first frame is decoded."""

from __future__ import annotations

import logging
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.error

from ...inputs.rates import common_tick
from .clip import ClipInfo, Mastering
from .colour import colour_of, has_alpha
from .opening import chapters_of, holds_another, open_source, packets_of, tags_of
from .orientation import orientation_of, side_data
from .straight import can_straighten, usual_rate

_LOG = logging.getLogger(__name__)

FALLBACK_RATE = Fraction(24)
# What the source's muxer said about its own file; the output's says it anew.
_DROPPED_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")
# Of a stream: what its muxer counted, or named it by in this file, which is no longer true of the output.
_COUNTED_TAGS = (
    *("encoder", "handler_name", "vendor_id", "duration", "creation_time", "alpha_mode", "rotate"),
    "file_package_umid",
)
# Seconds; a clock no finer than this may well tick once a frame.
_COARSE = Fraction(1, 500)
# Frames by which a number that follows from a duration may be too small, for that may not count the last.
_ROUNDED = 1
# Frames a second of a stream without a container; encoders write 1000 and more where they know none.
_FASTEST = 300
# A header that counts fewer than this part of the frames that its duration holds counts those of its first
# fragment alone.
_MOST_PART = Fraction(9, 10)
# Bytes of a file that is read in no time.
_QUICKLY_READ = 1 << 25
# Formats that do not say how many frames they hold.
_UNCOUNTED = ("matroska,webm", "asf", "flv", "nut")
# Seconds before the end of a file from which on its packets are looked at.
_TAIL = 2
# Those whose pictures FFmpeg does not time by the rate that the stream states.
_UNTIMED = ("h264", "hevc", "vvc")
# FFmpeg's flag of formats that have no times (AVFMT_NOTIMESTAMPS).
_NO_TIMES = 0x80
# Of the number of times that an animated image is played; where it is not in here, it is once.
_HEAD_BYTES = 1 << 16
_PNG_LOOPS = b"acTL"
_GIF_LOOPS = b"NETSCAPE2.0\x03\x01"


def describe(
    path: Path, container: av.container.InputContainer, stream: Any, first: av.VideoFrame, *, alpha: bool
) -> ClipInfo:
    """Return what is known of a file.

    Args:
        path: its name.
        container: the file.
        stream: of the picture.
        first: its first frame: pixel format, rotation and fields are not in headers.
        alpha: keep transparency.
    """
    base: Fraction = stream.time_base or Fraction(1, 90000)
    rate = usual_rate(_average_rate(stream, base))
    if _is_raw(container) and container.format.name not in _UNTIMED:
        # Its pictures have times by the stream's own rate; FFmpeg's average is 25 whatever that is.
        rate = usual_rate(_own_rate(stream) or rate)
    transposed = orientation_of(first, path, stream.codec_context.name).transposed
    height, width = (first.width, first.height) if transposed else (first.height, first.width)
    # None and 0 both say that nothing is known: square pixels.
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    carried = [other for other in container.streams if other.index != stream.index]
    shown = None if first.pts is None else first.pts * (first.time_base or base)
    origin = _origin(stream, shown, (*container.streams.audio, *container.streams.subtitles))
    # More frames than the file has bytes are a placeholder of a recorder that was ended before it filled in
    # how many there are: 2**30 in AVI, 2**32 - 1 in IVF.
    filled_in = container.size <= 0 or stream.frames <= container.size
    # A header speaks of its own film alone, where another follows in the same file.
    filled_in = filled_in and not holds_another(container)
    stated = _duration(container, stream, rate, shown) if filled_in and not _is_raw(container) else None
    expected = _expected(path, container, stated, rate)
    return ClipInfo(
        path=path,
        height=height,
        width=width,
        bits=max(component.bits for component in first.format.components),
        alpha=alpha and has_alpha(first.format),
        rate=rate,
        tick=common_tick(base, 1 / rate) if can_straighten(rate, base) else base,
        frames_estimate=_frames(int(stream.frames) if filled_in else 0, expected),
        frames_guessed=container.format.name in _UNCOUNTED and 0 < container.size < _QUICKLY_READ,
        colour=colour_of(first, stream.codec_context),
        pixel_aspect=1 / aspect if transposed else aspect,
        start=Fraction(0) if shown is None else shown - origin,
        origin=origin,
        sound=any(other.type in ("audio", "subtitle") for other in carried),
        carries=bool(carried or chapters_of(container)),
        metadata={k: v for k, v in tags_of(container).items() if k.lower() not in _DROPPED_TAGS},
        codec=stream.codec_context.name,
        stored=first.format.name,
        interlaced=bool(first.interlaced_frame),
        mastering=_mastering(first, stream.codec_context.name),
        loops=_loops(container, path),
        picture_tags={k: v for k, v in tags_of(stream).items() if _belongs(k)},
        disposition=int(getattr(stream, "disposition", 0)),
        stated=stated,
    )


def _frames(counted: int, expected: int | None) -> int | None:
    """Return the number of frames, from that in the header and from the duration.

    MP4 counts pictures that its edit list leaves out as well, and a fragmented one may count those of its
    first fragment alone.
    """
    if expected is None:
        return counted or None
    whole = counted if counted >= expected * _MOST_PART else expected
    return min(whole, expected + _ROUNDED) or None


def _expected(
    path: Path, container: av.container.InputContainer, stated: Fraction | None, rate: Fraction
) -> int | None:
    """Return the number of frames that follows from the duration that a header states."""
    if container.format.name != "mpeg":
        return None if stated is None else round(stated * rate)
    # Of program streams FFmpeg finds the last time that is stated, which may be many small pictures early.
    return _counted_to_the_end(path, rate) if container.size >= _QUICKLY_READ else None


def _counted_to_the_end(path: Path, rate: Fraction) -> int | None:
    """Return the number of frames of a program stream from the times of its last packets.

    Its end as FFmpeg tells is that of the last packet that states a time, which may be seconds early.
    """
    try:
        with open_source(path) as container:
            stream: Any = container.streams.video[0]
            begin, end = Fraction(container.start_time or 0), Fraction(container.duration or 0)
            container.seek(int(begin + end) - _TAIL * av.time_base)
            last: int | None = None
            untimed = 0
            for packet in packets_of(container, stream):
                if packet.pts is not None:
                    last, untimed = max(packet.pts, last or packet.pts), 0
                elif packet.size:
                    untimed += 1
            if last is None or stream.start_time is None or not stream.time_base:
                return None
            frames: Fraction = (last - stream.start_time) * stream.time_base * rate
            return round(frames) + 1 + untimed
    except (av.error.FFmpegError, OSError):
        return None  # it is counted then


def _average_rate(stream: Any, base: Fraction) -> Fraction:
    """Return the frames a second of a stream, as its header and first frames tell."""
    rates = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    # One as fast as the clock of the file is of frames that are a tick apart: FFmpeg says 1000 a second of
    # some recordings in Matroska and FLV, which count milliseconds.
    slower = [rate for rate in rates if rate * base < 1 or base > _COARSE]
    return (slower or rates or [FALLBACK_RATE])[0]


def stated_rate(path: Path, container: av.container.InputContainer, stream: Any) -> Fraction | None:
    """Return the frames a second by which a stream without a container has to be timed; None where it is.

    FFmpeg counts the pictures of H.264 and H.265 at 25 a second, whatever the stream says.
    """
    if not _is_raw(container):
        return None
    rate = _own_rate(stream)
    if rate is None:
        _LOG.warning(
            "%s does not say its rate: 25 frames a second are taken, or give --source-fps.", path.name
        )
    return rate if container.format.name in _UNTIMED else None


def _own_rate(stream: Any) -> Fraction | None:
    """Return the frames a second that a stream states in itself."""
    rate = Fraction(getattr(stream.codec_context, "framerate", None) or 0)
    return rate if 0 < rate <= _FASTEST else None


def _is_raw(container: av.container.InputContainer) -> bool:
    """Tell whether a file is nothing but a stream of its codec, whose times and duration FFmpeg makes up."""
    return bool(container.format.flags & _NO_TIMES)


def _belongs(tag: str) -> bool:
    """Tell whether a tag of a stream is still true in another file."""
    name = tag.lower()
    # "BPS-eng" and its like are statistics of mkvmerge.
    return name not in _COUNTED_TAGS and not name.startswith(("_statistics", "bps", "number_of_"))


def _origin(stream: Any, shown: Fraction | None, others: tuple[Any, ...]) -> Fraction:
    """Return the time in the file that becomes 0: picture and sound are moved by the same.

    Recordings of cameras and broadcasts begin at any time, and where their clock is near its wrap, before 0.
    Sound that begins a little before 0 beside a picture that does not is the encoder's run-in.
    """
    starts = [
        s.start_time * s.time_base for s in (stream, *others) if s.start_time is not None and s.time_base
    ]
    # Of Matroska with AAC, FFmpeg can say that the picture begins with the sound, and then give it from 0 on.
    first = min([*starts, *([] if shown is None else [shown])], default=Fraction(0))
    return first if shown is not None and shown < 0 else max(Fraction(0), first)


def _duration(
    container: av.container.InputContainer, stream: Any, rate: Fraction, shown: Fraction | None
) -> Fraction | None:
    """Return how long the picture is as the header says, seconds; None where it does not.

    Args:
        container: the file.
        stream: of the picture.
        rate: of its frames.
        shown: the time of the first one in the file, seconds.
    """
    if stream.duration and stream.time_base:
        # Of an AVI without its index, FFmpeg gives the duration of what is there.
        counted = stream.frames / rate if container.format.name == "avi" else Fraction(0)
        return max(Fraction(stream.duration * stream.time_base), counted)
    told = _told_duration(stream)
    # Matroska, FLV and NUT say when the file ends, wherever it begins, and wherever in it the picture does.
    start = Fraction(0)
    if container.format.name in ("matroska,webm", "flv", "nut"):
        start = max(Fraction(container.start_time or 0, av.time_base), shown or Fraction(0), start)
    length = Fraction(container.duration or 0, av.time_base) - start
    # Sound or subtitles may be far longer.
    length = min(length, told - start) if told is not None and told > start else length
    return length if length > 0 else None


def _told_duration(stream: Any) -> Fraction | None:
    """Return when a stream of Matroska ends, seconds, as a tag of it says; None where none does."""
    tags = {key.upper(): value for key, value in stream.metadata.items()}
    told = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tags.get("DURATION", ""))
    return None if told is None else int(told[1]) * 3600 + int(told[2]) * 60 + Fraction(told[3])


def _mastering(frame: av.VideoFrame, codec: str) -> Mastering | None:
    """Return the mastering display and light levels of HDR, as FFmpeg keeps them beside a frame."""
    kinds = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
    display, light = (side_data(frame, kind, codec) for kind in kinds)
    values: tuple[Fraction, ...] | None = None
    if display is not None:
        # Ten rationals of two ints: red, green, blue and white as x and y, then least and most light; and
        # two flags that say which are meant.
        *numbers, primaries, luminance = struct.unpack("=22i", display[:88])
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        values = tuple(Fraction(n, d or 1) for n, d in pairs) if primaries and luminance else None
    levels = None if light is None else struct.unpack("=2I", light[:8])
    return Mastering(values, levels) if values or levels else None


def _loops(container: av.container.InputContainer, path: Path) -> int | None:
    """Return how often an animated image is played, 0 without end; None for what is no animated image."""
    if container.format.name not in ("gif", "apng"):
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:  # one in memory
        return None
    if container.format.name == "apng":
        at = head.find(_PNG_LOOPS)
        return int.from_bytes(head[at + 8 : at + 12], "big") if at >= 0 else 0
    at = head.find(_GIF_LOOPS)
    # A GIF says how often it is repeated.
    repeats = int.from_bytes(head[at + 13 : at + 15], "little") if at >= 0 else None
    return 1 if repeats is None else repeats and repeats + 1
