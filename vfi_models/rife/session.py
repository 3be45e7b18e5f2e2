"""Runs a RIFE network on frames of one size: padding, the pass over the blocks, the blend.

There are two passes over the blocks. The fast one, :mod:`.lowres`, runs them at their own resolution on
prepared weights, and may be replayed as a CUDA graph. The plain one is the published algorithm at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._ops.cuda_graphs import RecordedSession, Recordings, recorder_for
from .._ops.padding import PaddingMode, clamp_padded
from .._ops.warp import GridSampler, backward_warp, identity_grid
from .lowres import LowResolution, applies
from .net import LARGE_UPDATE, FlowEstimate, IFNet, swap_flows


@dataclass(frozen=True)
class RifeOptions:
    """The options of :meth:`~.Rife.open`."""

    flow_scale: float = 1.0
    """0.25, 0.5, 1, 2 or 4. Below 1 the blocks read a coarser picture (large frames, large motion)."""
    ensemble: bool = False
    """Run every block on both orders of the pair and average: twice the time, 4.0 to 4.20 and 4.24."""
    refine: bool = False
    """Run the refinement network that files of 4.0 to 4.4 may hold."""
    restart: bool = False
    """4.0 only: begin again at double divisors where block 1 finds very large motion. The result depends on
    everything in the batch."""
    plain: bool = False
    """Run the blocks as published, at full size: slower, for comparison."""
    padding: PaddingMode = "zeros"
    """How the picture continues to the right and below; channels past RGB repeat their edge there."""
    padded_size: tuple[int, int] | None = None
    """(height, width) to pad to; None is the smallest size that the family takes."""
    graphs: bool = True
    """On CUDA, launch the passes of a long clip as one recorded graph, which keeps the memory that a pass
    takes."""


@dataclass(frozen=True)
class RifeFeatures:
    """N source frames, encoded, at padded size."""

    stacked: Tensor
    """(N, 3 + c, H, W) float32: the picture, clamped to 0..1, then the head's features, for families that
    have a head; in one tensor, because they are sampled together."""
    extra: Tensor | None
    """(N, C - 3, H, W) float32: channels past RGB, the edge repeated."""


class RifeSession(RecordedSession):
    """RIFE 4.x at one picture size; see :class:`~..interface.Session`.

    Args:
        net: on its device.
        size: (height, width) of the frames.
        padded: (height, width) that they are padded to.
        options: of the model.
        recordings: how passes are replayed; CUDA graphs where it is left out.
    """

    def __init__(
        self,
        net: IFNet,
        size: tuple[int, int],
        *,
        padded: tuple[int, int],
        options: RifeOptions,
        recordings: Recordings | None = None,
    ) -> None:
        self._net = net
        self._size = size
        self._padded = padded
        self._options = options
        self._divisors = tuple(d / options.flow_scale for d in net.family.divisors)
        self._grid: Tensor | None = None
        self._blocks: LowResolution | None = None
        self._sampler: GridSampler | None = None
        # Both warped pictures of a pass, in one buffer.
        self._sides: Tensor | None = None
        # 4.0 runs as published: its flows can grow so large that the last bit of a sum shows.
        is_4_0 = net.family.inner == "plain_skip"
        self._plain = options.plain or options.restart or is_4_0 or not applies(self._divisors)
        device = next(net.parameters()).device
        # The plain pass reads values on the way (a restart), and allocates everything anew: no graph can.
        records = options.graphs and not self._plain
        self._recordings = recordings or Recordings(recorder_for(device) if records else None)

    def encode(self, frames: Tensor) -> RifeFeatures:
        """Encode source frames; see :class:`~..interface.Session`. Values are clamped to 0..1, as 4.x
        expects.
        """
        head = self._net.family.head
        # One tensor for picture and features, filled in place: they are sampled together, and joining them
        # would copy both.
        stacked = frames.new_empty(len(frames), 3 + (head.channels if head else 0), *self._padded)
        picture, extra = clamp_padded(frames, stacked[:, :3], self._options.padding)
        if head:
            dtype = next(self._net.parameters()).dtype
            prepared = None if self._plain else self._prepared().head
            stacked[:, 3:] = (prepared or self._net.encode)(picture.to(dtype))
        return RifeFeatures(stacked, extra)

    def between(self, left: RifeFeatures, right: RifeFeatures, timestep: Tensor) -> Tensor:
        """Make the frames at some timesteps, replayed where that is possible; always a new tensor."""
        inputs = [left.stacked, right.stacked, timestep.float()]
        if left.extra is not None and right.extra is not None:
            inputs += [left.extra, right.extra]
        if self._plain:
            return self._pass(*inputs)
        # A replay reads the weights that it was recorded with: where a host has replaced these, this drops
        # the recordings.
        self._prepared()
        return self._recordings.run(self._pass, tuple(inputs), self._forget)

    def _pass(self, left: Tensor, right: Tensor, timestep: Tensor, *extra: Tensor) -> Tensor:
        """Run one pass, which may be replayed; see :meth:`~.._ops.cuda_graphs.Recordings.run`.

        Args:
            left, right: ``stacked`` of both sides.
            timestep: (K,) float32.
            extra: channels past RGB of both sides, if there are any.
        """
        count = max(timestep.shape[0], left.shape[0])
        left, right = left.expand(count, -1, -1, -1), right.expand(count, -1, -1, -1)
        motion = self._estimate(left, right, timestep.expand(count))
        share = torch.sigmoid(motion.mask)
        warped_left, warped_right = self._warped(left[:, :3], right[:, :3], motion.flow)
        frames = torch.lerp(warped_right, warped_left, share)
        if self._options.refine:
            frames = self._refined(frames, (left[:, :3], right[:, :3], warped_left, warped_right), motion)
        if extra:
            extra_left, extra_right = (
                self._warp(side.expand(count, -1, -1, -1), motion.flow[:, 2 * i : 2 * i + 2])
                for i, side in enumerate(extra)
            )
            frames = torch.cat((frames, torch.lerp(extra_right, extra_left, share)), 1)
        return frames[..., : self._size[0], : self._size[1]]

    def close(self) -> None:
        """Drop recordings, prepared weights and buffers."""
        self._recordings.close()
        self._grid = self._blocks = self._sampler = self._sides = None

    def _forget(self) -> None:
        """Drop the buffers that every pass writes over, and only these: a recording goes on reading
        everything else.
        """
        self._sides = None
        if self._blocks is not None:
            self._blocks.forget()

    def _warp(self, image: Tensor, flow: Tensor) -> Tensor:
        if self._grid is None or self._grid.device != flow.device:
            self._grid = identity_grid(*self._padded, flow.device)
        return backward_warp(image, flow, self._grid)

    def _warped(self, left: Tensor, right: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Warp both pictures (K, 3, H, W), into memory that the next call writes over."""
        shape = (2, *left.shape)
        if self._sampler is None:
            self._sampler = GridSampler(identity_grid(*self._padded, left.device), self._padded)
        if self._sides is None or self._sides.shape != shape:
            self._sides = left.new_empty(shape)
        for i, side in enumerate((left, right)):
            self._sampler(side, flow[:, 2 * i : 2 * i + 2], out=self._sides[i])
        return self._sides[0], self._sides[1]

    def _block_inputs(self, left: Tensor, right: Tensor, flow: Tensor | None) -> list[Tensor]:
        """Return pictures and features for a block: the originals, warped by the flow so far."""
        parts = [left[:, :3], right[:, :3]]
        if self._net.family.head:
            dtype = next(self._net.parameters()).dtype
            parts += [left[:, 3:].to(dtype), right[:, 3:].to(dtype)]
        if flow is None:
            return parts
        halves = (flow[:, :2], flow[:, 2:4])
        # From the originals each time, as published: a warp of a warp would blur twice.
        return [self._warp(part, halves[i % 2]) for i, part in enumerate(parts)]

    def _prepared(self) -> LowResolution:
        if self._blocks is None or not self._blocks.fits(self._net):
            self._recordings.close()  # they read the old weights
            self._blocks = LowResolution(
                self._net, self._padded, self._divisors, ensemble=self._options.ensemble
            )
        return self._blocks

    def _estimate(self, left: Tensor, right: Tensor, timestep: Tensor) -> FlowEstimate:
        if self._plain:
            return self._estimate_plainly(left, right, timestep)
        return self._prepared().estimate(left, right, timestep)

    def _estimate_plainly(self, left: Tensor, right: Tensor, timestep: Tensor) -> FlowEstimate:
        """Run the blocks as published, at full size: for restarts, flow scales above 1, and comparison."""
        plane = timestep.view(-1, 1, 1, 1).expand(-1, 1, *self._padded)
        divisors = self._divisors
        blocks = self._net.blocks()
        sides = self._block_inputs(left, right, None)
        motion = self._update(0, sides, plane, None, divisors[0])
        i = 1
        while i < len(blocks):
            warped = self._block_inputs(left, right, motion.flow)
            update = self._update(i, warped, plane, motion, divisors[i])
            # Once at most, as published: blocks 0 and 1 run again, and all blocks from then on at doubled
            # divisors.
            if i == 1 and self._options.restart and divisors is self._divisors and _is_large(update.flow):
                divisors = tuple(2 * d for d in divisors)
                motion = self._update(0, sides, plane, None, divisors[0], single=True)
                continue
            hidden = motion.hidden + update.hidden if self._net.family.mask_summed else update.hidden
            motion = FlowEstimate(motion.flow + update.flow, hidden)
            i += 1
        return motion

    def _update(
        self,
        index: int,
        sides: list[Tensor],
        plane: Tensor,
        motion: FlowEstimate | None,
        divisor: float,
        *,
        single: bool = False,
    ) -> FlowEstimate:
        """Return the update of one block, averaged over both orders of the pair with ``ensemble``.

        Args:
            index: of the block.
            sides: as :meth:`_block_inputs` returns them.
            plane: (K, 1, H, W), the timesteps.
            motion: of the blocks before.
            divisor: of the block.
            single: run on the given order alone, also with ``ensemble``: a restart does so as published.
        """
        block = self._net.blocks()[index]
        flow = motion.flow if motion else None
        hidden = [motion.hidden] if motion else []
        out = block([*sides, plane, *hidden], flow, divisor)
        if self._options.ensemble and not single:
            # Left and right alternate in the list, so the neighbour of i is i ^ 1.
            exchanged = [sides[i ^ 1] for i in range(len(sides))]
            hidden = [-motion.hidden] if motion else []
            other = block(
                [*exchanged, 1 - plane, *hidden], swap_flows(flow) if flow is not None else None, divisor
            )
            out[:, :4] = (out[:, :4] + swap_flows(other)) / 2
            # In the other order the mask's logit has the opposite sign.
            out[:, 4:5] = (out[:, 4:5] - other[:, 4:5]) / 2
        return FlowEstimate(out[:, :4], out[:, 4 : 5 + self._net.family.carry])

    def _refined(self, blended: Tensor, pictures: Sequence[Tensor], motion: FlowEstimate) -> Tensor:
        """Add the refinement's residual to the blend; ``pictures`` are both, then both warped."""
        dtype = next(self._net.parameters()).dtype
        left = self._net.contextnet(pictures[0].to(dtype), motion.flow[:, :2])
        right = self._net.contextnet(pictures[1].to(dtype), motion.flow[:, 2:4])
        inputs = torch.cat((*pictures, motion.mask, motion.flow), 1).to(dtype)
        refined: Tensor = blended + self._net.unet(inputs, left, right)
        return refined.clamp(0.0, 1.0)


def _is_large(flow: Tensor) -> bool:
    """Tell whether both flows of an update exceed :data:`~.net.LARGE_UPDATE` somewhere."""
    # Over the whole batch, as published: all its pairs restart or none.
    largest = flow.abs().amax((0, 2, 3))
    return bool((largest[:2].amax() > LARGE_UPDATE) & (largest[2:].amax() > LARGE_UPDATE))
