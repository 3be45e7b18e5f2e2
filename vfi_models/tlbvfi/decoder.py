"""The decoder: from a quantised latent video and the features of both frames to the frame in the middle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._ops.warp import backward_warp
from .encoder import LATENT, LEVELS
from .flow import FlowNet, halved
from .layers import ResidualBlock, Upsample, VideoMiddle, norm, swish
from .refine import RefineNet
from .windows import CrossBlock, WindowBlock

# The finest levels, so many, read the features of both frames warped as well.
_WARPED_LEVELS = 3


class _Level(nn.Module):
    """One size of the decoder.

    Args:
        inputs, outputs: channels in and out.
        features: channels of a frame's features at this size.
        warps: whether it also reads them warped.
        attends: whether a window block stands before the cross block.
    """

    def __init__(self, inputs: int, outputs: int, features: int, *, warps: bool, attends: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList([ResidualBlock(inputs, outputs)])
        self.attn = nn.ModuleList([WindowBlock(outputs)] if attends else [])
        self.cross_attn = CrossBlock(outputs, features * (4 if warps else 2))
        self.upsample = Upsample(outputs)
        self.warps = warps

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.block[0](x)
        for attention in self.attn:
            x = attention(x)
        out: Tensor = self.upsample(self.cross_attn(x, context))
        return out


class Decoder(nn.Module):
    """The decoder, with the networks of the flow, which the published checkpoints keep in it.

    Args:
        width: channels at full size.
        flow: widths of the blocks of the flow.
    """

    def __init__(self, width: int, flow: tuple[int, int, int]) -> None:
        super().__init__()
        widths = [width * factor for factor in LEVELS]
        deepest = widths[-1]
        self.flownet = FlowNet(flow)
        self.refinenet = RefineNet(width)
        self.conv_in = nn.Conv3d(LATENT, deepest, 3, padding=1)
        self.mid = VideoMiddle(deepest, merges=True)
        # Level i makes the size of the tower's level i out of the next smaller one.
        self.up = nn.ModuleList(
            _Level(
                widths[min(i + 1, len(widths) - 1)],
                widths[i],
                widths[i],
                warps=i < _WARPED_LEVELS,
                # Attention where the authors' configuration says 16: that is the deepest level, at 1/32 here.
                attends=i == len(widths) - 1,
            )
            for i in range(len(widths))
        )
        self.norm_out = norm(width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.moduleout = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            norm(width, 16),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width // 2, 3, padding=1),
            norm(width // 2, 8),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, 4, 3, padding=1),
        )

    def forward(
        self, latent: Tensor, left: Sequence[Tensor], right: Sequence[Tensor], flow: Tensor
    ) -> Tensor:
        """Predict the residual to the warped frames, and the mask between them.

        Args:
            latent: (N, 3, 3, H/32, W/32), quantised, after ``post_quant_conv``.
            left, right: features of both frames at 1/2, 1/4, ... 1/32.
            flow: (N, 4, H, W).

        Returns:
            (N, 4, H, W): before their sigmoids, the residual (RGB) and the share of the left frame.
        """
        flows = []
        # From the full size to 1/2, 1/4 and 1/8: the sizes of the levels that warp.
        for _ in range(_WARPED_LEVELS):
            flow = halved(flow)
            flows.append(flow)
        # The last block of the middle makes one frame of three.
        x = self.mid(self.conv_in(latent)).squeeze(2)
        for i, level in reversed(list(enumerate(self.up))):
            x = level(x, _context(left[i], right[i], flows[i] if level.warps else None))
        maps: Tensor = self.moduleout(self.conv_out(swish(self.norm_out(x))))
        return maps


def _context(left: Tensor, right: Tensor, flow: Tensor | None) -> Tensor:
    features = [left, right]
    if flow is not None:
        features += [backward_warp(left, flow[:, :2]), backward_warp(right, flow[:, 2:])]
    return torch.cat(features, 1)


def residual(maps: Tensor) -> Tensor:
    """Return the residual that the decoder's maps add to the frame, (N, 3, H, W), -1..1."""
    return torch.sigmoid(maps[:, :3]).mul_(2.0).sub_(1.0)


def blended(share: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Blend both warped frames, with ``share`` (N, 1, H, W) of the left one."""
    return torch.lerp(right, left, share)
