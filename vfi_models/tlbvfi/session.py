"""Runs the network on frames of one size: from two source frames to the frame in the middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import SupportsInt

import torch
import torch.nn.functional as F
from torch import Tensor

from .._ops.padding import pad_frames, round_up
from ..surroundings import exact_convolutions
from .bridge import Step, plan, sample
from .decoder import blended, residual
from .encoder import LATENT, STRIDE
from .flow import MULTIPLE, resized, warped
from .net import TlbvfiNet
from .noise import Fingerprint, Noise, SeededNoise
from .refine import COARSEST

_UNIT = 512
"""Both padded sides are multiples of this, but for one smaller side that the network can run at."""
_SMALLEST = 256
"""That side."""
LEAST_SCALE = 0.05
_FRAMES = 3
_GREY = 0.5


@dataclass(frozen=True)
class TlbvfiOptions:
    """The options of :meth:`~.Tlbvfi.open`."""

    seed: int = 0
    """Of the sampler's noise. The same clip and seed give the same frames."""
    eta: float = 1.0
    """Scales the sampler's noise; 0 to 1. At 0 the seed does not matter."""
    sample_steps: int = 10
    """Steps of the sampler, 3 to 1000."""
    flow_scale: float = 0.5
    """0.05 to 1: the size at which motion is computed. The published tables are of 0.25 (very large motion),
    0.5 and 1."""
    published_range: bool = False
    """As the published code does, read frames without a pixel below mid grey as if their 0..1 were -1..1: the
    result is paler. Off, all frames are treated alike."""
    tile: int = 0
    """256, or a multiple of 512: side of the tiles that a larger frame is made in, to need less memory. The
    normalisations and the attention then cover a tile, not the frame, so colours and detail may differ a
    little from tile to tile. 0: the frame is made in one piece."""
    overlap: int = 64
    """Least number of pixels that two tiles share; they are cross-faded there."""


