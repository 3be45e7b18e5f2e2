"""Carries sound and subtitles from the source file into the output, packet by packet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.container

_LOG = logging.getLogger(__name__)

_OPUS_RATE = 48000
_TEXT = "subtitles"


class Sound:
    """The audio and subtitle streams of a file, added to an output.

    Reads the file a second time, so that nothing has to wait in memory for the picture to be made.

    Args:
        source: the file.
        origin: its time that is 0 in the output, seconds.
        output: the container written to; streams are added to it here, before anything is muxed.
        encoder: for audio whose codec the output cannot hold; None where it holds no sound at all.
    """

    def __init__(
        self, source: Path, origin: Fraction, output: av.container.OutputContainer, encoder: str | None
    ) -> None:
        self._origin = origin
        self._output = output
        self._source = av.open(str(source))
        self._tracks: dict[int, Callable[[Any], list[Any]]] = {}
        self._streams: list[Any] = []
        held = output.supported_codecs
        for stream in (*self._source.streams.audio, *self._source.streams.subtitles):
            if stream.codec_context is not None and stream.codec_context.name in held and encoder:
                self._add(stream, _Copy(stream, output, origin))
            elif stream.type == "audio" and encoder:
                _LOG.info("%s sound is encoded again as %s.", stream.codec_context.name, encoder)
                self._add(stream, _Encode(stream, output, origin, encoder))
            else:
                _LOG.warning(
                    "The output cannot hold stream %d (%s); it is left out.", stream.index, stream.type
                )
        self._packets = self._converted()
        self._next: Any = None

    def __bool__(self) -> bool:
        return bool(self._streams)

    def mux_until(self, time: Fraction | None) -> None:
        """Muxes everything that begins at ``time`` (seconds of the output) or before; None: all."""
        while True:
            packet = self._next or next(self._packets, None)
            if packet is None:
                return
            stamp = packet.dts if packet.dts is not None else packet.pts
            self._next = packet
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

    def _add(self, stream: Any, track: Callable[[Any], list[Any]]) -> None:
        self._streams.append(stream)
        self._tracks[stream.index] = track

    def _converted(self) -> Iterator[Any]:
        if not self._streams:
            return
        for packet in self._source.demux(*self._streams):
            try:
                yield from self._tracks[packet.stream.index](packet)
            except av.error.InvalidDataError as error:
                _LOG.warning("A damaged packet of stream %d is left out: %s", packet.stream.index, error)


class _Copy:
    """A stream whose packets go over as they are."""

    def __init__(self, stream: Any, output: av.container.OutputContainer, origin: Fraction) -> None:
        self._stream: Any = output.add_stream_from_template(stream)
        self._stream.metadata.update(stream.metadata)
        self._shift = round(origin / stream.time_base)

    def __call__(self, packet: Any) -> list[Any]:
        if packet.dts is None and packet.pts is None:  # the flush packet at the end
            return []
        packet.pts = None if packet.pts is None else packet.pts - self._shift
        packet.dts = None if packet.dts is None else packet.dts - self._shift
        packet.stream = self._stream
        return [packet]


class _Encode:
    """A stream that is decoded and encoded again."""

    def __init__(
        self, stream: Any, output: av.container.OutputContainer, origin: Fraction, encoder: str
    ) -> None:
        rate = _OPUS_RATE if encoder == "libopus" else stream.codec_context.sample_rate
        self._stream: Any = output.add_stream(encoder, rate=rate)
        context: Any = self._stream.codec_context
        context.layout = stream.codec_context.layout.name
        self._stream.metadata.update(stream.metadata)
        formats = context.codec.audio_formats
        context.format = formats[0].name if formats else "fltp"
        context.open()
        self._resample = av.AudioResampler(
            format=context.format.name, layout=context.layout.name, rate=rate, frame_size=context.frame_size
        )
        self._origin = origin

    def __call__(self, packet: Any) -> list[Any]:
        frames = packet.decode()
        flush = packet.dts is None and packet.pts is None
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(self._origin / frame.time_base)
        parts = [
            part
            for frame in (*frames, *((None,) if flush else ()))
            for part in self._resample.resample(frame)
        ]
        made = [encoded for part in parts for encoded in self._stream.encode(part)]
        return [*made, *self._stream.encode(None)] if flush else made
