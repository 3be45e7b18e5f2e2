"""Chooses Triton kernels on CUDA, where Triton is installed and its kernels agree with torch.

A backward warp takes torch five passes: coordinates, their concatenation, a float32 copy of a 16-bit image,
sampling in float32, and the copy to where the result belongs. The kernel reads and writes each pixel once.

Written against Triton's interpreter and compiled for CUDA without a device: not measured on a GPU.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from ..surroundings import undisturbed

_LOG = logging.getLogger(__name__)

# Devices on which nobody expects a kernel, so that nothing is logged.
_NEVER = {"cpu", "meta"}
# Largest difference in float32: sums in another order, of values in 0..1.
_NEAR = 2e-5
# Largest difference where an image or the result has that dtype: two steps of it in 16 bits.
_ROUNDING = {torch.float32: _NEAR, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


_REPLACED: ContextVar[Mapping[str, Callable[..., Tensor]] | None] = ContextVar("replaced", default=None)


class Warp(Protocol):
    """A backward warp as :class:`~.warp.GridSampler` does it, for any floating dtypes and strides."""

    def __call__(
        self, image: Tensor, flow: Tensor, grid: Tensor, *, size: tuple[int, int], pooled: bool, out: Tensor
    ) -> Tensor:
        """Sample an image where a flow points.

        Args:
            image: (N, C, H, W); N may be 1 for a flow of K samples.
            flow: (K, 2, h, w) in pixels of the image. Where it is not a number or points outside, a pixel of
                the border is taken.
            grid: (1, 2, h, w) float32, rows and columns of ``identity_grid(H, W)``.
            size: (H, W).
            pooled: return means of 2 x 2 pixels.
            out: (K, C, h, w), pooled (K, C, h/2, w/2). Returned.
        """
        ...


def fused(image: Tensor, out: Tensor, plain: Callable[..., Tensor]) -> Warp | None:
    """Return the kernel for these tensors, or None where ``plain``, a :class:`Warp`, has to do it."""
    if not _can_run(image) or image.dtype not in _ROUNDING or out.dtype not in _ROUNDING:
        return None
    replaced = _REPLACED.get()
    return replaced["warp"] if replaced else _checked(image.device, image.dtype, out.dtype, plain)


# A context variable and no patch of a module: the tests run other threads beside.
@contextmanager
def replaced_kernels(kernels: Mapping[str, Callable[..., Tensor]]) -> Iterator[None]:
    """Run other functions instead of the kernels in this thread: for a device that is not there.

    Args:
        kernels: a function for ``warp`` and for each function of :mod:`.kernels`, by name.
    """
    before = _REPLACED.set(kernels)
    try:
        yield
    finally:
        _REPLACED.reset(before)


def kernel(name: str, x: Tensor, difference: Check) -> Callable[..., Tensor] | None:
    """Return a kernel of :mod:`.kernels` for tensors like this one, or None where torch has to do it.

    Args:
        name: of the kernel.
        x: its input, for the device and the dtype.
        difference: see :data:`Check`; a function of a module.
    """
    if not _can_run(x) or x.dtype not in _ROUNDING:
        return None
    replaced = _REPLACED.get()
    return replaced[name] if replaced else _compiled(name, x.device, x.dtype, difference)


Check = Callable[[Callable[..., Tensor], torch.device, torch.dtype], Tensor]
"""Returns the largest difference between a kernel and plain operations, on a device and in a dtype, ()."""


def _can_run(x: Tensor) -> bool:
    """Tell whether there are kernels for a device; log once where there are none and one may expect them."""
    if x.device.type in _NEVER or torch.is_grad_enabled():
        return False
    if x.device.type != "cuda" or torch.version.hip is not None:
        _say("ROCm" if x.device.type == "cuda" else x.device.type, "there are kernels for CUDA alone")
        return False
    return True


@cache
def _compiled(
    name: str, device: torch.device, dtype: torch.dtype, difference: Check
) -> Callable[..., Tensor] | None:
    """Return a kernel, compiled and compared with plain operations: once for each device and dtype."""
    try:
        from . import kernels  # noqa: PLC0415 - Triton takes a second to import, and may be missing

        found: Callable[..., Tensor] = getattr(kernels, name)
        with undisturbed(device):
            error = float(difference(found, device, dtype)) / _ROUNDING[dtype]
    # Triton fails in many ways: half removed, without a C compiler, with another driver. torch always works.
    except Exception as failure:  # noqa: BLE001
        _say(str(device), _reason(failure))
        return None
    # Not `> 1.0`: a kernel that returns NaN is wrong too, and NaN compares false.
    if not error <= 1.0:
        _LOG.warning("The kernel %s is wrong on %s in %s: separate operations run", name, device, dtype)
        return None
    return found


@cache
def _checked(
    device: torch.device, dtype: torch.dtype, out_dtype: torch.dtype, plain: Callable[..., Tensor]
) -> Warp | None:
    """Return the kernel, compiled and compared with ``plain``: once for each device and pair of dtypes."""
    # The pair of dtypes matters: Triton compiles a kernel for each, and one may be wrong where another is
    # right.
    what = f"{dtype} to {out_dtype} on {device}".replace("torch.", "")
    try:
        from .fused_kernel import warp  # noqa: PLC0415 - Triton takes a second to import, and may be missing

        with undisturbed(device):
            difference = disagreement(warp, plain, device, dtype, out_dtype)
    # Any failure, as in _compiled.
    except Exception as error:  # noqa: BLE001
        _say(str(device), _reason(error))
        return None
    # NaN, where the kernel leaves a pixel unwritten, is wrong too.
    if not difference <= 1.0:
        _LOG.warning("Warps of %s run as separate operations: the kernel is wrong here", what)
        return None
    _LOG.info("Warps of %s run in one pass", what)
    return warp


@cache
def _say(where: str, reason: str) -> None:
    """Log why the plain path is taken, once for each reason: every pair of dtypes meets it."""
    _LOG.warning("Kernels run as separate operations on %s, which is slower: %s", where, reason)


def _reason(error: Exception) -> str:
    """Return the reason why Triton fails in a line, the same at each try."""
    if isinstance(error, subprocess.CalledProcessError):  # names a new temporary file each time
        return "Triton's C compiler fails"
    return f"Triton: {str(error).partition(chr(10))[0] or type(error).__name__}"


def disagreement(
    warp: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    device: torch.device,
    dtype: torch.dtype,
    out_dtype: torch.dtype,
) -> float:
    """Return the largest difference between two warps over the rounding allowed, NaN where one returns NaN.

    It is of a small picture, with flows that stay inside, leave it, and are no numbers. Waits for the device.
    """
    height, width, channels = 20, 36, 5
    # Computed, not drawn: the caller's random numbers must not change.
    values = torch.arange(2 * channels * height * width, dtype=torch.float32, device=device).mul(0.7).sin()
    image = values.view(2, channels, height, width).mul(0.5).add(0.5).to(dtype)
    # Up to 9 pixels on a picture of 36 x 20, so that positions lie outside on all four sides.
    flow = 9.0 * values.mul(91.0).sin()[: 4 * height * width].view(2, 2, height, width)
    for i, wild in enumerate((float("nan"), float("inf"), -float("inf"), 1e30)):
        flow[:, :, i, i] = wild
    x = torch.linspace(-1.0, 1.0, width, dtype=torch.float32, device=device).expand(height, width)
    y = torch.linspace(-1.0, 1.0, height, dtype=torch.float32, device=device)
    grid = torch.stack((x, y.unsqueeze(1).expand(height, width))).unsqueeze(0)
    worst = torch.zeros((), dtype=torch.float32, device=device)
    for pooled in (False, True):
        size = (height // 2, width // 2) if pooled else (height, width)
        # The kernel writes to some channels of a larger tensor, as networks have it do.
        joined = torch.full((2, channels + 3, *size), torch.nan, dtype=out_dtype, device=device)
        expected = torch.empty((2, channels, *size), dtype=out_dtype, device=device)
        plain(image, flow, grid, size=(height, width), pooled=pooled, out=expected)
        inner = joined[:, 1:-2]
        warp(image, flow, grid, size=(height, width), pooled=pooled, out=inner)
        worst = torch.maximum(worst, (inner.float() - expected.float()).abs().amax())
    return float(worst) / max(_ROUNDING[dtype], _ROUNDING[out_dtype])
