"""Carry sound and subtitles of the source into the output, packet by packet where that can be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import av.container

from ..read.clip import ClipInfo, Waveform
from ..read.opening import open_source
from ..read.span import Span
from ..read.waveform import AudioEncoder, WaveformSound

_LOG = logging.getLogger(__name__)

# Formats that can say that the first packet is to be heard only in part.
_EDITED = ("mp4", "mov")


class Carried(Protocol):
    """Sound that is on its way into an output."""

    def mux_until(self, time: Fraction | None) -> None:
        """Mux everything that begins at ``time`` (seconds of the output) or before; None: all."""
        ...

    def __enter__(self) -> Carried: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def carry_sound(info: ClipInfo, output: av.container.OutputContainer, encoder: str) -> Carried:
    """Add the sound of a clip to an output, before anything is muxed.

    Args:
        info: of the clip, which has sound.
        output: the container written to.
        encoder: for audio whose codec the output cannot hold.
    """
    if isinstance(info.sound_from, Waveform):
        return WaveformSound(info.sound_from, info.origin, info.sound_span, output, encoder)
    return Sound(info.sound_from or info.path, info.origin, output, encoder, span=info.sound_span)


class Sound:
    """The audio and subtitle streams of a file, added to an output.

    Reads the file a second time, so that nothing has to wait in memory for the picture to be made.

    Args:
        source: the file.
        origin: its time that is 0 in the output, seconds.
        output: the container written to; streams are added to it here, before anything is muxed.
        encoder: for audio whose codec the output cannot hold; None where it holds no sound at all.
        span: the part of the output that has sound, to the packet; all where it is left out.
    """

    def __init__(
        self,
        source: Path | BytesIO,
        origin: Fraction,
        output: av.container.OutputContainer,
        encoder: str | None,
        *,
        span: Span | None = None,
    ) -> None:
        self._output = output
        self._span = span
        self._origin = origin
        self._source = open_source(source)
        self._tracks: dict[int, _Track] = {}
        self._streams: list[Any] = []
        held = output.supported_codecs
        for stream in (*self._source.streams.audio, *self._source.streams.subtitles):
            window = _Window(stream, span, edited=output.format.name in _EDITED)
            # Copied where it can be: that costs no quality and next to no time.
            if stream.codec_context is not None and stream.codec_context.name in held and encoder:
                self._add(stream, _Copy(stream, output, origin, window))
            elif stream.type == "audio" and encoder:
                _LOG.info("%s sound is encoded again as %s.", stream.codec_context.name, encoder)
                self._add(stream, _Encode(stream, output, origin, encoder, window=window))
            else:
                _LOG.warning(
                    "The output cannot hold stream %d (%s); it is left out.", stream.index, stream.type
                )
        self._packets = self._converted()
        self._next: Any = None

    def __bool__(self) -> bool:
        return bool(self._streams)

    def mux_until(self, time: Fraction | None) -> None:
        """See :class:`Carried`."""
        while True:
            packet = self._next or next(self._packets, None)
            if packet is None:
                return
            stamp = packet.dts if packet.dts is not None else packet.pts
            self._next = packet
            # In the order of decoding times: with all sound at the end, players would have to seek.
            if time is not None and stamp is not None and stamp * packet.time_base > time:
                return
            self._next = None
            self._output.mux(packet)

    def __enter__(self) -> Sound:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def _add(self, stream: Any, track: _Track) -> None:
        self._streams.append(stream)
        self._tracks[stream.index] = track

    def _converted(self) -> Iterator[Any]:
        if not self._streams:
            return
        # The whole clip is read from its beginning, where a seek could only lose something.
        if self._span is not None and self._origin > 0:
            self._seek_to_span()
        for packet in self._source.demux(*self._streams):
            track = self._tracks[packet.stream.index]
            try:
                yield from track(packet)
            except av.error.InvalidDataError as error:
                _LOG.warning("A damaged packet of stream %d is left out: %s", packet.stream.index, error)
            # Past the span nothing is read: the file may be far longer. Encoders still hold packets back.
            if all(other.over for other in self._tracks.values()):
                for other in self._tracks.values():
                    yield from other.end()
                return

    def _seek_to_span(self) -> None:
        """Seek to a second before the span begins, since not every container's index is exact."""
        begin = max(self._origin - 1, Fraction(0))
        try:
            self._source.seek(int(begin * av.time_base))
        except (av.error.FFmpegError, OSError) as error:
            _LOG.debug("sound is read from the beginning: %s", error)


