"""Convolutions for inference: weights laid out once, the activation fused in where that is possible.

On a CPU activations are stored channels last, where convolutions of few channels are several times faster,
and oneDNN gets the weights in the layout that it prefers: torch would convert them at every call, which at
small sizes is a tenth of the time. The layout depends on the size of the picture, and from one blocked layout
into another oneDNN converts by a slow loop (64 channels: 3 ms, where the convolution itself takes 0.1), so
the weights are laid out anew for each size. torch's operators for this are private, so they are tested once,
and where they are missing or wrong the public ones do the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..interruption import ask
from ..surroundings import undisturbed
from .fused import kernel

_ONE_AT_A_TIME = threading.Lock()


_STORED: ContextVar[torch.memory_format | None] = ContextVar("stored", default=None)


# A context variable, as in fused.py: other threads may run networks beside.
@contextmanager
def activations_stored(form: torch.memory_format) -> Iterator[None]:
    """Build and run networks in this thread with activations in one format, on any device: to measure it."""
    before = _STORED.set(form)
    try:
        yield
    finally:
        _STORED.reset(before)


def memory_format(device: torch.device, *, on_cuda: bool = False) -> torch.memory_format:
    """Return how activations are stored on a device: channels last where that is fast, else planes.

    Args:
        device: where they are.
        on_cuda: channels last on CUDA too, for a network whose time goes into wide convolutions: tensor
            cores read that layout. Others keep planes there.
    """
    chosen = _STORED.get()
    if chosen is not None:
        return chosen
    fast = ("cpu", "cuda") if on_cuda else ("cpu",)
    return torch.channels_last if device.type in fast else torch.contiguous_format


def channels_last(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``x`` (N, C, H, W), finite, stored channels last: ``x`` itself where it is already.

    Args:
        x: planes.
        out: memory for it, of its shape and dtype, in that format.
    """
    if out is None and x.is_contiguous(memory_format=torch.channels_last):
        return x
    out = torch.empty_like(x, memory_format=torch.channels_last) if out is None else out
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or not multiplies_bfloat16() or x.requires_grad:
        return out.copy_(x)
    # torch copies 16 bits more slowly than 32. A product with the unit matrix is exact (times one, plus
    # zeros) and up to five times as fast as the copy.
    unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for planes, pixels in zip(x, out.permute(0, 2, 3, 1), strict=True):
        # (C, H W) transposed times (C, C) is (H W, C): the memory of one picture stored channels last.
        torch.mm(planes.reshape(x.shape[1], -1).t(), unit, out=pixels.reshape(-1, x.shape[1]))
    return out


@cache
def multiplies_bfloat16() -> bool:
    """Tell whether this CPU has instructions for products in bfloat16."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


class Convolution:
    """Computes ``leaky(convolution(x) + plus)``.

    Args:
        weight: (out, in / groups, rows, columns), on its device and in the dtype to run in; copied.
        bias: (out,).
        stride: of both axes.
        padding: zeros around the input, on all four sides.
        groups: of channels.
        slope: of the leaky ReLU; None is no activation.
    """

    sizes = 1
    """How many sizes of pictures take turns: weights stay laid out for the latest so many."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        stride: int = 1,
        padding: int = 1,
        groups: int = 1,
        slope: float | None = None,
    ) -> None:
        self._weight = weight.detach().clone(memory_format=memory_format(weight.device))
        self._bias = bias.detach()
        self._window = (padding, stride, groups)
        self._slope = slope
        # Nothing is laid out here: oneDNN's layout depends on the size of the input, which the first call
        # tells.
        self._packs = weight.device.type == "cpu" and _fuses(weight.dtype)
        self._packed: dict[tuple[int, int], Tensor] = {}

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Run the convolution.

        Args:
            x: (N, in, H, W) in the dtype of the weights.
            plus: (N, out, h, w) in the same dtype, added before the activation.

        Returns:
            (N, out, h, w), a new tensor.
        """
        ask()
        if self._packs:
            x, packed = channels_last(x), self._laid_out(x.shape)
            if plus is None:
                return _fused(x, packed, self._bias, self._window, self._slope)
            y = _fused(x, packed, self._bias, self._window, None)
        else:
            padding, stride, groups = self._window
            y = F.conv2d(x, self._weight, self._bias, stride, padding, groups=groups)
        return _activated(y, plus, self._slope)

    def _laid_out(self, shape: torch.Size) -> Tensor:
        """Return the weights in the layout for inputs of this shape."""
        size = (shape[2], shape[3])
        packed = self._packed.get(size)
        if packed is not None:
            return packed
        with _ONE_AT_A_TIME:  # several threads may run one network
            if size not in self._packed:
                # The plain weights are kept only until there is a first layout, from which they can be read
                # back: a layer has its weights in memory once.
                first = next(iter(self._packed.values()), None)
                # Never from one blocked layout to another, which is oneDNN's slow loop; see the docstring of
                # the module.
                plain = self._weight if first is None else channels_last(first.to_dense())
                kept = list(self._packed.items())[max(0, len(self._packed) - self.sizes + 1) :]
                packed = _pack(plain, self._window, shape)
                self._packed = dict([*kept, (size, packed)])
                self._weight = self._weight.new_empty(0)
            return self._packed[size]


class _SharedConvolution(Convolution):
    """The convolution of a layer that all levels of a pyramid share."""

    sizes = 8


class LeakyConv2d(nn.Conv2d):
    """A layer ``leaky(convolution(x) + plus)`` that trains as torch's does and runs as :class:`Convolution`.

    Args:
        inputs, outputs: channels.
        size: of the kernel.
        stride: of both axes.
        padding: zeros around the input, on all four sides.
        slope: of the leaky ReLU; None is no activation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: int = 1,
        slope: float | None = None,
    ) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=padding)
        self._slope = slope
        self._ready: Convolution | None = None
        self._prepared_from: object = None

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Apply the layer; see :class:`Convolution`."""
        if torch.is_grad_enabled():
            y = super().forward(x)
            y = y if plus is None else y + plus
            return y if self._slope is None else F.leaky_relu(y, self._slope)
        if self.weight.device.type == "cpu":
            return self._laid_out()(x, plus)
        return _activated(super().forward(x), plus, self._slope)

    def _laid_out(self) -> Convolution:
        """Return the convolution of the present parameters: a host or an optimiser may have changed them."""
        weight, bias = self.weight, self.get_parameter("bias")
        # A version counter grows with every in-place change; tensors made in inference mode have none, and
        # cannot be changed outside of it.
        versions = [None if p.is_inference() else p._version for p in (weight, bias)]
        made_from = weight.data_ptr(), bias.data_ptr(), weight.dtype, versions
        if self._ready is None or self._prepared_from != made_from:
            self._ready = _SharedConvolution(
                weight, bias, stride=self.stride[0], padding=int(self.padding[0]), slope=self._slope
            )
            self._prepared_from = made_from
        return self._ready

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the prepared convolution: a copy prepares its own."""
        return {**self.__dict__, "_ready": None}


