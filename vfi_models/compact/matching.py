"""Matching of two feature maps where the new frame is: a symmetric correlation and its soft maximum."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._ops.cached import cached_rows
from .._ops.constants import constant
from .._ops.fused import kernel
from .flow import box_mean

# Bytes of the products that are summed at once: at 1/4 of 4K all of them would be 3 GB.
_PRODUCT_BYTES = 2**28


def unit(features: Tensor) -> Tensor:
    """Return features (N, C, ...) centred over the channels and of length 1, float32."""
    # The mean is float32, and so is the difference: without a conversion of the features before.
    features = features - features.mean(1, keepdim=True, dtype=torch.float32)
    if features.device.type != "cpu":
        # One launch, where the squares, their sum and the root below are three.
        length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        return features / length.clamp_(min=1e-3)
    # On a CPU a norm over channels takes ten times as long.
    return features / features.square().sum(1, keepdim=True).clamp(min=1e-6).sqrt()


def units(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return :func:`unit` of each of some maps (N, C, H, W), of which C may differ."""
    if maps[0].device.type == "cpu":
        return [unit(each) for each in maps]
    results: list[Tensor] = []
    # The pixels of neighbouring maps with as many channels side by side: as many launches as for one map.
    for _, group in itertools.groupby(maps, key=lambda each: each.shape[1]):
        alike = list(group)
        flat = [each.flatten(2) for each in alike]
        pixels = unit(torch.cat(flat, 2) if len(flat) > 1 else flat[0])
        parts = torch.split(pixels, [each.shape[2] for each in flat], 2)
        results += (part.view_as(each) for part, each in zip(parts, alike, strict=True))
    return results


def symmetric_correlation(left: Tensor, right: Tensor, reach: int) -> Tensor:
    """Return the agreement of two feature maps for every displacement of a window.

    A displacement d between the frames is tried with the left features taken at about -d/2 and the right
    ones at about +d/2, so that each cost belongs to the place of the new frame.

    Args:
        left, right: (N, C, H, W) of any floating dtype and strides, seen from the new frame.
        reach: largest displacement along an axis.

    Returns:
        (N, D * D, H, W) float32 with D = 2 * reach + 1; displacement (x, y) = (i % D - reach, i // D - reach)
        at index i.
    """
    correlation = kernel("correlation", left, _difference)
    if correlation is not None:
        return correlation(left, right, reach)
    if reach == 0 and left.device.type == "cpu" and not torch.is_grad_enabled():
        return _agreement(left, right)
    # Plane by plane: with the channels of a pixel side by side the sums take eight times as long.
    left, right = _planes(left), _planes(right)
    if torch.is_grad_enabled():
        costs: Tensor = _Correlation.apply(left, right, reach)  # type: ignore[no-untyped-call]
        return costs
    return _correlation(left, right, reach)


