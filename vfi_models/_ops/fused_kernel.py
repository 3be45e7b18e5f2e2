"""The Triton kernel of a backward warp. Importing this imports Triton: only :mod:`.fused` may."""

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

# Pixels and warps of a program. Not tuned: no GPU was at hand.
_BLOCK, _WARPS = 128, 4
_LONGEST_32_BIT = 2**31 - 1
UNROLL = tl.constexpr(4)
"""Channels whose loads are under way at once."""


@triton.jit
def _along(line, flow, half, last, INDEX: tl.constexpr):
    """Return the two pixels about a position on one axis, and the share of the second.

    Each step is taken as torch takes it, so that the last bits agree: divided before it is added, and then
    from -1..1 to pixels. The comparison makes 0 of NaN.
    """
    # A half is exact, and by a constant too the compiler divides in full, which takes eight instructions.
    place = ((line + tl.div_rn(flow, half)) + 1.0) * 0.5 * last
    place = tl.minimum(tl.where(place > 0.0, place, 0.0), last)
    near = tl.floor(place)
    far = tl.minimum(near + 1.0, last)
    return near.to(INDEX), far.to(INDEX), place - near


@triton.jit
def _corners(
    flow,
    lines,
    row,
    column,
    inside,
    flow_strides,
    line_strides,
    image_strides,
    halves,
    lasts,
    INDEX: tl.constexpr,
):
    """Return where the four pixels about a position lie in a channel, and the shares of the right and the
    lower two.
    """
    here = flow + row.to(INDEX) * flow_strides[2] + column.to(INDEX) * flow_strides[3]
    flow_x = tl.load(here, mask=inside, other=0.0).to(tl.float32)
    flow_y = tl.load(here + flow_strides[1], mask=inside, other=0.0).to(tl.float32)
    line_x = tl.load(lines + column * line_strides[3], mask=inside, other=0.0)
    line_y = tl.load(lines + line_strides[1] + row * line_strides[2], mask=inside, other=0.0)
    left, right, to_right = _along(line_x, flow_x, halves[1], lasts[1], INDEX)
    top, bottom, to_bottom = _along(line_y, flow_y, halves[0], lasts[0], INDEX)
    top, bottom = top * image_strides[2], bottom * image_strides[2]
    left, right = left * image_strides[3], right * image_strides[3]
    return top + left, top + right, bottom + left, bottom + right, to_right, to_bottom


@triton.jit
def _mixed(image, corners):
    """Return one channel at these positions, float32."""
    top_left, top_right, bottom_left, bottom_right, to_right, to_bottom = corners
    from_right, from_bottom = 1.0 - to_right, 1.0 - to_bottom
    value = tl.load(image + top_left).to(tl.float32) * (from_right * from_bottom)
    value += tl.load(image + top_right).to(tl.float32) * (to_right * from_bottom)
    value += tl.load(image + bottom_left).to(tl.float32) * (from_right * to_bottom)
    return value + tl.load(image + bottom_right).to(tl.float32) * (to_right * to_bottom)


@triton.jit
def _warp(
    out,
    image,
    flow,
    lines,
    shape,
    out_strides,
    image_strides,
    flow_strides,
    line_strides,
    halves,
    lasts,
    CHANNELS: tl.constexpr,
    POOLED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Warp a block of pixels of one sample, all channels. Positions are computed once for all of these."""
    sample = tl.program_id(1).to(tl.int64)
    rows, columns = shape[0], shape[1]
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < rows * columns
    row, column = pixel // columns, pixel % columns
    image += sample * image_strides[0]
    flow += sample * flow_strides[0]
    out += sample * out_strides[0]
    target = out + row.to(INDEX) * out_strides[2] + column.to(INDEX) * out_strides[3]
    if POOLED:
        row, column = 2 * row, 2 * column
    # fmt: off
    a = _corners(flow, lines, row, column, inside, flow_strides, line_strides, image_strides, halves, lasts, INDEX)  # noqa: E501
    if POOLED:
        b = _corners(flow, lines, row + 1, column, inside, flow_strides, line_strides, image_strides, halves, lasts, INDEX)  # noqa: E501
        c = _corners(flow, lines, row, column + 1, inside, flow_strides, line_strides, image_strides, halves, lasts, INDEX)  # noqa: E501
        d = _corners(flow, lines, row + 1, column + 1, inside, flow_strides, line_strides, image_strides, halves, lasts, INDEX)  # noqa: E501
    # fmt: on
    for _ in tl.range(CHANNELS, loop_unroll_factor=UNROLL):
        value = _mixed(image, a)
        if POOLED:
            value = (value + _mixed(image, b) + _mixed(image, c) + _mixed(image, d)) * 0.25
        tl.store(target, value.to(target.dtype.element_ty), mask=inside)
        # From plane to plane by the pointer, which is 64 bits wide: all channels together can lie further
        # apart than 32 bits count.
        image += image_strides[1]
        target += out_strides[1]


def warp(
    image: Tensor, flow: Tensor, grid: Tensor, *, size: tuple[int, int], pooled: bool, out: Tensor
) -> Tensor:
    """Run the kernel; see :class:`~.fused.Warp`. Nothing is waited for, nothing allocated."""
    count, channels, rows, columns = out.shape
    # A stride of 0 lets all samples read one image.
    image = image.expand(count, -1, -1, -1)
    # 32-bit offsets are faster, and hold for all but the largest pictures.
    furthest = max(_reach(image), _reach(flow), _reach(out))
    with torch.cuda.device_of(out):
        _warp[(triton.cdiv(rows * columns, _BLOCK), count)](
            out,
            image,
            flow,
            grid,
            (rows, columns),
            out.stride(),
            image.stride(),
            flow.stride(),
            grid.stride(),
            tuple(max(side - 1, 1) / 2 for side in size),
            tuple(float(side - 1) for side in size),
            CHANNELS=channels,
            POOLED=pooled,
            INDEX=tl.int32 if furthest <= _LONGEST_32_BIT else tl.int64,
            BLOCK=_BLOCK,
            num_warps=_WARPS,
            # As torch's own kernels. Triton 3.9 warns where it is left out, and 3.10 has another default.
            enable_fp_fusion=True,
        )
    return out


def _reach(x: Tensor) -> int:
    """Return how far from its first pixel the last one of a channel lies, in elements."""
    return (x.shape[-2] - 1) * abs(x.stride(-2)) + (x.shape[-1] - 1) * abs(x.stride(-1))
