"""The older measure of how alike two frames are, for those who know its thresholds.

Written from what Practical-RIFE's ``inference_video.py`` computes: both pictures sampled at 32 x 32 points,
and over them a structural similarity with a Gaussian window of 11 x 11 x 11 (sigma 1.5), red, green and blue
as its third axis, edges repeated. Unlike there, the picture is not padded with black first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..memory.staging import as_network_input

_POINTS = 32
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def points(frame: Tensor) -> Tensor:
    """Return a frame (H, W, C) sampled at 32 x 32 points, (1, 1, 3, 32, 32) on the CPU, values 0..1."""
    picture = as_network_input(frame[..., :3])
    sampled = F.interpolate(picture, (_POINTS, _POINTS), mode="bilinear", align_corners=False).cpu()
    return sampled.expand(1, 3, _POINTS, _POINTS)[:, None]


def ssim32(left: Tensor, right: Tensor) -> float:
    """Return the similarity of two frames, at most 1, from their :func:`points`."""
    stack = torch.cat((left, right, left * left, right * right, left * right))
    a, b, aa, bb, ab = _blurred(stack)
    top = (2 * a * b + _C1) * (2 * (ab - a * b) + _C2)
    bottom = (a * a + b * b + _C1) * (aa - a * a + bb - b * b + _C2)
    return float((top / bottom).mean())


def _blurred(volumes: Tensor) -> Tensor:
    """Return Gaussian means over (N, 1, D, H, W), one axis after the other."""
    offset = torch.arange(_WINDOW, dtype=torch.float32, device="cpu") - _WINDOW // 2
    line = torch.exp(-offset.square() / (2 * _SIGMA**2))
    line /= line.sum()
    volumes = F.pad(volumes, (_WINDOW // 2,) * 6, mode="replicate")
    for shape in ((_WINDOW, 1, 1), (1, _WINDOW, 1), (1, 1, _WINDOW)):
        volumes = F.conv3d(volumes, line.view(1, 1, *shape))
    return volumes
