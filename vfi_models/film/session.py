"""Runs FILM on frames of one size: padding, features of a frame, flow of a pair, the frame at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._ops.constants import Constants, keeping
from .._ops.convolution import memory_format
from .._ops.padding import pad_frames
from .._ops.warp import Sampler
from .config import FUSED_LEVELS, LEVELS
from .net import FilmNet, Side


@dataclass(frozen=True)
class FilmOptions:
    """The options of :meth:`~.Film.open`."""

    align: bool = False
    """Pad both sides to multiples of 64, so that the pixels of all levels coincide exactly, as they did in
    training. Off, a size of 64 x 64 and up runs unpadded, as in ComfyUI's node and the older one: an odd
    level loses its last row or column, and its content is up to half a pixel off."""
    strips: bool = False
    """Compute the levels of the fusion in strips also on a GPU: less memory, twice the launches. On a CPU
    they always are."""


@dataclass(frozen=True)
class FilmFeatures:
    """N source frames, encoded, at padded size."""

    pictures: tuple[Tensor, ...]
    """Levels 0 to 4, (N, 3, h, w) float32, clamped to 0..1."""
    features: tuple[Tensor, ...]
    """Levels 0 to 6, (N, c, h, w) in the network's dtype."""
    own: tuple[Tensor, ...]
    """Levels 0 to 6: the frame's part of the first layer of the flow that starts from it."""
    extra: Tensor | None
    """(N, C - 3, H, W) float32: channels past RGB, the edge repeated."""


@dataclass(frozen=True)
class FilmMotion:
    """The flow between two frames, (N, 2, h, w) float32 of levels 0 to 4, in pixels of the level."""

    to_right: list[Tensor]
    """Where each pixel of the left frame is found in the right one."""
    to_left: list[Tensor]


class FilmSession:
    """FILM at one picture size; see :class:`~..interface.PairSession`.

    Args:
        net: on its device.
        size: (height, width) of the frames.
        padded: (height, width) that they are padded to.
        in_strips: compute the levels of the fusion in strips.
    """

    def __init__(
        self, net: FilmNet, size: tuple[int, int], padded: tuple[int, int], *, in_strips: bool = True
    ) -> None:
        self._net = net
        self._size = size
        self._padded = padded
        self._in_strips = in_strips
        self._constants: Constants = {}

    def encode(self, frames: Tensor) -> FilmFeatures:
        """Encode source frames; see :class:`~..interface.Session`. Values outside 0..1 are clamped."""
        padded, extra = pad_frames(frames, *self._padded, "reflect")
        layout = memory_format(frames.device, on_cuda=True)
        pictures = [padded.clamp(0.0, 1.0).contiguous(memory_format=layout)]
        for _ in range(LEVELS - 1):
            # An odd row or column is dropped here, as published; see FilmOptions.align.
            pictures.append(F.avg_pool2d(pictures[-1], 2))
        dtype = self._net.fuse.output_conv.weight.dtype
        features = self._net.extract([picture.to(dtype) for picture in pictures])
        own = self._net.predict_flow.own(features)
        return FilmFeatures(tuple(pictures[:FUSED_LEVELS]), tuple(features), tuple(own), extra)

    def motion(self, left: FilmFeatures, right: FilmFeatures) -> FilmMotion:
        """Estimate the flow of a pair in both directions, which no timestep changes."""
        with keeping(self._constants, left.features[0].device):
            return FilmMotion(
                *self._net.predict_flow.both(left.own, right.own, left.features, right.features)
            )

    def between(
        self, left: FilmFeatures, right: FilmFeatures, timestep: Tensor, motion: FilmMotion | None = None
    ) -> Tensor:
        """Make the frames at some timesteps; see :class:`~..interface.PairSession`."""
        motion = motion or self.motion(left, right)
        t = timestep.float().view(-1, 1, 1, 1)
        sides = (
            Side(left.pictures, left.features, motion.to_left, t),
            Side(right.pictures, right.features, motion.to_right, 1 - t),
        )
        with keeping(self._constants, t.device):
            frames: Tensor = self._net.fuse(*sides, in_strips=self._in_strips)
        if left.extra is not None and right.extra is not None:
            moved = [
                Sampler(side.share * side.flows[0])(extra)
                for side, extra in zip(sides, (left.extra, right.extra), strict=True)
            ]
            frames = torch.cat((frames, torch.lerp(moved[0], moved[1], t)), 1)
        return frames[..., : self._size[0], : self._size[1]]

    def close(self) -> None:
        """Drop the constants."""
        self._constants.clear()
