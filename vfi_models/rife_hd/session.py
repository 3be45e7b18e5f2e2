"""Runs RIFE HD 3.x on frames of one size: padding, the pass over the blocks, the blend."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._ops.padding import PaddingMode, pad_frames
from .._ops.warp import backward_warp, identity_grid
from ..rife.net import resize, swap_flows
from .net import DIVISORS, HDBlock, HDNet

_RGB = 3


@dataclass(frozen=True)
class HDOptions:
    """The options of :meth:`~.RifeHD.open`."""

    flow_scale: float = 1.0
    """0.25, 0.5, 1, 2 or 4. Below 1 the blocks read a coarser picture (large frames, large motion)."""
    ensemble: bool = True
    """Average over both orders of the pair: the network is published with it and does not run without."""
    padding: PaddingMode = "zeros"
    """How the picture continues to the right and below; channels past RGB repeat their edge there."""


@dataclass(frozen=True)
class HDFeatures:
    """N source frames at padded size."""

    frames: Tensor
    """(N, C, H, W) float32, RGB first."""


@dataclass(frozen=True)
class _FlowAndMask:
    """Flow and mask as the blocks have estimated them so far, at padded size, float32."""

    flow: Tensor
    """(K, 4, H, W) pixels: middle to left (x, y), middle to right (x, y)."""
    mask: Tensor
    """(K, 1, H, W) logit: how much of the left picture is shown."""


class HDSession:
    """RIFE HD 3.x at one picture size; see :class:`~..interface.Session`.

    Args:
        net: on its device.
        size: (height, width) of the frames.
        padded: (height, width) that they are padded to.
        options: of the model.
    """

    def __init__(
        self, net: HDNet, size: tuple[int, int], *, padded: tuple[int, int], options: HDOptions
    ) -> None:
        self._net = net
        self._size = size
        self._padded = padded
        self._options = options
        self._grid: Tensor | None = None

    def encode(self, frames: Tensor) -> HDFeatures:
        """Encode source frames. The network has no encoder: a frame is only padded, and not clamped."""
        picture, extra = pad_frames(frames, *self._padded, self._options.padding)
        # Joined again, for all channels are warped by one call.
        return HDFeatures(picture if extra is None else torch.cat((picture, extra), 1))

    def between(self, left: HDFeatures, right: HDFeatures, timestep: Tensor) -> Tensor:
        """Make the frame in the middle of each pair: every timestep is taken for 1/2."""
        count = max(len(timestep), len(left.frames))
        sides = left.frames.expand(count, -1, -1, -1), right.frames.expand(count, -1, -1, -1)
        motion = self._estimated(sides[0][:, :_RGB], sides[1][:, :_RGB])
        warped = self._warped(sides, motion.flow)
        blended = torch.lerp(warped[1], warped[0], torch.sigmoid(motion.mask))
        return blended[..., : self._size[0], : self._size[1]]

    def close(self) -> None:
        """Drop the sampling grid."""
        self._grid = None

    def _estimated(self, left: Tensor, right: Tensor) -> _FlowAndMask:
        """Estimate flow and mask between pictures (K, 3, H, W)."""
        count, _, height, width = left.shape
        motion = _FlowAndMask(
            left.new_zeros(count, 4, height, width), left.new_zeros(count, 1, height, width)
        )
        sides = left, right
        for i, block in enumerate(self._net.blocks()):
            warped = self._warped(sides, motion.flow) if i else sides
            update = _update(block, warped, motion, DIVISORS[i] / self._options.flow_scale)
            motion = _FlowAndMask(motion.flow + update.flow, motion.mask + update.mask)
        return motion

    def _warped(self, sides: tuple[Tensor, Tensor], flow: Tensor) -> tuple[Tensor, Tensor]:
        if self._grid is None or self._grid.device != flow.device:
            self._grid = identity_grid(*self._padded, flow.device)
        left, right = sides
        return backward_warp(left, flow[:, :2], self._grid), backward_warp(right, flow[:, 2:], self._grid)


def _update(
    block: HDBlock, sides: tuple[Tensor, Tensor], motion: _FlowAndMask, divisor: float
) -> _FlowAndMask:
    """Return the update of a block, averaged over both orders of the pair.

    Everything but the block is linear, so both orders share the reduced inputs and the enlarged outputs, and
    run as one batch.
    """
    left, right, mask, flow = (resize(x, 1 / divisor) for x in (*sides, motion.mask, motion.flow))
    flow = flow / divisor
    forward = torch.cat((left, right, mask, flow), 1)
    # The same problem mirrored in time: the mask's logit changes its sign and the flows their places.
    backward = torch.cat((right, left, -mask, swap_flows(flow)), 1)
    dtype = next(block.parameters()).dtype
    flows, masks = (x.chunk(2) for x in block(torch.cat((forward, backward)).to(dtype)))
    flow = (flows[0] + swap_flows(flows[1])) * (divisor / 2)
    mask = (masks[0] - masks[1]) / 2
    return _FlowAndMask(resize(flow, divisor), resize(mask, divisor))
