"""The blocks of RIFE for inference: weights folded, reordered and laid out once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._ops.convolution import Convolution
from .net import Block, ResConv

_SLOPE = 0.2


class PreparedBlock:
    """A :class:`~.net.Block` on copies of its weights. Not for 4.0, which has other activations.

    Args:
        block: on its device and in its dtype.
        order: for each input channel, its index in the published block.
        outputs: how many of the block's output channels to compute.
        pixels: factor of the flow, a power of two.
    """

    def __init__(self, block: Block, order: Sequence[int], *, outputs: int, pixels: int) -> None:
        first, second = (part.get_submodule("0") for part in block.conv0.children())
        weight, bias = _parameters(first)
        self._entry = [
            Convolution(torch.stack([weight[:, i] for i in order], 1), bias, stride=2, slope=_SLOPE),
            Convolution(*_parameters(second), stride=2, slope=_SLOPE),
        ]
        self._inner = [_inner(part) for part in block.convblock.children()]
        self._adds_input = weight.dtype != torch.float32 and block.shuffled
        self._factor = 4 if block.shuffled else 2
        last = next(m for m in block.lastconv.modules() if isinstance(m, nn.ConvTranspose2d))
        self._exit = Convolution(*_exit(last, own=self._factor // 2, outputs=outputs, pixels=pixels))
        self._output: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Run the block at its own resolution.

        Args:
            x: (K, inputs, h, w) in the block's dtype.

        Returns:
            (K, outputs, h, w) float32, for 4.2 (K, outputs, h/2, w/2). The next call writes over it.
        """
        for step in self._entry:
            x = step(x)
        for step in self._inner:
            x = step(x, x if self._adds_input else None)
        x = self._exit(x)
        count, channels, rows, columns = x.shape
        shape = (count, channels // self._factor**2, self._factor * rows, self._factor * columns)
        if self._output is None or self._output.shape != shape:
            self._output = x.new_empty(shape, dtype=torch.float32)
        return _shuffled(x, self._factor, out=self._output)

    def forget(self) -> None:
        """Drop the output buffer."""
        self._output = None


class PreparedHead:
    """The encoder of one picture, (N, 3, H, W) to (N, channels, H, W), on copies of its weights.

    Args:
        head: the published layers.
    """

    def __init__(self, head: nn.Module) -> None:
        steps = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
        last = next(m for m in head.modules() if isinstance(m, nn.ConvTranspose2d))
        slope = _SLOPE if len(steps) > 1 else None  # that of 4.7 has no activation
        self._steps = [
            Convolution(*_parameters(step), stride=1 if i else 2, slope=slope) for i, step in enumerate(steps)
        ]
        self._exit = Convolution(*_exit(last, own=1, outputs=last.out_channels, pixels=1))

    def __call__(self, x: Tensor) -> Tensor:
        """Encode a picture in the dtype of the weights."""
        for step in self._steps:
            x = step(x)
        return _shuffled(self._exit(x), 2)


def _shuffled(x: Tensor, factor: int, out: Tensor | None = None) -> Tensor:
    """Shuffle (K, f * outputs * f, h + 1, w + 1), channels as :func:`_exit` orders them, to (K, outputs, f h,
    f w).

    torch's own pixel shuffle needs another order of channels and takes twice as long.
    """
    count, channels, rows, columns = x.shape
    outputs = channels // factor**2
    if out is None:
        out = x.new_empty(count, outputs, factor * rows, factor * columns)
    # On a CPU converted first: a strided copy that also converts 16 bits takes three times as long there.
    x = x.to(out.dtype) if x.device.type == "cpu" else x
    cells = x.view(count, factor, outputs, factor, rows, columns).permute(0, 2, 4, 1, 5, 3)
    out.view(count, outputs, rows, factor, columns, factor).copy_(cells)
    # The first and the last half cell belong to corners outside of the picture.
    edge = factor // 2
    return out[..., edge:-edge, edge:-edge]


def _parameters(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    return convolution.get_parameter("weight"), convolution.get_parameter("bias")


def _inner(part: nn.Module) -> Convolution:
    """Return one of the eight inner convolutions.

    ``conv(x) * beta + x`` is one convolution with scaled weights, and 1 added where a channel meets itself.
    In 16 bits that 1 would cost the weight its last digits, so there the input is added separately.
    """
    if not isinstance(part, ResConv):
        return Convolution(*_parameters(part.get_submodule("0")), slope=_SLOPE)
    beta = part.beta
    weight, bias = _parameters(part.conv)
    weight = weight * beta.view(-1, 1, 1, 1)
    if weight.dtype == torch.float32:
        channel = torch.arange(weight.shape[0], dtype=torch.int64, device=weight.device)
        weight[channel, channel % weight.shape[1], 1, 1] += 1
    return Convolution(weight, bias * beta.flatten(), groups=part.conv.groups, slope=_SLOPE)


def _exit(last: nn.ConvTranspose2d, *, own: int, outputs: int, pixels: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a 2x2 convolution (padding 1) that is ``last``, before shuffles.

    A transposed 4x4 convolution of stride 2 makes each output pixel from 2 x 2 inputs. The four pixels
    around the corner between four inputs are made from the same ones, so these four are channels of one
    2x2 convolution over the corners. Its result begins a pixel before the picture and ends one after.

    Args:
        last: in, outputs * own * own.
        own: factor of the pixel shuffle that follows ``last``; 1 is none.
        outputs: how many to compute.
        pixels: see :class:`PreparedBlock`.

    Returns:
        (f * outputs * f, in, 2, 2) with f = 2 * own, and its bias: row in a cell of f x f pixels, output,
        column. f / 2 pixels of the result are to be cropped on all sides.
    """
    inputs = last.weight.shape[0]
    # Output pixel 2i - 1 + a takes input i - 1 + r by the kernel's row 2 + a - 2r.
    taps = last.weight.view(inputs, -1, own, own, 2, 2, 2, 2).flip(4, 6)
    # in, output, own row, own column, r, a, r', a' -> a, own row, output, a', own column, in, r, r'
    taps = taps.permute(5, 2, 1, 7, 3, 0, 4, 6)[:, :, :outputs]
    biases = last.get_parameter("bias").view(-1, own, own).permute(1, 0, 2)[:, :outputs].unsqueeze(2)
    biases = biases.expand(2, own, outputs, 2, own).clone()
    # A power of two, so that scaling the weights of the flow is exact.
    taps[:, :, :4] *= pixels
    biases[:, :, :4] *= pixels
    return taps.reshape(-1, inputs, 2, 2), biases.reshape(-1)
