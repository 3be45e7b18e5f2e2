"""The built-in network: small, any timestep, trained from scratch on generated motion.

Coarse to fine over picture pyramids. Both frames go through one encoder at every level; a symmetric
correlation, measured where the new frame is, finds the displacement between them by a soft maximum; a
decoder shared by all levels refines flow and visibility; Lucas-Kanade steps without parameters settle the
last fraction of a pixel; a fine block at half size decides what to take from which frame.

Flows follow the convention of ``_core.warp`` and point from the new frame to a source frame, in pixels of
the level they belong to. Flow, grids and matching are float32 in every dtype of the convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._core.warp import backward_warp, identity_grid

STRIDE = 4
"""Picture pixels to one feature, along a side, at every level."""

_SLOPE = 0.1
_REACH = 3
_WINDOW = 2 * _REACH + 1
_FEATURES = 32
_HIDDEN = 16
_FLOW_UNIT = 8.0
"""Flow in pixels is divided by this where a convolution reads it."""


@dataclass(frozen=True)
class Motion:
    """Where a new frame comes from, at the resolution of one level."""

    flow: Tensor
    """(K, 4, H, W) float32: x, y to the left frame, then x, y to the right frame."""
    mask: Tensor
    """(K, 1, H, W) float32: logit of the left frame's share."""
    hidden: Tensor
    """(K, 16, H, W): what the decoder hands from level to level."""

    def doubled(self) -> Motion:
        """The same motion at twice the resolution."""
        return Motion(2.0 * _double(self.flow), _double(self.mask), _double(self.hidden))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(_SLOPE))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(F.leaky_relu(self.first(x), _SLOPE))
        return F.leaky_relu(x + inner, _SLOPE)


class Encoder(nn.Module):
    """Picture (N, 3, H, W) to features (N, 32, H/4, W/4); one frame alone, the same at every level."""

    def __init__(self) -> None:
        super().__init__()
        # Even kernels: a feature sits in the middle of its 4 x 4 pixels, as in an averaged pyramid.
        self.stem = nn.Conv2d(3, _FEATURES, 4, stride=2, padding=1)
        self.shrink = nn.Conv2d(_FEATURES, _FEATURES, 4, stride=2, padding=1)
        self.body = nn.Sequential(_Residual(_FEATURES), _Residual(_FEATURES))
        self.out = nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(picture - 0.5), _SLOPE)
        x = F.leaky_relu(self.shrink(x), _SLOPE)
        return self.out(self.body(x))


def _unit(features: Tensor) -> Tensor:
    """Centred over the channels and of length 1, float32."""
    features = features.float()
    return F.normalize(features - features.mean(1, keepdim=True), dim=1, eps=1e-3)


