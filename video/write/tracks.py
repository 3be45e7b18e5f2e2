"""The ways of one stream into an output: copied, encoded again, converted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol

import av.container
import numpy as np
from av.subtitles.subtitle import SubtitleSet

from ...engine.pieces import Retiming
from ..read.opening import is_cover
from ..read.samples import frame_of, samples_of
from ..read.span import Span
from ..read.waveform import GAP, AudioEncoder, ordered
from .carry import TIMELESS, Decision, copied_stream, describe_like
from .stretch import Samples, Stretcher
from .subtitles import styled_header, text_of


class Track(Protocol):
    """A stream on its way into the output."""

    over: bool
    """Nothing more is wanted of it."""

    def __call__(self, packet: Any) -> list[Any]:
        """Return the packets of the output that a packet of the source becomes."""
        ...

    def end(self) -> list[Any]:
        """Return the packets that are still held back."""
        ...


class Window:
    """The part of a stream that falls into a span of the output.

    Args:
        stream: whose times are meant.
        span: None: everything.
        edited: whether a packet may begin before 0, of which players then leave out that part.
        retiming: of a clip that does not play at the speed of its file.
    """

    def __init__(
        self, stream: Any, span: Span | None, *, edited: bool, retiming: Retiming | None = None
    ) -> None:
        base: Fraction = stream.time_base
        self._base = base
        self.retiming = retiming if stream.type == "subtitle" else None
        self.text = stream.type == "subtitle"
        self.all = span is None
        # In ticks of the stream, in which its packets count.
        self.begin = None if span is None else span.start / base
        self.end = None if span is None or span.end is None else span.end / base
        self.edited = edited

    def moved(self, time: int, duration: int) -> tuple[int, int]:
        """Return when a subtitle is shown and for how long, from what the file says; both in ticks."""
        if self.retiming is None:
            return time, duration
        start, end = (self.retiming.time(at * self._base) / self._base for at in (time, time + duration))
        return round(start), round(end) - round(start)

    def before(self, time: Fraction | int, duration: Fraction | int) -> bool:
        """Tell whether something comes too early to be in the output."""
        if self.begin is None:
            return False
        # MP4 and MOV hide what is heard before 0 by an edit list, and Copied shortens subtitles: there, all
        # that reaches into the span is in. Elsewhere a packet that begins before it is left out.
        whole = self.edited or self.text
        return time + duration <= self.begin if whole else time < self.begin

    def after(self, time: Fraction | int) -> bool:
        """Tell whether something comes too late."""
        return self.end is not None and time >= self.end


class Copied:
    """A stream whose packets go over as they are."""

    def __init__(
        self, stream: Any, output: av.container.OutputContainer, origin: Fraction, window: Window
    ) -> None:
        self._stream: Any = copied_stream(output, stream)
        self._cover, self._sound = is_cover(stream), stream.type == "audio"
        self._shift = round(origin / stream.time_base)
        self._window = window
        self._early: Any = None
        self.over = False

    def __call__(self, packet: Any) -> list[Any]:
        """See :class:`Track`."""
        # An edit list hides sound: it is not to be heard where there is no such list.
        hidden = packet.is_discard and self._sound and not self._window.edited
        if not packet.size or hidden:  # without size is the flush packet at the end
            return []
        if self._cover:  # has no time
            packet.pts, packet.dts, packet.stream, self.over = 0, 0, self._stream, True
            return [packet]
        packet.pts = None if packet.pts is None else packet.pts - self._shift
        packet.dts = None if packet.dts is None else packet.dts - self._shift
        if self._window.retiming is not None and packet.pts is not None:
            packet.pts, packet.duration = self._window.moved(packet.pts, packet.duration or 0)
            packet.dts = packet.pts
        time = packet.dts if packet.pts is None else packet.pts
        if time is None:  # comes after the one before
            packet.stream = self._stream
            return [packet]
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
        """See :class:`Track`."""
        return []


class Encoded:
    """A stream of sound that is decoded and encoded again."""

    def __init__(
        self,
        stream: Any,
        output: av.container.OutputContainer,
        origin: Fraction,
        decision: Decision,
        *,
        window: Window,
    ) -> None:
        self._encode = AudioEncoder(
            output, decision.encoder, decision.layout, stream.codec_context.sample_rate
        )
        describe_like(self._encode.stream, stream, output.format.name)
        self._base = stream.time_base
        self._origin = origin
        self._window = window
        self._filled = output.format.name in TIMELESS
        self._until = Fraction(0)
        self._ends: Fraction | None = None
        self.over = False

    def __call__(self, packet: Any) -> list[Any]:
        """See :class:`Track`."""
        frames = [heard for frame in packet.decode() for heard in self._heard(frame)]
        packets = self._encode(self._inside(frames))
        # The last packet of a stream is empty. One without a time came in one piece with the one before.
        return [*packets, *self.end()] if not packet.size else packets

    def end(self) -> list[Any]:
        """See :class:`Track`."""
        return [*self._encode(self._inside(self._rest())), *self._encode.end()]

    def _heard(self, frame: Any) -> Iterable[Any]:
        """Return what is heard of a decoded frame, with its times in the output."""
        if frame.pts is not None:
            frame.pts -= round(self._origin / frame.time_base)
        return (frame,)

    def _rest(self) -> Iterable[Any]:
        """Return what is still to be heard once all is decoded."""
        return ()

    def _inside(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Yield the frames that are in the window."""
        for frame in frames:
            # Of several frames of one packet, such as a second of AMR, only the first has a time.
            begin = self._ends if frame.pts is None else frame.pts * frame.time_base
            length = Fraction(frame.samples, frame.sample_rate)
            if begin is not None:
                self._ends = begin + length
                # In ticks of the stream, as the window is.
                self.over = self.over or self._window.after(begin / self._base)
                if self.over or self._window.before(begin / self._base, length / self._base):
                    continue
            if self._filled and frame.pts is not None:
                yield from self._silence(frame)
            self._until += length
            yield frame

    def _silence(self, frame: Any) -> Iterator[Any]:
        """Yield frames of silence from the end of the sound so far to the beginning of a frame."""
        begin, rate = frame.pts * frame.time_base, frame.sample_rate
        if begin - self._until > GAP:
            wave = samples_of(frame)
            missing = round((begin - self._until) * rate)
            for start in range(0, missing, rate):  # a second at once, whatever is missing
                count = min(rate, missing - start)
                level = 128 if wave.dtype == np.uint8 else 0
                quiet = np.full((len(wave), count), level, wave.dtype)
                silent: Any = frame_of(quiet, frame.layout.name, frame.format.name)
                # The resampler takes one clock for all frames.
                silent.sample_rate, silent.time_base = rate, frame.time_base
                silent.pts = round((self._until + Fraction(start, rate)) / frame.time_base)
                yield silent
        self._until = begin


