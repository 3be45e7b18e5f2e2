"""Any timestep out of a model that only knows the middle."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from .seam import Session

_DEPTH = 6


class Bisecting:
    """A session that reaches t by halving: the middle, then the middle of the half that t lies in.

    Multiples of 1/64 are met exactly, any other t by the nearest of them. Frames
    in between are made once for all timesteps of a call. The deeper a frame, the more made frames it
    stands on.

    Args:
        session: of a model whose ``spec.any_timestep`` is False.
        before: called before every forward pass; may raise to cancel.
    """

    def __init__(self, session: Session[Any], before: Callable[[], None] = lambda: None) -> None:
        self._session = session
        self._before = before

    def encode(self, frames: Tensor) -> Any:
        """See the seam."""
        return self._session.encode(frames)

    def between(self, left: Any, right: Any, timestep: Tensor) -> Tensor:
        """See the seam; left and right are features of one frame."""
        made: dict[Fraction, Tensor] = {}
        known = {Fraction(0): left, Fraction(1): right}
        half = torch.full_like(timestep[:1], 0.5)
        return torch.cat([self._reach(Fraction(t), half, made, known) for t in timestep.tolist()])

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
