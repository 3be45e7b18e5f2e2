"""The pass over the blocks of RIFE, with every tensor at the resolution at which it is read.

A bilinear reduction by an even factor s reads only the 2 x 2 pixels about the centre of each s x s cell,
and a bilinear enlargement by 2s is linear across such a cell. So, exactly:

* of the warped pictures a block at divisor s needs four pixels a cell: only these are sampled, with the flow
  at these pixels;
* an enlargement by S followed by a reduction by s is an enlargement by S / s, for the flow of every level by
  its own factor, and for mask and carried features;
* only blocks at divisors 1 and 2 and the blend read flow at full size.

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
from .net import FlowEstimate, IFNet, resize, swap_flows
from .prepared import PreparedBlock, PreparedHead


def applies(divisors: tuple[float, ...]) -> bool:
    """Tell whether the identities hold: divisors of 1 or even, each a multiple of twice the next."""
    whole = all(d == 1 or d % 2 == 0 for d in divisors)
    return whole and all(a % (2 * b) == 0 for a, b in pairwise(divisors))


@dataclass(frozen=True)
class _Level:
    """The output of one block, at its own resolution."""

    flow: Tensor
    """(K, 4, h, w) float32, pixels of the full size."""
    hidden: Tensor
    """(K, 1 + carry, h, w) float32: mask logit and carry."""
    factor: int
    """Full size over this size."""


class LowResolution:
    """The blocks of a network, prepared for one padded size.

    Buffers are kept from call to call: new memory costs more time than what is written to it.

    Args:
        net: on its device. Its present weights are copied, see :meth:`fits`.
        padded: (height, width).
        divisors: that :func:`applies` accepts.
        ensemble: run every block on both orders of the pair.
    """

    def __init__(
        self, net: IFNet, padded: tuple[int, int], divisors: tuple[float, ...], *, ensemble: bool = False
    ) -> None:
        parameter = next(net.parameters())
        family = self._family = net.family
        self._prepared_from = storages(net.parameters())
        self._dtype = parameter.dtype
        self._padded = padded
        self._divisors = tuple(int(d) for d in divisors)
        self._ensemble = ensemble
        self._format = memory_format(parameter.device)
        # The time of a GPU goes into the bytes that it moves; a CPU converts dtypes slowly, and reads whole
        # cache lines anyway.
        self._fewer_bytes = parameter.device.type != "cpu"
        self._blocks = [
            PreparedBlock(
                block,
                _input_order(family, later=i > 0),
                # Nothing reads the carry of the last block.
                outputs=5 + (family.carry if i < len(self._divisors) - 1 else 0),
                pixels=self._factor(self._divisors[i]),
            )
            for i, block in enumerate(net.blocks())
        ]
        self.head = PreparedHead(net.encode) if family.head else None
        grid = identity_grid(*padded, parameter.device)
        # At divisors above 1 the four pixels that the reduction reads are sampled and averaged.
        self._samplers = [GridSampler(_centres(grid, s), padded, halved=s > 1) for s in self._divisors]
        self._buffers: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def fits(self, net: IFNet) -> bool:
        """Tell whether the network still has the parameters that were prepared: a host may have replaced
        them.
        """
        return self._prepared_from == storages(net.parameters())

    def forget(self) -> None:
        """Drop the buffers."""
        self._buffers.clear()
        for block in self._blocks:
            block.forget()

    def estimate(self, left: Tensor, right: Tensor, timestep: Tensor) -> FlowEstimate:
        """Estimate flow and mask at full padded size.

        Args:
            left, right: (K, C, H, W) float32, picture and then features of each side.
            timestep: (K,).
        """
        levels: list[_Level] = []
        # The sum of all levels at full size; before the first divisor of 1 or 2 nothing needs it.
        full: Tensor | None = None
        mask: Tensor | None = None
        for i, s in enumerate(self._divisors):
            planes, stored = self._buffer(i, timestep.shape[0], left.shape[1])
            sides, others = planes[:, : 2 * left.shape[1]], planes[:, 2 * left.shape[1] :]
            others[:, :1] = timestep.view(-1, 1, 1, 1)
            if not levels:
                for target, side in zip(sides.chunk(2, 1), (left, right), strict=True):
                    target.copy_(_reduced(side, s) if self._fewer_bytes else resize(side, 1 / s))
            else:
                if s <= 2:  # noqa: PLR2004 - from here on every pixel is read
                    full = _added(full, levels)
                flow = _spread(_enlarged(levels, s, 2), s) if full is None else full
                halves = zip(sides.chunk(2, 1), (left, right), flow.chunk(2, 1), strict=True)
                for target, side, half in halves:
                    self._samplers[i](side, half, out=target)
                hidden = self._hidden(levels, s, narrow=self._fewer_bytes)
                mask = hidden[:, :1] if s == 1 else None
                # Behind the timestep: mask and carry (1 + carry channels), then the flow (4).
                others[:, 1:-4] = hidden
                others[:, -4:] = flow if s == 1 else _enlarged(levels, s, 1).div_(s)
            levels.append(self._level(i, planes, stored))
        full = _added(full, levels)
        if mask is None or not self._family.mask_summed:
            return FlowEstimate(full, self._hidden(levels, 1)[:, :1])
        return FlowEstimate(full, mask.add_(resize(levels[-1].hidden, levels[-1].factor)))

    def _factor(self, divisor: int) -> int:
        return divisor if self._family.shuffled else 2 * divisor

    def _level(self, index: int, planes: Tensor, stored: Tensor) -> _Level:
        """Run one block, on both orders of the pair with ``ensemble``."""
        out = self._blocks[index](planes if stored is planes else channels_last(planes, stored))
        if self._ensemble:
            # The block's own output buffer, which the pass on the other order writes over.
            out = out.clone()
            mirrored = _mirrored(planes, self._family.picture_channels, later=index > 0)
            other = self._blocks[index](mirrored if stored is planes else channels_last(mirrored, stored))
            out[:, :4] = (out[:, :4] + swap_flows(other)) / 2
            out[:, 4:5] = (out[:, 4:5] - other[:, 4:5]) / 2
        return _Level(out[:, :4], out[:, 4:], self._factor(self._divisors[index]))

    def _hidden(self, levels: list[_Level], divisor: int, *, narrow: bool = False) -> Tensor:
        """Return mask and carry at 1/divisor: of the last level, or the sum of all masks.

        Args:
            levels: so far.
            divisor: of the size.
            narrow: return the dtype of the convolutions, which read it, where nothing is summed.
        """
        # The carry is never summed: families with a carry have a head, and those replace the mask.
        used = levels if self._family.mask_summed else levels[-1:]
        last = used[-1].hidden
        if narrow and not self._family.mask_summed:
            last = last.to(self._dtype)
        total = resize(last, used[-1].factor / divisor)
        for level in used[:-1]:
            total = total + resize(level.hidden, level.factor / divisor)
        return total

    def _buffer(self, index: int, count: int, side: int) -> tuple[Tensor, Tensor]:
        """Return the input buffers of block ``index`` for a batch of ``count``.

        They hold left, right, timestep, and from the second block on mask, carry and flow: once as planes,
        which is how they are computed, and once in the layout that convolutions read. Both are one tensor
        where planes are that layout.
        """
        # After out of memory the batch shrinks: buffers of the larger one must not stay.
        if any(key[1] != count for key in self._buffers):
            self._buffers.clear()
        key = index, count
        if key not in self._buffers:
            channels = 2 * side + 1 + (5 + self._family.carry if index else 0)
            size = (length // self._divisors[index] for length in self._padded)
            device = self._prepared_from[0][1]
            planes = torch.empty(count, channels, *size, dtype=self._dtype, device=device)
            in_planes = self._format == torch.contiguous_format
            stored = planes if in_planes else torch.empty_like(planes, memory_format=self._format)
            self._buffers[key] = planes, stored
        return self._buffers[key]


def _mirrored(planes: Tensor, side: int, *, later: bool) -> Tensor:
    """Return a block's input for the pair in the other order; ``side`` is the channels of one side."""
    parts = [planes[:, side : 2 * side], planes[:, :side], 1 - planes[:, 2 * side : 2 * side + 1]]
    if later:
        # The mask alone: families with a carry have no ensemble.
        parts += [-planes[:, 2 * side + 1 : -4], swap_flows(planes[:, -4:])]
    return torch.cat(parts, 1)


