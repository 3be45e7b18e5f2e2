"""The built-in network: small, any timestep, trained from scratch on generated motion.

Coarse to fine over picture pyramids. Both frames go through one encoder at every level; a symmetric
correlation, measured where the new frame is, finds the displacement between them by a soft maximum; a
decoder shared by all levels refines flow and visibility; Lucas-Kanade steps without parameters find the last
fraction of a pixel, and flow is set to zero where nothing changed; a fine block at half size decides how much
of each frame to show.

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
    FlowState,
    blend,
    doubled,
    lucas_kanade,
    no_motion,
    step_where_better,
    warped,
    zero_where_still,
)
from .matching import expected_displacement, symmetric_correlation, unit

STRIDE = 4
"""Picture pixels to one feature, along a side, at every level."""

_SLOPE = 0.1
_REACH = 3
_WINDOW = 2 * _REACH + 1
_FEATURES = 32
_HIDDEN = 16
# Flow in pixels is divided by this where a convolution reads it.
_FLOW_UNIT = 8.0
# Scale of the last layers before training: the first guesses are those of the correlation alone.
_GENTLE = 0.1
# Lucas-Kanade steps after the last level.
_STEPS_AT_HALF, _STEPS_AT_FULL = 1, 1
Encoded = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""Pictures and features of a frame, see :meth:`CompactNet.encode`."""


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(LeakyConv2d(inputs, outputs, slope=_SLOPE))


class Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = LeakyConv2d(width, width, slope=_SLOPE)
        self.second = LeakyConv2d(width, width, slope=_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: (N, C, H, W) to the same shape."""
        out: Tensor = self.second(self.first(x), x)
        return out


class Encoder(nn.Module):
    """Turns a picture (N, 3, H, W) into features (N, 32, H/4, W/4): of one frame, alike at every level."""

    def __init__(self) -> None:
        super().__init__()
        # Even kernels: a feature sits in the middle of its 4 x 4 pixels, as in an averaged pyramid.
        self.stem = LeakyConv2d(3, _FEATURES, 4, stride=2, slope=_SLOPE)
        self.shrink = LeakyConv2d(_FEATURES, _FEATURES, 4, stride=2, slope=_SLOPE)
        self.body = nn.Sequential(Residual(_FEATURES), Residual(_FEATURES))
        self.out = LeakyConv2d(_FEATURES, _FEATURES)

    def forward(self, picture: Tensor) -> Tensor:
        """Encode a picture (N, 3, H, W) in 0..1."""
        features: Tensor = self.out(self.body(self.shrink(self.stem(picture - 0.5))))
        return features


class Decoder(nn.Module):
    """Refines a level's flow and mask from the features of both frames, warped by the flow."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(3.0, dtype=torch.float32, device="cpu"))
        # Features of both frames, costs, displacement, flow, mask, hidden state, timestep.
        inputs = 2 * _FEATURES + _WINDOW**2 + 2 + 4 + 1 + _HIDDEN + 1
        self.enter = _convolution(inputs, width)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.leave = LeakyConv2d(width, 4 + 1 + _HIDDEN)

    def forward(self, left: Tensor, right: Tensor, motion: FlowState, timestep: Tensor) -> FlowState:
        """Refine the motion of a level.

        Args:
            left, right: features (K, 32, H, W) of both frames, already warped by ``motion``.
            motion: at this level's size, from the coarser one.
            timestep: (K, 1, 1, 1) float32.
        """
        dtype = self.leave.weight.dtype
        left, right = unit(left), unit(right)
        cost = symmetric_correlation(left, right, _REACH)
        step = expected_displacement(cost, self.sharpness.float().exp())
        # From the frame at t it is -t of the displacement back to the left frame, and 1 - t of it on to the
        # right one.
        flow = motion.flow + torch.cat((-timestep * step, (1.0 - timestep) * step), 1)
        plane = timestep.expand(-1, 1, *flow.shape[-2:])
        inputs = (left, right, cost, step, flow / _FLOW_UNIT, motion.mask, motion.hidden, plane)
        out = self.leave(self.body(self.enter(torch.cat([x.to(dtype) for x in inputs], 1))))
        update, mask, hidden = out[:, :4].float(), out[:, 4:5].float(), out[:, 5:]
        return FlowState(flow + update, motion.mask + mask, hidden)


class Fine(nn.Module):
    """The last refinement, at half size: flow, mask and a small residual for the picture at full size."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        # Both warped pictures (2 x 2 pixels of RGB side by side), their difference, unevenness, flow, mask,
        # hidden state, timestep.
        self.enter = _convolution(12 + 12 + 1 + 1 + 4 + 1 + _HIDDEN + 1, width)
        self.body = nn.Sequential(_convolution(width, width), Residual(width))
        # Flow, mask and residual of the 2 x 2 pixels that each of these becomes.
        self.leave = LeakyConv2d(width, 4 * (4 + 1 + 3))

    def forward(
        self, left: Tensor, right: Tensor, motion: FlowState, timestep: Tensor
    ) -> tuple[FlowState, Tensor]:
        """Refine the motion, and predict the residual.

        Args:
            left, right: warped pictures (K, 3, 2H, 2W).
            motion: mask and hidden state at H x W; the flow at full size, 2H x 2W.
            timestep: (K, 1, 1, 1) float32.

        Returns:
            The motion at 2H x 2W, and the residual (K, 3, 2H, 2W) float32.
        """
        flow = halved(motion.flow) / _FLOW_UNIT
        # Zero where motion is uniform: the two flows then point opposite ways in the ratio of the times.
        uneven = ((1.0 - timestep) * flow[:, :2] + timestep * flow[:, 2:]).abs().sum(1, keepdim=True)
        inputs = (
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
        out = self.leave(self.body(self.enter(torch.cat([x.to(dtype) for x in inputs], 1))))
        update = _shuffled(out)
        refined = FlowState(motion.flow + update[:, :4], doubled(motion.mask) + update[:, 4:5], motion.hidden)
        return refined, 0.1 * update[:, 5:]


def _grey(picture: Tensor) -> Tensor:
    """Average the colours, (K, 3, H, W) to (K, 1, H, W); torch's mean over so few channels takes longer."""
    return (picture[:, :1] + picture[:, 1:2]).add_(picture[:, 2:]).div_(3)


def _shuffled(x: Tensor) -> Tensor:
    """Return ``pixel_shuffle(x, 2)`` as float32 planes; in one pass where no gradient is wanted."""
    if torch.is_grad_enabled():
        return F.pixel_shuffle(x, 2).float()
    count, channels, height, width = x.shape
    out = x.new_empty(count, channels // 4, 2 * height, 2 * width, dtype=torch.float32)
    # (K, c, row, column, h, w) to (K, c, h, row, w, column), row and column being those in a cell of 2 x 2.
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
            # See _GENTLE; biases begin at 0.
            for last in (self.decoder.leave, self.fine.leave):
                for parameter in last.parameters():
                    parameter.mul_(_GENTLE if parameter.ndim > 1 else 0.0)

    @property
    def dtype(self) -> torch.dtype:
        """Return what the convolutions run in."""
        return self.fine.leave.weight.dtype

    def encode(self, picture: Tensor, levels: int) -> Encoded:
        """Compute the pictures and the features of one frame at every level, fine to coarse.

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
    ) -> list[FlowState]:
        """Find the motion at every level, coarse to fine, the last at 1/4.

        Args:
            left, right: as :meth:`encode` returns them.
            timestep: (K, 1, 1, 1) float32.
            training: leave out :func:`step_where_better`, which only helps once the decoder has learned.
        """
        motions: list[FlowState] = []
        coarsest = len(left[1]) - 1
        for level in range(coarsest, -1, -1):
            left_features, right_features = left[1][level], right[1][level]
            if motions:
                motion = motions[-1].doubled()
                left_features, right_features = warped(motion.flow, left_features, right_features)
            else:
                motion = no_motion(left_features, timestep.shape[0], _HIDDEN)
            motion = self.decoder(left_features, right_features, motion, timestep)
            if not training and level < coarsest:
                # Features are at a quarter of their picture, so the picture of their size is two further on.
                motion = step_where_better(motion, left[0][level + 2], right[0][level + 2], timestep)
            motions.append(motion)
        return motions

    def finish(
        self,
        motion: FlowState,
        left: Sequence[Tensor],
        right: Sequence[Tensor],
        timestep: Tensor,
        *,
        training: bool = False,
    ) -> tuple[FlowState, Tensor]:
        """Refine the motion at 1/4 to the motion and the residual (K, 3, H, W) at full size.

        Args:
            motion: the last of :meth:`match`.
            left, right: (K, 3, h, w) pictures at full size, at half size.
            timestep: (K, 1, 1, 1) float32.
            training: leave out :func:`zero_where_still`, which only helps once everything else is learned.
        """
        half = motion.doubled()
        # By brightness alone: colours take a third more time and do not change the picture.
        grey_left, grey_right = ([_grey(picture) for picture in side[:2]] for side in (left, right))
        flow = half.flow
        for _ in range(_STEPS_AT_HALF):
            flow = lucas_kanade(flow, half.mask, grey_left[1], grey_right[1], timestep)
        flow = 2.0 * doubled(flow)
        if not training:
            flow = zero_where_still(flow, grey_left[0], grey_right[0])
        for _ in range(_STEPS_AT_FULL):
            flow = lucas_kanade(flow, doubled(half.mask), grey_left[0], grey_right[0], timestep)
        at_half = FlowState(flow, half.mask, half.hidden)
        refined: tuple[FlowState, Tensor] = self.fine(*warped(flow, left[0], right[0]), at_half, timestep)
        return refined

    def find(self, left: Encoded, right: Encoded, timestep: Tensor) -> tuple[FlowState, Tensor]:
        """Find motion and residual (K, 3, H, W) at full size; see :meth:`match`."""
        at_quarter = self.match(left, right, timestep)[-1]
        return self.finish(at_quarter, left[0], right[0], timestep)

    def draw(self, motion: FlowState, detail: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Warp and mix the frames (K, C, H, W), and add the residual (K, 3, H, W) to RGB."""
        frames = blend(motion, left, right)
        frames[:, :3] += detail
        return frames
