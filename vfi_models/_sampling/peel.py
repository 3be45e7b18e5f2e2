"""Frames made from the outside in: the first and last of a pair, then those between them, and so on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .sampler import Sampler, float32_values


class PeelSampler(Sampler):
    """Makes the frames of a pair from the outside in, each from the two last made around it.

    The frames beside the source frames are as good as any; the one in the middle is made from made frames
    throughout, so that the errors of n / 2 passes add up there. It takes one pass a frame, and needs all
    timesteps of a pair in one call.

    Args:
        session: of a model whose ``spec.any_timestep`` is True.
        before, times: see :class:`~.sampler.Sampler`.

    Source: the order of the ``--recursive`` option of mehdinejjar86/recursive_rife.
    """

    def between(self, left: Any, right: Any, timestep: Tensor) -> Tensor:
        """Make the frames at ``timestep`` (K,) from features of one frame each: (K, C, H, W), in 0..1."""
        times = float32_values(timestep, self._times)
        frames: dict[int, Tensor] = {}
        first, last = 0, len(times) - 1
        begin, end = 0.0, 1.0
        while first <= last:
            pair = left, right
            for index in dict.fromkeys((first, last)):
                self._before()
                at = torch.full_like(timestep[:1], (times[index] - begin) / (end - begin))
                frames[index] = self._session.between(*pair, at).clamp_(0.0, 1.0)
            if last - first > 1:
                left, right = self._session.encode(frames[first]), self._session.encode(frames[last])
            begin, end = times[first], times[last]
            first, last = first + 1, last - 1
        return torch.cat([frames[index] for index in sorted(frames)])
