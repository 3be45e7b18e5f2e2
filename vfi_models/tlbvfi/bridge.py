"""The Brownian bridge: from the latent of a video with an empty middle to that of a whole one.

The state starts at the known end Y itself. The network predicts the difference between a state and the
unknown end; each step goes a part of that way and adds noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

TIMES = 1000
FEWEST_STEPS, MOST_STEPS = 3, TIMES
_MAX_VARIANCE = 1.0


def mixing() -> Tensor:
    """Return m_t of every time: the share of Y in a state, (1000,) float32 from 0.001 to 0.999."""
    # By numpy in float64 and rounded, as the authors do: torch's own linspace may differ in the last bit.
    return torch.from_numpy(np.linspace(0.001, 0.999, TIMES).astype(np.float32))


def schedule(steps: int) -> list[int]:
    """Return the times that ``steps`` steps visit, descending; the last two are 1 and 0.

    Args:
        steps: 3 to 1000. With 1 or 2 there is none before the last two.
    """
    # The authors count in float32; for 101, 187 and 200 steps other arithmetic is off by one somewhere.
    step = -((TIMES - 1) / (steps - 2))
    above = torch.arange(TIMES - 1, 1, step, dtype=torch.float32, device="cpu")
    return [*above.long().tolist(), 1, 0]


@dataclass(frozen=True)
class Step:
    """One step of the sampler: ``x - pull * network + eta * spread * noise``."""

    time: int
    pull: float
    spread: float


def plan(steps: int) -> list[Step]:
    """Return the steps of a sampling; the last pulls all the way and adds no noise.

    The authors write a step as a mean of x, Y and the predicted end, with coefficients from three
    variances. Y cancels out, which leaves this form; their float32 form differs by 2e-5 or less.
    """
    m = mixing().double().tolist()
    times = schedule(steps)
    steps_before = []
    for now, then in pairwise(times):
        # x <- x - (1 - m_then / m_now) net + eta sqrt(2 max_variance m_then (1 - m_then / m_now)) noise.
        pull = 1.0 - m[then] / m[now]
        steps_before.append(Step(now, pull, math.sqrt(2.0 * _MAX_VARIANCE * m[then] * pull)))
    return [*steps_before, Step(0, 1.0, 0.0)]


def sample(
    network: Callable[[Tensor, Tensor, int], Tensor], known: Tensor, steps: list[Step], noise: Tensor | None
) -> Tensor:
    """Sample the unknown end of the bridge.

    Args:
        network: predicts the difference from a state, Y and a time.
        known: Y, (N, 3, 3, h, w) float32.
        steps: from :func:`plan`.
        noise: (len(steps) - 1, N, 3, 3, h, w), scaled by eta already; None is eta 0.

    Returns:
        Of the shape of ``known``.
    """
    x = known
    for i, step in enumerate(steps):
        # The network is trained on x - x0, so that a full pull is the predicted end itself.
        x = x - step.pull * network(x, known, step.time)
        if noise is not None and i < len(noise):
            x = x + step.spread * noise[i]
    return x
