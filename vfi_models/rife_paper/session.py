"""Runs the networks of the RIFE paper on frames of one size: padding, the pass, refinement, averaging."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._ops.padding import PaddingMode, pad_frames
from .._ops.warp import backward_warp
from .net import DIVISORS, PaperNet

_RGB = 3


@dataclass(frozen=True)
class PaperOptions:
    """The options of :meth:`~.RifePaper.open`."""

    flow_scale: float = 1.0
    """0.25, 0.5, 1, 2 or 4. Below 1 the blocks read a coarser picture (large frames, large motion)."""
    tta: bool = False
    """Average with a second pass on both pictures turned by 180 degrees (test-time augmentation)."""
    two_r: bool = False
    """The file is one of IFNet_2R, which works at twice the size inside. Names and shapes are those of
    IFNet, so that only whoever has the file can tell."""
    padding: PaddingMode = "zeros"
    """How the picture continues to the right and below; channels past RGB repeat their edge there."""


@dataclass(frozen=True)
class PaperFeatures:
    """N source frames at padded size."""

    frames: Tensor
    """(N, C, H, W) float32, RGB first."""


class PaperSession:
    """A network of the RIFE paper at one picture size; see :class:`~..interface.Session`.

    Args:
        net: on its device.
        size: (height, width) of the frames.
        padded: (height, width) that they are padded to.
        options: of the model.
    """

    def __init__(
        self, net: PaperNet, size: tuple[int, int], *, padded: tuple[int, int], options: PaperOptions
    ) -> None:
        self._net = net
        self._size = size
        self._padded = padded
        self._options = options

    def encode(self, frames: Tensor) -> PaperFeatures:
        """Encode source frames. The network has no encoder: a frame is only padded, and not clamped."""
        picture, extra = pad_frames(frames, *self._padded, self._options.padding)
        # Joined again, for all channels are warped by the same flow.
        return PaperFeatures(picture if extra is None else torch.cat((picture, extra), 1))

    def between(self, left: PaperFeatures, right: PaperFeatures, timestep: Tensor) -> Tensor:
        """Make the frames between two encoded ones. IFNet takes every timestep for 1/2."""
        count = max(len(timestep), len(left.frames))
        sides = left.frames.expand(count, -1, -1, -1), right.frames.expand(count, -1, -1, -1)
        divisors = tuple(divisor / self._options.flow_scale for divisor in DIVISORS)
        frames = frames_between(
            self._net, sides, timestep, divisors, two_r=self._options.two_r, tta=self._options.tta
        )
        return frames[..., : self._size[0], : self._size[1]]

    def close(self) -> None:
        """Do nothing: the session keeps nothing."""


def frames_between(
    net: PaperNet,
    sides: tuple[Tensor, Tensor],
    timestep: Tensor,
    divisors: tuple[float, ...],
    *,
    two_r: bool,
    tta: bool,
) -> Tensor:
    """Make frames at padded size.

    Args:
        net: the network.
        sides: left and right, (K, C, H, W) float32, C >= 3, RGB first.
        timestep: (K,) float32.
        divisors, two_r: see :meth:`~.net.PaperNet.estimate`.
        tta: average with a second pass on both pictures turned by 180 degrees.

    Returns:
        (K, C, H, W) float32: RGB refined and in 0..1, as published; other channels blended alone.
    """
    left, right = sides
    if tta:
        turned = left.flip(-2, -1), right.flip(-2, -1)
        passes = [
            frames_between(net, pair, timestep, divisors, two_r=two_r, tta=False) for pair in (sides, turned)
        ]
        return (passes[0] + passes[1].flip(-2, -1)) / 2
    pictures = left[:, :_RGB], right[:, :_RGB]
    last = net.estimate(pictures, timestep, divisors, two_r=two_r)[-1]
    picture = (last.blend + net.residual(pictures, last, two_r=two_r)).clamp(0.0, 1.0)
    if left.shape[1] == _RGB:
        return picture
    warped = [
        backward_warp(side[:, _RGB:], flow)
        for side, flow in ((left, last.flow[:, :2]), (right, last.flow[:, 2:]))
    ]
    return torch.cat((picture, torch.lerp(warped[1], warped[0], torch.sigmoid(last.mask))), 1)