def _reduced(x: Tensor, divisor: int) -> Tensor:
    """Reduce by a divisor as :func:`resize` does, reading only the 2 x 2 pixels in each cell's centre.

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
    """Return the flow of ``levels`` summed at ``detail`` / ``divisor`` of the full size, in pixels of the
    full size.
    """
    first, *rest = levels
    total = resize(first.flow, first.factor * detail / divisor)
    for level in rest:
        total = total + resize(level.flow, level.factor * detail / divisor)
    return total


def _added(full: Tensor | None, levels: list[_Level]) -> Tensor:
    """Return the flow at full size: that of the levels before, which is written over, plus that of the last
    one.
    """
    return _enlarged(levels, 1, 1) if full is None else full.add_(_enlarged(levels[-1:], 1, 1))


def _centres(grid: Tensor, divisor: int) -> Tensor:
    """Return the sampling grid at the 2 x 2 pixels about the centre of each cell; all pixels at divisors 1
    and 2.
    """
    if divisor <= 2:  # noqa: PLR2004
        return grid
    height, width = grid.shape[-2:]
    cells = grid.view(1, 2, height // divisor, divisor, width // divisor, divisor)
    middle = slice(divisor // 2 - 1, divisor // 2 + 1)
    picked = cells[:, :, :, middle, :, middle]
    return picked.reshape(1, 2, 2 * height // divisor, 2 * width // divisor)


def _spread(flow: Tensor, divisor: int) -> Tensor:
    """Interpolate flow from the quarter points of each cell to the 2 x 2 pixels about its centre.

    Args:
        flow: (K, 4, 2h, 2w), two values a side of each cell; flow is linear across a cell.
    """
    count, channels, rows, columns = flow.shape
    # From the quarter points at +-1/4 of a cell's side to the centre pixels at +-1/(2 divisor), by linear
    # interpolation: near + share * (far - near).
    share = 0.5 - 1 / divisor
    near, far = flow.view(count, channels, rows // 2, 2, columns).unbind(3)
    flow = torch.stack((torch.lerp(near, far, share), torch.lerp(far, near, share)), 3)
    near, far = flow.view(count, channels, rows, columns // 2, 2).unbind(4)
    flow = torch.stack((torch.lerp(near, far, share), torch.lerp(far, near, share)), 4)
    return flow.view(count, channels, rows, columns)


def _input_order(family: Family, *, later: bool) -> list[int]:
    """Return for each channel of our joined input its index in the published one.

    Ours keeps a side's picture and features together, because they are sampled together; the published
    order is both pictures, then both features. The channels after these are the same.
    """
    features = family.picture_channels - 3
    left = [0, 1, 2, *range(6, 6 + features)]
    right = [3, 4, 5, *range(6 + features, 6 + 2 * features)]
    inputs = family.later_inputs if later else family.first_inputs
    return [*left, *right, *range(6 + 2 * features, inputs)]