class _Track(Protocol):
    """A stream on its way into the output."""

    over: bool
    """Nothing more is wanted of it."""

    def __call__(self, packet: Any) -> list[Any]: ...

    def end(self) -> list[Any]:
        """Return the packets that are still held back."""
        ...


class _Window:
    """The part of a stream that falls into a span of the output.

    Args:
        stream: whose times are meant.
        span: None: everything.
        edited: whether a packet may begin before 0, of which players then leave out that part.
    """

    def __init__(self, stream: Any, span: Span | None, *, edited: bool) -> None:
        base: Fraction = stream.time_base
        self.text = stream.type == "subtitle"
        self.all = span is None
        # In ticks of the stream, in which its packets count.
        self.begin = None if span is None else span.start / base
        self.end = None if span is None or span.end is None else span.end / base
        self.edited = edited

    def before(self, time: Fraction | int, duration: Fraction | int) -> bool:
        """Tell whether something comes too early to be in the output."""
        if self.begin is None:
            return False
        # MP4 and MOV hide what is heard before 0 by an edit list, and _Copy shortens subtitles: there, all
        # that reaches into the span is in. Elsewhere a packet that begins before it is left out.
        whole = self.edited or self.text
        return time + duration <= self.begin if whole else time < self.begin

    def after(self, time: Fraction | int) -> bool:
        """Tell whether something comes too late."""
        return self.end is not None and time >= self.end


class _Copy:
    """A stream whose packets go over as they are."""

    def __init__(
        self, stream: Any, output: av.container.OutputContainer, origin: Fraction, window: _Window
    ) -> None:
        self._stream: Any = output.add_stream_from_template(stream)
        self._stream.metadata.update(stream.metadata)
        self._shift = round(origin / stream.time_base)
        self._window = window
        self._early: Any = None
        self.over = False

    def __call__(self, packet: Any) -> list[Any]:
        if packet.dts is None and packet.pts is None:  # the flush packet at the end
            return []
        packet.pts = None if packet.pts is None else packet.pts - self._shift
        packet.dts = None if packet.dts is None else packet.dts - self._shift
        time = packet.dts if packet.pts is None else packet.pts
        if self._window.before(time, packet.duration or 0):
            self._early = packet
            return []
        self.over = self._window.after(time)
        if self.over:
            return []
        # A subtitle that is up already when the part begins: shown from 0, for what is left of its time.
        if self._window.text and not self._window.all and time < 0:
            packet.duration, packet.pts, packet.dts = packet.duration + time, 0, 0
        # Decoders of sound need the packet before, whose own sound is left out like all before 0.
        early = [self._early] if self._early is not None and self._window.edited else []
        early = [] if self._window.text else early
        self._early = None
        for kept in (*early, packet):
            kept.stream = self._stream
        return [*early, packet]

    def end(self) -> list[Any]:
        """See :class:`_Track`."""
        return []


class _Encode:
    """A stream that is decoded and encoded again."""

    def __init__(
        self,
        stream: Any,
        output: av.container.OutputContainer,
        origin: Fraction,
        encoder: str,
        *,
        window: _Window,
    ) -> None:
        context = stream.codec_context
        self._encode = AudioEncoder(output, encoder, context.layout.name, context.sample_rate)
        self._encode.stream.metadata.update(stream.metadata)
        self._base = stream.time_base
        self._origin = origin
        self._window = window
        self.over = False

    def __call__(self, packet: Any) -> list[Any]:
        frames = []
        for frame in packet.decode():
            if frame.pts is not None:
                frame.pts -= round(self._origin / frame.time_base)
                # In ticks of the stream, as the window is.
                time = frame.pts * frame.time_base / self._base
                length = Fraction(frame.samples, frame.sample_rate) / self._base
                self.over = self.over or self._window.after(time)
                if self.over or self._window.before(time, length):
                    continue
            frames.append(frame)
        packets = self._encode(frames)
        flush = packet.dts is None and packet.pts is None
        return [*packets, *self.end()] if flush else packets

    def end(self) -> list[Any]:
        """See :class:`_Track`."""
        return self._encode.end()
