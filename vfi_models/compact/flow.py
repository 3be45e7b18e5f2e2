"""Flow between two frames as seen from a new one, and the operations on it that have no parameters.

Flows follow the convention of ``_ops.warp`` and point from the new frame to a source frame, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._ops.constants import constant
from .._ops.warp import backward_warp, identity_grid

# Pixels along a side of the window that Lucas-Kanade and zero_where_still average over.
_WINDOW_SIDE = 7
# Mean squared difference of two pictures (0..1) that noise explains: 2.5 grey levels of 255.
_ALIKE = 1e-4
# The step of step_where_better counts once its error is below the first share of the error before, and counts
# in full the second share below that.
_BETTER, _RAMP = 0.8, 0.5
# Mean squared gradient (of 0..1 a pixel) that noise explains: about one grey level of 255.
_NOISE_FLOOR = 2e-5


@dataclass(frozen=True)
class FlowState:
    """Where a new frame comes from, at the resolution of one level: flow, mask, and the decoder's hidden
    state.
    """

    flow: Tensor
    """(K, 4, H, W) float32: x, y to the left frame, then x, y to the right frame."""
    mask: Tensor
    """(K, 1, H, W) float32: logit of the left frame's share."""
    hidden: Tensor
    """(K, 16, H, W): features that the decoder passes from level to level."""

    def doubled(self) -> FlowState:
        """Return the same state at twice the resolution."""
        return FlowState(2.0 * doubled(self.flow), doubled(self.mask), doubled(self.hidden))


def no_motion(like: Tensor, count: int, hidden: int) -> FlowState:
    """Return ``count`` times no motion: both frames in the same place, equally visible.

    Args:
        like: (N, C, H, W) features, for their size and device, and for the dtype of the hidden state.
        count: K.
        hidden: channels of the hidden state.
    """
    size = like.shape[-2:]

    def zeros(channels: int, dtype: torch.dtype) -> Tensor:
        key = ("zeros", count, channels, size, dtype, like.device)
        return constant(key, lambda: like.new_zeros(count, channels, *size, dtype=dtype))

    motion = zeros(4 + 1, torch.float32)
    return FlowState(motion[:, :4], motion[:, 4:], zeros(hidden, like.dtype))


def doubled(x: Tensor) -> Tensor:
    """Return (N, C, H, W) at twice the resolution, bilinear. Values stay: a flow is to be multiplied by 2
    besides.
    """
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def blend(motion: FlowState, left: Tensor, right: Tensor) -> Tensor:
    """Warp pictures (K, C, H, W) by a flow of their size, and mix them by its mask."""
    warped_left, warped_right = warped(motion.flow, left, right)
    return torch.lerp(warped_right, warped_left, torch.sigmoid(motion.mask))


