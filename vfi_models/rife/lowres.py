"""The pass over the blocks with everything at the resolution at which it is looked at.

A bilinear reduction by an even factor s reads only the 2 x 2 pixels about the centre of each s x s cell,
and a bilinear enlargement by 2s is linear across such a cell. So, exactly:

* of the warped pictures a block at divisor s needs four pixels a cell: only these are sampled, from flow
  evaluated at these pixels;
* enlarged by S and reduced by s is enlarged by S / s, for the flow of every level by its own factor, and
  for mask and carried features;
* only blocks at divisors 1 and 2 and the blend see full-size flow.

Convolutions run on copies of the weights, see :mod:`.prepared`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .._ops.convolution import channels_last, memory_format
from .._ops.cuda_graphs import storages
from .._ops.warp import GridSampler, identity_grid
from .config import Family
from .net import (
    IFNet,
    Motion,
    resize,
    swap_flows,
)
from .prepared import PreparedBlock, PreparedHead


def applies(divisors: tuple[float, ...]) -> bool:
    """Whether the identities hold: divisors of 1 or even, each a multiple of twice the next."""
    whole = all(d == 1 or d % 2 == 0 for d in divisors)
    return whole and all(a % (2 * b) == 0 for a, b in pairwise(divisors))


@dataclass(frozen=True)
class _Level:
    """What one block found, at its own resolution."""

    flow: Tensor
    """(K, 4, h, w) float32, pixels of the full size."""
    hidden: Tensor
    """(K, 1 + carry, h, w) float32: mask logit and carry."""
    factor: int
    """Full size over this size."""


class LowResolution:
    """The blocks of a network, prepared for one padded size. Buffers are kept from call to call: fresh
    memory costs more than what is written to it.

    Args:
        net: on its device. Its weights are taken as they are now, see :meth:`fits`.
        padded: (height, width).
        divisors: that :func:`applies` accepts.
        ensemble: run every block on both orders of the pair.
    """

    def __init__(
        self, net: IFNet, padded: tuple[int, int], divisors: tuple[float, ...], *, ensemble: bool = False
    ) -> None:
        parameter = next(net.parameters())
        family = self._family = net.family
        self._made_from = storages(net.parameters())
        self._dtype = parameter.dtype
        self._padded = padded
        self._divisors = tuple(int(d) for d in divisors)
        self._ensemble = ensemble
        self._format = memory_format(parameter.device)
        # On a GPU the bytes that are moved are the time; a CPU converts slowly, and reads whole lines anyway.
        self._fewer_bytes = parameter.device.type != "cpu"
        self._blocks = [
            PreparedBlock(
                block,
                _input_order(family, later=i > 0),
                outputs=5 + (family.carry if i < len(self._divisors) - 1 else 0),  # then nobody reads it
                pixels=self._factor(self._divisors[i]),
            )
            for i, block in enumerate(net.blocks())
        ]
        self.head = PreparedHead(net.encode) if family.head else None
        grid = identity_grid(*padded, parameter.device)
        self._samplers = [GridSampler(_centres(grid, s), padded, halved=s > 1) for s in self._divisors]
        self._buffers: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def fits(self, net: IFNet) -> bool:
        """Whether the network still has the parameters that were prepared: a host may have replaced them."""
        return self._made_from == storages(net.parameters())

    def forget(self) -> None:
        """Lets go of the buffers."""
        self._buffers.clear()
        for block in self._blocks:
            block.forget()

    def estimate(self, left: Tensor, right: Tensor, timestep: Tensor) -> Motion:
        """Flow and mask at full padded size.

        Args:
            left, right: (K, C, H, W) float32, picture and then features of each side.
            timestep: (K,).
        """
        levels: list[_Level] = []
        full: Tensor | None = None
        mask: Tensor | None = None
        for i, s in enumerate(self._divisors):
            seen, stored = self._buffer(i, timestep.shape[0], left.shape[1])
            sides, known = seen[:, : 2 * left.shape[1]], seen[:, 2 * left.shape[1] :]
            known[:, :1] = timestep.view(-1, 1, 1, 1)
            if not levels:
                for own, side in zip(sides.chunk(2, 1), (left, right), strict=True):
                    own.copy_(_reduced(side, s) if self._fewer_bytes else resize(side, 1 / s))
            else:
                if s <= 2:  # noqa: PLR2004 - from here on every pixel is read
                    full = _added(full, levels)
                flow = _spread(_enlarged(levels, s, 2), s) if full is None else full
                for own, side, half in zip(sides.chunk(2, 1), (left, right), flow.chunk(2, 1), strict=True):
                    self._samplers[i](side, half, out=own)
                hidden = self._hidden(levels, s, narrow=self._fewer_bytes)
                mask = hidden[:, :1] if s == 1 else None
                known[:, 1:-4] = hidden
                known[:, -4:] = flow if s == 1 else _enlarged(levels, s, 1).div_(s)
            levels.append(self._level(i, seen, stored))
        full = _added(full, levels)
        if mask is None or not self._family.mask_summed:
            return Motion(full, self._hidden(levels, 1)[:, :1])
        return Motion(full, mask.add_(resize(levels[-1].hidden, levels[-1].factor)))

    def _factor(self, divisor: int) -> int:
        return divisor if self._family.shuffled else 2 * divisor

    def _level(self, index: int, seen: Tensor, stored: Tensor) -> _Level:
        """One block, on both orders of the pair with ``ensemble``."""
        out = self._blocks[index](seen if stored is seen else channels_last(seen, stored))
        if self._ensemble:
            out = out.clone()
            mirrored = _mirrored(seen, self._family.picture_channels, later=index > 0)
            other = self._blocks[index](mirrored if stored is seen else channels_last(mirrored, stored))
            out[:, :4] = (out[:, :4] + swap_flows(other)) / 2
            out[:, 4:5] = (out[:, 4:5] - other[:, 4:5]) / 2
        return _Level(out[:, :4], out[:, 4:], self._factor(self._divisors[index]))

    def _hidden(self, levels: list[_Level], divisor: int, *, narrow: bool = False) -> Tensor:
        """Return mask and carry at 1/divisor: of the last level, or the sum of all masks.

        Args:
            levels: so far.
            divisor: of the size.
            narrow: in the dtype of the convolutions, which read it, where nothing is summed.
        """
        used = levels if self._family.mask_summed else levels[-1:]
        last = used[-1].hidden
        if narrow and not self._family.mask_summed:
            last = last.to(self._dtype)
        total = resize(last, used[-1].factor / divisor)
        for level in used[:-1]:
            total = total + resize(level.hidden, level.factor / divisor)
        return total

    def _buffer(self, index: int, count: int, side: int) -> tuple[Tensor, Tensor]:
        """What block ``index`` sees (left, right, timestep, and later mask, carry and flow): planes, which
        is how they are made, and memory for the same as convolutions want it stored.
        """
        if any(key[1] != count for key in self._buffers):  # a smaller batch must take less
            self._buffers.clear()
        key = index, count
        if key not in self._buffers:
            channels = 2 * side + 1 + (5 + self._family.carry if index else 0)
            size = (length // self._divisors[index] for length in self._padded)
            device = self._made_from[0][1]
            planes = torch.empty(count, channels, *size, dtype=self._dtype, device=device)
            as_they_are = self._format == torch.contiguous_format
            stored = planes if as_they_are else torch.empty_like(planes, memory_format=self._format)
            self._buffers[key] = planes, stored
        return self._buffers[key]


def _mirrored(seen: Tensor, side: int, *, later: bool) -> Tensor:
    """A block's input for the pair in the other order."""
    parts = [seen[:, side : 2 * side], seen[:, :side], 1 - seen[:, 2 * side : 2 * side + 1]]
    if later:
        parts += [-seen[:, 2 * side + 1 : -4], swap_flows(seen[:, -4:])]
    return torch.cat(parts, 1)


