"""When output frames are shown, from when source frames are."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from ...vfi_utils import EndLaw, Timeline, by_multiplier


class Moment(NamedTuple):
    """When an output frame is shown and for how long, in seconds."""

    time: Fraction
    duration: Fraction


class Span(NamedTuple):
    """A part of the output: what is shown at ``start`` or later and before ``end``, in seconds."""

    start: Fraction
    end: Fraction | None = None
    """None: to the end of the clip."""

    def holds(self, time: Fraction) -> bool:
        """Whether ``time`` is in this part."""
        return time >= self.start and (self.end is None or time < self.end)


class Clock:
    """Follows the loop: told of each source frame as it is read, it says what is shown after it.

    Source frames need not come at a constant rate. With a multiplier, output frames divide each gap
    evenly; with a frame rate, they come at that rate whatever the gaps are.

    Args:
        rate: average of the source; the length of the last frame where the file does not say it.
        multiplier: output frames for each source frame, whole; ignored where ``fps`` is given.
        fps: frames a second to come out.
        end: what follows the last source frame.
        start: when the clip's first frame is shown, from which ``fps`` counts, seconds; the first frame
            that is read where it is left out.
        span: what is wanted of the output; all where it is left out.
    """

    def __init__(
        self,
        rate: Fraction,
        *,
        multiplier: int,
        fps: Fraction | None,
        end: EndLaw,
        start: Fraction | None = None,
        span: Span | None = None,
    ) -> None:
        self._pairs = by_multiplier(multiplier)
        self._fps = fps
        self._end: EndLaw = end
        self._rate = rate
        self._read: deque[tuple[Fraction, Fraction | None]] = deque()
        self._first = 0
        self._start = start
        self._span = span
        self._shown: deque[Moment] = deque()
        self.cut = False
        """Whether something would be shown after the span."""

    @property
    def timeline(self) -> Timeline:
        """For the loop. Its times must be asked for once for each source frame, in order."""
        return Timeline(self._times, self._end)

    def read(self, pts: Fraction, duration: Fraction | None) -> None:
        """The next source frame is shown at ``pts``."""
        if self._start is None:
            self._start = pts
        self._read.append((pts, duration))

    def next_moment(self) -> Moment:
        """When the next output frame is shown."""
        return self._shown.popleft()

    def _times(self, index: int) -> tuple[Fraction, ...]:
        while self._first < index:
            self._read.popleft()
            self._first += 1
        pts, duration = self._read[0]
        last = len(self._read) == 1
        after = pts + (duration or 1 / self._rate) if last else self._read[1][0]
        moments = self._at_rate(pts, after) if self._fps else self._divided(index, pts, after)
        if last and self._end == "end_on_last":
            moments = [moment for moment in moments if moment.time == pts]
        wanted = [moment for moment in moments if self._span is None or self._span.holds(moment.time)]
        self.cut = self.cut or self._ends_before(moments)
        self._shown.extend(wanted)
        return tuple((moment.time - pts) / (after - pts) for moment in wanted)

    def _ends_before(self, moments: list[Moment]) -> bool:
        end = None if self._span is None else self._span.end
        return end is not None and bool(moments) and moments[-1].time >= end

    def _divided(self, index: int, pts: Fraction, after: Fraction) -> list[Moment]:
        times = self._pairs.times(index)
        return [Moment(pts + t * (after - pts), (after - pts) / len(times)) for t in times]

    def _at_rate(self, pts: Fraction, after: Fraction) -> list[Moment]:
        start, fps = self._start or Fraction(0), self._fps or self._rate
        first, end = ceil((pts - start) * fps), ceil((after - start) * fps)
        return [Moment(start + k / fps, 1 / fps) for k in range(first, end)]