def lucas_kanade(flow: Tensor, mask: Tensor, left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
    """Take one step of classic least squares on the difference that two warped pictures still have.

    It works only where both frames are visible by the mask, goes never further than a pixel, and has no
    gradient.

    Args:
        flow: (K, 4, H, W) float32 pixels, as in :class:`FlowState`.
        mask: (K, 1, H, W) logit of the left frame's share.
        left, right: (K, C, H, W) float32 source pictures, not yet warped.
        timestep: (K, 1, 1, 1) float32.

    Returns:
        The flow moved along the path from frame to frame; its gradient is that of ``flow``.

    Source: Lucas and Kanade, An iterative image registration technique, 1981; seen from between the frames.
    """
    with torch.no_grad():
        warped_left, warped_right = warped(flow, left, right)
        slope_x, slope_y = _slopes(torch.lerp(warped_right, warped_left, timestep))
        change = warped_right - warped_left
        # The normal equations of slope_x * u + slope_y * v = -change: (K, 5, H, W) of means over a window.
        pairs = (
            (slope_x, slope_x), (slope_x, slope_y), (slope_y, slope_y), (slope_x, change), (slope_y, change)
        )  # fmt: skip
        moments = torch.stack([_mean_product(a, b) for a, b in pairs], 1)
        xx, xy, yy, xt, yt = box_mean(moments).unbind(1)
        xx, yy = xx + _NOISE_FLOOR, yy + _NOISE_FLOOR
        # Cramer's rule for the 2 x 2 normal equations; the noise floor keeps the determinant above 0.
        step = torch.stack((xy * yt - yy * xt, xy * xt - xx * yt), 1) / (xx * yy - xy * xy).unsqueeze(1)
        length = (step[:, :1].square() + step[:, 1:].square()).sqrt_()
        share = torch.sigmoid(mask)
        # 4 s (1 - s) is 1 where both frames show the pixel and 0 where only one does: there a difference is
        # occlusion and no motion.
        step = step * (4.0 * share * (1.0 - share) / length.clamp_(min=1.0))
    # A step from frame to frame: -t of it on the flow to the left frame, 1 - t on the flow to the right one.
    return flow + torch.cat((-timestep * step, (1.0 - timestep) * step), 1)


def step_where_better(motion: FlowState, left: Tensor, right: Tensor, timestep: Tensor) -> FlowState:
    """Take a step of :func:`lucas_kanade` as far as the pictures agree clearly better after it.

    On a coarse picture a step without that test diverges as often as it helps.
    """
    error = _matching_error(motion.flow, left, right)
    moved = lucas_kanade(motion.flow, motion.mask, left, right, timestep)
    error_after = _matching_error(moved, left, right)
    # A ramp and no switch: rounding must not decide between two flows.
    share = ((_BETTER * error - error_after) / (_RAMP * error + 0.1 * _ALIKE)).clamp(0.0, 1.0)
    return FlowState(torch.lerp(motion.flow, moved, share), motion.mask, motion.hidden)


def zero_where_still(flow: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the flow, zero where the pictures agree better in place than warped: there nothing moved.

    A repeated pattern beside a moving object is easily given that object's motion; nothing in the pattern
    contradicts it but that it was in the same place all the time.

    Args:
        flow: (K, 4, H, W) float32 pixels, as in :class:`FlowState`.
        left, right: (K, C, H, W) float32 source pictures, not yet warped.
    """
    error_warped = _matching_error(flow, left, right)
    change = left - right
    error_in_place = box_mean(_mean_product(change, change).unsqueeze(1))
    # 0 where warped is no worse, 1 from twice the error in place on; _ALIKE keeps noise from deciding.
    worse = (error_warped - error_in_place) / (0.5 * error_warped + _ALIKE)
    return flow * (1.0 - worse.clamp(0.0, 1.0))


def _matching_error(flow: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the mean squared difference of the warped pictures about each pixel, (K, 1, H, W)."""
    warped_left, warped_right = warped(flow, left, right)
    change = warped_left - warped_right
    return box_mean(_mean_product(change, change).unsqueeze(1))


def _mean_product(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over the channels of a * b, (N, H, W); a channel at a time needs no second pass."""
    total = a[:, 0] * b[:, 0]
    for channel in range(1, a.shape[1]):
        total.addcmul_(a[:, channel], b[:, channel])
    return total.div_(a.shape[1])


def box_mean(x: Tensor, side: int = _WINDOW_SIDE) -> Tensor:
    """Average over the ``side`` x ``side`` pixels about each pixel, those inside the picture.

    On a CPU by sums of two, of four and so on, first down and then across: torch's pooling reads each pixel
    ``side`` squared times there. On a GPU these reads are cached, and pooling is one launch where sums are
    26.
    """
    reach = side // 2
    if x.device.type != "cpu":
        return F.avg_pool2d(x, side, 1, reach, count_include_pad=False)
    total = F.pad(x, (reach,) * 4)
    for axis in (2, 3):
        place = torch.arange(x.shape[axis], device=x.device, dtype=x.dtype)
        # How many pixels of the window lie inside the picture, at each position along the side.
        inside = place.clamp(max=reach) + place.flip(0).clamp(max=reach) + 1
        total = _sums(total, axis, side) / (inside.view(-1, 1) if axis == 2 else inside)  # noqa: PLR2004
    return total


def _sums(x: Tensor, axis: int, count: int) -> Tensor:
    """Return the sums of ``count`` neighbours along an axis."""
    size, width, start = x.shape[axis] - count + 1, 1, 0
    total: Tensor | None = None
    # By the binary digits of count: x holds sums of width neighbours, which double each time; 7 is 1 + 2 + 4.
    while width <= count:
        if count & width:
            part = x.narrow(axis, start, size)
            total, start = part if total is None else total + part, start + width
        left = x.shape[axis] - width
        x, width = x.narrow(axis, 0, left) + x.narrow(axis, width, left), 2 * width
    return x if total is None else total


def warped(flow: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Warp both pictures (K, C, H, W) to the new frame by the flow (K, 4, H, W)."""
    height, width = flow.shape[-2:]
    grid = identity_grid(height, width, flow.device)
    return backward_warp(left, flow[:, :2], grid), backward_warp(right, flow[:, 2:], grid)


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Return the central differences along x and y, the border repeated."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return x.div_(2), y.div_(2)
