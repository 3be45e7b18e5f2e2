"""Wavelet bands of a video along time, height and width, and the small network that reads them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import norm

# Low is (a, a) and high (-a, a), with this a.
_TAP = 1.0 / (2.0 * math.sqrt(2.0))
# Red, green and blue in the grey of Rec. 601, with the digits that the authors have.
_GREY = (0.2989, 0.5870, 0.1140)
BANDS = 21
"""Seven of two frames each, then seven of one."""


def _filtered(x: Tensor, axis: int, *, high: bool, same: bool) -> Tensor:
    """Compute ``tap * (next +- this)`` along an axis; ``same`` keeps its length, with zero behind the end."""
    length = x.shape[axis] - 1
    this, following = x.narrow(axis, 0, length), x.narrow(axis, 1, length)
    if same:
        # F.pad counts axes from the last one, two numbers for each.
        # Zero behind the end is the authors'. With the edge repeated in front, as other packs do, latents are
        # about 1% of their spread off.
        ends = [0] * (2 * (-axis))
        ends[-1] = 1
        this, following = x, F.pad(following, ends)
    return _TAP * (following - this if high else following + this)


def analyse(video: Tensor) -> tuple[Tensor, Tensor]:
    """Compute one level of the transform: along time (3 frames become 2), then height, then width.

    Args:
        video: (N, 1, F, H, W), F of 2 or 3.

    Returns:
        The low band (N, 1, F - 1, H, W), and the seven others (N, 7 (F - 1), H, W): frames of one band side
        by side, bands in the order LLH, LHL, LHH, HLL, HLH, HHL, HHH (time, height, width).
    """
    # Every axis doubles the list, low before high: LLL, LLH, LHL and so on to HHH.
    bands = [video]
    for axis, same in ((-3, False), (-2, True), (-1, True)):
        bands = [_filtered(band, axis, high=high, same=same) for band in bands for high in (False, True)]
    return bands[0], torch.cat([band.flatten(1, 2) for band in bands[1:]], 1)


def bands(video: Tensor) -> Tensor:
    """Compute all bands of a video (N, 3, 3, H, W) with values 0..1: (N, 21, H, W)."""
    weights = video.new_tensor(_GREY).view(1, 3, 1, 1, 1)
    grey = (video * weights).sum(1, keepdim=True)
    low, first = analyse(grey)
    return torch.cat((first, analyse(low)[1]), 1)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)
        self.norm2 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 5, stride=2, padding=2)
        self.shortcut = nn.Conv2d(inputs, outputs, 5, stride=4, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(F.relu_(self.norm1(x)))
        out: Tensor = self.conv2(F.relu_(self.norm2(inner)))
        return out.add_(self.shortcut(x))


class FrequencyExtractor(nn.Module):
    """Reads bands (N, 21, H, W) and returns (N, outputs, H/32, W/32).

    Args:
        width: inner channels.
        outputs: channels of the result.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(BANDS, width, 3, stride=2, padding=1)
        self.Blocks = nn.ModuleList((_Block(width, width), _Block(width, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to bands."""
        x = self.conv_in(x)
        for block in self.Blocks:
            x = block(x)
        return x
