"""Matching of two feature maps where the new frame is: a symmetric correlation and its soft maximum."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow import around


def unit(features: Tensor) -> Tensor:
    """Return features (N, C, H, W) centred over the channels and of length 1, float32."""
    features = features.float()
    features = features - features.mean(1, keepdim=True)
    # Not F.normalize, whose norm over channels takes ten times as long.
    return features / features.square().sum(1, keepdim=True).clamp(min=1e-6).sqrt()


def symmetric_correlation(left: Tensor, right: Tensor, reach: int) -> Tensor:
    """Return the agreement of two feature maps for every displacement of a window.

    A displacement d between the frames is tried with the left features taken at about -d/2 and the right
    ones at about +d/2, so that each cost belongs to the place of the new frame.

    Args:
        left, right: (N, C, H, W) float32, seen from the new frame.
        reach: largest displacement along an axis.

    Returns:
        (N, D * D, H, W) float32 with D = 2 * reach + 1; displacement (x, y) = (i % D - reach, i // D - reach)
        at index i.
    """
    height, width = left.shape[-2:]
    window, margin = 2 * reach + 1, (reach + 1) // 2
    left = F.pad(left, (margin,) * 4)
    right = F.pad(right, (margin,) * 4)

    def shifted(x: Tensor, dx: int, dy: int) -> Tensor:
        return x[..., margin + dy : margin + dy + height, margin + dx : margin + dx + width]

    def cost(i: int, products: Tensor | None, out: Tensor | None) -> Tensor:
        dx, dy = i % window - reach, i // window - reach
        back_x, back_y = -(dx // 2), -(dy // 2)
        one, other = shifted(left, back_x, back_y), shifted(right, dx + back_x, dy + back_y)
        return torch.sum(torch.mul(one, other, out=products), 1, out=out)

    if torch.is_grad_enabled():
        return torch.stack([cost(i, None, None) for i in range(window**2)], 1)
    # The same memory again and again: to be given new memory takes longer than to multiply.
    products = left.new_empty(*left.shape[:2], height, width)
    costs = left.new_empty(len(left), window**2, height, width)
    for i in range(window**2):
        cost(i, products, costs[:, i])
    return costs


def expected_displacement(cost: Tensor, sharpness: Tensor) -> Tensor:
    """Return the mean displacement under a softmax of the cost, averaged over 3 x 3 places.

    Args:
        cost: (N, D * D, H, W) of :func:`symmetric_correlation`.
        sharpness: () factor on the cost.

    Returns:
        (N, 2, H, W) pixels of this level from the left to the right frame, x then y.
    """
    window = math.isqrt(cost.shape[1])
    reach = window // 2
    weight = torch.softmax(around(cost, 3) * sharpness, 1)
    steps = torch.arange(-reach, reach + 1, device=cost.device, dtype=cost.dtype)
    table = torch.stack((steps.repeat(window), steps.repeat_interleave(window)))
    return torch.einsum("dk,nkhw->ndhw", table, weight)
