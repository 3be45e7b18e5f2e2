"""Refines a coarse flow on the features of both frames, from 1/8 of the size up.

At each size the features of both frames are warped by the flow and blended to those that the middle frame
should have, and these are compared with the 3 x 3 surroundings of each warped position. The published code
unfolds all nine positions at once, nine times the features in memory; here they are compared one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._ops.warp import backward_warp, identity_grid
from .encoder import LEVELS
from .flow import doubled, resized

COARSEST = 3
"""Level (halvings) at which the refinement begins; it uses the features of levels 0 to 3."""
_TAPS = 3
# Added to a squared length, as published: features of zeros can be divided by it.
_TINY = 1e-12


def _activated(inputs: int, outputs: int, side: int, count: int = 1) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [
            nn.Conv2d(inputs if i == 0 else outputs, outputs, side, padding=side // 2),
            nn.PReLU(outputs),
        ]
    return layers


class RefineBlock(nn.Module):
    """Refines a flow at one size. The same weights serve both frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.occl_convs = nn.Sequential(
            *_activated(2 * width, width, 1), *_activated(width, width, 1), nn.Conv2d(width, 1, 1)
        )
        self.corr_convs = nn.Sequential(*_activated(_TAPS * _TAPS, width, 1, 2))
        self.flow_convs = nn.Sequential(*_activated(2, width, 3, 2))
        self.motion_convs = nn.Sequential(*_activated(2 * width, width, 3))
        # Expected features, those found, motion (width channels each), and the flow itself (2).
        self.gru = nn.Sequential(*_activated(3 * width + 2, width, 3, 2))
        self.flow_head = nn.Sequential(*_activated(width, width, 3), nn.Conv2d(width, 2, 3, padding=1))

    def forward(self, left: Tensor, right: Tensor, flow: Tensor) -> Tensor:
        """Refine ``flow`` (N, 4, H, W) on the features ``left`` and ``right`` (N, width, H, W)."""
        height, width = flow.shape[-2:]
        grid = identity_grid(height, width, flow.device)
        sides = [(left, flow[:, :2]), (right, flow[:, 2:])]
        warped = [backward_warp(features, motion, grid) for features, motion in sides]
        # What the middle frame should look like: both warped frames, each where it is not occluded.
        share = torch.sigmoid(self.occl_convs(torch.cat(warped, 1)))
        expected = torch.lerp(warped[1], warped[0], share)
        updates = [
            self._update(expected, found, self._agreement(expected, features, motion, grid), motion)
            for (features, motion), found in zip(sides, warped, strict=True)
        ]
        return flow + torch.cat(updates, 1)

    def _agreement(self, expected: Tensor, features: Tensor, motion: Tensor, grid: Tensor) -> Tensor:
        """Return cosines between the expected features and the 3 x 3 surroundings of the warped ones: (N, 9,
        H, W).
        """
        height, width = motion.shape[-2:]
        # Zeros around, as unfold has them in the published code.
        padded = F.pad(features, (1, 1, 1, 1))
        length = _length(expected)
        cosines = []
        for dy in range(_TAPS):
            for dx in range(_TAPS):
                tap = backward_warp(padded[..., dy : dy + height, dx : dx + width], motion, grid)
                products = (expected * tap).sum(1, keepdim=True)
                cosines.append(products.div_(_length(tap)).div_(length))
        return torch.cat(cosines, 1)

    def _update(self, expected: Tensor, found: Tensor, agreement: Tensor, motion: Tensor) -> Tensor:
        moves = self.motion_convs(torch.cat((self.corr_convs(agreement), self.flow_convs(motion)), 1))
        update: Tensor = self.flow_head(self.gru(torch.cat((expected, found, moves, motion), 1)))
        return update


def _length(x: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True).add_(_TINY).sqrt_()


class RefineNet(nn.Module):
    """Refines a flow at half size to one at full size.

    Args:
        width: channels of the features at full size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, *(width * factor for factor in LEVELS[:COARSEST])]
        self.rf_block1 = RefineBlock(widths[0])
        self.rf_block2 = RefineBlock(widths[1])
        self.rf_block3 = RefineBlock(widths[2])
        self.rf_block4 = RefineBlock(widths[3])

    def forward(self, left: Sequence[Tensor], right: Sequence[Tensor], flow: Tensor) -> Tensor:
        """Refine a flow to full size.

        Args:
            left, right: features of both frames at 1, 1/2, 1/4, 1/8.
            flow: (N, 4, H/2, W/2) in pixels of its size.
        """
        # From half size to an eighth, where the refinement begins.
        flow = 0.25 * resized(flow, 0.25)
        for level, block in zip(
            (3, 2, 1, 0), (self.rf_block4, self.rf_block3, self.rf_block2, self.rf_block1), strict=True
        ):
            flow = block(left[level], right[level], flow)
            if level:
                flow = doubled(flow)
        return flow
