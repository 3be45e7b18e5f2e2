"""The example network: two small convolutional parts, and what is computed of them for one picture size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._ops.padding import pad_frames, round_up
from .._ops.warp import backward_warp

STRIDE = 4
"""The encoder hands out one value for so many pixels along a side; padded sides are multiples of it."""


class ExampleNet(nn.Module):
    """An encoder for one frame, and an estimator of the motion between two.

    Args:
        width: channels of all layers but the last.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.PReLU(width),
        )
        self.estimator = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.PReLU(width),
            nn.Conv2d(width, 3, 3, padding=1),
        )


@dataclass(frozen=True)
class ExampleOptions:
    """What a user may choose; the fields are the options of ``open``."""

    reach: float = 8.0
    """How far a flow may point, in pixels. The weights do not say: it was a constant of the training."""


@dataclass(frozen=True)
class ExampleFeatures:
    """N source frames, encoded."""

    frames: Tensor
    """(N, C, H, W) float32 at padded size, RGB first."""
    encoded: Tensor
    """(N, width, H / 4, W / 4) in the network's dtype."""


class ExampleSession:
    """The network at one picture size. See :class:`~..interface.Session`.

    Args:
        net: on its device.
        size: (height, width) of the frames.
        options: how to run.
    """

    def __init__(self, net: ExampleNet, size: tuple[int, int], options: ExampleOptions) -> None:
        self._net = net
        self._size = size
        self._padded = padded_size(*size)
        self._options = options

    def encode(self, frames: Tensor) -> ExampleFeatures:
        """Pad and encode (N, C, H, W) float32 frames, RGB first, values 0..1."""
        picture, extra = pad_frames(frames, *self._padded)
        encoded = self._net.encoder(picture.to(next(self._net.parameters()).dtype))
        return ExampleFeatures(picture if extra is None else torch.cat((picture, extra), 1), encoded)

    def between(self, left: ExampleFeatures, right: ExampleFeatures, timestep: Tensor) -> Tensor:
        """Make the frames (K, C, H, W) float32 at K timesteps between two encoded frames."""
        found = self._net.estimator(torch.cat((left.encoded, right.encoded), 1))
        found = F.interpolate(found.float(), size=self._padded, mode="bilinear", align_corners=False).tanh()
        t = timestep.view(-1, 1, 1, 1)
        flow, side = found[:, :2] * self._options.reach, found[:, 2:]  # flow: left to right, in pixels
        from_left = backward_warp(left.frames, -t * flow)
        from_right = backward_warp(right.frames, (1 - t) * flow)
        blended = torch.lerp(from_left, from_right, t + t * (1 - t) * side)
        return blended[..., : self._size[0], : self._size[1]]

    def close(self) -> None:
        """Drop nothing: this session keeps nothing on the device."""


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Return the size that frames of ``height`` x ``width`` are padded to."""
    return round_up(height, STRIDE), round_up(width, STRIDE)
