"""Motion between two frames as seen from a new one, and what can be done about it without parameters.

Flows follow the convention of ``_ops.warp`` and point from the new frame to a source frame, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._ops.warp import backward_warp, identity_grid

_WINDOW_SIDE = 7
"""Pixels along a side of what Lucas-Kanade and :func:`rested` look at around a place."""
_ALIKE = 1e-4
"""Mean squared difference of two pictures (0..1) that says little: 2.5 grey levels of 255."""
_BETTER, _RAMP = 0.8, 0.5
"""The step of :func:`settled` counts once it leaves less than the first part of the disagreement, and counts
in full that much below."""
_NOISE_FLOOR = 2e-5
"""Mean squared slope (of 0..1 a pixel) that says nothing about where to go: about one grey level of 255."""


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
        return Motion(2.0 * doubled(self.flow), doubled(self.mask), doubled(self.hidden))


def no_motion(like: Tensor, count: int, hidden: int) -> Motion:
    """Return ``count`` times no motion: both frames in the same place, equally in view.

    Args:
        like: (N, C, H, W) features, for their size, device and, of what is hidden, their dtype.
        count: K.
        hidden: channels that the decoder hands on.
    """
    size = like.shape[-2:]
    zeros = like.new_zeros(count, 4 + 1, *size, dtype=torch.float32)
    return Motion(zeros[:, :4], zeros[:, 4:], like.new_zeros(count, hidden, *size))


def doubled(x: Tensor) -> Tensor:
    """(N, C, H, W) at twice the resolution."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def blend(motion: Motion, left: Tensor, right: Tensor) -> Tensor:
    """Pictures (K, C, H, W) warped by the motion of that size and mixed by its mask."""
    seen_left, seen_right = warped(motion.flow, left, right)
    return torch.lerp(seen_right, seen_left, torch.sigmoid(motion.mask))


def lucas_kanade(flow: Tensor, mask: Tensor, left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
    """One step of the classic least squares on what two warped pictures still differ by.

    Works only where both frames are in view by the mask; never further than a pixel; without gradient.

    Args:
        flow: (K, 4, H, W) float32 pixels, as in :class:`Motion`.
        mask: (K, 1, H, W) logit of the left frame's share.
        left, right: (K, C, H, W) float32 source pictures, not yet warped.
        timestep: (K, 1, 1, 1) float32.

    Returns:
        The flow moved along the path from frame to frame; its gradient is that of ``flow``.

    Source: Lucas and Kanade, An iterative image registration technique, 1981; seen from between the frames.
    """
    with torch.no_grad():
        seen_left, seen_right = warped(flow, left, right)
        slope_x, slope_y = _slopes(torch.lerp(seen_right, seen_left, timestep))
        apart = seen_right - seen_left
        pairs = (
            (slope_x, slope_x), (slope_x, slope_y), (slope_y, slope_y), (slope_x, apart), (slope_y, apart)
        )  # fmt: skip
        moments = torch.stack([_mean_product(a, b) for a, b in pairs], 1)
        xx, xy, yy, xt, yt = around(moments).unbind(1)
        xx, yy = xx + _NOISE_FLOOR, yy + _NOISE_FLOOR
        step = torch.stack((xy * yt - yy * xt, xy * xt - xx * yt), 1) / (xx * yy - xy * xy).unsqueeze(1)
        length = (step[:, :1].square() + step[:, 1:].square()).sqrt_()
        share = torch.sigmoid(mask)
        step = step * (4.0 * share * (1.0 - share) / length.clamp_(min=1.0))
    return flow + torch.cat((-timestep * step, (1.0 - timestep) * step), 1)


def settled(motion: Motion, left: Tensor, right: Tensor, timestep: Tensor) -> Motion:
    """A step of :func:`lucas_kanade`, taken as far as the pictures agree clearly better after it.

    On a coarse picture a step without that test runs away as often as it helps.
    """
    apart = _disagreement(motion.flow, left, right)
    moved = lucas_kanade(motion.flow, motion.mask, left, right, timestep)
    apart_then = _disagreement(moved, left, right)
    # A ramp and no switch: rounding must not decide between two flows.
    share = ((_BETTER * apart - apart_then) / (_RAMP * apart + 0.1 * _ALIKE)).clamp(0.0, 1.0)
    return Motion(torch.lerp(motion.flow, moved, share), motion.mask, motion.hidden)


def rested(flow: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """What has not changed has not moved: no flow where the pictures agree better in place than warped.

    A repeated pattern beside something that moves is easily given that motion; nothing in the pattern
    contradicts it but that it was there all the time.

    Args:
        flow: (K, 4, H, W) float32 pixels, as in :class:`Motion`.
        left, right: (K, C, H, W) float32 source pictures, not yet warped.
    """
    moving = _disagreement(flow, left, right)
    apart = left - right
    still = around(_mean_product(apart, apart).unsqueeze(1))
    return flow * (1.0 - ((moving - still) / (0.5 * moving + _ALIKE)).clamp(0.0, 1.0))


def _disagreement(flow: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(K, 1, H, W) mean squared difference of the warped pictures around each place."""
    seen_left, seen_right = warped(flow, left, right)
    apart = seen_left - seen_right
    return around(_mean_product(apart, apart).unsqueeze(1))


def _mean_product(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the channels of a * b, (N, H, W); a channel at a time, which needs no second pass."""
    total = a[:, 0] * b[:, 0]
    for channel in range(1, a.shape[1]):
        total.addcmul_(a[:, channel], b[:, channel])
    return total.div_(a.shape[1])


def around(x: Tensor, side: int = _WINDOW_SIDE) -> Tensor:
    """Mean over the ``side`` x ``side`` pixels about each place, those inside the picture.

    On a CPU by sums of two, of four and so on, first down and then across: torch's pooling reads each pixel
    ``side`` squared times there. On a GPU these reads are cached, and it is one launch where sums are 26.
    """
    reach = side // 2
    if x.device.type != "cpu":
        return F.avg_pool2d(x, side, 1, reach, count_include_pad=False)
    total = F.pad(x, (reach,) * 4)
    for axis in (2, 3):
        place = torch.arange(x.shape[axis], device=x.device, dtype=x.dtype)
        inside = place.clamp(max=reach) + place.flip(0).clamp(max=reach) + 1
        total = _sums(total, axis, side) / (inside.view(-1, 1) if axis == 2 else inside)  # noqa: PLR2004
    return total


def _sums(x: Tensor, axis: int, count: int) -> Tensor:
    """Sums of ``count`` neighbours along an axis."""
    size, width, start = x.shape[axis] - count + 1, 1, 0
    total: Tensor | None = None
    while width <= count:
        if count & width:
            part = x.narrow(axis, start, size)
            total, start = part if total is None else total + part, start + width
        left = x.shape[axis] - width
        x, width = x.narrow(axis, 0, left) + x.narrow(axis, width, left), 2 * width
    return x if total is None else total


def warped(flow: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Both pictures (K, C, H, W) as the flow (K, 4, H, W) brings them to the new frame."""
    height, width = flow.shape[-2:]
    grid = identity_grid(height, width, flow.device)
    return backward_warp(left, flow[:, :2], grid), backward_warp(right, flow[:, 2:], grid)


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, the border repeated."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return x.div_(2), y.div_(2)
