"""The networks that can be trained, each with its loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import BadInputError
from ..vfi_models import backward_warp
from ..vfi_models.compact.flow import FlowState
from ..vfi_models.compact.net import STRIDE, Encoded, PyramidNet, draw
from ..vfi_models.rife.config import FAMILIES
from ..vfi_models.rife.net import IFNet
from .losses import passes_loss, total_loss

DEFAULT = "compact-v2"
# Scale of RIFE's last layers at the start: their outputs are multiplied by as much as 32.
_GENTLE = 0.1

Batch = dict[str, Tensor]


def network_with_loss(model: str, levels: int) -> tuple[nn.Module, Callable[[Batch], Tensor]]:
    """Return a network with random weights, and the loss of a collated batch of :class:`~.motion.Sample`.

    Args:
        model: ``compact-v2``, the built-in one, or ``rife-4.25`` and the like.
        levels: of the picture pyramid, for the built-in network.

    Raises:
        BadInputError: no such network.
    """
    if model == DEFAULT:
        pyramid = PyramidNet()
        pyramid.initialise()
        return pyramid, partial(_pyramid_loss, pyramid, levels)
    family = FAMILIES.get(model.removeprefix("rife-"))
    if family is None or not model.startswith("rife-"):
        names = [DEFAULT, *(f"rife-{name}" for name in FAMILIES)]
        raise BadInputError("There is no such network to train.", model, f"Use one of {', '.join(names)}.")
    rife = IFNet(family)
    with torch.no_grad():
        for block in rife.blocks():
            for parameter in block.lastconv.parameters():
                parameter.mul_(_GENTLE)
    return rife, partial(_rife_loss, rife)


def _encoded(net: PyramidNet, levels: int, batch: Batch) -> tuple[Encoded, Encoded]:
    """Encode both frames in one pass: the coarse levels are too small to keep a processor busy by
    themselves.
    """
    pictures, features = net.encode(torch.cat((batch["left"], batch["right"])), levels)
    # Each level is (2 N, ...): the left frames, then the right ones.
    left, right = zip(*(x.chunk(2) for x in pictures), strict=True)
    left_features, right_features = zip(*(x.chunk(2) for x in features), strict=True)
    return (left, left_features), (right, right_features)


def _pyramid_loss(net: PyramidNet, levels: int, batch: Batch) -> Tensor:
    timestep = batch["timestep"].view(-1, 1, 1, 1)
    # One level more in every second batch: on large pictures the coarsest stage is applied again and again.
    left, right = _encoded(net, levels + int(batch["step"]) % 2, batch)
    motions = net.match(left, right, timestep)
    final = net.fine(left[0][1], right[0][1], motions[-1], timestep)
    frames = draw(final, batch["left"], batch["right"])
    return total_loss(frames, final, motions, batch, stride=STRIDE)


def _rife_loss(net: IFNet, batch: Batch) -> Tensor:
    return passes_loss(passes(net, batch), batch)


def passes(net: IFNet, batch: Batch) -> list[FlowState]:
    """Return the motion at full size after every block, as the published network estimates it."""
    family = net.family
    left, right = batch["left"], batch["right"]
    # Left and right in turn: pictures, then features where the family has an encoder.
    sides = [left, right]
    if family.head:
        sides += net.encode(torch.cat((left, right))).chunk(2)
    plane = batch["timestep"].view(-1, 1, 1, 1).expand(-1, 1, *left.shape[-2:])
    motions: list[FlowState] = []
    for block, divisor in zip(net.blocks(), family.divisors, strict=True):
        # The first block finds flow from nothing and sees the frames as they are; the others see them warped.
        # Channels of a block: 4 of flow, the mask's logit, and what it hands on to the next block.
        if not motions:
            out = block([*sides, plane], None, divisor)
            flow, hidden = out[:, :4], out[:, 4 : 5 + family.carry]
        else:
            halves = flow[:, :2], flow[:, 2:]
            warped = [backward_warp(part, halves[i % 2]) for i, part in enumerate(sides)]
            out = block([*warped, plane, hidden], flow, divisor)
            flow, update = flow + out[:, :4], out[:, 4 : 5 + family.carry]
            # Some versions add up the masks of their blocks, others replace them.
            hidden = hidden + update if family.mask_summed else update
        motions.append(FlowState(flow, hidden[:, :1], hidden[:, 1:]))
    return motions
