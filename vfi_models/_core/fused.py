"""A backward warp in one pass on CUDA, where Triton is there and does what torch does.

torch takes five: coordinates, their join, an enlarged copy of a 16-bit image, sampling in float32, and the
copy to where the result belongs. Here each pixel is read and written once.

Written against Triton's interpreter and compiled for CUDA without one: not measured on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from .surroundings import undisturbed

_LOG = logging.getLogger(__name__)

_NEAR = 2e-5
"""Largest difference in float32: sums in another order, of values in 0..1."""
_ROUNDING = {torch.float32: _NEAR, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""The same where an image or the result has that dtype: two steps of it."""


class Warp(Protocol):
    """What :class:`~.warp.GridSampler` does, for any floating dtypes and strides."""

    def __call__(
        self, image: Tensor, flow: Tensor, grid: Tensor, *, size: tuple[int, int], pooled: bool, out: Tensor
    ) -> Tensor:
        """
        Args:
            image: (N, C, H, W); N may be 1 for a flow of K samples.
            flow: (K, 2, h, w) in pixels of the image. What is not a number or lies outside takes a pixel of
                the border.
            grid: (1, 2, h, w) float32, rows and columns of ``identity_grid(H, W)``.
            size: (H, W).
            pooled: means of 2 x 2 pixels.
            out: (K, C, h, w), pooled (K, C, h/2, w/2). Returned.
        """
        ...


def fused(image: Tensor, out: Tensor, plain: Callable[..., Tensor]) -> Warp | None:
    """The kernel for these tensors, or None where ``plain``, a :class:`Warp`, has to do it."""
    if image.device.type != "cuda" or torch.is_grad_enabled():
        return None
    if image.dtype not in _ROUNDING or out.dtype not in _ROUNDING:
        return None
    return _checked(image.device, image.dtype, out.dtype, plain)


@cache
def _checked(
    device: torch.device, dtype: torch.dtype, out_dtype: torch.dtype, plain: Callable[..., Tensor]
) -> Warp | None:
    """The kernel, compiled and compared with ``plain``: once for each device and pair of dtypes."""
    what = f"{dtype} to {out_dtype} on {device}".replace("torch.", "")
    try:
        from .fused_kernel import warp  # noqa: PLC0415 - Triton takes a second to import, and may be missing
    except ImportError as error:
        _LOG.info("Warps run as separate operations on %s: %s", device, error)
        return None
    try:
        with undisturbed(device):
            apart = disagreement(warp, plain, device, dtype, out_dtype)
    except Exception as error:  # noqa: BLE001 - a compiler, a driver: whatever is wrong, torch does it too
        _LOG.warning("Warps of %s run as separate operations; Triton says: %s", what, error)
        return None
    if not apart <= 1.0:
        _LOG.warning("Warps of %s run as separate operations: the kernel is wrong here", what)
        return None
    _LOG.info("Warps of %s run in one pass", what)
    return warp


def disagreement(
    warp: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    device: torch.device,
    dtype: torch.dtype,
    out_dtype: torch.dtype,
) -> float:
    """The largest difference between two warps, over what rounding explains. NaN where one makes NaN.

    Of a small picture, with flows that stay inside, leave it, and are no numbers. Waits for the device.
    """
    height, width, channels = 20, 36, 5
    # Computed, not drawn: nobody's random numbers shall change.
    values = torch.arange(2 * channels * height * width, dtype=torch.float32, device=device).mul(0.7).sin()
    image = values.view(2, channels, height, width).mul(0.5).add(0.5).to(dtype)
    flow = 9.0 * values.mul(91.0).sin()[: 4 * height * width].view(2, 2, height, width)
    for i, wild in enumerate((float("nan"), float("inf"), -float("inf"), 1e30)):
        flow[:, :, i, i] = wild
    x = torch.linspace(-1.0, 1.0, width, dtype=torch.float32, device=device).expand(height, width)
    y = torch.linspace(-1.0, 1.0, height, dtype=torch.float32, device=device)
    grid = torch.stack((x, y.unsqueeze(1).expand(height, width))).unsqueeze(0)
    worst = torch.zeros((), dtype=torch.float32, device=device)
    for pooled in (False, True):
        size = (height // 2, width // 2) if pooled else (height, width)
        made = torch.full((2, channels + 3, *size), torch.nan, dtype=out_dtype, device=device)
        wanted = torch.empty((2, channels, *size), dtype=out_dtype, device=device)
        plain(image, flow, grid, size=(height, width), pooled=pooled, out=wanted)
        inner = made[:, 1:-2]
        warp(image, flow, grid, size=(height, width), pooled=pooled, out=inner)
        worst = torch.maximum(worst, (inner.float() - wanted.float()).abs().amax())
    return float(worst) / max(_ROUNDING[dtype], _ROUNDING[out_dtype])
