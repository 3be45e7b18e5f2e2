"""Steps of exposure between two source frames: matched before motion is looked for, and put back after.

Networks look for the same values in both frames. Where one is brighter than the other, because a camera
changes its exposure or a lamp flickers, they find less and mix the two: a step of 10% costs the built-in
model up to 2.2 dB on five clips (benchmarks/results/whole.md). So the brighter frame of such a pair is
darkened to the other's level, and what is made of the two is brought to the level between them.

A step is measured on the two frames alone, on the host, where they lie before they are uploaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from ..memory.staging import as_unit_float

_COLOURS = 3
# Samples along the shorter side, and along the side of a cell whose mean they make.
_SAMPLES, _CELL = 160, 4
# Means outside of this range are black or clipped: they do not follow a gain.
_DARKEST, _BRIGHTEST = 0.03, 0.97
_LEAST_CELLS = 0.25
"""Share of the cells that must be in that range."""
# Fewer cells in all say nothing, and in a flat picture (standard deviation as a share of the mean) there is
# no motion to be looked for.
_FEWEST_CELLS, _FLAT = 64, 0.02
# Parts of the picture along each side that have to agree on a step.
_PARTS = 4
# How far these and the colours may be from it, as a share of it. Beyond, something else changes.
_AGREED = 0.5
# Between two frames of a clip without a step the median changes by up to 1.6% (benchmarks/whole.py).
_LEAST_STEP, _LARGEST_STEP = 0.02, 2.5


@dataclass(frozen=True)
class Step:
    """The gain from the left frame of a pair to the right one, by channel: red, green, blue, or grey."""

    gains: tuple[float, ...]

    def matched(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return both frames (H, W, C) at the level of the darker one; the darker one itself.

        A channel of the brighter frame is darkened, and never one brightened: that could leave 0..1.
        """
        return (
            _scaled(left, [min(1.0, gain) for gain in self.gains]),
            _scaled(right, [min(1.0, 1.0 / gain) for gain in self.gains]),
        )

    def put_back(self, frames: Tensor, times: Sequence[Fraction]) -> Tensor:
        """Bring frames (K, H, W, C) in 0..1 between two matched ones to the levels at K times, in place."""
        for frame, time in zip(frames, times, strict=True):
            for channel, gain in enumerate(self.gains):
                # By Python numbers: a tensor of them would be a copy to the device, which waits.
                frame[..., channel].mul_((1.0 + float(time) * (gain - 1.0)) / min(1.0, gain))
        return frames.clamp_(0.0, 1.0)


def sampled(frame: Tensor) -> Tensor:
    """Return means over small areas of a frame, of samples that are spread over them.

    Args:
        frame: (H, W, C) float in 0..1, uint8 or uint16, on any device; of more than 3 channels the first
            three.

    Returns:
        (C, h, w) float32 on the host, about 40 along the shorter side.
    """
    step = max(1, min(frame.shape[:2]) // _SAMPLES)
    samples = as_unit_float(frame[step // 2 :: step, step // 2 :: step, :_COLOURS].cpu())
    planes = samples.nan_to_num(0.0).clamp(0.0, 1.0).permute(2, 0, 1)
    return F.avg_pool2d(planes[None], min(_CELL, *planes.shape[-2:]))[0]


def step_between(left: Tensor, right: Tensor) -> Step | None:
    """Return the step of exposure between two frames, None where there is none.

    Motion makes some places brighter and others darker; a step of exposure changes all parts of the picture
    alike.

    Args:
        left, right: from :func:`sampled`.
    """
    grey = torch.stack((left.mean(0), right.mean(0)))
    usable = _follows(grey).all(0)
    if not _shows_something(grey[0], usable):
        return None
    ratios = grey[1] / grey[0]
    middle = float(ratios[usable].median())
    least = max(middle, 1.0 / middle) - 1.0
    if not _LEAST_STEP < least < _LARGEST_STEP:
        return None
    parts = _medians(ratios, usable)
    fifths = torch.quantile(parts, torch.tensor([0.2, 0.8], dtype=parts.dtype, device=parts.device))
    gains = tuple(_gain(a, b, middle) for a, b in zip(left, right, strict=True))
    shares = [(gain - 1.0) / (middle - 1.0) for gain in (*fifths.tolist(), *gains)]
    return Step(gains) if all(abs(share - 1.0) < _AGREED for share in shares) else None


def _shows_something(grey: Tensor, usable: Tensor) -> bool:
    """Tell whether enough of a picture is neither black nor clipped nor all the same."""
    if usable.numel() < _FEWEST_CELLS or float(usable.float().mean()) < _LEAST_CELLS:
        return False
    values = grey[usable]
    return float(values.std(correction=0)) > _FLAT * float(values.mean())


def _gain(left: Tensor, right: Tensor, grey: float) -> float:
    """Return the median gain of a channel; ``grey`` where most of it is black or clipped."""
    usable = _follows(left) & _follows(right)
    if float(usable.float().mean()) < _LEAST_CELLS:
        return grey
    return float((right[usable] / left[usable]).median())


def _follows(means: Tensor) -> Tensor:
    """Tell which means would follow a gain."""
    return (means > _DARKEST) & (means < _BRIGHTEST)


def _medians(ratios: Tensor, usable: Tensor) -> Tensor:
    """Return the medians of the parts of the picture in which anything is usable."""
    medians = []
    for values, mask in zip(ratios.chunk(_PARTS, 0), usable.chunk(_PARTS, 0), strict=True):
        for part, inside in zip(values.chunk(_PARTS, 1), mask.chunk(_PARTS, 1), strict=True):
            if bool(inside.any()):
                medians.append(part[inside].median())
    return torch.stack(medians)


def _scaled(frame: Tensor, factors: Sequence[float]) -> Tensor:
    """Return a frame with its first channels scaled, as float32; itself where nothing changes."""
    if all(factor == 1.0 for factor in factors):
        return frame
    scaled = as_unit_float(frame).clamp(0.0, 1.0)
    for channel, factor in enumerate(factors):
        scaled[..., channel].mul_(factor)
    return scaled
