"""Encode clips: video files and animated images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.container
import av.error
import numpy as np
from torch import Tensor

from ...engine.timeline import Moment
from ...errors import MidframeError
from ..read.clip import REC709, RGB_FORMATS, ClipInfo, Colour
from ..read.colour import Converter, Palette, is_rgb
from ..read.opening import file_address
from .carry import Account, account_of
from .formats import Encoding
from .sound import Carried, carry_sound
from .tags import keyed_tags, stream_tags
from .trial import silence

_TAGGED = ("mp4", "mov")
# Largest denominator of a time base that the MP4 muxer and x264 take.
_FINEST = 2**31 - 1
# Ticks: MP4 and MOV count how long a frame is shown in so many at most (the muxer takes signed 32 bits).
_MOST_TICKS = 2**31 - 2
# Frames: beyond the delay of any encoder, far below what random bytes come to.
_MOST_REORDERED = 64


def decided(encoding: Encoding, source: ClipInfo) -> Account:
    """Return what becomes of everything besides the picture, and log what is lost."""
    account = account_of(source, encoding.muxer, encoding.audio_encoder, encoding.choice)
    account.warn(source.path.name)
    return account


class Writer(Protocol):
    """Takes finished frames in order."""

    @property
    def headers(self) -> bytes:
        """Return what the encoder says once, before its packets: those of others do not fit to it."""
        ...

    def write(self, pixels: Tensor, moment: Moment) -> None:
        """Write one frame, (H, W, C) uint8 or uint16 as the writer was made for."""
        ...

    def close(self, *, whole: bool) -> None:
        """End the output properly.

        Args:
            whole: all of the picture is in it, so that all of the sound belongs there too.
        """
        ...

    def drop(self) -> None:
        """Close everything as it is; what was written is of no use."""
        ...


@dataclass(frozen=True)
class Shape:
    """Depth and timing of the frames that a writer gets."""

    bits: int
    """8 (uint8) or 16 (uint16)."""
    rate: Fraction
    """Average frames a second."""
    tick: Fraction
    """Every time is a multiple of it, seconds."""


class VideoWriter:
    """A video file or animated image.

    Args:
        path: where to; may be a temporary name.
        encoding: how.
        source: its size, colour, transparency, sound and metadata are carried over.
        shape: of the frames.
        account: what becomes of all but the picture, where that is decided and said already.

    Raises:
        MidframeError: the file or the encoder cannot be opened, or, later, not be written.
    """

    def __init__(
        self,
        path: Path,
        encoding: Encoding,
        source: ClipInfo,
        shape: Shape,
        *,
        account: Account | None = None,
    ) -> None:
        self._path = path
        self._tick = usable_tick(shape.tick)
        self._bits = shape.bits
        # By pts: encoders give packets out later than they take frames, and in the order of decoding.
        self._durations: dict[int, int] = {}
        self._longest = 0
        self._shown = -1
        self._end = 0
        self._delay: int | None = None
        self._last: Any = None
        self._summed = encoding.muxer in _TAGGED
        self._pixel_format = encoding.pixel_format
        rgb = is_rgb(encoding.pixel_format) or encoding.pixel_format == "pal8"
        self._colour = None if rgb else source.colour or REC709
        self._convert: Converter | Palette | None = None
        self._encoded = False
        self._sound: Carried | None = None
        with contextlib.ExitStack() as stack, self._naming_the_file():
            options = _container_options(encoding, source.metadata)
            silence(encoding.encoder)
            self._container = stack.enter_context(
                av.open(file_address(path), "w", format=encoding.muxer, container_options=options)
            )
            self._stream: Any = self._container.add_stream(
                encoding.encoder, rate=usable_rate(shape.rate), options=encoding.options
            )
            _set_up(self._stream, source, self._pixel_format, self._tick, self._colour)
            if encoding.bitrate is not None:
                self._stream.codec_context.bit_rate = encoding.bitrate
            self._add_others(stack, encoding, source, account or decided(encoding, source))
            self._container.metadata.update(source.metadata)
            # Opens the encoder and writes the header: what cannot work fails here, before a frame is made.
            self._container.start_encoding()
            # Until here a failure closes the file and the sound again; from here on close() or drop() does.
            self._stack = stack.pop_all()

    def _add_others(
        self, stack: contextlib.ExitStack, encoding: Encoding, source: ClipInfo, account: Account
    ) -> None:
        """Add everything of the source that is not its picture, and what is known of that."""
        self._stream.metadata.update(stream_tags(encoding.muxer, source.picture_tags))
        if source.disposition:
            self._stream.disposition = source.disposition
        if encoding.audio_encoder:
            sound = carry_sound(source, self._container, encoding.audio_encoder, account)
            self._sound = None if sound is None else stack.enter_context(sound)

    def write(self, pixels: Tensor, moment: Moment) -> None:
        """See :class:`Writer`."""
        frame = self._converted(pixels)
        # Times that were repaired may lie between two ticks: those of frames rise all the same.
        frame.pts = self._shown = max(round(moment.time / self._tick), self._shown + 1)
        frame.time_base = self._tick
        # Before the encoder has it: what is finished can still be closed, and is kept.
        self._require_holdable(moment.duration)
        self._keep_duration(frame.pts, round(moment.duration / self._tick))
        self._encoded = True
        with self._naming_the_file():
            self._mux(self._stream.encode(frame))

    @property
    def headers(self) -> bytes:
        """See :class:`Writer`."""
        return bytes(self._stream.codec_context.extradata or b"")

    def copy(self, packet: Any) -> None:
        """Mux a packet as it came from the encoder of another writer, made like this one.

        Args:
            packet: its times and duration in ticks; decoding times rise from each to the next.
        """
        packet.stream, packet.time_base = self._stream, self._tick
        self._keep_duration(packet.pts, packet.duration)
        with self._naming_the_file():
            self._mux([packet])

    def close(self, *, whole: bool) -> None:
        """See :class:`Writer`."""
        # The stack ends within the handler: closing the container writes its index, which can fail too.
        with self._naming_the_file(), self._stack:
            if self._encoded:
                self._mux(self._stream.encode(None))
            self._mux_last()
            if whole and self._sound is not None:
                self._sound.mux_until(None)

    def drop(self) -> None:
        """See :class:`Writer`."""
        # Closing writes as well, and on a full disk fails once more: the first error is the one to be told.
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._stack.close()

    def _converted(self, pixels: Tensor) -> av.VideoFrame:
        source = RGB_FORMATS[self._bits, pixels.shape[-1]]
        if self._convert is None:
            size = (pixels.shape[0], pixels.shape[1])
            palette = self._pixel_format == "pal8"
            self._convert = (
                Palette(size, source)
                if palette
                else Converter(size, source, self._pixel_format, self._colour)
            )
        return self._convert(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.numpy()), format=source))

    def _require_holdable(self, duration: Fraction) -> None:
        if self._summed and duration / self._tick > _MOST_TICKS:
            raise MidframeError(
                "A frame is shown for longer than this kind of file can say.",
                f"{self._path.suffix[1:]}: {float(duration):.6g} s in ticks of 1/{self._tick.denominator} s",
                "Write Matroska (.mkv), or make the parts before and after the gap apart (start, stop).",
            )

    def _keep_duration(self, pts: int, duration: int) -> None:
        self._durations[pts] = duration
        self._longest = max(self._longest, duration)
        self._end = max(self._end, pts + duration)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            # Encoders differ in whether they keep a frame's duration, and the last one decides how long
            # the file is.
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            if not _decodable(packet, self._longest * _MOST_REORDERED):
                packet.dts = packet.pts
            self._mux_one(self._held_back(packet) if self._summed else packet)

    def _held_back(self, packet: Any) -> Any:
        """Hold a packet back, for it may be the last; return the one before."""
        if self._delay is None and packet.dts is not None:
            self._delay = packet.pts - packet.dts
        before, self._last = self._last, packet
        return before

    def _mux_one(self, packet: Any) -> None:
        if packet is None:
            return
        if self._sound is not None and packet.dts is not None:
            self._sound.mux_until(packet.dts * packet.time_base)
        self._container.mux(packet)

    def _mux_last(self) -> None:
        """Mux the packet that is held back, with a duration up to the end of the clip.

        MP4 and MOV add up durations in the order of decoding, and take the sum for the clip's: where frames
        come at different rates, the last packet is that of a frame as long as any.
        """
        last, self._last = self._last, None
        if last is not None and self._delay is not None and last.dts is not None:
            last.duration = max(self._end - self._delay - last.dts, 1)
        self._mux_one(last)

    @contextlib.contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MidframeError(
                "The output cannot be written.",
                f"{self._path}: {error}",
                "Check that the disk has room and that the folder may be written to; or choose another "
                "extension or codec.",
            ) from error


def _container_options(encoding: Encoding, metadata: Mapping[str, str]) -> dict[str, str]:
    options = encoding.container_options
    # The flag has tags written as QuickTime's keys instead of iTunes' list, where any name goes: only set
    # where a tag needs it.
    if keyed_tags(encoding.muxer, metadata):
        options = {**options, "movflags": options.get("movflags", "") + "+use_metadata_tags"}
    return options


def usable_tick(tick: Fraction) -> Fraction:
    """Return ``tick`` as one over a whole number that fits the file; finer ones are rounded to that."""
    # a/b seconds are a whole number of 1/b: with the numerator left out, times stay exact.
    return Fraction(1, min(tick.denominator, _FINEST))


def usable_rate(rate: Fraction) -> Fraction:
    """Return ``rate``, or the ratio next to it of whole numbers that fit the file: it is an average only."""
    # The numerator has to fit as well, and is `rate` times as large.
    return rate.limit_denominator(int(_FINEST / max(rate, Fraction(1))))


def _set_up(stream: Any, source: ClipInfo, pixel_format: str, tick: Fraction, colour: Colour | None) -> None:
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = source.width, source.height, pixel_format
    context.time_base = tick
    stream.time_base = tick
    # As in decoding: threads over frames as well as slices.
    context.thread_type = "AUTO"
    if source.pixel_aspect != 1:
        context.sample_aspect_ratio = source.pixel_aspect
    if colour is not None:
        # The range in FFmpeg's numbers: 1 is limited (MPEG), 2 is full (JPEG).
        context.colorspace, context.color_range = colour.matrix, 2 if colour.full_range else 1
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer


def _decodable(packet: Any, delay: int) -> bool:
    """Tell whether the decoding time of a packet, where it has one, is at most ``delay`` before its own time.

    x265 reorders two frames; of a clip that is shorter it leaves decoding times as they lie in memory, by
    which muxers fail at random. There nothing is reordered, and frames are decoded when they are shown.
    """
    return packet.dts is None or packet.pts is None or bool(-delay <= packet.dts - packet.pts <= 0)
