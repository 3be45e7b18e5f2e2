"""Measures the difference of two clips."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# dB, of pictures that are the same to the last digits.
_BEST_PSNR = 120.0
_WINDOW, _SIGMA = 11, 1.5
# (K1 L)^2 and (K2 L)^2 of Wang et al., for values of 0..1: K1 = 0.01, K2 = 0.03, L = 1.
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class Difference:
    """Error measures over all the frames that were compared."""

    max_error: float
    psnr: float
    """dB, of the mean squared error."""
    ssim: float
    """The mean over frames; 1 is the same."""


def difference(ours: Tensor, reference: Tensor, multiplier: int) -> Difference:
    """Compare the made frames of two clips; source frames, which are the same, are left out.

    Args:
        ours, reference: ((N - 1) * multiplier + 1, H, W, C), values 0..1.
        multiplier: every frame but each multiplier-th is a made one.
    """
    indices = [i for i in range(len(reference)) if i % multiplier]
    largest = total = similar = 0.0
    for i in indices:
        a, b = ours[i].double(), reference[i].double()
        error = (a - b).abs()
        largest = max(largest, float(error.max()))
        total += float(error.square().mean())
        similar += ssim(a, b)
    # The mean of the squared errors and not of the decibels: one bad frame counts in full.
    mean = max(total / len(indices), 10 ** (-_BEST_PSNR / 10))
    return Difference(largest, -10 * math.log10(mean), similar / len(indices))


def ssim(a: Tensor, b: Tensor) -> float:
    """Return the structural similarity of two pictures (H, W, C), values 0..1, as Wang et al. 2004 define it.

    The window is Gaussian, of 11 pixels and sigma 1.5 (smaller pictures: as large as fits); channels are
    averaged.
    """
    pictures = torch.stack((a, b)).permute(0, 3, 1, 2)
    side = min(_WINDOW, *pictures.shape[-2:])
    # A separable window: two passes of 11 taps instead of one of 121.
    offset = torch.arange(side, dtype=pictures.dtype, device=pictures.device) - (side - 1) / 2
    line = torch.exp(-offset.square() / (2 * _SIGMA**2))
    line /= line.sum()

    def blurred(x: Tensor) -> Tensor:
        # (1, C, H, W) to (C, 1, H, W): one window for every channel; without padding, so that borders are
        # left out.
        x = F.conv2d(x.flatten(0, 1).unsqueeze(1), line.view(1, 1, -1, 1))
        return F.conv2d(x, line.view(1, 1, 1, -1))

    x, y = pictures[:1], pictures[1:]
    mean_x, mean_y = blurred(x), blurred(y)
    # Weighted by the window, E[x^2] - E[x]^2.
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float((alike / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))).mean())