@dataclass(frozen=True)
class Geometry:
    """The sizes, (height, width) each, that a picture goes through."""

    size: tuple[int, int]
    padded: tuple[int, int]
    scale: float
    canvas: tuple[int, int]
    """Size of the picture that the motion is computed on; the shrunken frame lies at its top left."""

    @classmethod
    def of(cls, height: int, width: int, scale: float) -> Geometry:
        """Work out the sizes. Published: multiples of 512, or exactly 256; sides below 256 are first padded
        to that.
        """
        padded = (_padded(height), _padded(width))
        # Less than a thousandth of a pixel is the rounding of the product: no pixel more for that.
        canvas = _each(padded, lambda side: round_up(ceil(side * scale - 1e-3), MULTIPLE))
        return cls((height, width), padded, scale, canvas)

    @property
    def latent(self) -> tuple[int, int]:
        """Return the size of a frame of the latent video."""
        return _each(self.padded, lambda side: side // STRIDE)


def _each(sides: tuple[int, int], function: Callable[[int], int]) -> tuple[int, int]:
    return function(sides[0]), function(sides[1])


def _padded(side: int) -> int:
    return _SMALLEST if side <= _SMALLEST else round_up(side, _UNIT)


@dataclass(frozen=True)
class FrameFeatures:
    """One source frame, encoded."""

    identity: Fingerprint
    """Of its content: seeds the noise of its pairs."""
    picture: Tensor
    """(1, 3, H, W) float32, padded, 0..1."""
    canvas: Tensor
    """(1, 3, h, w) float32: the picture that the motion is computed on, 0..1."""
    extra: Tensor | None
    """(1, C - 3, H, W) float32: channels past RGB, padded by repeating the edge."""
    features: tuple[Tensor, ...] = ()
    """Features of the tower at 1/2, 1/4 ... 1/32 of the padded size."""
    moving: tuple[Tensor, ...] = ()
    """Features of the tower on the canvas, for the motion, at 1, 1/2, 1/4, 1/8 of its size."""


TlbvfiFeatures = tuple[FrameFeatures, ...]
"""The features of N frames."""


class TlbvfiSession:
    """TLBVFI at one picture size; see :class:`~..interface.Session`.

    Convolutions run without TF32: with it, as in 16 bits, latents round to other entries of the codebook.

    Pairs run one after the other also where several are asked for: the latent is rounded to entries of a
    codebook, where the last bit of a sum, which depends on the batch, can decide between two entries.

    Args:
        net: on its device.
        geometry: of the frames.
        options: of the model.
        noise: of the sampler; by the seed of the options where it is left out.
    """

    def __init__(
        self, net: TlbvfiNet, geometry: Geometry, options: TlbvfiOptions, noise: Noise | None = None
    ) -> None:
        self._net = net
        self.geometry = geometry
        self._options = options
        self._noise = noise or SeededNoise(options.seed)
        self._steps: list[Step] = plan(options.sample_steps)
        self._empty: dict[bool, Tensor] = {}

    def encode(self, frames: Tensor) -> TlbvfiFeatures:
        """Encode source frames; see :class:`~..interface.Session`. Values outside 0..1 are clamped."""
        # Every layer keeps the layout of its input, and torch's group norm of channels last loses digits on
        # the CPU: a thousandth in the latent of a flat picture.
        frames = frames.contiguous()
        with exact_convolutions(frames.device):
            return tuple(self._encoded(frames[i : i + 1]) for i in range(len(frames)))

    def between(self, left: TlbvfiFeatures, right: TlbvfiFeatures, timestep: Tensor) -> Tensor:
        """Make the frame in the middle of each pair: every timestep is taken for 1/2."""
        count = max(len(left), len(right))
        frames = [self.middle(left[i % len(left)], right[i % len(right)]) for i in range(count)]
        return torch.cat(frames if count >= len(timestep) else frames * len(timestep))

    def middle(self, left: FrameFeatures, right: FrameFeatures, noise: Tensor | None = None) -> Tensor:
        """Make the frame in the middle of one pair, (1, C, height, width).

        Args:
            left, right: as :meth:`encode` returns them.
            noise: in place of the pair's own; see :meth:`draws`.
        """
        with exact_convolutions(left.picture.device):
            latent = self.latent(left, right)
            if noise is None:  # only now: while the host draws it, the device computes the latent
                noise = self.draws(left.identity, right.identity, self.geometry.latent)
            frame = self.decoded(self.sampled(latent, noise), left, right)
        height, width = self.geometry.size
        return frame[..., :height, :width]

    def close(self) -> None:
        """Drop the features of the empty picture."""
        self._empty = {}

    def latent(self, left: FrameFeatures, right: FrameFeatures) -> Tensor:
        """Compute the latent video of a pair with an empty middle, (1, 3, 3, H/32, W/32)."""
        left, right, raw = self._in_range(left, right)
        empty = torch.full_like(left.picture, 0.0 if raw else _GREY)
        # The tower of the empty picture is the same for all pairs; there are two, for the two ranges.
        if raw not in self._empty:
            self._empty[raw] = self._net.vqgan.encoder.tower(empty)[-1]
        pictures = (_ranged(left.picture, raw), empty, _ranged(right.picture, raw))
        deepest = (left.features[-1], self._empty[raw], right.features[-1])
        return self._net.vqgan.latent(torch.stack(pictures, 2), torch.stack(deepest, 2))

    def sampled(self, latent: Tensor, noise: Tensor | None) -> Tensor:
        """Sample the latent video with its middle, before it is quantised; without a sampler, return
        ``latent``.
        """
        if self._net.denoise_fn is None:
            return latent
        if noise is not None:
            noise = _sent(noise, latent.device) * self._options.eta
        return sample(self._net.denoise_fn, latent, self._steps, noise)

    def decoded(self, latent: Tensor, left: FrameFeatures, right: FrameFeatures) -> Tensor:
        """Decode the frame in the middle, (1, C, H, W), padded, 0..1."""
        left, right, _ = self._in_range(left, right)
        raw = self._is_raw(left.picture)  # the published decoder decides by the left frame alone
        flow = self.flow(left, right, raw=raw)
        maps = self._net.vqgan.decoder(self._net.vqgan.quantised(latent), left.features, right.features, flow)
        share = torch.sigmoid(maps[:, 3:])
        frame = blended(share, *warped(_ranged(left.picture, raw), _ranged(right.picture, raw), flow))
        frame += residual(maps)
        frame = frame.clamp_(-1.0, 1.0).add_(1.0).mul_(0.5) if raw else frame.clamp_(0.0, 1.0)
        if left.extra is None or right.extra is None:
            return frame
        return torch.cat((frame, blended(share, *warped(left.extra, right.extra, flow))), 1)

    def draws(self, left: SupportsInt, right: SupportsInt, size: tuple[int, int]) -> Tensor | None:
        """Draw the noise of every step but the last, (steps - 1, 1, 3, 3, *size); None where there is none.

        Args:
            left, right: fingerprints of the frames.
            size: height and width of the latent.
        """
        if self._options.eta == 0 or self._net.denoise_fn is None:
            return None
        shape = (len(self._steps) - 1, 1, LATENT, _FRAMES, *size)
        return self._noise(int(left), int(right), shape)

    def _encoded(self, frame: Tensor) -> FrameFeatures:
        geometry = self.geometry
        padded, extra = pad_frames(frame, *geometry.padded, "reflect")
        picture = padded.clamp(0.0, 1.0)
        canvas = picture
        if geometry.scale < 1:
            # The shrunken frame is not padded by reflection but laid on mid grey, as the published code does.
            height, width = _each(geometry.size, lambda side: max(side, _SMALLEST))
            small = resized(picture[..., :height, :width], geometry.scale)
            height, width = geometry.canvas
            canvas = F.pad(small, (0, width - small.shape[-1], 0, height - small.shape[-2]), value=_GREY)
        # The fingerprint is of the frame without padding: it depends on the content alone.
        return self._described(FrameFeatures(Fingerprint(frame[0, :3]), picture, canvas, extra))

    def _described(
        self, frame: FrameFeatures, *, raw: bool = False, raw_canvas: bool = False
    ) -> FrameFeatures:
        """Return the frame with the features of the tower."""
        tower = self._net.vqgan.encoder.tower
        features = tuple(tower(_ranged(frame.picture, raw)))
        if self.geometry.scale >= 1:
            return replace(frame, features=features[1:], moving=features[: COARSEST + 1])
        features = features[1:]
        return replace(
            frame, features=features, moving=tuple(tower(_ranged(frame.canvas, raw_canvas), COARSEST))
        )

    def _in_range(
        self, left: FrameFeatures, right: FrameFeatures
    ) -> tuple[FrameFeatures, FrameFeatures, bool]:
        """Return a pair with features of the range that the encoder reads it in, and whether that is
        -1..1.
        """
        raw = self._is_raw(left.picture, right.picture)
        raw_canvas = self._is_raw(left.canvas, right.canvas)
        if raw or raw_canvas:
            left, right = (self._described(side, raw=raw, raw_canvas=raw_canvas) for side in (left, right))
        return left, right, raw

    def flow(self, left: FrameFeatures, right: FrameFeatures, *, raw: bool = False) -> Tensor:
        """Estimate where the frame in the middle is found in both frames: (1, 4, H, W), pixels."""
        decoder, scale = self._net.vqgan.decoder, self.geometry.scale
        # Below scale 1 the published code gives this network -1..1, though it was trained on 0..1.
        canvases = [_ranged(side.canvas, raw or scale < 1) for side in (left, right)]
        flow: Tensor = decoder.refinenet(left.moving, right.moving, decoder.flownet(*canvases))
        if scale >= 1:
            return flow
        height, width = self.geometry.padded
        # A trifle more than 1 / scale: else rounding may lose the last row.
        full = resized(flow, (1.0 + 1e-12) / scale)[..., :height, :width]
        return full / scale

    def _is_raw(self, *pictures: Tensor) -> bool:
        """Tell whether the published code would read these pictures' -1..1 as 0..1."""
        return self._options.published_range and all(bool((p >= _GREY).all()) for p in pictures)


def _sent(noise: Tensor, device: torch.device) -> Tensor:
    """Copy noise to a device."""
    if device.type == "cuda":  # from pageable memory the copy would wait for everything that is queued
        noise = torch.empty(noise.shape, dtype=noise.dtype, device="cpu", pin_memory=True).copy_(noise)
    return noise.to(device, non_blocking=True)


def _ranged(picture: Tensor, raw: bool) -> Tensor:
    """Return a picture with values 0..1, or -1..1."""
    return 2.0 * picture - 1.0 if raw else picture