def _activated(y: Tensor, plus: Tensor | None, slope: float | None) -> Tensor:
    """Write ``leaky(y + plus)`` over ``y``: in one pass where there is a kernel."""
    if plus is None:
        return y if slope is None else F.leaky_relu_(y, slope)
    if slope is not None and y.dtype == plus.dtype and y.stride() == plus.stride() and dense(y):
        add_leaky_ = kernel("add_leaky_", y, _difference)
        if add_leaky_ is not None:
            return add_leaky_(y, plus, slope)
    y += plus
    return y if slope is None else F.leaky_relu_(y, slope)


def dense(x: Tensor) -> bool:
    """Return whether (N, C, H, W) fill their memory without gaps, in one order or the other."""
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _difference(add_leaky_: Callable[..., Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the largest difference of the kernel from plain operations; see :data:`~.fused.Check`."""
    # More elements than a program of the kernel handles, and no multiple of that.
    values = torch.arange(3001, dtype=torch.float32, device=device)
    y, plus = values.mul(0.7).sin().to(dtype), values.mul(0.3).cos().to(dtype)
    expected = F.leaky_relu(y.float() + plus.float(), 0.1)
    return (add_leaky_(y.clone(), plus, 0.1).float() - expected).abs().amax()


# Padding, stride, groups.
_Window = tuple[int, int, int]


def _pack(weight: Tensor, window: _Window, size: torch.Size) -> Tensor:
    """Return ``weight`` in oneDNN's layout for inputs of about this size."""
    padding, stride, groups = window
    # [1, 1] is the dilation, here and below.
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight, [padding] * 2, [stride] * 2, [1, 1], groups, list(size)
    )
    return packed


def _fused(x: Tensor, packed: Tensor, bias: Tensor, window: _Window, slope: float | None) -> Tensor:
    padding, stride, groups = window
    # The names are oneDNN's post-operations; the slope is the operator's one scalar.
    after: tuple[str, list[Any]] = ("none", []) if slope is None else ("leaky_relu", [slope])
    out: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, packed, bias, [padding] * 2, [stride] * 2, [1, 1], groups, *after, ""
    )
    return out


@cache
def _fuses(dtype: torch.dtype) -> bool:
    """Tell whether torch's private operators exist and compute what the public ones do."""
    # oneDNN has no float16 convolutions on most processors; torch falls back to its own there.
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    values = torch.linspace(-1.0, 1.0, 8 * 6 * 6 + 8 * 8 * 9, dtype=torch.float32, device="cpu")
    x = values[: 8 * 36].view(1, 8, 6, 6).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = values[8 * 36 :].view(8, 8, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    window, bias = (1, 1, 1), weight.new_zeros(8)
    with undisturbed(x.device):
        try:
            out = _fused(x, _pack(weight, window, x.shape), bias, window, 0.5)
        except (RuntimeError, AttributeError, TypeError, NotImplementedError):
            return False
        expected = F.leaky_relu(F.conv2d(x.float(), weight.float(), None, 1, 1), 0.5)
        # Sums of 72 products of values in -1..1, of which bfloat16 keeps 8 bits.
        bound = 1e-4 if dtype == torch.float32 else 0.1
        return bool((out.float() - expected).abs().max() < bound)
