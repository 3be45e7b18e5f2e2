"""Frames made from made frames, each from its nearest neighbours, in the order of the older FILM nodes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .sampler import Sampler, float32_values

_EVEN = 1e-4
"""How far a float32 time may be from k / m, in units of 1 / m, and still mean it."""


@dataclass(frozen=True)
class Step:
    """One frame to make. Frames are numbered in the order of time; 0 and the last are the source frames."""

    frame: int
    left: int
    right: int
    timestep: float
    """Where ``frame`` lies between ``left`` and ``right``, a float32 value."""


def schedule(times: Sequence[float]) -> list[Step]:
    """Return the order in which the frames of a pair are made, and from which neighbours.

    The next one is always the missing frame that lies nearest to the middle of its gap; of several, the
    first. Where they tie by arithmetic, the rounding of float32 decides, and with it which frames are made
    from which: so this is computed in float32 and from the values that the older nodes use.

    Args:
        times: of the frames to make, ascending, each in (0, 1).

    Returns:
        One step for each time, in the order in which they are taken.

    Source: the rule of dajes/frame-interpolation-pytorch 33bf477 and of the FILM node of
    Fannovel16/ComfyUI-Frame-Interpolation 26545cc.
    """
    place = _places(times)
    known, missing, steps = [0, len(place) - 1], list(range(1, len(place) - 1)), []
    while missing:
        # All gaps are looked at again after each frame, as the older nodes do: it is quadratic, for at most
        # some dozens of frames.
        after = [bisect_left(known, frame) for frame in missing]
        left, right = [known[i - 1] for i in after], [known[i] for i in after]
        timestep = (place[missing] - place[left]) / (place[right] - place[left])
        best = int(np.abs(timestep - np.float32(0.5)).argmin())
        steps.append(Step(missing[best], left[best], right[best], float(timestep[best])))
        insort(known, missing.pop(best))
    return steps


def _places(times: Sequence[float]) -> NDArray[np.float32]:
    """Return the times of all frames, both source frames too, in float32.

    Even ones are those of ``torch.linspace`` on a processor that fuses multiply and add; its single rounding
    is done here by float64, which holds the product exactly. torch itself rounds twice where it runs without
    vector instructions; from nine frames on that changes which of two gaps comes first.
    """
    count = len(times) + 1
    if not all(abs(t * count - i) < _EVEN for i, t in enumerate(times, 1)):
        return np.array([0.0, *times, 1.0], np.float32)
    index = np.arange(count + 1)
    step = np.float64(np.float32(1.0) / np.float32(count))
    exact = np.where(index < (count + 1) // 2, step * index, 1.0 - step * (count - index))
    places: NDArray[np.float32] = exact.astype(np.float32)
    return places


class RecursiveSampler(Sampler):
    """Makes the frames of a pair in the order of :func:`schedule`, each from its nearest neighbours.

    It needs all timesteps of a pair in one call. The recursion follows the gaps from left to right and not
    the order of the schedule: the pictures are the same, and only the features of the frames about the
    current gap are kept.

    Args:
        session: of a model whose ``spec.any_timestep`` is True.
        before, times: see :class:`~.sampler.Sampler`.
    """

    def between(self, left: Any, right: Any, timestep: Tensor) -> Tensor:
        """Make the frames at ``timestep`` (K,) from features of one frame each: (K, C, H, W), in 0..1."""
        steps = {(step.left, step.right): step for step in schedule(float32_values(timestep, self._times))}
        frames: dict[int, Tensor] = {}

        def fill(left: Any, right: Any, gap: tuple[int, int]) -> None:
            step = steps.get(gap)
            if step is None:
                return
            self._before()
            between = torch.full_like(timestep[:1], step.timestep)
            frames[step.frame] = frame = self._session.between(left, right, between).clamp_(0.0, 1.0)
            # Encoded only where a later frame needs it: half of the frames of a pair are leaves.
            halves = (gap[0], step.frame), (step.frame, gap[1])
            if any(half in steps for half in halves):
                middle = self._session.encode(frame)
                fill(left, middle, halves[0])
                fill(middle, right, halves[1])

        # Recursion is at most as deep as there are timesteps, which the multiplier bounds.
        fill(left, right, (0, len(steps) + 1))
        return torch.cat([frames[index] for index in sorted(frames)])
