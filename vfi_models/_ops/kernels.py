"""Triton kernels of a few lines. Importing this imports Triton: only :mod:`.fused` may."""

# What Triton compiles is no Python: it looks up annotations on the device, and takes constants as capitals,
# and sizes and strides as arguments, however many these are.
# ruff: noqa: ANN001, ANN202, N803, PLR0913, PLR0917
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Elements of a program of add_leaky_, pixels of one of the others. Not tuned: no GPU was at hand.
_BLOCK, _PIXELS = 1024, 128


@triton.jit
def _add_leaky(y, plus, count, SLOPE: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    total = tl.load(y + place, mask=inside).to(tl.float32) + tl.load(plus + place, mask=inside).to(tl.float32)
    total = tl.where(total > 0.0, total, total * SLOPE)
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside)


def add_leaky_(y: Tensor, plus: Tensor, slope: float) -> Tensor:
    """Write ``leaky(y + plus)`` over ``y``, in one pass, summed in float32.

    Args:
        y, plus: of one shape, one dtype and the same strides, without gaps.
        slope: of the leaky ReLU.
    """
    count = y.numel()
    # Triton launches on the current device, which need not be the tensor's.
    with torch.cuda.device_of(y):
        _add_leaky[(triton.cdiv(count, _BLOCK),)](
            y, plus, count, SLOPE=slope, BLOCK=_BLOCK, enable_fp_fusion=True
        )
    return y


