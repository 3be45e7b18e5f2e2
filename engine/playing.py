"""How a clip in memory plays: at its own speed or along a curve, and with which shutter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import BadInputError
from .curve import Curve
from .route import Route, RoutedTimesteps, at_constant_rate, retimed
from .shutter import Shutter
from .timeline import Timeline, Timesteps, require_timesteps


@dataclass(frozen=True)
class Playing:
    """Which frames a clip in memory shows and when, and how many samples each output frame is the mean of."""

    timesteps: Timesteps
    """Of the frames that are visited."""
    route: Route | None = None
    """None: all frames, in order."""
    samples: int = 1

    @classmethod
    def of(
        cls, timeline: Timeline, frames: int, *, speed: Curve | None = None, shutter: Shutter | None = None
    ) -> Playing:
        """Return how a clip of ``frames`` frames plays.

        Args:
            timeline: of the clip at its own speed.
            frames: in the clip.
            speed: at which it plays instead.
            shutter: of the output frames.

        Raises:
            BadInputError: no timeline; a keyframe that is not reached; multipliers in a list.
        """
        require_timesteps(timeline)
        samples = 1 if shutter is None else shutter.samples
        timeline = timeline if speed is None else at_constant_rate(timeline)
        timeline = timeline if shutter is None else shutter.dense(timeline)
        if speed is None:
            return cls(timeline, None, samples)
        timesteps: RoutedTimesteps = retimed(timeline, speed, frames)
        return cls(timesteps, timesteps.route, samples)

    def visited(self, frames: Tensor) -> Tensor | Sequence[Tensor]:
        """Return the frames that are visited, as views of ``frames``."""
        if self.route is None or [visit.frame for visit in self.route.visits] == list(range(len(frames))):
            return frames
        return [frames[visit.frame] for visit in self.route.visits]

    def count(self, frames: int) -> int:
        """Return the number of output frames of the clip of ``frames`` frames that this is of."""
        if isinstance(self.timesteps, Timeline):
            total = self.timesteps.count(frames)
        else:
            last = 0 if self.route is None else len(self.route.visits) - 1
            total = (
                sum(len(self.timesteps.shown(i, last=i == last)) for i in range(last + 1)) if frames else 0
            )
        return -(-total // self.samples)


def speed_of(value: Any, *, rate_known: bool) -> Curve | None:
    """Return what :meth:`.curve.Curve.of` understands; seconds only where the rate of the clip is known.

    Raises:
        BadInputError: none, or seconds of frames without times.
    """
    curve = Curve.of(value)
    if curve is not None and curve.in_seconds and not rate_known:
        raise BadInputError(
            "The speed counts in seconds, and the frame rate of the source is not known.",
            str(curve),
            "Set source fps (in Python: timeline=by_fps(24, 48)), or write frames, such as 48:0.25.",
        )
    return curve