def _agreement(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum over the channels of the product, (N, 1, H, W) float32."""
    products = (left * right).float().permute(0, 2, 3, 1)
    # A product with ones: sums over the channels of a pixel, side by side, take eight times as long.
    return torch.mv(products.flatten(0, 2), products.new_ones(products.shape[-1])).view(
        products.shape[0], 1, *products.shape[1:3]
    )


def _planes(x: Tensor) -> Tensor:
    """Return it contiguous, 16 bits as float32."""
    return (x.float() if x.element_size() == 2 else x).contiguous()  # noqa: PLR2004 - bytes


def _difference(correlation: Callable[..., Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the largest difference of the kernel from plain operations; see :data:`~.._ops.fused.Check`."""
    values = torch.arange(2 * 2 * 5 * 9 * 17, dtype=torch.float32, device=device).mul(0.7).sin()
    left, right = values.view(2, 2, 5, 9, 17).mul(0.4).to(dtype).unbind()
    worst = torch.zeros((), dtype=torch.float32, device=device)
    for reach in (1, 2, 3):
        expected = _correlation(left.float(), right.float(), reach)
        worst = torch.maximum(worst, (correlation(left, right, reach) - expected).abs().amax())
    return worst


def _correlation(left: Tensor, right: Tensor, reach: int) -> Tensor:
    """Compute :func:`symmetric_correlation` of contiguous maps.

    All displacements are tried at each place of the left features; then each cost is moved to its own place.
    """
    window, margin = 2 * reach + 1, _margin(reach)
    count, channels, height, width = left.shape
    left, right = F.pad(left, (margin,) * 4), F.pad(right, (margin + reach,) * 4).contiguous()
    steps = right.stride()
    # A window about each pixel as a view: both steps of an axis have the same stride, so memory is repeated
    # and not copied.
    size = count, channels, window, window, *left.shape[-2:]
    windows = right.as_strided(size, (*steps[:2], *steps[2:], *steps[2:]))
    at_left = _inner_products(left[:, :, None, None], windows)
    costs = at_left.new_empty(count, window, window, height, width)
    each, down, across, row, column = at_left.stride()
    for first_y, first_x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        # From one displacement to the next but one the left features move by one place: a stride again.
        part = costs[:, first_y::2, first_x::2]
        back_y, back_x = (margin - (first - reach) // 2 for first in (first_y, first_x))
        start = first_y * down + first_x * across + back_y * row + back_x * column
        strides = each, 2 * down - row, 2 * across - column, row, column
        part.copy_(at_left.as_strided(part.shape, strides, start))
    return costs.flatten(1, 2)


def _inner_products(left: Tensor, windows: Tensor) -> Tensor:
    """Return the sum over the channels of the product, (N, D, D, H, W), contiguous.

    Args:
        left: (N, C, 1, 1, H, W).
        windows: (N, C, D, D, H, W), a view that repeats its memory D * D times.
    """
    if left.device.type == "cpu":
        return _inner_products_by_rows(left, windows)
    # A few channels at a time, so that the product of the repeated view stays below _PRODUCT_BYTES.
    groups = min(-(-windows.numel() * windows.element_size() // _PRODUCT_BYTES), windows.shape[1])
    first, *others = zip(left.tensor_split(groups, 1), windows.tensor_split(groups, 1), strict=True)
    total = torch.mul(*first).sum(1)
    for part in others:
        total += torch.mul(*part).sum(1)
    return total.contiguous()


def _inner_products_by_rows(left: Tensor, windows: Tensor) -> Tensor:
    """Compute :func:`_inner_products` channel by channel, a few rows at a time, whose sums stay in the cache.

    Products of all channels at once would have to be written and read again.
    """
    total = left.new_empty(windows[:, 0].shape)
    for rows in cached_rows(left, channels=windows.shape[2] * windows.shape[3]):
        part, one, other = total[..., rows, :], left[..., rows, :], windows[..., rows, :]
        torch.mul(one[:, 0], other[:, 0], out=part)
        for channel in range(1, left.shape[1]):
            part.addcmul_(one[:, channel], other[:, channel])
    return total


def _margin(reach: int) -> int:
    return (reach + 1) // 2


def _views(left: Tensor, right: Tensor, reach: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views of both padded maps, shifted by half of each displacement in opposite directions."""
    window, margin = 2 * reach + 1, _margin(reach)
    height, width = (side - 2 * margin for side in left.shape[-2:])

    def shifted(x: Tensor, dx: int, dy: int) -> Tensor:
        return x[..., margin + dy : margin + dy + height, margin + dx : margin + dx + width]

    for i in range(window**2):
        dx, dy = i % window - reach, i // window - reach
        back_x, back_y = -(dx // 2), -(dy // 2)
        yield shifted(left, back_x, back_y), shifted(right, dx + back_x, dy + back_y)


class _Correlation(torch.autograd.Function):
    """:func:`symmetric_correlation` with a gradient that is summed in place.

    By autograd every displacement would have memory of its own, filled with zeros, for each gradient.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, reach: int) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.reach = reach
        return _correlation(left, right, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        left, right = ctx.saved_tensors
        margin = _margin(ctx.reach)
        left, right = F.pad(left, (margin,) * 4), F.pad(right, (margin,) * 4)
        to_left, to_right = torch.zeros_like(left), torch.zeros_like(right)
        pairs = zip(_views(left, right, ctx.reach), _views(to_left, to_right, ctx.reach), strict=True)
        for i, ((one, other), (to_one, to_other)) in enumerate(pairs):
            weight = gradient[:, i : i + 1]
            to_one.addcmul_(other, weight)
            to_other.addcmul_(one, weight)
        rows, columns = (slice(margin, side - margin) for side in left.shape[-2:])
        return to_left[..., rows, columns], to_right[..., rows, columns], None


def expected_displacement(cost: Tensor, sharpness: Tensor) -> Tensor:
    """Return the mean displacement under a softmax of the cost, averaged over 3 x 3 places.

    Args:
        cost: (N, D * D, H, W) of :func:`symmetric_correlation`.
        sharpness: () factor on the cost.

    Returns:
        (N, 2, H, W) pixels of this level from the left to the right frame, x then y.
    """
    window = math.isqrt(cost.shape[1])
    reach = window // 2
    weight = torch.softmax(box_mean(cost, 3) * sharpness, 1)

    def displacements() -> Tensor:
        steps = torch.arange(-reach, reach + 1, device=cost.device, dtype=cost.dtype)
        return torch.stack((steps.repeat(window), steps.repeat_interleave(window)))

    # (2, D * D), x then y, in the order of the costs: x runs fastest.
    table = constant(("displacements", window, cost.dtype, cost.device), displacements)
    return torch.einsum("dk,nkhw->ndhw", table, weight)