@triton.jit
def _correlation(
    out,
    left,
    right,
    channels,
    rows,
    columns,
    left_strides,
    right_strides,
    REACH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Correlate one displacement at a block of pixels of one sample; outside the maps features are 0."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    number, sample = tl.program_id(1), tl.program_id(2).to(tl.int64)
    window: tl.constexpr = 2 * REACH + 1
    # Displacements are numbered row by row, x fastest, as symmetric_correlation returns them.
    across, down = number % window - REACH, number // window - REACH
    row, column = pixel // columns, pixel % columns
    # Half of a displacement, rounded down, back from the left features: a shift, for // would round to zero.
    left_row, left_column = row - (down >> 1), column - (across >> 1)
    right_row, right_column = left_row + down, left_column + across
    inside = pixel < rows * columns
    in_left = inside & (left_row >= 0) & (left_row < rows) & (left_column >= 0) & (left_column < columns)
    in_right = inside & (right_row >= 0) & (right_row < rows) & (right_column >= 0) & (right_column < columns)
    left += sample * left_strides[0] + left_row.to(tl.int64) * left_strides[2] + left_column * left_strides[3]
    right += (
        sample * right_strides[0]
        + right_row.to(tl.int64) * right_strides[2]
        + right_column * right_strides[3]
    )
    # In float32 whatever the dtype of the features: sums of 16 bits lose the small costs.
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(channels):
        one = tl.load(left, mask=in_left, other=0.0).to(tl.float32)
        other = tl.load(right, mask=in_right, other=0.0).to(tl.float32)
        total += one * other
        left += left_strides[1]
        right += right_strides[1]
    place = (sample * window * window + number) * rows * columns + pixel
    tl.store(out + place, total, mask=inside)


def correlation(left: Tensor, right: Tensor, reach: int) -> Tensor:
    """Run the kernel; see :func:`~..compact.matching.symmetric_correlation`. Any floating dtype and
    strides.
    """
    count, channels, rows, columns = left.shape
    window = 2 * reach + 1
    out = torch.empty((count, window**2, rows, columns), dtype=torch.float32, device=left.device)
    with torch.cuda.device_of(left):
        _correlation[(triton.cdiv(rows * columns, _PIXELS), window**2, count)](
            out,
            left,
            right,
            channels,
            rows,
            columns,
            left.stride(),
            right.stride(),
            REACH=reach,
            BLOCK=_PIXELS,
            enable_fp_fusion=True,
        )
    return out


@triton.jit
def _grey(left, right, sample, row, column, inside, left_strides, right_strides, CHANNELS: tl.constexpr):
    """Return the sums over the channels of both pictures at some pixels, float32."""
    left += sample * left_strides[0] + row.to(tl.int64) * left_strides[2] + column * left_strides[3]
    right += sample * right_strides[0] + row.to(tl.int64) * right_strides[2] + column * right_strides[3]
    of_left = tl.load(left, mask=inside, other=0.0).to(tl.float32)
    of_right = tl.load(right, mask=inside, other=0.0).to(tl.float32)
    for channel in tl.static_range(1, CHANNELS):
        of_left += tl.load(left + channel * left_strides[1], mask=inside, other=0.0).to(tl.float32)
        of_right += tl.load(right + channel * right_strides[1], mask=inside, other=0.0).to(tl.float32)
    return of_left, of_right


@triton.jit
def _gradient_products(
    out,
    left,
    right,
    timesteps,
    rows,
    columns,
    left_strides,
    right_strides,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the five products at a block of pixels of one sample; borders are repeated."""
    pixel, sample = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    inside = pixel < rows * columns
    row, column = pixel // columns, pixel % columns
    timestep = tl.load(timesteps + sample)
    # fmt: off
    a, b = _grey(left, right, sample, row, tl.minimum(column + 1, columns - 1), inside, left_strides, right_strides, CHANNELS)  # noqa: E501
    c, d = _grey(left, right, sample, row, tl.maximum(column - 1, 0), inside, left_strides, right_strides, CHANNELS)  # noqa: E501
    slope_x = ((b + timestep * (a - b)) - (d + timestep * (c - d))) * (0.5 / CHANNELS)
    a, b = _grey(left, right, sample, tl.minimum(row + 1, rows - 1), column, inside, left_strides, right_strides, CHANNELS)  # noqa: E501
    c, d = _grey(left, right, sample, tl.maximum(row - 1, 0), column, inside, left_strides, right_strides, CHANNELS)  # noqa: E501
    slope_y = ((b + timestep * (a - b)) - (d + timestep * (c - d))) * (0.5 / CHANNELS)
    a, b = _grey(left, right, sample, row, column, inside, left_strides, right_strides, CHANNELS)
    # fmt: on
    change = (b - a) * (1.0 / CHANNELS)
    plane = rows * columns
    out += sample * 5 * plane + pixel
    tl.store(out, slope_x * slope_x, mask=inside)
    tl.store(out + plane, slope_x * slope_y, mask=inside)
    tl.store(out + 2 * plane, slope_y * slope_y, mask=inside)
    tl.store(out + 3 * plane, slope_x * change, mask=inside)
    tl.store(out + 4 * plane, slope_y * change, mask=inside)


def gradient_products(left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
    """Run the kernel; see :func:`~..compact.flow.lucas_kanade_step`. Any floating dtype and strides.

    Args:
        left, right: (K, C, H, W).
        timestep: (K, 1, 1, 1) float32.
    """
    count, channels, rows, columns = left.shape
    out = torch.empty((count, 5, rows, columns), dtype=torch.float32, device=left.device)
    with torch.cuda.device_of(left):
        _gradient_products[(triton.cdiv(rows * columns, _PIXELS), count)](
            out,
            left,
            right,
            timestep.contiguous(),
            rows,
            columns,
            left.stride(),
            right.stride(),
            CHANNELS=channels,
            BLOCK=_PIXELS,
            enable_fp_fusion=True,
        )
    return out


@triton.jit
def _least_squares(out, means, mask, mask_stride, pixels, FLOOR: tl.constexpr, BLOCK: tl.constexpr):
    """Solve the normal equations at a block of pixels of one sample."""
    pixel, sample = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    inside = pixel < pixels
    means += sample * 5 * pixels + pixel
    xx = tl.load(means, mask=inside, other=0.0) + FLOOR
    xy = tl.load(means + pixels, mask=inside, other=0.0)
    yy = tl.load(means + 2 * pixels, mask=inside, other=0.0) + FLOOR
    xt = tl.load(means + 3 * pixels, mask=inside, other=0.0)
    yt = tl.load(means + 4 * pixels, mask=inside, other=0.0)
    share = tl.sigmoid(tl.load(mask + sample * mask_stride + pixel, mask=inside, other=0.0))
    determinant = xx * yy - xy * xy
    across, down = (xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant
    length = tl.sqrt(across * across + down * down)
    weight = 4.0 * share * (1.0 - share) / tl.where(length > 1.0, length, 1.0)
    out += sample * 2 * pixels + pixel
    tl.store(out, across * weight, mask=inside)
    tl.store(out + pixels, down * weight, mask=inside)


def least_squares(means: Tensor, mask: Tensor, floor: float) -> Tensor:
    """Run the kernel; see :func:`~..compact.flow.lucas_kanade_step`.

    Args:
        means: (K, 5, H, W) float32.
        mask: (K, 1, H, W) float32.
        floor: added to the first and the third of the means.
    """
    means, mask = means.contiguous(), mask if mask[0].is_contiguous() else mask.contiguous()
    count, _, rows, columns = means.shape
    out = torch.empty((count, 2, rows, columns), dtype=torch.float32, device=means.device)
    with torch.cuda.device_of(means):
        _least_squares[(triton.cdiv(rows * columns, _PIXELS), count)](
            out,
            means,
            mask,
            mask.stride(0),
            rows * columns,
            FLOOR=floor,
            BLOCK=_PIXELS,
            enable_fp_fusion=True,
        )
    return out


@triton.jit
def _gate(
    out,
    flow,
    mask,
    update,
    rows,
    columns,
    flow_strides,
    mask_strides,
    update_strides,
    MOVES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Update flow and mask at a block of pixels of one sample."""
    pixel, sample = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    inside = pixel < rows * columns
    row, column = (pixel // columns).to(tl.int64), pixel % columns
    flow += sample * flow_strides[0] + row * flow_strides[2] + column * flow_strides[3]
    mask += sample * mask_strides[0] + row * mask_strides[2] + column * mask_strides[3]
    update += sample * update_strides[0] + row * update_strides[2] + column * update_strides[3]
    plane = rows * columns
    out += sample * 5 * plane + pixel
    share = tl.sigmoid(tl.load(update + 5 * update_strides[1], mask=inside, other=0.0).to(tl.float32) + MOVES)
    for axis in tl.static_range(4):
        change = tl.load(update + axis * update_strides[1], mask=inside, other=0.0).to(tl.float32)
        value = tl.load(flow + axis * flow_strides[1], mask=inside, other=0.0)
        tl.store(out + axis * plane, change + value * share, mask=inside)
    change = tl.load(update + 4 * update_strides[1], mask=inside, other=0.0).to(tl.float32)
    tl.store(out + 4 * plane, tl.load(mask, mask=inside, other=0.0) + change, mask=inside)


def gate(flow: Tensor, mask: Tensor, update: Tensor, moves: float) -> Tensor:
    """Run the kernel; see :class:`~..compact.net.Decoder`. Any strides.

    Args:
        flow: (K, 4, H, W) float32.
        mask: (K, 1, H, W) float32.
        update: (K, 6 or more, H, W) of any floating dtype.
        moves: added to the logit of the gate.

    Returns:
        Flow and mask side by side, (K, 5, H, W) float32.
    """
    count, _, rows, columns = flow.shape
    out = torch.empty((count, 5, rows, columns), dtype=torch.float32, device=flow.device)
    with torch.cuda.device_of(flow):
        _gate[(triton.cdiv(rows * columns, _PIXELS), count)](
            out,
            flow,
            mask,
            update,
            rows,
            columns,
            flow.stride(),
            mask.stride(),
            update.stride(),
            MOVES=moves,
            BLOCK=_PIXELS,
            enable_fp_fusion=True,
        )
    return out


@triton.jit
def _distance_between(flow, pixel, last, inside):
    """Return f (1 - f) of the places that one component of a flow samples; see :func:`cubic`."""
    place = pixel.to(tl.float32) + tl.load(flow, mask=inside, other=0.0)
    place = tl.minimum(tl.maximum(place, 0.0), last.to(tl.float32))
    part = place - tl.floor(place)
    return part * (1.0 - part)


@triton.jit
def _cubic(
    out,
    picture,
    flow,
    mask,
    rows,
    columns,
    picture_strides,
    flow_strides,
    mask_strides,
    CHANNELS: tl.constexpr,
    FRAMES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sharpen a block of pixels of one sample."""
    pixel, sample = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    inside = pixel < rows * columns
    row, column = (pixel // columns).to(tl.int64), (pixel % columns).to(tl.int64)
    flow += sample * flow_strides[0] + row * flow_strides[2] + column * flow_strides[3]
    x = _distance_between(flow, column, columns - 1, inside)
    y = _distance_between(flow + flow_strides[1], row, rows - 1, inside)
    if FRAMES > 1:
        mask += sample * mask_strides[0] + row * mask_strides[2] + column * mask_strides[3]
        share = tl.sigmoid(tl.load(mask, mask=inside, other=0.0))
        other = _distance_between(flow + 2 * flow_strides[1], column, columns - 1, inside)
        x = other + share * (x - other)
        other = _distance_between(flow + 3 * flow_strides[1], row, rows - 1, inside)
        y = other + share * (y - other)
    picture += sample * picture_strides[0]
    above = tl.maximum(row - 1, 0) * picture_strides[2] + column * picture_strides[3]
    below = tl.minimum(row + 1, rows - 1) * picture_strides[2] + column * picture_strides[3]
    before = row * picture_strides[2] + tl.maximum(column - 1, 0) * picture_strides[3]
    after = row * picture_strides[2] + tl.minimum(column + 1, columns - 1) * picture_strides[3]
    here = row * picture_strides[2] + column * picture_strides[3]
    plane = rows * columns
    out += sample * CHANNELS * plane + pixel
    for channel in tl.static_range(CHANNELS):
        values = picture + channel * picture_strides[1]
        middle = tl.load(values + here, mask=inside, other=0.0)
        across = tl.load(values + before, mask=inside, other=0.0) + tl.load(
            values + after, mask=inside, other=0.0
        )
        down = tl.load(values + above, mask=inside, other=0.0) + tl.load(
            values + below, mask=inside, other=0.0
        )
        differences = x * across + y * down - 2.0 * (x + y) * middle
        tl.store(out + channel * plane, middle - 0.5 * differences, mask=inside)


def cubic(picture: Tensor, flow: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run the kernel; see :func:`~..compact.flow.sharpened`. Any strides.

    Args:
        picture: (N, C, H, W) float32, warped by the flow.
        flow: (N, 2, H, W) float32, or (N, 4, H, W) of the mixture of two.
        mask: (N, 1, H, W) float32 logit of the first one's share in the mixture.

    Returns:
        (N, C, H, W) float32.
    """
    count, channels, rows, columns = picture.shape
    out = torch.empty((count, channels, rows, columns), dtype=torch.float32, device=picture.device)
    share = flow if mask is None else mask
    with torch.cuda.device_of(picture):
        _cubic[(triton.cdiv(rows * columns, _PIXELS), count)](
            out,
            picture,
            flow,
            share,
            rows,
            columns,
            picture.stride(),
            flow.stride(),
            share.stride(),
            CHANNELS=channels,
            FRAMES=1 if mask is None else 2,
            BLOCK=_PIXELS,
            enable_fp_fusion=True,
        )
    return out
