"""Flow between two frames as seen from a new one, and the operations on it that have no parameters.

Flows follow the convention of ``_ops.warp`` and point from the new frame to a source frame, in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._ops.constants import constant
from .._ops.fused import kernel
from .._ops.warp import backward_warp, identity_grid

# Pixels along a side of the window that Lucas-Kanade averages over.
_WINDOW_SIDE = 7
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
    """(K, C, H, W): features that the decoder passes from level to level."""

    def doubled(self, height: int, width: int) -> FlowState:
        """Return the same state at twice the resolution, without the row and column that a level of odd size
        is padded by.
        """
        flow, mask, hidden = (_cut(doubled(x), height, width) for x in (self.flow, self.mask, self.hidden))
        return FlowState(2.0 * flow, mask, hidden)


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


def _cut(x: Tensor, height: int, width: int) -> Tensor:
    """Return the upper left part of (N, C, H, W), not a view; the same tensor at the same size."""
    return x if tuple(x.shape[-2:]) == (height, width) else x[..., :height, :width].contiguous()


def blend(motion: FlowState, left: Tensor, right: Tensor) -> Tensor:
    """Warp pictures (K, C, H, W) by a flow of their size, and mix them by its mask."""
    warped_left, warped_right = warped(motion.flow, left, right)
    return torch.lerp(warped_right, warped_left, torch.sigmoid(motion.mask))


@torch.no_grad()
def lucas_kanade_step(left: Tensor, right: Tensor, mask: Tensor, timestep: Tensor) -> Tensor:
    """Take one step of classic least squares on the difference that two warped pictures still have.

    It works only where both frames are visible by the mask, goes never further than a pixel, and has no
    gradient.

    Args:
        left, right: (K, C, H, W) float32 pictures, warped to the new frame.
        mask: (K, 1, H, W) logit of the left frame's share.
        timestep: (K, 1, 1, 1) float32.

    Returns:
        (K, 2, H, W) float32 pixels: the displacement from frame to frame that is still missing.

    Source: Lucas and Kanade, An iterative image registration technique, 1981; seen from between the frames.
    """
    products = kernel("gradient_products", left, _products_difference) or _gradient_products
    solve = kernel("least_squares", left, _solution_difference) or _least_squares
    return solve(box_mean(products(left, right, timestep)), mask, _NOISE_FLOOR)


def _gradient_products(left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
    """Return products of both slopes with each other and with the change, (K, 5, H, W), of grey pictures.

    With slopes x, y and change t these are xx, xy, yy, xt and yt. See :func:`lucas_kanade_step`.
    """
    # Grey came out as well as colours, and takes a third of the time on a CPU.
    left, right = (x.mean(1, keepdim=True) if x.shape[1] > 1 else x for x in (left, right))
    x, y = _slopes(torch.lerp(right, left, timestep))
    change = right - left
    return torch.cat((x * x, x * y, y * y, x * change, y * change), 1)


def _least_squares(means: Tensor, mask: Tensor, floor: float) -> Tensor:
    """Solve ``slope_x * u + slope_y * v = -change`` about each pixel; see :func:`lucas_kanade_step`.

    Args:
        means: (K, 5, H, W) of :func:`_gradient_products` over a window.
        mask: (K, 1, H, W) logit of the left frame's share.
        floor: added to both mean squares of slopes; it keeps the determinant above 0.

    Returns:
        u and v, (K, 2, H, W), at most a pixel long.
    """
    xx, xy, yy, xt, yt = means.unbind(1)
    xx, yy = xx + floor, yy + floor
    # Cramer's rule for the 2 x 2 normal equations.
    step = torch.stack((xy * yt - yy * xt, xy * xt - xx * yt), 1) / (xx * yy - xy * xy).unsqueeze(1)
    length = (step[:, :1].square() + step[:, 1:].square()).sqrt_()
    share = torch.sigmoid(mask)
    # 4 s (1 - s) is 1 where both frames show the pixel and 0 where only one does: there a difference is
    # occlusion and no motion.
    return step * (4.0 * share * (1.0 - share) / length.clamp_(min=1.0))


def _products_difference(products: Callable[..., Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the largest difference of the kernel from plain operations; see :data:`~.._ops.fused.Check`."""
    left, right, _ = _sample_pictures(device, dtype)
    timestep = torch.linspace(0.25, 0.75, 2, dtype=torch.float32, device=device).view(2, 1, 1, 1)
    expected = _gradient_products(left.float(), right.float(), timestep)
    return (products(left, right, timestep) - expected).abs().amax()


