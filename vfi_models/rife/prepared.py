"""A block's weights laid out for running: folded, reordered, in a memory format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .net import Block, ResConv


@dataclass(frozen=True)
class _Convolution:
    """A 3x3 convolution, what is added to it, and its activation."""

    weight: Tensor
    bias: Tensor
    slope: Tensor | None
    """Of a PReLU, one a channel; None is LeakyReLU 0.2."""
    stride: int = 1
    groups: int = 1
    residual: bool = False
    """Add the input before the activation: where it is not in the kernel."""

    def __call__(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.weight, self.bias, self.stride, 1, groups=self.groups)
        if self.residual:
            y += x
        return F.leaky_relu_(y, 0.2) if self.slope is None else F.prelu(y, self.slope)


class PreparedBlock:
    """See :class:`~.net.Block`, whose weights these are (copies, in ``layout``).

    Args:
        block: on its device and in its dtype.
        order: for each input channel, which one it is of the published block.
        layout: memory format of weights and activations.
    """

    def __init__(self, block: Block, order: Sequence[int], layout: torch.memory_format) -> None:
        entry, second = (_plain(part, 2) for part in block.conv0.children())
        reordered = entry.weight[:, list(order)]
        steps = [_Convolution(reordered, entry.bias, entry.slope, 2), second]
        inner = [_inner(part) for part in block.convblock.children()]
        self._entry = [_laid_out(step, layout) for step in steps]
        self._inner = [_laid_out(step, layout) for step in inner]
        self._skip = block.skip
        self._shuffled = block.shuffled
        last = next(m for m in block.lastconv.modules() if isinstance(m, nn.ConvTranspose2d))
        self._exit_weight = last.weight.contiguous(memory_format=layout)
        self._exit_bias = last.bias

    def __call__(self, x: Tensor) -> Tensor:
        """(K, inputs, h, w) in the block's dtype to (K, outputs, h, w) float32, or (K, outputs, h/2, w/2)
        for 4.0 and 4.2; nothing is enlarged or multiplied.
        """
        for step in self._entry:
            x = step(x)
        skipped = x
        for step in self._inner:
            x = step(x)
        if self._skip:
            x = x + skipped
        x = F.conv_transpose2d(x, self._exit_weight, self._exit_bias, 2, 1)
        return (F.pixel_shuffle(x, 2) if self._shuffled else x).float()


def _plain(part: nn.Module, stride: int = 1) -> _Convolution:
    """A convolution with its activation: ``Sequential(Conv2d, PReLU or LeakyReLU)``."""
    convolution, activation = part.children()
    slope = activation.weight if isinstance(activation, nn.PReLU) else None
    return _Convolution(*_parameters(convolution), slope, stride)


def _parameters(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    return convolution.get_parameter("weight"), convolution.get_parameter("bias")


def _inner(part: nn.Module) -> _Convolution:
    """One of the eight. ``conv(x) * beta + x`` is one convolution with scaled weights and 1 added where a
    channel meets itself; in 16 bits that 1 would cost the weight its last digits, so there it stays apart.
    """
    if not isinstance(part, ResConv):
        return _plain(part)
    beta = part.beta
    weight, bias = _parameters(part.conv)
    weight = weight * beta.view(-1, 1, 1, 1)
    exact = weight.dtype == torch.float32
    if exact:
        channel = torch.arange(weight.shape[0], device=weight.device)
        weight[channel, channel % weight.shape[1], 1, 1] += 1
    return _Convolution(weight, bias * beta.flatten(), None, groups=part.conv.groups, residual=not exact)


def _laid_out(step: _Convolution, layout: torch.memory_format) -> _Convolution:
    weight = step.weight.contiguous(memory_format=layout)
    return _Convolution(weight, step.bias, step.slope, step.stride, step.groups, step.residual)
