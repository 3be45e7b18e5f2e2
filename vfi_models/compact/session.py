"""Runs the network on frames of one size: scaling, padding, the blend at full size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .._ops.constants import Constants, keeping
from .._ops.cuda_graphs import RecordedSession, Recordings, recorder_for
from .._ops.padding import pad_to, round_up
from .flow import FlowState
from .net import STRIDE, PyramidNet, draw

_BASE_LEVELS = 4
_BASE_SIDE = 320


@dataclass(frozen=True)
class CompactOptions:
    """The options of :meth:`~.Compact.open`."""

    flow_scale: float = 1.0
    """0.25 to 4. Below 1 motion is found on a smaller picture: less memory and time, larger reach, less
    detail. The picture itself is always warped at full size."""
    ensemble: bool = False
    """Average with the result for both frames turned by 180 degrees and exchanged: twice the time, a little
    better."""
    graphs: bool = True
    """On CUDA, launch the passes of a long clip as one recorded graph, which keeps the memory that a pass
    takes."""


@dataclass(frozen=True)
class CompactFeatures:
    """N source frames, encoded."""

    frames: Tensor
    """(N, C, H, W) float32 as given."""
    pictures: tuple[Tensor, ...]
    """(N, 3, h, w) float32, scaled and padded, 0..1; each half the one before."""
    encoded: tuple[Tensor, ...]
    """(N, ., h/4, w/4) at every level, in the network's dtype."""
    turned: CompactFeatures | None = None
    """The same of the frames turned by 180 degrees, with ``ensemble``."""

    def shared_by(self, count: int) -> CompactFeatures:
        """Return the features of one frame for ``count`` timesteps, without a copy."""
        if self.frames.shape[0] == count:
            return self
        return self.of(x.expand(count, -1, -1, -1) for x in self.tensors())

    def tensors(self) -> tuple[Tensor, ...]:
        """Return everything that these features consist of."""
        turned = self.turned.tensors() if self.turned else ()
        return (self.frames, *self.pictures, *self.encoded, *turned)

    def of(self, tensors: Iterator[Tensor]) -> CompactFeatures:
        """Return features that consist of other tensors, taken in the order of :meth:`tensors`."""
        return CompactFeatures(
            next(tensors),
            tuple(next(tensors) for _ in self.pictures),
            tuple(next(tensors) for _ in self.encoded),
            self.turned.of(tensors) if self.turned else None,
        )


