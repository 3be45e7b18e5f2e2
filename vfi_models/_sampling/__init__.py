"""Samplers reach timesteps by several passes: for midpoint-only models, or from frames made before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from ..interface import ModelSpec, Session
from .midpoint import MidpointSampler
from .peel import PeelSampler
from .recursive import RecursiveSampler, schedule

__all__ = ["MakeSampler", "MidpointSampler", "PeelSampler", "RecursiveSampler", "sampler_for", "schedule"]

MakeSampler = Callable[[Session[Any], Callable[[], None], Sequence[Fraction]], Session[Any]]
"""Wraps a session for one call of ``between``; see :class:`.sampler.Sampler` for its arguments."""

_FROM_MADE_FRAMES: dict[str, MakeSampler] = {"bisect": RecursiveSampler, "peel": PeelSampler}


def sampler_for(spec: ModelSpec, order: str) -> MakeSampler | None:
    """Return the sampler for the timesteps of a model's pairs; None where the model takes them directly.

    Args:
        spec: of the model.
        order: ``bisect`` or ``peel`` make frames from made frames also where the model takes any timestep.
    """
    if not spec.any_timestep:
        return MidpointSampler
    return _FROM_MADE_FRAMES.get(order)
