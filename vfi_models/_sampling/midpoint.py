"""Reaches any timestep with a model that only predicts the middle of a pair."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from .sampler import Sampler, float32_values

_DEPTH = 6


class MidpointSampler(Sampler):
    """Reaches a timestep by bisection: the middle, then the middle of the half that it lies in.

    Multiples of 1/64 are reached exactly, any other t by the nearest of them. Intermediate frames are made
    once for all timesteps of a call. Each level of bisection adds the error of one more made frame.

    Args:
        session: of a model whose ``spec.any_timestep`` is False.
        before, times: see :class:`~.sampler.Sampler`.
    """

    def between(self, left: Any, right: Any, timestep: Tensor) -> Tensor:
        """Make the frames at ``timestep`` (K,) from the features of one frame each: (K, C, H, W)."""
        frames: dict[Fraction, Tensor] = {}
        features = {Fraction(0): left, Fraction(1): right}
        half = torch.full_like(timestep[:1], 0.5)
        times = float32_values(timestep, self._times)
        return torch.cat([self._reach(Fraction(t), half, frames, features) for t in times])

    def _reach(
        self, t: Fraction, half: Tensor, frames: dict[Fraction, Tensor], features: dict[Fraction, Any]
    ) -> Tensor:
        """Make the frame nearest to ``t``, and keep frames and features of the bisection for other times."""
        steps = 2**_DEPTH
        # Never 0 or 1: those are the source frames, which the loop shows untouched.
        t = Fraction(min(max(round(t * steps), 1), steps - 1), steps)
        low, high = Fraction(0), Fraction(1)
        while True:
            middle = (low + high) / 2
            if middle not in frames:
                self._before()
                frames[middle] = self._session.between(features[low], features[high], half)
            if middle == t:
                return frames[middle]
            if middle not in features:
                # Clamped as a source frame is: a network may be steep outside of 0..1.
                features[middle] = self._session.encode(frames[middle].clamp(0.0, 1.0))
            low, high = (low, middle) if t < middle else (middle, high)
