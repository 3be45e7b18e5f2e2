"""Sound as samples: reading it from a file, encoding it into an output."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.container
import numpy as np
import torch

from .clip import ClipInfo, Waveform
from .opening import open_source, packets_of, unsafe_sound
from .samples import frame_of, samples_of
from .span import Span

_LOG = logging.getLogger(__name__)

_OPUS_RATE = 48000
# Samples of a waveform that are encoded at once.
_SLICE = 48000
GAP = Fraction(1, 20)
"""Seconds without sound from which on there is silence; shorter ones are the clocks of containers."""
# FFmpeg's names of the usual layouts, by the number of channels.
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


_MOST = max(LAYOUTS)
_UNORDERED = " channels"
"""End of FFmpeg's names of layouts that are no more than a number."""


def ordered(frame: av.AudioFrame | None, layout: str) -> av.AudioFrame | None:
    """Return a frame as it is, or the first eight channels of one that has more, in no known order.

    FFmpeg's resampler refuses nine channels without an order; ten, twelve or sixteen it takes for those of
    some loudspeakers. Recorders and masters have the usual layout first.

    Args:
        frame: of sound.
        layout: as which it is to be encoded.
    """
    if frame is None or not first_of(frame.layout, layout):
        return frame
    made = frame_of(samples_of(frame)[:_MOST], LAYOUTS[_MOST], frame.format.name)
    made.sample_rate, made.pts, made.time_base = frame.sample_rate, frame.pts, frame.time_base
    return made


def first_of(source: av.AudioLayout, layout: str) -> str:
    """Return what is to be said of sound of which :func:`ordered` keeps the first channels; else nothing."""
    count = source.nb_channels
    unordered = source.name.endswith(_UNORDERED) and count > _MOST
    return f", of the first {_MOST} of {source.name}" if unordered and layout != source.name else ""


class AudioEncoder:
    """An audio stream of an output.

    Args:
        output: it is added to; before anything is muxed.
        encoder: FFmpeg's name of it.
        layout: of the channels.
        rate: samples a second of what comes in.
    """

    def __init__(self, output: av.container.OutputContainer, encoder: str, layout: str, rate: int) -> None:
        # Opus is 48 kHz inside; FFmpeg's encoder takes few other rates.
        rates = av.Codec(encoder, "w").audio_rates
        rate = _OPUS_RATE if encoder == "libopus" or (rates and rate not in rates) else rate
        self.stream: Any = output.add_stream(encoder, rate=rate)
        context: Any = self.stream.codec_context
        context.layout = self._layout = layout
        formats = context.codec.audio_formats
        context.format = formats[0].name if formats else "fltp"
        # Only an open encoder knows its frame size.
        context.open()
        self._resample = av.AudioResampler(
            format=context.format.name, layout=context.layout.name, rate=rate, frame_size=context.frame_size
        )
        self._ended = False

    def __call__(self, frames: Iterable[av.AudioFrame | None]) -> list[Any]:
        """Return the packets of some frames."""
        # A frame of None has the resampler give out what it holds back.
        parts = [part for frame in frames for part in self._resample.resample(ordered(frame, self._layout))]
        return [packet for part in parts for packet in self.stream.encode(part)]

    def end(self) -> list[Any]:
        """Return the last packets; none when it is called again."""
        if self._ended:
            return []
        self._ended = True
        return [*self([None]), *self.stream.encode(None)]


