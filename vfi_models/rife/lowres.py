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
import torch.nn.functional as F
from torch import Tensor

from .._core.convolution import memory_format
from .._core.warp import identity_grid, sample
from .config import Family
from .net import IFNet, Motion, resize, swap_flows
from .prepared import PreparedBlock


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
    """The blocks of a network, prepared for one padded size.

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
        self._family = net.family
        self._made_from = _identity(net)
        self._dtype = parameter.dtype
        self._divisors = tuple(int(d) for d in divisors)
        self._ensemble = ensemble
        self._format = memory_format(parameter.device)
        self._blocks = [
            PreparedBlock(block, _input_order(net.family, later=i > 0), 5 + net.family.carry)
            for i, block in enumerate(net.blocks())
        ]
        grid = identity_grid(*padded, parameter.device)
        self._grids = {s: _centres(grid, s) for s in self._divisors}
        self._joined: dict[tuple[int, ...], Tensor] = {}

    def fits(self, net: IFNet) -> bool:
        """Whether the network still has the parameters that were prepared: a host may have replaced them."""
        return self._made_from == _identity(net)

    def estimate(self, left: Tensor, right: Tensor, timestep: Tensor) -> Motion:
        """Flow and mask at full padded size.

        Args:
            left, right: (K, C, H, W) float32, picture and then features of each side.
            timestep: (K,).
        """
        levels: list[_Level] = []
        full: Tensor | None = None
        for block, s in zip(self._blocks, self._divisors, strict=True):
            if not levels:
                seen = [resize(left, 1 / s), resize(right, 1 / s)]
            elif s > 2:  # noqa: PLR2004 - below that, every pixel is read
                flow = _spread(_enlarged(levels, s, 2), s)
                seen = [F.avg_pool2d(x, 2) for x in self._warp(left, right, flow, s)]
            else:
                full = _enlarged(levels, 1, 1) if full is None else full + _enlarged(levels[-1:], 1, 1)
                seen = self._warp(left, right, full, s)
                seen = [F.avg_pool2d(x, 2) for x in seen] if s == 2 else seen  # noqa: PLR2004
            known = levels, full if s == 1 else None
            levels.append(self._level(block, seen, timestep, known, s))
        rest = _enlarged(levels if full is None else levels[-1:], 1, 1)
        return Motion(rest if full is None else full + rest, self._hidden(levels, 1)[:, :1])

    def _warp(self, left: Tensor, right: Tensor, flow: Tensor, divisor: int) -> list[Tensor]:
        grid = self._grids[divisor]
        height, width = left.shape[-2:]
        return [
            sample(side, half, grid, (height, width))
            for side, half in ((left, flow[:, :2]), (right, flow[:, 2:4]))
        ]

    def _level(
        self,
        block: PreparedBlock,
        seen: list[Tensor],
        timestep: Tensor,
        known: tuple[list[_Level], Tensor | None],
        divisor: int,
    ) -> _Level:
        """One block, on both orders of the pair with ``ensemble``."""
        levels, full = known
        plane = timestep.view(-1, 1, 1, 1).expand(-1, 1, *seen[0].shape[-2:])
        hidden = [self._hidden(levels, divisor)] if levels else []
        flow = [full if full is not None else _enlarged(levels, divisor, 1) / divisor] if levels else []
        out = block(self._join([*seen, plane, *hidden, *flow]))
        if self._ensemble:
            mirrored = [seen[1], seen[0], 1 - plane, *(-x for x in hidden), *(swap_flows(x) for x in flow)]
            other = block(self._join(mirrored))
            out[:, :4] = (out[:, :4] + swap_flows(other)) / 2
            out[:, 4:5] = (out[:, 4:5] - other[:, 4:5]) / 2
        factor = divisor if self._family.shuffled else 2 * divisor
        return _Level(out[:, :4] * factor, out[:, 4 : 5 + self._family.carry], factor)

    def _hidden(self, levels: list[_Level], divisor: int) -> Tensor:
        """Mask and carry at 1/divisor: of the last level, or the sum of all masks."""
        used = levels if self._family.mask_summed else levels[-1:]
        total = resize(used[-1].hidden, used[-1].factor / divisor)
        for level in used[:-1]:
            total = total + resize(level.hidden, level.factor / divisor)
        return total

    def _join(self, parts: list[Tensor]) -> Tensor:
        """The parts as one block input, in a buffer that is kept: fresh pages cost more than the copy."""
        count, _, height, width = parts[0].shape
        shape = (count, sum(part.shape[1] for part in parts), height, width)
        if shape not in self._joined:
            if any(kept[0] != count for kept in self._joined):  # a smaller batch must take less
                self._joined.clear()
            self._joined[shape] = torch.empty(
                shape, dtype=self._dtype, device=parts[0].device, memory_format=self._format
            )
        return torch.cat(parts, 1, out=self._joined[shape])


def _identity(net: IFNet) -> tuple[tuple[int, torch.device, torch.dtype], ...]:
    return tuple((p.data_ptr(), p.device, p.dtype) for p in net.parameters())


def _enlarged(levels: list[_Level], divisor: int, detail: int) -> Tensor:
    """Flow of ``levels`` summed at ``detail`` / ``divisor`` of the full size, in pixels of the full size."""
    total = resize(levels[0].flow, levels[0].factor * detail / divisor)
    for level in levels[1:]:
        total = total + resize(level.flow, level.factor * detail / divisor)
    return total


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
