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

# Elements of a program of add_leaky_, pixels of one of correlation. Not tuned: no GPU was at hand.
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