class WaveformSound:
    """A waveform, added to an output; see :class:`~..write.sound.Carried`.

    Args:
        waveform: of more than one channel in FFmpeg's order of them.
        origin: its time that is 0 in the output, seconds.
        span: the part of the output that has sound.
        output: the container written to.
        encoder: of the sound.
    """

    def __init__(
        self,
        waveform: Waveform,
        origin: Fraction,
        span: Span | None,
        output: av.container.OutputContainer,
        encoder: str,
    ) -> None:
        samples, rate = waveform.samples, waveform.rate
        if len(samples) not in LAYOUTS:
            _LOG.warning("Of %d channels of sound, the first two are kept.", len(samples))
            samples = samples[:2]
        span = span or Span(Fraction(0))
        # Samples [first, last) of the waveform are heard, the first of them `offset` samples after time 0. A
        # sample that is heard only in part at the end is in.
        first = max(round((origin + span.start) * rate), 0)
        last = None if span.end is None else ceil((origin + span.end) * rate)
        self._samples = samples[:, first:last]
        self._offset = first - round(origin * rate)
        self._rate = rate
        self._layout = LAYOUTS[len(samples)]
        self._output = output
        self._encode = AudioEncoder(output, encoder, self._layout, rate)
        self._done = 0

    def mux_until(self, time: Fraction | None) -> None:
        """See :class:`~..write.sound.Carried`."""
        total = self._samples.shape[1]
        end = total if time is None else min(total, floor_samples(time, self._rate))
        while self._done < end:
            piece = self._samples[:, self._done : self._done + _SLICE].float().cpu().numpy()
            frame = frame_of(piece, self._layout)
            frame.sample_rate, frame.pts = self._rate, self._offset + self._done
            frame.time_base = Fraction(1, self._rate)
            self._done += piece.shape[1]
            self._output.mux(self._encode([frame]))
        if time is None:
            self._output.mux(self._encode.end())

    def __enter__(self) -> WaveformSound:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no file is open."""


def floor_samples(time: Fraction, rate: int) -> int:
    """Return the number of samples that are heard before ``time``."""
    return int(time * rate)


def read_waveform(info: ClipInfo) -> Waveform | None:
    """Return the first audio stream of a clip, as much of it as belongs to the clip; None without one.

    Silence fills the time before it begins, so that its first sample is heard at time 0 of the clip.
    """
    if not info.sound or (info.retiming is not None and info.retiming.law == "drop"):
        return None
    span = info.sound_span or Span(Fraction(0))
    if isinstance(info.sound_from, Waveform):
        whole = info.sound_from
        begin = round(info.origin * whole.rate)
    else:
        read = _decoded(info.sound_from or info.path)
        if read is None:
            return None
        whole, starts = read
        begin = round((info.origin - starts) * whole.rate)
    # `begin` is the sample at time 0 of the clip; below 0 where the sound begins later.
    end = None if span.end is None else max(begin + ceil(span.end * whole.rate), 0)
    samples = whole.samples[:, max(begin, 0) : end]
    silence = samples.new_zeros(len(samples), max(-begin, 0))
    return Waveform(torch.cat((silence, samples), 1) if begin < 0 else samples, whole.rate)


def _decoded(source: Path | BytesIO) -> tuple[Waveform, Fraction] | None:
    """Return all samples of the first audio stream, and when the first is heard, seconds of the file."""
    with open_source(source) as container:
        unsafe = unsafe_sound(container)
        safe = [stream for stream in container.streams.audio if stream.index not in unsafe]
        if unsafe:
            _LOG.warning(
                "Sound whose channels are in an order of their own is left out: it cannot be decoded."
            )
        if not safe:
            return None
        stream = safe[0]
        resample = av.AudioResampler(format="fltp")
        longest = Fraction(container.duration or 0, av.time_base)
        joined = _Joined(int(stream.codec_context.sample_rate), longest)
        # None at the end: the resampler gives out what it holds back.
        for frame in (*_frames(container, stream), None):
            for part in resample.resample(frame):
                joined.add(part)
        if not joined.pieces:
            return None
        samples = torch.from_numpy(np.concatenate(joined.pieces, axis=1))
        return Waveform(samples, joined.rate), joined.starts or Fraction(0)


class _Joined:
    """Sound one behind the other, with silence where a file has none: what follows keeps its time.

    Args:
        rate: samples a second.
        longest: seconds of the file. A broken time behind them would ask for any amount of silence.
    """

    def __init__(self, rate: int, longest: Fraction) -> None:
        self.rate = rate
        self.pieces: list[Any] = []
        self.starts: Fraction | None = None
        self._longest = longest
        self._count = 0

    def add(self, part: av.AudioFrame) -> None:
        """Add the next samples."""
        time = (part.pts or 0) * (part.time_base or Fraction(0))
        if self.starts is None:
            self.starts = time
        missing = round((time - self.starts) * self.rate) - self._count
        if missing > GAP * self.rate and time - self.starts < self._longest:
            self.pieces.append(np.zeros((part.layout.nb_channels, missing), np.float32))
            self._count += missing
        self.pieces.append(samples_of(part))
        self._count += part.samples


def _frames(container: av.container.InputContainer, stream: Any) -> Iterator[av.AudioFrame]:
    for packet in packets_of(container, stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError as error:
            _LOG.warning("Damaged sound is left out: %s", error)
