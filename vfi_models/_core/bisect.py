"""Any timestep out of a model that only knows the middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .seam import Session

_DEPTH = 6


def float32_values(timestep: Tensor, times: Sequence[Fraction] | None) -> list[float]:
    """Return what a float32 timestep holds: ``times``, or read off its device where nobody knows these."""
    if times is not None:
        return [float(np.float32(float(t))) for t in times]
    values: list[float] = timestep.tolist()
    return values


class Bisecting:
    """A session that reaches t by halving: the middle, then the middle of the half that t lies in.

    Multiples of 1/64 are met exactly, any other t by the nearest of them. Frames
    in between are made once for all timesteps of a call. The deeper a frame, the more made frames it
    stands on.

    Args:
        session: of a model whose ``spec.any_timestep`` is False.
        before: called before every forward pass; may raise to cancel.
        times: what ``timestep`` will be, where that is known: to read it off a device waits for it.
    """

    def __init__(
        self,
        session: Session[Any],
        before: Callable[[], None] = lambda: None,
        times: Sequence[Fraction] | None = None,
    ) -> None:
        self._session = session
        self._before = before
        self._times = times

    def encode(self, frames: Tensor) -> Any:
        """See the seam."""
        return self._session.encode(frames)

    def between(self, left: Any, right: Any, timestep: Tensor) -> Tensor:
        """See the seam; left and right are features of one frame."""
        made: dict[Fraction, Tensor] = {}
        known = {Fraction(0): left, Fraction(1): right}
        half = torch.full_like(timestep[:1], 0.5)
        times = float32_values(timestep, self._times)
        return torch.cat([self._reach(Fraction(t), half, made, known) for t in times])

    def close(self) -> None:
        """See the seam."""
        self._session.close()

    def _reach(
        self, t: Fraction, half: Tensor, made: dict[Fraction, Tensor], known: dict[Fraction, Any]
    ) -> Tensor:
        steps = 2**_DEPTH
        t = Fraction(min(max(round(t * steps), 1), steps - 1), steps)
        low, high = Fraction(0), Fraction(1)
        while True:
            middle = (low + high) / 2
            if middle not in made:
                self._before()
                made[middle] = self._session.between(known[low], known[high], half)
            if middle == t:
                return made[middle]
            if middle not in known:
                known[middle] = self._session.encode(made[middle].clamp(0.0, 1.0))
            low, high = (low, middle) if t < middle else (middle, high)