def _solution_difference(solve: Callable[..., Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the largest difference of the kernel from plain operations; see :data:`~.._ops.fused.Check`."""
    left, right, mask = (x.float() for x in _sample_pictures(device, dtype))
    means = box_mean(_gradient_products(left, right, torch.full_like(mask[:, :, :1, :1], 0.5)))
    return (solve(means, mask, _NOISE_FLOOR) - _least_squares(means, mask, _NOISE_FLOOR)).abs().amax()


def _sample_pictures(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return two pictures (2, 3, 9, 17) that differ a little, and a mask (2, 1, 9, 17) float32."""
    # Computed, not drawn: the caller's random numbers must not change.
    values = torch.arange(2 * 3 * 9 * 17, dtype=torch.float32, device=device).view(2, 3, 9, 17)
    left = values.mul(0.7).sin().mul(0.3).add(0.5)
    return left.to(dtype), (left + values.mul(0.3).cos() * 0.02).to(dtype), 4.0 * left[:, :1]


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
        total = _sums(total, axis, side).div_(inside.view(-1, 1) if axis == 2 else inside)  # noqa: PLR2004
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


def sharpened(picture: Tensor, motion: FlowState) -> Tensor:
    """Take back the blur of bilinear interpolation from the picture that :func:`blend` made.

    Between two pixels, at ``f`` of the way, the cubic of Catmull and Rom lies ``f (1 - f) / 2`` times their
    second difference under the straight line. The differences are taken of the finished picture: where motion
    is smooth that is the same as warping those of the source frames, and needs no further samples.

    Args:
        picture: (K, C, H, W) float32.
        motion: that it was warped and mixed by, flow in pixels of the picture.

    Returns:
        (K, C, H, W), which may pass the range of the picture a little.

    Source: Keys, Cubic convolution interpolation for digital image processing, 1981.
    """
    cubic = kernel("cubic", picture, _cubic_difference) or _cubic
    return cubic(picture, motion.flow, motion.mask)


def sharply_warped(flow: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Warp both pictures like :func:`warped`, by the cubic of Catmull and Rom; see :func:`sharpened`."""
    # Side by side: half the launches.
    both = torch.stack(warped(flow, left, right), 1)
    cubic = kernel("cubic", both, _cubic_difference) or _cubic
    left, right = cubic(both.flatten(0, 1), flow.reshape(-1, 2, *flow.shape[-2:])).view_as(both).unbind(1)
    return left, right


def _between(flow: Tensor) -> Tensor:
    """Return ``f (1 - f)`` of the places that a flow samples, (K, F, 2, H, W): by frame, along x and along y.

    ``f`` is how far the place lies past the centre of a pixel, 0..1; outside the picture it is 0.

    Args:
        flow: (K, 2 F, H, W) pixels, x and y to each of F frames.
    """
    height, width = flow.shape[-2:]
    pixels = constant(("pixels", height, width, flow.device), lambda: _pixels(height, width, flow.device))
    first, last = pixels[..., :1, :1], pixels[..., -1:, -1:]
    places = (flow.reshape(len(flow), -1, 2, height, width) + pixels).clamp(first, last)
    part = places.frac()
    return torch.addcmul(part, part, part, value=-1)


def _pixels(height: int, width: int, device: torch.device) -> Tensor:
    """Return the numbers of columns and rows at each pixel, (2, H, W) float32."""
    x, y = (torch.arange(side, dtype=torch.float32, device=device) for side in (width, height))
    return torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width)))


def _cubic(picture: Tensor, flow: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return a picture less half its second differences along x and y, each times :func:`_between`.

    At the borders a picture repeats its last pixels.

    Args:
        picture: (N, C, H, W) float32, warped by the flow.
        flow: (N, 2, H, W) float32, or (N, 4, H, W) of the mixture of two.
        mask: (N, 1, H, W) float32 logit of the first one's share in the mixture.
    """
    between = _between(flow)
    if mask is None:
        (between,) = between.unbind(1)
    else:
        between = torch.lerp(between[:, 1], between[:, 0], torch.sigmoid(mask))
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
    x, y = between[:, :1], between[:, 1:]
    # A difference is the sum of both neighbours less twice the pixel.
    differences = torch.addcmul(x * across, y, down).addcmul_(picture, x + y, value=-2)
    return picture.add(differences, alpha=-0.5)


def _cubic_difference(cubic: Callable[..., Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the largest difference of the kernel from plain operations; see :data:`~.._ops.fused.Check`."""
    left, right, mask = (x.float() for x in _sample_pictures(device, dtype))
    # Flows of up to eight pixels, of which some lead out of the picture.
    flow = torch.cat((right, left[:, :1]), 1).mul(16).sub(8)
    alone, mixed = (left, flow[:, :2]), (left, flow, mask)
    return torch.maximum(
        (cubic(*alone) - _cubic(*alone)).abs().amax(), (cubic(*mixed) - _cubic(*mixed)).abs().amax()
    )


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Return the central differences along x and y, the border repeated."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return x.div_(2), y.div_(2)
