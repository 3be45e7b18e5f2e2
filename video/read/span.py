"""A part of a clip's time."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Span(NamedTuple):
    """What is shown at ``start`` or later and before ``end``, in seconds."""

    start: Fraction
    end: Fraction | None = None
    """None: to the end of the clip."""

    def holds(self, time: Fraction) -> bool:
        """Tell whether ``time`` is in this part."""
        return time >= self.start and (self.end is None or time < self.end)
