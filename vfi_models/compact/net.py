"""The built-in network: small, any timestep, trained from scratch on generated motion.

Coarse to fine over picture pyramids. Both frames go through one encoder at every level; a symmetric
correlation, measured where the new frame is, finds the displacement between them by a soft maximum; a
decoder shared by all levels refines flow and visibility; Lucas-Kanade steps without parameters settle the
last fraction of a pixel, and what has not changed is held still; a fine block at half size decides what to
take from which frame.

Flows follow the convention of ``_ops.warp`` and point from the new frame to a source frame, in pixels of
the level they belong to. Flow, grids and matching are float32 in every dtype of the convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._ops.convolution import LeakyConv2d
from .._ops.warp import halved
from .flow import (
    Motion,
    doubled,
    lucas_kanade,
    no_motion,
    rested,
    settled,
    warped,
)
from .matching import expected_displacement, symmetric_correlation, unit

STRIDE = 4
"""Picture pixels to one feature, along a side, at every level."""

_SLOPE = 0.1
_REACH = 3
_WINDOW = 2 * _REACH + 1
_FEATURES = 32
_HIDDEN = 16
_FLOW_UNIT = 8.0
"""Flow in pixels is divided by this where a convolution reads it."""
_GENTLE = 0.1
"""Scale of the last layers before training: the first guesses are those of the correlation alone."""
_STEPS_AT_HALF, _STEPS_AT_FULL = 1, 1
"""Lucas-Kanade steps after the last level."""
Encoded = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""Pictures and features of a frame, see :meth:`CompactNet.encode`."""


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(LeakyConv2d(inputs, outputs, slope=_SLOPE))


class Residual(nn.Module):
    """Two convolutions whose outcome is added to what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = LeakyConv2d(width, width, slope=_SLOPE)
        self.second = LeakyConv2d(width, width, slope=_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        made: Tensor = self.second(self.first(x), x)
        return made


class Encoder(nn.Module):
    """Picture (N, 3, H, W) to features (N, 32, H/4, W/4); one frame alone, the same at every level."""

    def __init__(self) -> None:
        super().__init__()
        # Even kernels: a feature sits in the middle of its 4 x 4 pixels, as in an averaged pyramid.
        self.stem = LeakyConv2d(3, _FEATURES, 4, stride=2, slope=_SLOPE)
        self.shrink = LeakyConv2d(_FEATURES, _FEATURES, 4, stride=2, slope=_SLOPE)
        self.body = nn.Sequential(Residual(_FEATURES), Residual(_FEATURES))
        self.out = LeakyConv2d(_FEATURES, _FEATURES)

    def forward(self, picture: Tensor) -> Tensor:
        """See the class."""
        features: Tensor = self.out(self.body(self.shrink(self.stem(picture - 0.5))))
        return features


class Decoder(nn.Module):
    """Refines a level's motion from what both frames look like where it points."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(3.0, dtype=torch.float32, device="cpu"))
        inputs = 2 * _FEATURES + _WINDOW**2 + 2 + 4 + 1 + _HIDDEN + 1
        self.enter = _convolution(inputs, width)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.leave = LeakyConv2d(width, 4 + 1 + _HIDDEN)

    def forward(self, left: Tensor, right: Tensor, motion: Motion, timestep: Tensor) -> Motion:
        """Features (K, 32, H, W) of both frames already warped by ``motion``; timestep (K, 1, 1, 1)."""
        dtype = self.leave.weight.dtype
        left, right = unit(left), unit(right)
        cost = symmetric_correlation(left, right, _REACH)
        apart = expected_displacement(cost, self.sharpness.float().exp())
        flow = motion.flow + torch.cat((-timestep * apart, (1.0 - timestep) * apart), 1)
        plane = timestep.expand(-1, 1, *flow.shape[-2:])
        known = (left, right, cost, apart, flow / _FLOW_UNIT, motion.mask, motion.hidden, plane)
        out = self.leave(self.body(self.enter(torch.cat([x.to(dtype) for x in known], 1))))
        update, mask, hidden = out[:, :4].float(), out[:, 4:5].float(), out[:, 5:]
        return Motion(flow + update, motion.mask + mask, hidden)


class Fine(nn.Module):
    """The last word at half size: flow and mask once more, and a small residual, at full size."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.enter = _convolution(12 + 12 + 1 + 1 + 4 + 1 + _HIDDEN + 1, width)
        self.body = nn.Sequential(_convolution(width, width), Residual(width))
        self.leave = LeakyConv2d(width, 4 * (4 + 1 + 3))

    def forward(self, left: Tensor, right: Tensor, motion: Motion, timestep: Tensor) -> tuple[Motion, Tensor]:
        """Warped pictures (K, 3, 2H, 2W) and the motion at H x W; the motion's flow is of full size.

        Returns:
            Motion at 2H x 2W, and the residual (K, 3, 2H, 2W) float32.
        """
        flow = halved(motion.flow) / _FLOW_UNIT
        # Zero where a thing moves evenly: the two flows then point opposite ways in the ratio of the times.
        uneven = ((1.0 - timestep) * flow[:, :2] + timestep * flow[:, 2:]).abs().sum(1, keepdim=True)
        known = (
            F.pixel_unshuffle(left, 2),
            F.pixel_unshuffle(right, 2),
            halved((left - right).abs().mean(1, keepdim=True)),
            uneven,
            flow,
            motion.mask,
            motion.hidden,
            timestep.expand(-1, 1, *motion.mask.shape[-2:]),
        )
        dtype = self.leave.weight.dtype
        out = self.leave(self.body(self.enter(torch.cat([x.to(dtype) for x in known], 1))))
        update = _shuffled(out)
        made = Motion(motion.flow + update[:, :4], doubled(motion.mask) + update[:, 4:5], motion.hidden)
        return made, 0.1 * update[:, 5:]


def _grey(picture: Tensor) -> Tensor:
    """(K, 3, H, W) to (K, 1, H, W); torch's mean over so few channels takes longer."""
    return (picture[:, :1] + picture[:, 1:2]).add_(picture[:, 2:]).div_(3)


