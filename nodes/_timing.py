"""What a node does about the cuts, the held frames and the speed of its clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..analysis.notes import Analysis
from ..analysis.parts import PartTimesteps
from ..analysis.routed import routed_notes
from ..analysis.timing import Timing
from ..analysis.watch import analyse
from ..engine.curve import Curve
from ..engine.pieces import SoundLaw
from ..engine.playing import Playing, speed_of
from ..engine.route import at_constant_rate
from ..engine.shutter import Shutter
from ..errors import BadInputError
from ..vfi_utils import Timeline, Timesteps


@dataclass(frozen=True)
class ClipSpeed:
    """What a ``MIDFRAME_SPEED`` link carries."""

    curve: Curve | None = None
    sound: SoundLaw = "stretch"
    shutter: Shutter | None = None

    @property
    def plain(self) -> bool:
        """Tell whether a clip plays as it is."""
        return self.curve is None and self.shutter is None


@dataclass(frozen=True)
class ClipTiming:
    """What a ``MIDFRAME_TIMING`` link carries."""

    timing: Timing = field(default_factory=Timing)
    analysis: Analysis | None = None
    """None: each clip is looked at."""
    speed: ClipSpeed = field(default_factory=ClipSpeed)

    def playing(self, timeline: Timeline, frames: int) -> Playing:
        """Return how a clip of ``frames`` frames plays.

        Raises:
            BadInputError: see :meth:`~..engine.playing.Playing.of`.
        """
        return Playing.of(timeline, frames, speed=self.speed.curve, shutter=self.speed.shutter)

    def whole(self, playing: Playing, frames: Tensor, poll: Callable[[], None]) -> Timesteps:
        """Return the timesteps of a clip; ``poll`` is called while it is looked at, and may raise."""

        def look() -> Analysis:
            notes = self.analysis or analyse(frames, only_cuts=self.timing.only_cuts, poll=poll)
            return notes if playing.route is None else routed_notes(notes, playing.route)

        return self.timing.timesteps(playing.timesteps, look)

    def in_parts(self, timeline: Timeline) -> Timesteps:
        """Return the timesteps of a clip that comes in parts.

        Raises:
            BadInputError: held frames cannot be re-timed in parts, and a clip not play at another speed.
        """
        if not self.speed.plain:
            raise BadInputError(
                "Another speed or a shutter does not go with Meta Batch: where a curve leads is not known "
                "while a batch is all that is there.",
                "a speed curve, and a batch manager",
                "Leave the batch manager out, or use Interpolate Video.",
            )
        if self.analysis is not None:
            return self.timing.timesteps(timeline, lambda: self.analysis or Analysis(()))
        return PartTimesteps(timeline, self.timing) if self.timing.looks else timeline

    def require_usable(self, timeline: Timeline, source_fps: Any) -> None:
        """Check what can be checked of the speed before the clip is there.

        Args:
            timeline: of the clip at its own speed.
            source_fps: its frame rate; 0 where nobody knows.

        Raises:
            BadInputError: a speed in seconds without a rate, or multipliers in a list.
        """
        if not self.speed.plain:
            speed_of(self.speed.curve, rate_known=bool(source_fps))
            at_constant_rate(timeline)
