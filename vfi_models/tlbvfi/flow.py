"""Coarse motion between two frames: three blocks, each on a finer picture, each adding to the flow.

Flow is (N, 4, H, W) in pixels of its own size: x and y to the left frame, then x and y to the right one,
from the frame in the middle. It is float32, and so are the pictures that are warped by it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._ops.warp import backward_warp

_SHRINKS = (4, 2, 1)
MULTIPLE = 16
"""Sides must be a multiple of this: a block halves a picture twice after shrinking it by up to 4."""


def resized(x: Tensor, factor: float) -> Tensor:
    """Resize bilinearly, without antialiasing, with the edges of pixels aligned."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def doubled(flow: Tensor) -> Tensor:
    """Return a flow at twice the size, in pixels of that size."""
    return 2.0 * resized(flow, 2.0)


def halved(flow: Tensor) -> Tensor:
    """Return a flow at half the size, in pixels of that size."""
    return 0.5 * resized(flow, 0.5)


def warped(left: Tensor, right: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Warp both frames (N, C, H, W) to the frame in the middle."""
    return backward_warp(left, flow[:, :2]), backward_warp(right, flow[:, 2:])


def _activated(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


class FlowBlock(nn.Module):
    """Predicts an update of the flow on a picture shrunk by a factor."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_activated(inputs, width // 2, 2), _activated(width // 2, width, 2))
        self.convblock = nn.Sequential(*(_activated(width, width) for _ in range(8)))
        self.conv1 = nn.ConvTranspose2d(width, 4, 4, 2, 1)

    def forward(self, x: Tensor, shrink: int) -> Tensor:
        """Predict a flow at half the size of ``x`` (N, inputs, H, W)."""
        x = self.conv0(resized(x, 1 / shrink) if shrink > 1 else x)
        # The transposed convolution returns to half of the block's input, so the flow is at half size.
        flow = self.conv1(self.convblock(x).add_(x))
        # Only its size changes: as published, the values are in pixels of the half size at every shrinking.
        return resized(flow, float(shrink)) if shrink > 1 else flow


class FlowNet(nn.Module):
    """Estimates the flow of two frames at half size.

    Args:
        widths: of the three blocks.
    """

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = widths
        # Both pictures (6); from the second block on both warped (6) and the flow (4).
        self.block0 = FlowBlock(6, first)
        self.block1 = FlowBlock(10, second)
        self.block2 = FlowBlock(10, third)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Estimate the flow (N, 4, H/2, W/2) of ``left`` and ``right`` (N, 3, H, W), sides a multiple of
        16.
        """
        return self.sums(left, right)[-1]

    def sums(self, left: Tensor, right: Tensor) -> list[Tensor]:
        """Return the flow after each block."""
        flows = [self.block0(torch.cat((left, right), 1), _SHRINKS[0])]
        for block, shrink in zip((self.block1, self.block2), _SHRINKS[1:], strict=True):
            full = doubled(flows[-1])
            inputs = torch.cat((*warped(left, right, full), full), 1)
            flows.append(flows[-1] + block(inputs, shrink))
        return flows
