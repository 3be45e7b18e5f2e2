"""Samplers reach timesteps by several passes: for midpoint-only models, or from frames made before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from ..interface import ModelSpec, Session
from .midpoint import MidpointSampler
from .recursive import RecursiveSampler, schedule

__all__ = ["MakeSampler", "MidpointSampler", "RecursiveSampler", "sampler_for", "schedule"]

MakeSampler = Callable[[Session[Any], Callable[[], None], Sequence[Fraction]], Session[Any]]
"""Wraps a session for one call of ``between``; see :class:`.sampler.Sampler` for its arguments."""


def sampler_for(spec: ModelSpec, *, recursive: bool) -> MakeSampler | None:
    """Return the sampler for the timesteps of a model's pairs; None where the model takes them directly.

    Args:
        spec: of the model.
        recursive: make frames from made frames also where the model takes any timestep.
    """
    if not spec.any_timestep:
        return MidpointSampler
    return RecursiveSampler if recursive else None