@dataclass(frozen=True)
class Geometry:
    """The sizes that a frame goes through, each (height, width)."""

    size: tuple[int, int]
    scaled: tuple[int, int]
    padded: tuple[int, int]
    levels: int

    @classmethod
    def of(cls, height: int, width: int, flow_scale: float) -> Geometry:
        """Work out the sizes: four levels up to 640 pixels along the longer side, one more for each
        doubling.
        """
        # A picture of a pixel or two still has a size at the smallest scale.
        scaled = max(1, round(height * flow_scale)), max(1, round(width * flow_scale))
        # bit_length - 1 is the logarithm to base 2, rounded down: a level more at 640, 1280, 2560 pixels.
        levels = _BASE_LEVELS + max(0, (max(scaled) // _BASE_SIDE).bit_length() - 1)
        padded = round_up(scaled[0], STRIDE), round_up(scaled[1], STRIDE)
        return cls((height, width), scaled, padded, levels)


class CompactSession(RecordedSession):
    """The built-in model at one picture size; see :class:`~..interface.Session`.

    Args:
        net: on its device.
        geometry: of the frames.
        options: of the model.
        recordings: how passes are replayed; CUDA graphs where it is left out.
    """

    def __init__(
        self,
        net: PyramidNet,
        geometry: Geometry,
        options: CompactOptions,
        recordings: Recordings | None = None,
    ) -> None:
        self._net = net
        self._geometry = geometry
        self._options = options
        self._constants: Constants = {}
        device = next(net.parameters()).device
        self._recordings = recordings or Recordings(recorder_for(device) if options.graphs else None)

    def encode(self, frames: Tensor) -> CompactFeatures:
        """Encode source frames; see :class:`~..interface.Session`. Motion is found on the values clamped to
        0..1.
        """
        with keeping(self._constants, frames.device):
            features = self._features(frames)
            if self._options.ensemble:
                return replace(features, turned=self._features(_turned(frames)))
            return features

    def between(self, left: CompactFeatures, right: CompactFeatures, timestep: Tensor) -> Tensor:
        """Make the frames at some timesteps; channels past RGB are warped and blended like the picture."""
        # A host may have moved or replaced the weights that recordings read.
        self._recordings.follow(self._net.parameters())

        def work(timestep: Tensor, *sides: Tensor) -> Tensor:
            # A replay reads buffers of its own, so features are taken apart into tensors, and
            # put together of these.
            tensors = iter(sides)
            return self._pass(left.of(tensors), right.of(tensors), timestep)

        return self._recordings.run(work, (timestep.float(), *left.tensors(), *right.tensors()))

    def _pass(self, left: CompactFeatures, right: CompactFeatures, timestep: Tensor) -> Tensor:
        """Run one pass, which may be replayed; see :meth:`~.._ops.cuda_graphs.Recordings.run`."""
        count = max(timestep.shape[0], left.frames.shape[0], right.frames.shape[0])
        left, right = left.shared_by(count), right.shared_by(count)
        times = timestep.expand(count).view(-1, 1, 1, 1)
        with keeping(self._constants, times.device):
            frames = self._interpolated(left, right, times)
            if left.turned and right.turned:
                # The right frame stands in the left one's place, so the new frame lies at 1 - t.
                mirrored = self._interpolated(right.turned, left.turned, 1.0 - times)
                frames = (frames + _turned(mirrored)) / 2
            return frames

    def close(self) -> None:
        """Drop recordings and constants."""
        self._recordings.close()
        self._constants.clear()

    def _features(self, frames: Tensor) -> CompactFeatures:
        picture = _resized(frames[:, :3].clamp(0.0, 1.0), self._geometry.scaled)
        # Mirrored: black beside the picture would be an edge that does not move.
        padded = pad_to(picture, *self._geometry.padded, "reflect")
        return CompactFeatures(frames, *self._net.encode(padded, self._geometry.levels))

    def _interpolated(self, left: CompactFeatures, right: CompactFeatures, times: Tensor) -> Tensor:
        encoded = (left.pictures, left.encoded), (right.pictures, right.encoded)
        motion = self._at_full_size(self._net.find(*encoded, times))
        return draw(motion, left.frames, right.frames)

    def _at_full_size(self, motion: FlowState) -> FlowState:
        size, scaled = self._geometry.size, self._geometry.scaled
        flow, mask = (x[..., : scaled[0], : scaled[1]] for x in (motion.flow, motion.mask))
        if scaled != size:
            x, y = size[1] / scaled[1], size[0] / scaled[0]
            # By Python numbers and in place: a tensor of them would be a copy to the device, which waits.
            flow = _resized(flow, size)
            # Channels 0 and 2 are x, 1 and 3 are y.
            flow[:, ::2].mul_(x)
            flow[:, 1::2].mul_(y)
            mask = _resized(mask, size)
        return FlowState(flow, mask, motion.hidden)


def _turned(x: Tensor) -> Tensor:
    """Turn by 180 degrees, without mirroring."""
    return x.flip(-1, -2)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize: averaged where it shrinks, bilinear where it grows; the same tensor at the same size."""
    if tuple(x.shape[-2:]) == size:
        return x
    if size[0] < x.shape[-2]:
        return F.interpolate(x, size, mode="area")
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def activation_bytes(geometry: Geometry, dtype: torch.dtype, *, channels: int = 4) -> int:
    """Estimate the bytes that one timestep takes at its peak: in the network, or in the blend at full size.

    Fitted to peaks at 544 x 960 and 1088 x 1920, 253 to 277 bytes a pixel in float32 (before its step of
    least squares and its sharpening came in).
    """
    scaled = geometry.padded[0] * geometry.padded[1]
    whole = geometry.size[0] * geometry.size[1]
    network = scaled * (220 + 14 * dtype.itemsize)
    blending = scaled * 40 + whole * 4 * (3 * channels + 10)
    return max(network, blending)
