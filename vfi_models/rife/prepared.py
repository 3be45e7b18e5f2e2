"""A block's weights as they are run: folded, reordered, laid out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._core.convolution import Convolution
from .net import Block, ResConv

_SLOPE = 0.2


class PreparedBlock:
    """See :class:`~.net.Block`, whose weights these are (copies). Not for 4.0, which has other activations.

    Args:
        block: on its device and in its dtype.
        order: for each input channel, which one it is of the published block.
        outputs: channels that are wanted of those the block hands out.
    """

    def __init__(self, block: Block, order: Sequence[int], outputs: int) -> None:
        first, second = (part.get_submodule("0") for part in block.conv0.children())
        weight, bias = _parameters(first)
        self._entry = [
            Convolution(weight[:, list(order)], bias, stride=2, slope=_SLOPE),
            Convolution(*_parameters(second), stride=2, slope=_SLOPE),
        ]
        self._inner = [_inner(part) for part in block.convblock.children()]
        self._apart = weight.dtype != torch.float32 and block.shuffled
        self._factor = 4 if block.shuffled else 2
        last = next(m for m in block.lastconv.modules() if isinstance(m, nn.ConvTranspose2d))
        self._exit = Convolution(*_exit(last, shuffled=block.shuffled, outputs=outputs))

    def __call__(self, x: Tensor) -> Tensor:
        """(K, inputs, h, w) in the block's dtype to (K, outputs, h, w) float32, or (K, outputs, h/2, w/2)
        for 4.2; nothing is enlarged or multiplied.
        """
        for step in self._entry:
            x = step(x)
        for step in self._inner:
            x = step(x, x if self._apart else None)
        edge = self._factor // 2
        shuffled = F.pixel_shuffle(self._exit(x), self._factor)
        return shuffled[..., edge:-edge, edge:-edge].float()


def _parameters(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    return convolution.get_parameter("weight"), convolution.get_parameter("bias")


def _inner(part: nn.Module) -> Convolution:
    """One of the eight. ``conv(x) * beta + x`` is one convolution with scaled weights and 1 added where a
    channel meets itself; in 16 bits that 1 would cost the weight its last digits, so there it stays apart.
    """
    if not isinstance(part, ResConv):
        return Convolution(*_parameters(part.get_submodule("0")), slope=_SLOPE)
    beta = part.beta
    weight, bias = _parameters(part.conv)
    weight = weight * beta.view(-1, 1, 1, 1)
    if weight.dtype == torch.float32:
        channel = torch.arange(weight.shape[0], device=weight.device)
        weight[channel, channel % weight.shape[1], 1, 1] += 1
    return Convolution(weight, bias * beta.flatten(), groups=part.conv.groups, slope=_SLOPE)


def _exit(last: nn.ConvTranspose2d, *, shuffled: bool, outputs: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of a 2x2 convolution (padding 1) and a pixel shuffle that are ``last`` and its shuffle.

    A transposed 4x4 convolution of stride 2 makes each output pixel from 2 x 2 inputs. The four pixels
    around the corner between four inputs are made from the same ones, so these four are the channels of
    one 2x2 convolution over the corners. What it makes begins a pixel before the picture and ends one after.

    Returns:
        (outputs * f * f, in, 2, 2) and its bias, for a pixel shuffle by f = 4 (``shuffled``) or 2, of which
        f / 2 pixels are to be cut off on all sides.
    """
    inputs = last.weight.shape[0]
    own = 2 if shuffled else 1  # what the block shuffles itself
    weight, bias = last.weight, last.get_parameter("bias")
    # Output pixel 2i - 1 + a takes input i - 1 + r by the kernel's row 2 + a - 2r.
    taps = weight.view(inputs, -1, own, own, 2, 2, 2, 2).flip(4, 6)
    # in, out, own row, own column, r, a, r', a' -> out, a, own row, a', own column, in, r, r'
    taps = taps.permute(1, 5, 2, 7, 3, 0, 4, 6)[:outputs]
    biases = bias.view(-1, 1, own, 1, own)[:outputs].expand(-1, 2, -1, 2, -1)
    return taps.reshape(-1, inputs, 2, 2), biases.reshape(-1)
