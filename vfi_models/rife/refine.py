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


def strided(layer: nn.Module, x: Tensor, stride: int) -> Tensor:
    """Run a convolution with a stride: variants of the paper's network share weights and differ in that."""
    if not isinstance(layer, nn.Conv2d) or layer.stride[0] == stride:
        out: Tensor = layer(x)
        return out
    return F.conv2d(x, layer.weight, layer.bias, stride, layer.padding)


def _run_pair(pair: nn.Module, x: Tensor, stride: int = 2) -> Tensor:
    convolution, activation = pair.conv1  # type: ignore[misc]
    out: Tensor = pair.conv2(activation(strided(convolution, x, stride)))  # type: ignore[operator]
    return out


class ContextNet(nn.Module):
    """Computes four levels of context of one picture, each warped to the new frame."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        widths = (3, _BASE, 2 * _BASE, 4 * _BASE, 8 * _BASE)
        for i in range(4):
            self.add_module(f"conv{i + 1}", _pair(widths[i], widths[i + 1], activation))

    def forward(self, picture: Tensor, flow: Tensor, *, first_stride: int = 2) -> list[Tensor]:
        """Compute the context of a picture, warped.

        Args:
            picture: (N, 3, H, W) in the module's dtype.
            flow: (N, 2, H, W) float32, pixels, new frame to this picture.
            first_stride: 1 in one variant of the paper's network, whose levels are twice as large.

        Returns:
            (N, 16, H/2, W/2) to (N, 128, H/16, W/16).
        """
        levels = []
        for i in range(4):
            stride = 2 if i else first_stride
            picture = _run_pair(self.get_submodule(f"conv{i + 1}"), picture, stride)
            # Reduced before each warp, as published: the features of a level are smaller than the picture
            # before by their stride.
            flow = _reduced(flow, stride)
            levels.append(backward_warp(picture, flow))
        return levels


def _reduced(flow: Tensor, stride: int) -> Tensor:
    """Return a flow at 1/stride of its size, in pixels of that size."""
    if stride == 1:
        return flow
    return F.interpolate(flow, scale_factor=1 / stride, mode="bilinear", align_corners=False) / stride


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

    def forward(self, x: Tensor, left: list[Tensor], right: list[Tensor], *, first_stride: int = 2) -> Tensor:
        """Predict the residual.

        Args:
            x: (N, 17, H, W): both pictures, both warped, mask logit, flow; in the module's dtype.
            left, right: as :class:`ContextNet` returns them for the two pictures.
            first_stride: as it was given there. With 1 the U-net works at twice the size, and its last
                convolution reduces.

        Returns:
            (N, 3, H, W), to be added to the blend, -1 to 1.
        """
        skips = [_run_pair(self.get_submodule("down0"), x, first_stride)]
        for i in range(1, 4):
            joined = torch.cat((skips[-1], left[i - 1], right[i - 1]), 1)
            skips.append(_run_pair(self.get_submodule(f"down{i}"), joined))
        x = self.get_submodule("up0")(torch.cat((skips[3], left[3], right[3]), 1))
        for i in range(1, 4):
            x = self.get_submodule(f"up{i}")(torch.cat((x, skips[3 - i]), 1))
        residual: Tensor = torch.sigmoid(strided(self.conv, x, 2 // first_stride).float()) * 2 - 1
        return residual
