"""Take the rounding of a container's clock out of rates and timestamps."""

from __future__ import annotations

from fractions import Fraction

from ...inputs.rates import common_tick

# Rates that need a finer tick than one over this are not used to straighten timestamps.
_FINEST = 10**7
# Far between what is to be told apart: 48000/1001 read as 7001/146 is off by 1.4e-7, 24 and 24000/1001 are
# 1e-3 apart.
_SAME_RATE = Fraction(1, 10**5)


class Straightener:
    """Takes the rounding of a container's clock out of timestamps.

    Matroska counts milliseconds and GIF hundredths; frames at 24000/1001 a second then come 41, 42, 42 ms
    apart. Where a timestamp is within one tick of an exact multiple of the frame time, that is what was
    meant. Timestamps of a truly variable rate are left alone.

    Args:
        rate: average frames a second.
        base: the container's tick, seconds.
        start: first timestamp.
    """

    def __init__(self, rate: Fraction, base: Fraction, start: Fraction) -> None:
        self._rate = rate
        self._base = base
        self._on = can_straighten(rate, base)
        self._start = start

    def __call__(self, pts: Fraction) -> Fraction:
        """Return ``pts`` as it was meant."""
        grid = self._start + round((pts - self._start) * self._rate) / self._rate
        return grid if self._on and abs(grid - pts) <= self._base else pts

    def length(self, duration: Fraction) -> Fraction | None:
        """Return a duration as it was meant; None where there is none."""
        if duration <= 0:
            return None
        return 1 / self._rate if self._on and abs(1 / self._rate - duration) <= self._base else duration


def can_straighten(rate: Fraction, base: Fraction) -> bool:
    """Tell whether frame times at ``rate`` are multiples of a tick that a file can have."""
    # With a tick as long as a frame, any timestamp would be within one tick of the grid.
    return common_tick(base, 1 / rate).denominator <= _FINEST and base < 1 / rate


def usual_rate(rate: Fraction) -> Fraction:
    """Return the whole or NTSC rate (a whole number times 1000/1001) within 1e-5 of a header's, or that.

    Matroska stores whole nanoseconds a frame, which makes 48000/1001 into 7001/146.
    """
    for candidate in (Fraction(round(rate)), Fraction(1000 * round(rate * 1001 / 1000), 1001)):
        if abs(candidate / rate - 1) < _SAME_RATE:
            return candidate
    return rate
