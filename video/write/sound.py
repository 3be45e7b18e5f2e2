"""Carry the other streams of the source into the output, packet by packet where that can be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import av.container

from ...engine.pieces import Retiming
from ..read.clip import ClipInfo, Waveform
from ..read.decode import joined_packets, picture_stream
from ..read.opening import open_source
from ..read.span import Span
from ..read.times import DAMAGE, Rising, may_jump
from ..read.waveform import LAYOUTS, WaveformSound, read_waveform
from .carry import Account, Decision
from .stretch import stretched
from .tracks import Converted, Copied, Encoded, Stretched, Track, Window
from .trial import REFUSALS

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


def carry_sound(
    info: ClipInfo, output: av.container.OutputContainer, encoder: str, account: Account
) -> Carried | None:
    """Add the other streams of a clip to an output, before anything is muxed; return None without any.

    Args:
        info: of the clip.
        output: the container written to.
        encoder: for a waveform in memory.
        account: what becomes of the streams of a file.
    """
    if isinstance(info.sound_from, Waveform) and info.retiming is not None:
        sound = heard(info)
        return None if sound is None else WaveformSound(sound, Fraction(0), None, output, encoder)
    if isinstance(info.sound_from, Waveform):
        return WaveformSound(info.sound_from, info.origin, info.sound_span, output, encoder)
    if account.chapters:
        output.set_chapters(_cut(_moved(account.chapters, info), info.origin, info.sound_span))
    for name, kind, data in account.attachments:
        output.add_attachment(name, kind, data)
    if not any(decision.carried for decision in account.decisions):
        return None
    source = info.sound_from or info.path
    return Sound(source, info.origin, output, account, span=info.sound_span, retiming=info.retiming)


def heard(info: ClipInfo) -> Waveform | None:
    """Return the first audio stream of a clip as it is heard from its time 0 on; None without one.

    See :func:`~..read.waveform.read_waveform`; of a clip that plays at another speed it is stretched.
    """
    if info.retiming is None:
        return read_waveform(info)
    whole = read_waveform(replace(info, sound_span=None))
    if whole is None:
        return None
    if len(whole.samples) not in LAYOUTS:
        whole = Waveform(whole.samples[:2], whole.rate)
    made = stretched(whole, info.retiming, LAYOUTS[len(whole.samples)])
    end = info.sound_span.end if info.sound_span is not None else None
    return made if end is None else Waveform(made.samples[:, : ceil(end * made.rate)], made.rate)


def _moved(chapters: list[Any], info: ClipInfo) -> list[Any]:
    """Return chapters in the file's time, such that they are right in the clip's once this is moved there."""
    retiming = info.retiming
    if retiming is None:
        return chapters

    def moved(time: int, base: Fraction) -> int:
        return round((retiming.time(time * base - info.origin) + info.origin) / base)

    return [
        {**each, **{key: moved(each[key], each["time_base"]) for key in ("start", "end")}}
        for each in chapters
    ]


def _cut(chapters: list[Any], origin: Fraction, span: Span | None) -> list[Any]:
    """Return the chapters that are in a span, in its time."""
    kept: list[Any] = []
    for chapter in chapters:
        base = chapter["time_base"]
        start, end = (max(chapter[key] - round(origin / base), 0) for key in ("start", "end"))
        last = None if span is None or span.end is None else round(span.end / base)
        if end > 0 and (last is None or start < last):
            kept.append({**chapter, "start": start, "end": end if last is None else min(end, last)})
    return kept


class Sound:
    """The audio, subtitle and other streams of a file, added to an output.

    Reads the file a second time, so that nothing has to wait in memory for the picture to be made.

    Args:
        source: the file.
        origin: its time that is 0 in the output, seconds.
        output: the container written to; streams are added to it here, before anything is muxed.
        account: what becomes of each stream.
        span: the part of the output that has sound, to the packet; all where it is left out.
        retiming: of a clip that does not play at the speed of its file.
    """

    def __init__(
        self,
        source: Path | BytesIO,
        origin: Fraction,
        output: av.container.OutputContainer,
        account: Account,
        *,
        span: Span | None = None,
        retiming: Retiming | None = None,
    ) -> None:
        self._output = output
        self._span = span
        self._origin = origin
        self._source = open_source(source)
        self._picture, _ = picture_stream(self._source, source)
        self._tracks: dict[int, Track] = {}
        self._retiming = retiming
        for decision in account.decisions:
            if decision.carried:
                self._tracks[decision.index] = self._track(self._source.streams[decision.index], decision)
        self._rising = {index: Rising() for index in self._tracks}
        self._packets = self._converted()
        self._next: Any = None

    def _track(self, stream: Any, decision: Decision) -> Track:
        """Return the way of a stream into the output, to which it is added."""
        output, origin, retiming = self._output, self._origin, self._retiming
        window = Window(stream, self._span, edited=output.format.name in _EDITED, retiming=retiming)
        if decision.entry.fate == "converted":
            return Converted(stream, output, origin, decision, window=window)
        if retiming is not None and stream.type == "audio":
            if retiming.law == "stretch":
                return Stretched(stream, output, origin, decision, window=window, retiming=retiming)
            # Sound that keeps its own speed is in a part of the clip where it is then.
            origin += retiming.begin
        if decision.entry.fate == "encoded":
            return Encoded(stream, output, origin, decision, window=window)
        return Copied(stream, output, origin, window)

    def __bool__(self) -> bool:
        return bool(self._tracks)

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
            try:
                self._output.mux(packet)
            except DAMAGE as error:
                self._damaged(packet.stream.index, error)

    def __enter__(self) -> Sound:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def _converted(self) -> Iterator[Any]:
        # The whole clip is read from its beginning, where a seek could only lose something.
        if self._span is not None and self._origin > 0:
            self._seek_to_span()
        streams = [self._source.streams[index] for index in self._tracks]
        for packet in joined_packets(self._source, self._picture, *streams):
            index = packet.stream.index
            if index not in self._tracks:
                continue
            try:
                for carried in self._tracks[index](packet):
                    self._rising[index](carried)
                    yield carried
            except REFUSALS as error:
                self._damaged(index, error)
            # Past the span nothing is read: the file may be far longer. Encoders still hold packets back.
            if all(other.over for other in self._tracks.values()):
                for other, track in self._tracks.items():
                    for carried in track.end():
                        self._rising[other](carried)
                        yield carried
                return

    @staticmethod
    def _damaged(index: int, error: Exception) -> None:
        # One packet less is no reason to lose hours of work.
        _LOG.warning("A damaged packet of stream %d is left out: %s", index, error)

    def _seek_to_span(self) -> None:
        """Seek to a second before the span begins, since not every container's index is exact."""
        if may_jump(self._source):
            return
        begin = max(self._origin - 1, Fraction(0))
        try:
            self._source.seek(int(begin * av.time_base))
        except (av.error.FFmpegError, OSError) as error:
            _LOG.debug("sound is read from the beginning: %s", error)