def _shuffled(x: Tensor) -> Tensor:
    """``pixel_shuffle(x, 2)`` as float32 planes; in one pass where no gradient is wanted."""
    if torch.is_grad_enabled():
        return F.pixel_shuffle(x, 2).float()
    count, channels, height, width = x.shape
    out = x.new_empty(count, channels // 4, 2 * height, 2 * width, dtype=torch.float32)
    cells = x.float().view(count, -1, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    out.view(count, -1, height, 2, width, 2).copy_(cells)
    return out


class CompactNet(nn.Module):
    """The whole network; see the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.fine = Fine()
        with torch.no_grad():
            for last in (self.decoder.leave, self.fine.leave):
                for parameter in last.parameters():
                    parameter.mul_(_GENTLE if parameter.ndim > 1 else 0.0)

    @property
    def dtype(self) -> torch.dtype:
        """What the convolutions run in."""
        return self.fine.leave.weight.dtype

    def encode(self, picture: Tensor, levels: int) -> Encoded:
        """Pictures and features of one frame at every level, fine to coarse.

        Args:
            picture: (N, 3, H, W) float32; H and W multiples of ``4 * 2 ** (levels - 1)``.

        Returns:
            ``levels + 2`` pictures, each half the one before; the features of the first ``levels`` of them,
            each of the size of the picture two further on.
        """
        pictures = [picture]
        for _ in range(levels + 1):
            pictures.append(halved(pictures[-1]))
        return tuple(pictures), tuple(self.encoder(x.to(self.dtype)) for x in pictures[:levels])

    def match(
        self, left: Encoded, right: Encoded, timestep: Tensor, *, training: bool = False
    ) -> list[Motion]:
        """Motion after every level, coarse to fine, the last at 1/4.

        Args:
            left, right: what :meth:`encode` returns.
            timestep: (K, 1, 1, 1) float32.
            training: leaves out :func:`settled`, which only helps once the decoder has learned.
        """
        made: list[Motion] = []
        coarsest = len(left[1]) - 1
        for level in range(coarsest, -1, -1):
            seen_left, seen_right = left[1][level], right[1][level]
            if made:
                motion = made[-1].doubled()
                seen_left, seen_right = warped(motion.flow, seen_left, seen_right)
            else:
                motion = no_motion(seen_left, timestep.shape[0], _HIDDEN)
            motion = self.decoder(seen_left, seen_right, motion, timestep)
            if not training and level < coarsest:
                motion = settled(motion, left[0][level + 2], right[0][level + 2], timestep)
            made.append(motion)
        return made

    def finish(
        self,
        motion: Motion,
        left: Sequence[Tensor],
        right: Sequence[Tensor],
        timestep: Tensor,
        *,
        training: bool = False,
    ) -> tuple[Motion, Tensor]:
        """From the motion at 1/4 to the motion and the residual (K, 3, H, W) at full size.

        Args:
            motion: the last of :meth:`match`.
            left, right: (K, 3, h, w) pictures at full size, at half size.
            timestep: (K, 1, 1, 1) float32.
            training: leaves out :func:`rested`, which only helps once the rest is learned.
        """
        half = motion.doubled()
        # By brightness alone: colours would take a third more time and bring nothing to the picture.
        grey_left, grey_right = ([_grey(picture) for picture in side[:2]] for side in (left, right))
        flow = half.flow
        for _ in range(_STEPS_AT_HALF):
            flow = lucas_kanade(flow, half.mask, grey_left[1], grey_right[1], timestep)
        flow = 2.0 * doubled(flow)
        if not training:
            flow = rested(flow, grey_left[0], grey_right[0])
        for _ in range(_STEPS_AT_FULL):
            flow = lucas_kanade(flow, doubled(half.mask), grey_left[0], grey_right[0], timestep)
        at_half = Motion(flow, half.mask, half.hidden)
        made: tuple[Motion, Tensor] = self.fine(*warped(flow, left[0], right[0]), at_half, timestep)
        return made

    def find(self, left: Encoded, right: Encoded, timestep: Tensor) -> tuple[Motion, Tensor]:
        """Return motion and residual (K, 3, H, W) at full size; see :meth:`match`."""
        at_quarter = self.match(left, right, timestep)[-1]
        return self.finish(at_quarter, left[0], right[0], timestep)
