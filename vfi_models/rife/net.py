"""The RIFE 4.x network: parameters under their published names, and the pass over the blocks.

Source: Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation" (ECCV 2022)
and the 4.x networks of hzwer/Practical-RIFE, as HolyWu/vs-rife 2a7f2c8 runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Family, Head
from .refine import ContextNet, RefineNet, strided

LARGE_UPDATE = 32.0
"""Pixels: 4.0's restart fires where block 1 moves both flows by more (vs-rife, ``IFNet_HDv3_v4_0``)."""


def _conv3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups)


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)


def _activation(family: Family, channels: int) -> nn.Module:
    if family.inner == "plain_skip":
        return nn.PReLU(channels)
    return nn.LeakyReLU(0.2, inplace=True)


class ResConv(nn.Module):
    """Computes ``leaky(conv(x) * beta + x)`` with one learned ``beta`` a channel."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv = _conv3(channels, channels, groups=groups)
        self.beta = nn.Parameter(self.conv.weight.new_ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (N, C, H, W) to the same shape."""
        return F.leaky_relu_(self.conv(x) * self.beta + x, 0.2)


def resize(x: Tensor, factor: float) -> Tensor:
    """Resize bilinearly by a factor, ``align_corners=False``, no antialiasing, to floor(size * factor)."""
    if factor == 1.0:
        return x
    # By a factor and not to a size, as published: from a size torch works out a factor of its own.
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _inner(family: Family, width: int) -> nn.Module:
    """Return one of the eight inner convolutions of a block."""
    if family.inner == "residual":
        return ResConv(width, family.groups)
    return nn.Sequential(_conv3(width, width), _activation(family, width))


class Block(nn.Module):
    """One level of the pyramid: reads everything at 1/divisor, and returns an update at full size."""

    def __init__(self, family: Family, inputs: int, width: int) -> None:
        super().__init__()
        self.skip = family.inner == "plain_skip"
        self.shuffled = family.shuffled
        self.conv0 = nn.Sequential(
            nn.Sequential(_conv3(inputs, width // 2, 2), _activation(family, width // 2)),
            nn.Sequential(_conv3(width // 2, width, 2), _activation(family, width)),
        )
        self.convblock = nn.Sequential(*(_inner(family, width) for _ in range(8)))
        self.lastconv = (
            nn.Sequential(_double(width, 4 * family.outputs), nn.PixelShuffle(2))
            if family.shuffled
            else _double(width, family.outputs)
        )

    def forward(
        self, parts: Sequence[Tensor], flow: Tensor | None, divisor: float, *, entry_stride: int = 2
    ) -> Tensor:
        """Predict an update of flow and mask.

        Args:
            parts: (N, c, H, W) each, the inputs besides the flow, in the order of the block's channels.
                Joined before they are reduced, as in the reference: reduced one by one they take another
                kernel, whose last bit very large flows amplify to 6e-5.
            flow: (N, 4, H, W) float32, pixels, or None for block 0.
            divisor: how far the block reduces its input; below 1 it enlarges.
            entry_stride: of the first convolution; 1 in one variant of the paper's network.

        Returns:
            (N, outputs, H, W) float32: flow update in pixels (4), mask logit (1), the remaining outputs.
        """
        dtype = next(self.parameters()).dtype
        x = resize(torch.cat([part.to(dtype) for part in parts], 1), 1 / divisor)
        if flow is not None:
            # Divided too: the block reads a flow in pixels of its own size.
            x = torch.cat((x, (resize(flow, 1 / divisor) / divisor).to(dtype)), 1)
        first, second = self.conv0.children()
        convolution, activation = first.children()
        x = second(activation(strided(convolution, x, entry_stride)))
        # The skip of 4.0 is over all eight convolutions; later families have one in each, see ResConv.
        x = self.convblock(x) + x if self.skip else self.convblock(x)
        x = self.lastconv(x).float()
        # Two convolutions reduced it, one layer enlarges it by two, or by four where it is shuffled.
        factor = divisor * (1 if self.shuffled else entry_stride)
        x = resize(x, factor)
        # A flow in pixels of the small size becomes one in pixels of the full size.
        x[:, :4] *= factor
        return x


def _head(head: Head) -> nn.Module:
    """Return the encoder of one picture, (N, 3, H, W) to (N, channels, H, W)."""
    if head.kind == "pair":
        # Without an activation between them, as published.
        return nn.Sequential(_conv3(3, head.width, 2), _double(head.width, head.channels))
    if head.kind == "named":
        return NamedHead(head)
    return nn.Sequential(
        _conv3(3, head.width, 2),
        nn.LeakyReLU(0.2, inplace=True),
        _conv3(head.width, head.width),
        nn.LeakyReLU(0.2, inplace=True),
        _conv3(head.width, head.width),
        nn.LeakyReLU(0.2, inplace=True),
        _double(head.width, head.channels),
    )


class NamedHead(nn.Module):
    """The sequential head under the names of 4.13 and later."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.cnn0 = _conv3(3, head.width, 2)
        self.cnn1 = _conv3(head.width, head.width)
        self.cnn2 = _conv3(head.width, head.width)
        self.cnn3 = _double(head.width, head.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a picture: (N, 3, H, W) to (N, channels, H, W)."""
        for convolution in (self.cnn0, self.cnn1, self.cnn2):
            x = F.leaky_relu_(convolution(x), 0.2)
        # No activation behind the last layer, in any head.
        out: Tensor = self.cnn3(x)
        return out


@dataclass(frozen=True)
class FlowEstimate:
    """Flow, mask and carry as the blocks have estimated them so far, at full padded size, float32."""

    flow: Tensor
    """(K, 4, H, W) pixels: t to left (x, y), t to right (x, y)."""
    hidden: Tensor
    """(K, 1 + carry, H, W): the mask logit (how much of the left picture is shown), then the carry, which
    only the next block reads."""

    @property
    def mask(self) -> Tensor:
        """Return the mask's logit, (K, 1, H, W)."""
        return self.hidden[:, :1]


def swap_flows(x: Tensor) -> Tensor:
    """Return the flow of a pair whose two pictures are exchanged."""
    return torch.cat((x[:, 2:4], x[:, :2]), 1)


class IFNet(nn.Module):
    """The network of every family in :data:`~.config.FAMILIES`.

    Args:
        family: its layout.
        refine: add the optional refinement of 4.0 and 4.2.
    """

    def __init__(self, family: Family, *, refine: bool = False) -> None:
        super().__init__()
        self.family = family
        for i, width in enumerate(family.widths):
            inputs = family.later_inputs if i else family.first_inputs
            # By name and no list: the published names are block0, block1 and so on.
            self.add_module(f"block{i}", Block(family, inputs, width))
        if family.head:
            self.encode = _head(family.head)
        if refine:
            self.contextnet = ContextNet(lambda channels: _activation(family, channels))
            self.unet = RefineNet(lambda channels: _activation(family, channels))

    def blocks(self) -> list[Block]:
        """Return the blocks, coarse to fine, as they are now: a host may replace parameters."""
        modules = (self.get_submodule(f"block{i}") for i in range(len(self.family.widths)))
        return [module for module in modules if isinstance(module, Block)]
