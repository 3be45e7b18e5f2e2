"""Backward warping.

Convention, everywhere in the pack: images are (N, C, H, W), flow is (N, 2, H, W) in pixels, channel 0
is x (to the right), channel 1 is y (down); pixel centres of the first and last pixel are the ends of
the sampling grid (``align_corners=True``); what lies outside takes the nearest border pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Backends whose grid_sample is known to have border padding; elsewhere (MPS lacks it) the grid is clamped,
# which is the same thing when the grid's ends are pixel centres.
_BORDER_BACKENDS = ("cpu", "cuda")


def identity_grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """The sampling grid of zero flow.

    Returns:
        (1, 2, height, width) float32, x then y, -1 at the first pixel centre and 1 at the last.
    """
    x = torch.linspace(-1.0, 1.0, width, device=device) if width > 1 else torch.zeros(1, device=device)
    y = torch.linspace(-1.0, 1.0, height, device=device) if height > 1 else torch.zeros(1, device=device)
    return torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width))).unsqueeze(0)


def backward_warp(image: Tensor, flow: Tensor, grid: Tensor | None = None) -> Tensor:
    """``out(p) = image(p + flow(p))``, bilinear.

    Coordinates and sampling are float32 whatever the dtype of the image: a grid rounded to 16 bits
    is off by up to two pixels at common widths.

    Args:
        image: (N, C, H, W), any floating dtype; N may be 1 for a flow of K samples.
        flow: (K, 2, H, W) in pixels, x then y.
        grid: ``identity_grid(H, W)`` on the same device, where the caller keeps one.

    Returns:
        (K, C, H, W) in the image's dtype.
    """
    height, width = flow.shape[-2:]
    if grid is None:
        grid = identity_grid(height, width, flow.device)
    return sample(image, flow, grid, (height, width))


def sample(image: Tensor, flow: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
    """:func:`backward_warp` at some of the pixels.

    Args:
        image: (N, C, H, W), any floating dtype; N may be 1 for a flow of K samples.
        flow: (K, 2, h, w) in pixels of the image, at the pixels that are wanted.
        grid: (1, 2, h, w), the part of ``identity_grid(H, W)`` at these pixels.
        size: (H, W).

    Returns:
        (K, C, h, w) in the image's dtype.
    """
    height, width = size
    # By Python numbers, not by a tensor made of them: that would be a copy to the device, which waits.
    x = grid[:, 0] + flow[:, 0].float() / (max(width - 1, 1) / 2)
    y = grid[:, 1] + flow[:, 1].float() / (max(height - 1, 1) / 2)
    where = torch.stack((x, y), -1)
    border = flow.device.type in _BORDER_BACKENDS
    sampled = F.grid_sample(
        image.float().expand(flow.shape[0], -1, -1, -1),
        where if border else where.clamp(-1.0, 1.0),
        mode="bilinear",
        padding_mode="border" if border else "zeros",
        align_corners=True,
    )
    return sampled.to(image.dtype)
