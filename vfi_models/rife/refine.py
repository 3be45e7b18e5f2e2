"""The refinement network of the paper, which the files of 4.0 to 4.4 hold as an option.

Source: Huang et al., ECCV 2022 (ContextNet and U-Net), base width 16.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._ops.warp import backward_warp

Activation = Callable[[int], nn.Module]
_BASE = 16


def _pair(inputs: int, outputs: int, activation: Activation) -> nn.Module:
    """Return two 3x3 convolutions, the first of stride 2, under the published names."""
    pair = nn.Module()
    pair.conv1 = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), activation(outputs))
    pair.conv2 = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1), activation(outputs))
    return pair


def _run_pair(pair: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = pair.conv2(pair.conv1(x))  # type: ignore[operator]
    return out


class ContextNet(nn.Module):
    """Computes four levels of context of one picture, each warped to the new frame."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        widths = (3, _BASE, 2 * _BASE, 4 * _BASE, 8 * _BASE)
        for i in range(4):
            self.add_module(f"conv{i + 1}", _pair(widths[i], widths[i + 1], activation))

    def forward(self, picture: Tensor, flow: Tensor) -> list[Tensor]:
        """Compute the context of a picture, warped.

        Args:
            picture: (N, 3, H, W) in the module's dtype.
            flow: (N, 2, H, W) float32, pixels, new frame to this picture.

        Returns:
            (N, 16, H/2, W/2) to (N, 128, H/16, W/16).
        """
        levels = []
        for i in range(4):
            picture = _run_pair(self.get_submodule(f"conv{i + 1}"), picture)
            # Halved before each warp, as published: the features of a level are half the size of the picture
            # before.
            flow = F.interpolate(flow, scale_factor=0.5, mode="bilinear", align_corners=False) * 0.5
            levels.append(backward_warp(picture, flow))
        return levels


class RefineNet(nn.Module):
    """The U-Net that adds a residual to the blend."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        # Inputs: from down1 on, the level before (half) and the context of both pictures (a quarter each); so
        # for up0. The other ups read the level below and its skip.
        down = ((17, 2 * _BASE), (4 * _BASE, 4 * _BASE), (8 * _BASE, 8 * _BASE), (16 * _BASE, 16 * _BASE))
        up = ((32 * _BASE, 8 * _BASE), (16 * _BASE, 4 * _BASE), (8 * _BASE, 2 * _BASE), (4 * _BASE, _BASE))
        for i, (inputs, outputs) in enumerate(down):
            self.add_module(f"down{i}", _pair(inputs, outputs, activation))
        for i, (inputs, outputs) in enumerate(up):
            deconvolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
            self.add_module(f"up{i}", nn.Sequential(deconvolution, activation(outputs)))
        self.conv = nn.Conv2d(_BASE, 3, 3, 1, 1)

    def forward(self, x: Tensor, left: list[Tensor], right: list[Tensor]) -> Tensor:
        """Predict the residual.

        Args:
            x: (N, 17, H, W): both pictures, both warped, mask logit, flow; in the module's dtype.
            left, right: as :class:`ContextNet` returns them for the two pictures.

        Returns:
            (N, 3, H, W), to be added to the blend, -1 to 1.
        """
        skips = [_run_pair(self.get_submodule("down0"), x)]
        for i in range(1, 4):
            joined = torch.cat((skips[-1], left[i - 1], right[i - 1]), 1)
            skips.append(_run_pair(self.get_submodule(f"down{i}"), joined))
        x = self.get_submodule("up0")(torch.cat((skips[3], left[3], right[3]), 1))
        for i in range(1, 4):
            x = self.get_submodule(f"up{i}")(torch.cat((x, skips[3 - i]), 1))
        residual: Tensor = torch.sigmoid(self.conv(x).float()) * 2 - 1
        return residual