class Stretched(Encoded):
    """Sound that is stretched to the speed of its clip, and encoded again."""

    def __init__(
        self,
        stream: Any,
        output: av.container.OutputContainer,
        origin: Fraction,
        decision: Decision,
        *,
        window: Window,
        retiming: Retiming,
    ) -> None:
        super().__init__(stream, output, origin, decision, window=window)
        self._rate, self._layout = stream.codec_context.sample_rate, decision.layout
        self._resample = av.AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
        self._stretch = Stretcher(retiming.pieces, self._rate, self._layout)
        self._done = round(self._stretch.start * self._rate)

    def _heard(self, frame: Any) -> Iterator[Any]:
        parts: list[Any] = self._resample.resample(ordered(frame, self._layout))
        for part in parts:
            time = (part.pts or 0) * (part.time_base or Fraction(0)) - self._origin
            yield from map(self._frame, self._stretch.at(time, samples_of(part)))

    def _rest(self) -> Iterator[Any]:
        return map(self._frame, self._stretch.end())

    def _frame(self, samples: Samples) -> Any:
        """Return samples as the next frame of the output."""
        frame: Any = frame_of(samples, self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
        self._done += samples.shape[1]
        return frame


class Converted:
    """Subtitles in text that are written in the form of another format."""

    def __init__(
        self,
        stream: Any,
        output: av.container.OutputContainer,
        origin: Fraction,
        decision: Decision,
        *,
        window: Window,
    ) -> None:
        self._source = stream
        self._target: Any = output.add_stream(decision.encoder)
        context: Any = self._target.codec_context
        context.subtitle_header = styled_header(stream.codec_context)
        context.time_base = self._target.time_base = Fraction(1, 1000)
        describe_like(self._target, stream, output.format.name)
        self._origin = origin
        self._window = window
        self.over = False

    def __call__(self, packet: Any) -> list[Any]:
        """Return the packet of a subtitle in the other form."""
        if not packet.size or packet.pts is None:
            return []
        base = packet.time_base
        shown, length = self._window.moved(packet.pts - round(self._origin / base), packet.duration or 0)
        if self._window.before(shown, length):
            return []
        self.over = self._window.after(shown)
        text = b"" if self.over else text_of(self._source.codec_context, packet)
        if not text:
            return []
        # One that is up already when the part begins: shown from 0, for what is left of its time.
        start, end = (max(round(time * base * 1000), 0) for time in (shown, shown + length))
        subtitle = SubtitleSet.create(text=text, start=0, end=end - start, pts=start * 1000)
        made = self._target.codec_context.encode_subtitle(subtitle)
        made.stream, made.time_base = self._target, Fraction(1, 1000)
        made.pts, made.dts, made.duration = start, start, end - start
        return [made]

    def end(self) -> list[Any]:
        """See :class:`Track`."""
        return []