def _reduced(x: Tensor, divisor: int) -> Tensor:
    """Return what :func:`resize` by 1 / ``divisor`` does, of the 2 x 2 pixels in each cell's centre.

    Args:
        x: (K, C, H, W); both sides are multiples of ``divisor``, which is 1 or even.
    """
    if divisor == 1:
        return x
    count, channels, height, width = x.shape
    cells = x.reshape(count, channels, height // divisor, divisor, width // divisor, divisor)
    middle = slice(divisor // 2 - 1, divisor // 2 + 1)
    return cells[:, :, :, middle, :, middle].mean((3, 5))


def _enlarged(levels: list[_Level], divisor: int, detail: int) -> Tensor:
    """Flow of ``levels`` summed at ``detail`` / ``divisor`` of the full size, in pixels of the full size."""
    first, *rest = levels
    total = resize(first.flow, first.factor * detail / divisor)
    for level in rest:
        total = total + resize(level.flow, level.factor * detail / divisor)
    return total


def _added(full: Tensor | None, levels: list[_Level]) -> Tensor:
    """Flow at full size: that of the levels before, in whose place it comes, and of the last one."""
    return _enlarged(levels, 1, 1) if full is None else full.add_(_enlarged(levels[-1:], 1, 1))


def _centres(grid: Tensor, divisor: int) -> Tensor:
    """The sampling grid at the 2 x 2 pixels about the centre of each cell; all pixels at divisors 1 and 2."""
    if divisor <= 2:  # noqa: PLR2004
        return grid
    height, width = grid.shape[-2:]
    cells = grid.view(1, 2, height // divisor, divisor, width // divisor, divisor)
    middle = slice(divisor // 2 - 1, divisor // 2 + 1)
    picked = cells[:, :, :, middle, :, middle]
    return picked.reshape(1, 2, 2 * height // divisor, 2 * width // divisor)


def _spread(flow: Tensor, divisor: int) -> Tensor:
    """From flow at the quarter points of each cell to flow at the 2 x 2 pixels about its centre.

    Args:
        flow: (K, 4, 2h, 2w), two values a side of each cell; flow is linear across a cell.
    """
    count, channels, rows, columns = flow.shape
    share = 0.5 - 1 / divisor
    near, far = flow.view(count, channels, rows // 2, 2, columns).unbind(3)
    flow = torch.stack((torch.lerp(near, far, share), torch.lerp(far, near, share)), 3)
    near, far = flow.view(count, channels, rows, columns // 2, 2).unbind(4)
    flow = torch.stack((torch.lerp(near, far, share), torch.lerp(far, near, share)), 4)
    return flow.view(count, channels, rows, columns)


def _input_order(family: Family, *, later: bool) -> list[int]:
    """Where each channel of our joined input stands in the published one.

    Ours keeps a side's picture and features together, because they are sampled together; the published
    order is both pictures, then both features. What follows is the same.
    """
    features = family.picture_channels - 3
    left = [0, 1, 2, *range(6, 6 + features)]
    right = [3, 4, 5, *range(6 + features, 6 + 2 * features)]
    inputs = family.later_inputs if later else family.first_inputs
    return [*left, *right, *range(6 + 2 * features, inputs)]
