"""When output frames are shown, from when source frames are."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from ..vfi_utils import EndLaw, Timeline, by_multiplier


class Moment(NamedTuple):
    """When an output frame is shown and for how long, in seconds."""

    time: Fraction
    duration: Fraction


class Clock:
    """Follows the loop: told of each source frame as it is read, it says what is shown after it.

    Source frames need not come at a constant rate. With a multiplier, output frames divide each gap
    evenly; with a frame rate, they come at that rate whatever the gaps are.

    Args:
        rate: average of the source; the length of the last frame where the file does not say it.
        multiplier: output frames for each source frame; ignored where ``fps`` is given.
        fps: frames a second to come out.
        end: what follows the last source frame.
    """

    def __init__(self, rate: Fraction, *, multiplier: int, fps: Fraction | None, end: EndLaw) -> None:
        self._pairs = by_multiplier(multiplier)
        self._fps = fps
        self._end: EndLaw = end
        self._rate = rate
        self._read: deque[tuple[Fraction, Fraction | None]] = deque()
        self._first = 0
        self._start: Fraction | None = None
        self._shown: deque[Moment] = deque()

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
        times = [(moment.time - pts) / (after - pts) for moment in moments]
        if last and self._end == "end_on_last":
            del moments[sum(t == 0 for t in times) :]
            times = times[: len(moments)]
        self._shown.extend(moments)
        return tuple(times)

    def _divided(self, index: int, pts: Fraction, after: Fraction) -> list[Moment]:
        times = self._pairs.times(index)
        return [Moment(pts + t * (after - pts), (after - pts) / len(times)) for t in times]

    def _at_rate(self, pts: Fraction, after: Fraction) -> list[Moment]:
        start, fps = self._start or Fraction(0), self._fps or self._rate
        first, end = ceil((pts - start) * fps), ceil((after - start) * fps)
        return [Moment(start + k / fps, 1 / fps) for k in range(first, end)]