def symmetric_correlation(left: Tensor, right: Tensor) -> Tensor:
    """Agreement of two feature maps for every displacement of a 7 x 7 window.

    A displacement d between the frames is tried with the left features taken at about -d/2 and the right
    ones at about +d/2, so that each cost belongs to the place of the new frame.

    Args:
        left, right: (N, C, H, W) float32, seen from the new frame.

    Returns:
        (N, 49, H, W) float32; displacement (x, y) = (i % 7 - 3, i // 7 - 3) at index i.
    """
    height, width = left.shape[-2:]
    margin = (_REACH + 1) // 2
    left = F.pad(left, (margin,) * 4)
    right = F.pad(right, (margin,) * 4)

    def shifted(x: Tensor, dx: int, dy: int) -> Tensor:
        return x[..., margin + dy : margin + dy + height, margin + dx : margin + dx + width]

    costs = []
    for dy in range(-_REACH, _REACH + 1):
        for dx in range(-_REACH, _REACH + 1):
            back_x, back_y = -(dx // 2), -(dy // 2)
            costs.append((shifted(left, back_x, back_y) * shifted(right, dx + back_x, dy + back_y)).sum(1))
    return torch.stack(costs, 1)


def expected_displacement(cost: Tensor, sharpness: Tensor) -> Tensor:
    """Mean displacement under a softmax of the cost, averaged over 3 x 3 places.

    Args:
        cost: (N, 49, H, W) of :func:`symmetric_correlation`.
        sharpness: () factor on the cost.

    Returns:
        (N, 2, H, W) pixels of this level from the left to the right frame, x then y.
    """
    cost = F.avg_pool2d(cost, 3, 1, 1, count_include_pad=False)
    weight = torch.softmax(cost * sharpness, 1)
    steps = torch.arange(-_REACH, _REACH + 1, device=cost.device, dtype=cost.dtype)
    table = torch.stack((steps.repeat(_WINDOW), steps.repeat_interleave(_WINDOW)))
    return torch.einsum("dk,nkhw->ndhw", table, weight)


class Decoder(nn.Module):
    """Refines a level's motion from what both frames look like where it points."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(3.0))
        inputs = 2 * _FEATURES + _WINDOW**2 + 2 + 4 + 1 + _HIDDEN + 1
        self.enter = _convolution(inputs, width)
        self.body = nn.Sequential(_Residual(width), _Residual(width))
        self.leave = nn.Conv2d(width, 4 + 1 + _HIDDEN, 3, padding=1)

    def forward(self, left: Tensor, right: Tensor, motion: Motion, timestep: Tensor) -> Motion:
        """Features (K, 32, H, W) of both frames already warped by ``motion``; timestep (K, 1, 1, 1)."""
        dtype = self.leave.weight.dtype
        left, right = _unit(left), _unit(right)
        cost = symmetric_correlation(left, right)
        apart = expected_displacement(cost, self.sharpness.float().exp())
        flow = motion.flow + torch.cat((-timestep * apart, (1.0 - timestep) * apart), 1)
        plane = timestep.expand(-1, 1, *flow.shape[-2:])
        known = (left, right, cost, apart, flow / _FLOW_UNIT, motion.mask, motion.hidden.float(), plane)
        out = self.leave(self.body(self.enter(torch.cat(known, 1).to(dtype))))
        update, mask, hidden = out[:, :4].float(), out[:, 4:5].float(), out[:, 5:]
        return Motion(flow + update, motion.mask + mask, hidden)


def lucas_kanade(motion: Motion, left: Tensor, right: Tensor, timestep: Tensor, *, grid: Tensor) -> Motion:
    """One step of the classic least squares on what two warped pictures still differ by.

    Works only where both frames are in view by the mask; never further than a pixel; without gradient.

    Args:
        motion: at the resolution of the pictures.
        left, right: (K, 3, H, W) float32 source pictures, not yet warped.
        timestep: (K, 1, 1, 1) float32.
        grid: ``identity_grid`` of that size.

    Source: Lucas and Kanade, An iterative image registration technique, 1981; seen from between the frames.
    """
    with torch.no_grad():
        seen_left = backward_warp(left, motion.flow[:, :2], grid)
        seen_right = backward_warp(right, motion.flow[:, 2:], grid)
        slope_x, slope_y = _slopes(timestep * seen_left + (1.0 - timestep) * seen_right)
        apart = seen_right - seen_left
        moments = torch.stack(
            (
                (slope_x * slope_x).mean(1),
                (slope_x * slope_y).mean(1),
                (slope_y * slope_y).mean(1),
                (slope_x * apart).mean(1),
                (slope_y * apart).mean(1),
            ),
            1,
        )
        xx, xy, yy, xt, yt = F.avg_pool2d(moments, 7, 1, 3, count_include_pad=False).unbind(1)
        # The noise floor: slopes below about one grey level of 255 say nothing about where to go.
        xx, yy = xx + 2e-5, yy + 2e-5
        determinant = xx * yy - xy * xy
        step = torch.stack((xy * yt - yy * xt, xy * xt - xx * yt), 1) / determinant.unsqueeze(1)
        share = torch.sigmoid(motion.mask)
        step = 4.0 * share * (1.0 - share) * step / step.norm(dim=1, keepdim=True).clamp(min=1.0)
        flow = motion.flow + torch.cat((-timestep * step, (1.0 - timestep) * step), 1)
    return Motion(motion.flow + (flow - motion.flow).detach(), motion.mask, motion.hidden)


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, the border repeated."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return x, y


class Fine(nn.Module):
    """The last word at half size: flow and mask once more, and a small residual, at full size."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.enter = _convolution(12 + 12 + 1 + 1 + 4 + 1 + _HIDDEN + 1, width)
        self.body = nn.Sequential(_convolution(width, width), _Residual(width))
        self.leave = nn.Conv2d(width, 4 * (4 + 1 + 3), 3, padding=1)

    def forward(self, left: Tensor, right: Tensor, motion: Motion, timestep: Tensor) -> tuple[Motion, Tensor]:
        """Warped pictures (K, 3, 2H, 2W) and the motion at H x W; the motion's flow is of full size.

        Returns:
            Motion at 2H x 2W, and the residual (K, 3, 2H, 2W) float32.
        """
        flow = F.avg_pool2d(motion.flow, 2) / _FLOW_UNIT
        # Zero where a thing moves evenly: the two flows then point opposite ways in the ratio of the times.
        uneven = ((1.0 - timestep) * flow[:, :2] + timestep * flow[:, 2:]).abs().sum(1, keepdim=True)
        known = (
            F.pixel_unshuffle(left, 2),
            F.pixel_unshuffle(right, 2),
            F.avg_pool2d((left - right).abs().mean(1, keepdim=True), 2),
            uneven,
            flow,
            motion.mask,
            motion.hidden.float(),
            timestep.expand(-1, 1, *motion.mask.shape[-2:]),
        )
        out = self.leave(self.body(self.enter(torch.cat(known, 1).to(self.leave.weight.dtype))))
        update = F.pixel_shuffle(out, 2).float()
        made = Motion(motion.flow + update[:, :4], _double(motion.mask) + update[:, 4:5], motion.hidden)
        return made, 0.1 * update[:, 5:]


class CompactNet(nn.Module):
    """The whole network; see the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.fine = Fine()
        for last in (self.decoder.leave, self.fine.leave):
            nn.init.zeros_(last.bias)
            with torch.no_grad():
                last.weight.mul_(0.1)

    @property
    def dtype(self) -> torch.dtype:
        """What the convolutions run in."""
        return self.fine.leave.weight.dtype

    def encode(self, picture: Tensor, levels: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Pictures and features of one frame at every level, fine to coarse.

        Args:
            picture: (N, 3, H, W) float32; H and W multiples of ``4 * 2 ** (levels - 1)``.
        """
        pictures = [picture]
        for _ in range(levels - 1):
            pictures.append(F.avg_pool2d(pictures[-1], 2))
        return tuple(pictures), tuple(self.encoder(x.to(self.dtype)) for x in pictures)

    def match(
        self, left: tuple[Tensor, ...], right: tuple[Tensor, ...], timestep: Tensor
    ) -> list[Motion]:
        """Motion after every level, coarse to fine, from features fine to coarse."""
        made: list[Motion] = []
        for seen_left, seen_right in zip(reversed(left), reversed(right), strict=True):
            if made:
                motion = made[-1].doubled()
                grid = identity_grid(*seen_left.shape[-2:], seen_left.device)
                seen_left = backward_warp(seen_left, motion.flow[:, :2], grid)  # noqa: PLW2901
                seen_right = backward_warp(seen_right, motion.flow[:, 2:], grid)  # noqa: PLW2901
            else:
                motion = self._rest(seen_left, timestep)
            made.append(self.decoder(seen_left, seen_right, motion, timestep))
        return made

    def finish(
        self, motion: Motion, left: tuple[Tensor, ...], right: tuple[Tensor, ...], timestep: Tensor
    ) -> tuple[Motion, Tensor]:
        """From the motion at 1/4 to motion and residual at full size; pictures at full and half size."""
        half = motion.doubled()
        grid = identity_grid(*left[1].shape[-2:], left[1].device)
        for _ in range(2):
            half = lucas_kanade(half, left[1], right[1], timestep, grid=grid)
        grid = identity_grid(*left[0].shape[-2:], left[0].device)
        full = lucas_kanade(half.doubled(), left[0], right[0], timestep, grid=grid)
        warped = (backward_warp(left[0], full.flow[:, :2], grid), backward_warp(right[0], full.flow[:, 2:], grid))
        return self.fine(*warped, Motion(full.flow, half.mask, half.hidden), timestep)

    def _rest(self, like: Tensor, timestep: Tensor) -> Motion:
        """No motion: both frames in the same place, equally in view."""
        count, (height, width) = timestep.shape[0], like.shape[-2:]
        zeros = torch.zeros(count, 4 + 1, height, width, device=like.device)
        hidden = torch.zeros(count, _HIDDEN, height, width, device=like.device, dtype=like.dtype)
        return Motion(zeros[:, :4], zeros[:, 4:], hidden)


def blend(motion: Motion, left: Tensor, right: Tensor) -> Tensor:
    """Pictures (K, C, H, W) warped by the motion of that size and mixed by its mask."""
    grid = identity_grid(*motion.flow.shape[-2:], motion.flow.device)
    share = torch.sigmoid(motion.mask)
    return torch.lerp(
        backward_warp(right, motion.flow[:, 2:], grid), backward_warp(left, motion.flow[:, :2], grid), share
    )
