"""One repair of times for all streams: missing, repeated, backward, wrapped and discontinuous ones.

There are three kinds of damage, and one remedy for each, whichever stream it is in:

- The clock of the whole file jumps back (joined recordings, a 33-bit clock that wraps): :class:`Joins` goes
  on where the file was, for all of its streams by the same amount, so that sound stays with the picture.
- Single pictures have no time, or one that cannot be: :func:`squeeze` puts them between their neighbours,
  whose times stay.
- Single packets of other streams have such times: :class:`Rising` does the same for them.

Where a format does not say when pictures are shown, only in which order they are stored, there is nothing to
repair: :class:`InOrder` gives them their times.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, TypeVar

import av.error

from ...inputs.rates import common_tick
from .opening import holds_another

T = TypeVar("T")

# Seconds by which decoding times may run backwards before it is a jump of the clock.
_BACKWARDS = Fraction(1, 10)
# The same of times at which pictures are shown, which Matroska alone has: H.264 may show sixteen later.
_REORDERED = Fraction(3, 4)
# Seconds by which the ends of sound and picture may differ where two recordings are joined.
_APART = Fraction(1)
# Seconds from the time before within which a picture has none of its own: muxers write a repeated one as the
# next tick, which may be far less than a millisecond, all that Matroska can tell apart.
_SAME = Fraction(1, 1000)
# What decoders raise at a packet that they cannot decode, where others can go on.
DAMAGE = (av.error.InvalidDataError, av.error.ArgumentError, av.error.PatchWelcomeError)
# Pictures that wait for a time that can be. They are held undecoded to RGB, but whole.
_MOST_HELD = 16


class Joins:
    """Keeps the clock of a file on one line, where it jumps back.

    All packets of picture and sound are to be passed through it in the order of the file, whoever reads it:
    then every reader finds the same.

    Args:
        container: the file. Only formats that say that their clock may jump (MPEG streams) are corrected, and
            Matroska files that are two in one.
        picture: index of the picture stream, which goes on without a gap.
    """

    def __init__(self, container: Any, picture: int) -> None:
        self.possible = may_jump(container)
        """Whether packets change at all, so that a reader has to read from the beginning."""
        # Of the second Matroska file FFmpeg (8.1) gives times of decoding that are those of showing.
        self._by_shown = self.possible and not _starts_anew(container)
        self._backwards = _REORDERED if self._by_shown else _BACKWARDS
        self._picture = picture
        self._offset = Fraction(0)
        self._ends: dict[int, Fraction] = {}
        self._starts: dict[int, Fraction] = {}
        self._moved_by_sound = False

    def __call__(self, packet: Any) -> None:
        """Move a packet to where it belongs."""
        if not self.possible or packet.dts is None or not packet.time_base:
            return
        base, index = packet.time_base, packet.stream.index
        self._follow(index, self._time_of(packet))
        ticks = round(self._offset / base)
        packet.dts += ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
        time = self._time_of(packet)
        if self._by_shown:
            # A picture that is stored later may be shown earlier.
            self._starts[index] = max(time, self._starts.get(index, time))
            end = time + (packet.duration or 0) * base
            self._ends[index] = max(end, self._ends.get(index, end))
            return
        # Not every packet says how long it is: the step from the one before is taken then.
        step = time - self._starts[index] if index in self._starts else Fraction(0)
        self._starts[index] = time
        self._ends[index] = time + (packet.duration * base if packet.duration else max(step, Fraction(0)))

    def _time_of(self, packet: Any) -> Fraction:
        shown = self._by_shown and packet.pts is not None
        return Fraction((packet.pts if shown else packet.dts) * packet.time_base)

    def _follow(self, index: int, time: Fraction) -> None:
        """Change the offset where ``time``, as the file has it, is a jump back of stream ``index``."""
        if index not in self._starts:
            return
        goes_on = self._ends[index] - time
        if time + self._offset < self._starts[index] - self._backwards:
            self._offset = goes_on
            self._moved_by_sound = index != self._picture
        elif self._moved_by_sound and index == self._picture:
            # The sound came first, and ended a little earlier or later than the picture: that one counts.
            if abs(goes_on - self._offset) < _APART:
                self._offset = goes_on
            self._moved_by_sound = False


def may_jump(container: Any) -> bool:
    """Tell whether the clock of a file may start anew in the middle."""
    return _starts_anew(container) or holds_another(container)


def _starts_anew(container: Any) -> bool:
    """Tell whether the clock of a file may start anew as its format says."""
    return container.format.name in ("mpegts", "mpeg", "vob")


class InOrder:
    """Gives pictures the times of the packets of their stream, in order, where the format has no others.

    AVI counts packets as they are stored, and for codecs whose pictures are reordered by more than one, as
    H.264's are, FFmpeg takes those counts for the times at which they are shown: pictures went back and
    forth. ASF has the times of decoding alone, as FFmpeg writes it.

    Args:
        container: the file.
        stream: of the picture.
    """

    _FORMATS, _CODECS = ("avi", "asf"), ("h264", "hevc", "vvc")

    def __init__(self, container: Any, stream: Any) -> None:
        context = stream.codec_context
        reordered = context.name in self._CODECS and bool(context.has_b_frames)
        self.possible = container.format.name in self._FORMATS and reordered
        """Whether times change at all, so that a reader has to read from the beginning."""
        self._waiting: list[int] = []

    def __call__(self, packet: Any, decoder: Any) -> Iterator[Any]:
        """Yield the frames that a decoder gives for a packet."""
        known = self.possible and packet.size and packet.pts is not None
        if known:
            heapq.heappush(self._waiting, packet.pts)
        try:
            frames = decoder.decode(packet)
        except DAMAGE:
            if known:  # no picture comes of it
                self._waiting.remove(packet.pts)
                heapq.heapify(self._waiting)
            raise
        for frame in frames:
            if self._waiting:
                frame.pts = heapq.heappop(self._waiting)
            yield frame


class Rising:
    """Makes the decoding times of a stream's packets rise; those that do so already are left alone.

    A packet whose time is missing or repeated comes right behind the one before: a sample later where it is
    sound, else a tick. TrueHD in Matroska has 1200 packets a second, and times in milliseconds: with a tick
    for each of those the sound of a film came to be a fifth longer.
    """

    def __init__(self) -> None:
        self._last: Fraction | None = None  # seconds, as is the next
        self._length = Fraction(0)

    def __call__(self, packet: Any) -> None:
        """Repair the times of the next packet."""
        base = Fraction(packet.time_base or 1)
        dts = packet.dts if packet.dts is not None else packet.pts
        time = None if dts is None else dts * base
        if self._last is not None and (time is None or time <= self._last):
            rate = getattr(packet.stream, "rate", None) if packet.stream.type == "audio" else None
            step = Fraction(1, rate) if rate else base
            time = self._last + (step if time is not None else max(self._length, step))
            base = _finer(packet, base, step)
        packet.dts = round((time or 0) / base)
        packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        self._last, self._length = packet.dts * base, (packet.duration or 0) * base


def _finer(packet: Any, base: Fraction, step: Fraction) -> Fraction:
    """Have a packet count in ticks of which both its own and ``step`` are multiples; return that tick."""
    tick = common_tick(base, step)
    ratio = round(base / tick)
    packet.pts = None if packet.pts is None else packet.pts * ratio
    packet.duration = (packet.duration or 0) * ratio
    packet.time_base = tick
    return tick


def repeated_within(step: Fraction) -> Fraction:
    """Return the seconds within which two times are one, where frames come ``step`` apart."""
    # Where they come this fast themselves, a millisecond is no repetition.
    return min(_SAME, step / 4)


def squeeze(items: Iterable[tuple[T, Fraction | None]], step: Fraction) -> Iterator[tuple[T, Fraction]]:
    """Yield items with times that rise strictly; a time that is larger than the one before is kept.

    Items without such a time come between their neighbours: ``step`` apart if there is room, else evenly. A
    single time that is too large, from which the next one falls back, is no time either.

    Args:
        items: in order, with their times in seconds; None where there is none.
        step: seconds between two items, as far as that is known.
    """
    same = repeated_within(step)
    before: Fraction | None = None  # the last time that was yielded
    held: list[T] = []  # the first of them is at `time`
    time = Fraction(0)
    for item, given in items:
        if not held:
            held, time = [item], Fraction(0) if given is None else given
        elif given is not None and given > time + same:
            ready = list(_spread(held, time, given, step))
            yield from ready
            before, held, time = ready[-1][1], [item], given
        elif given is not None and before is not None and len(held) == 1 and before < given < time:
            before += min(step, (given - before) / 2)
            yield held[0], before
            held, time = [item], given
        else:
            held.append(item)
            if len(held) > _MOST_HELD:
                *ready, last = _spread(held, time, None, step)
                yield from ready
                before, held, time = ready[-1][1], [last[0]], last[1]
    yield from _spread(held, time, None, step)


def _spread(
    items: list[T], start: Fraction, end: Fraction | None, step: Fraction
) -> Iterator[tuple[T, Fraction]]:
    """Yield items from ``start`` on, before ``end``: ``step`` apart if there is room, else evenly."""
    if end is not None and start + len(items) * step > end:
        step = (end - start) / len(items)
    for index, item in enumerate(items):
        yield item, start + index * step
