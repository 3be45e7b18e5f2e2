"""The networks of the RIFE paper: parameters under their published names, and the pass over the blocks.

Source: Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation" (ECCV 2022), and
the networks IFNet, IFNet_m and IFNet_2R of hzwer/ECCV2022-RIFE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._ops.warp import backward_warp
from ..rife.config import FAMILIES
from ..rife.net import Block
from ..rife.refine import ContextNet, RefineNet

DIVISORS = (4.0, 2.0, 1.0)
"""How far each block reduces its input, coarse to fine. This cannot be deduced from shapes."""
_WIDTHS = (240, 150, 90)
# Both pictures; later both warped ones (6), the mask logit (1) and the flow (4) besides; then the true frame.
_PICTURES, _ESTIMATE, _TRUTH = 6, 11, 3
# Its blocks are those of 4.0: PReLU, one skip over the eight inner convolutions, flow and mask handed out.
_BLOCK = FAMILIES["4.0"]


@dataclass(frozen=True)
class Level:
    """What a block has brought the estimate to, at full size, float32."""

    flow: Tensor
    """(K, 4, H, W) pixels: new frame to left (x, y), new frame to right (x, y)."""
    mask: Tensor
    """(K, 1, H, W) logit: how much of the left picture is shown."""
    warped: tuple[Tensor, Tensor]
    """(K, 3, H, W) each: both pictures, warped to the new frame by the flow."""

    @property
    def blend(self) -> Tensor:
        """Return the blend of both warped pictures, (K, 3, H, W)."""
        return torch.lerp(self.warped[1], self.warped[0], torch.sigmoid(self.mask))


class PaperNet(nn.Module):
    """IFNet and IFNet_2R, which have the same parameters, and IFNet_m.

    Args:
        any_timestep: IFNet_m, which reads the timestep; the others make the frame in the middle.
        teacher: add the block that sees the true frame, which only training uses.
    """

    def __init__(self, *, any_timestep: bool, teacher: bool = False) -> None:
        super().__init__()
        self.any_timestep = any_timestep
        first = _PICTURES + any_timestep
        for i, width in enumerate(_WIDTHS):
            self.add_module(f"block{i}", Block(_BLOCK, first + (_ESTIMATE if i else 0), width))
        if teacher:
            self.block_tea = Block(_BLOCK, first + _ESTIMATE + _TRUTH, _WIDTHS[-1])
        self.contextnet = ContextNet(nn.PReLU)
        self.unet = RefineNet(nn.PReLU)

    def estimate(
        self,
        pictures: tuple[Tensor, Tensor],
        timestep: Tensor,
        divisors: Sequence[float] = DIVISORS,
        *,
        two_r: bool = False,
    ) -> list[Level]:
        """Estimate flow and mask, block by block.

        Args:
            pictures: left and right, (K, 3, H, W) float32, 0..1; sides are multiples of 32 and of 32 times
                the last divisor.
            timestep: (K,) float32; only read by IFNet_m.
            divisors: how far each block reduces its input.
            two_r: run the parameters as IFNet_2R.

        Returns:
            The estimate after each block, coarse to fine.
        """
        levels: list[Level] = []
        for i, divisor in enumerate(divisors):
            last = levels[-1] if levels else None
            levels.append(self._next(f"block{i}", pictures, timestep, last, divisor=divisor, two_r=two_r))
        return levels

    def teach(
        self,
        pictures: tuple[Tensor, Tensor],
        truth: Tensor,
        timestep: Tensor,
        last: Level,
        *,
        two_r: bool = False,
    ) -> Level:
        """Correct the last estimate by the block that sees the true frame.

        Args:
            pictures, timestep, two_r: as they were given to :meth:`estimate`.
            truth: (K, 3, H, W), the frame that is to be made.
            last: of the estimates.
        """
        return self._next("block_tea", pictures, timestep, last, truth=truth, divisor=1.0, two_r=two_r)

    def residual(self, pictures: tuple[Tensor, Tensor], last: Level, *, two_r: bool = False) -> Tensor:
        """Compute what is to be added to the blend of the last estimate: (K, 3, H, W), -1 to 1."""
        stride = 1 if two_r else 2
        dtype = next(self.parameters()).dtype
        left, right = (picture.to(dtype) for picture in pictures)
        contexts = [
            self.contextnet(picture, flow, first_stride=stride)
            for picture, flow in ((left, last.flow[:, :2]), (right, last.flow[:, 2:]))
        ]
        x = torch.cat((*pictures, *last.warped, last.mask, last.flow), 1).to(dtype)
        residual: Tensor = self.unet(x, *contexts, first_stride=stride)
        return residual

    def _next(  # noqa: PLR0913 - the teacher and the first block differ in what they read alone
        self,
        name: str,
        pictures: tuple[Tensor, Tensor],
        timestep: Tensor,
        last: Level | None,
        *,
        divisor: float,
        two_r: bool,
        truth: Tensor | None = None,
    ) -> Level:
        """Return the estimate after one block."""
        parts = list(pictures)
        if self.any_timestep:
            parts.append(timestep.view(-1, 1, 1, 1).expand_as(pictures[0][:, :1]))
        if last is not None:
            parts += [*last.warped, last.mask]
        if truth is not None:
            parts.append(truth)
        block = self.get_submodule(name)
        update = block(parts, last.flow if last else None, divisor, entry_stride=1 if two_r else 2)
        flow, mask = update[:, :4], update[:, 4:5]
        if last is not None:
            flow, mask = last.flow + flow, last.mask + mask
        left, right = pictures
        return Level(flow, mask, (backward_warp(left, flow[:, :2]), backward_warp(right, flow[:, 2:])))
