"""What a node does about the cuts and held frames of its clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from ..analysis.notes import Analysis
from ..analysis.parts import PartTimesteps
from ..analysis.timing import Timing
from ..analysis.watch import analyse
from ..vfi_utils import Timeline, Timesteps


@dataclass(frozen=True)
class ClipTiming:
    """What a ``MIDFRAME_TIMING`` link carries."""

    timing: Timing = field(default_factory=Timing)
    analysis: Analysis | None = None
    """None: each clip is looked at."""

    def whole(self, timeline: Timeline, frames: Tensor, poll: Callable[[], None]) -> Timesteps:
        """Return the timesteps of a clip; ``poll`` is called while it is looked at, and may raise."""

        def look() -> Analysis:
            return self.analysis or analyse(frames, only_cuts=self.timing.only_cuts, poll=poll)

        return self.timing.timesteps(timeline, look)

    def in_parts(self, timeline: Timeline) -> Timesteps:
        """Return the timesteps of a clip that comes in parts.

        Raises:
            BadInputError: held frames cannot be re-timed in parts.
        """
        if self.analysis is not None:
            return self.timing.timesteps(timeline, lambda: self.analysis or Analysis(()))
        return PartTimesteps(timeline, self.timing) if self.timing.looks else timeline
