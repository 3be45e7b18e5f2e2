"""The networks that can be trained, each with its loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import BadInputError
from ..vfi_models import backward_warp, build, detect
from ..vfi_models.compact.flow import FlowState
from ..vfi_models.compact.net import STRIDE, Encoded, PyramidNet, draw
from ..vfi_models.interface import Detection, Interpolator, StateDict
from ..vfi_models.rife.config import FAMILIES
from ..vfi_models.rife.net import IFNet
from ..vfi_models.torch_interpolator import module_of, require_fit
from .losses import laplacian_loss, passes_loss, total_loss

DEFAULT = "compact-v2"
# Scale of RIFE's last layers at the start: their outputs are multiplied by as much as 32.
_GENTLE = 0.1
_MIDDLE = 0.5

Batch = dict[str, Tensor]
Loss = Callable[[Batch], Tensor]


def trained_name(detection: Detection) -> str:
    """Return what :attr:`~.plan.TrainingPlan.model` calls the network of some weights."""
    if detection.architecture in ("compact", "rife"):
        return f"{detection.architecture}-{detection.family}"
    return detection.architecture


def side_multiple(model: str, levels: int) -> int:
    """Return what the sides of a sample must be multiples of."""
    family = FAMILIES.get(model.removeprefix("rife-"))
    if model.startswith("rife-") and family is not None:
        # The coarsest block halves its reduced input twice.
        return math.ceil(4 * max(family.divisors))
    # Sessions pad by themselves.
    return 4 * 2**levels if model == DEFAULT else 1


def network_of(model: str, levels: int, weights: StateDict | None) -> tuple[nn.Module, Loss]:
    """Return a network with these weights, random ones where there are none, and its loss.

    A network without a loss of its own is run by its session, as a user's clip is, and learns from the
    picture alone.

    Args:
        model, levels: see :func:`network_with_loss`; with weights also any other network of the pack.
        weights: under the network's own names.

    Raises:
        BadInputError: no such network; UnsupportedWeightsError: other weights than the network's.
    """
    if weights is None or model == DEFAULT or model.startswith(("compact-", "rife-")):
        net, loss = network_with_loss(model, levels)
        if weights is not None:
            shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
            require_fit(weights, shapes, what=model, family=model, advice="Name the network they belong to.")
            net.load_state_dict(dict(weights))
        return net, loss
    interpolator = build(detect(weights))
    return module_of(interpolator).requires_grad_(True), partial(_session_loss, interpolator)


def _session_loss(interpolator: Interpolator, batch: Batch) -> Tensor:
    # Of networks that make the middle alone, the other samples say nothing; of a batch without any for them,
    # the loss is 0 and so is its gradient.
    chosen = slice(None) if interpolator.spec.any_timestep else batch["timestep"] == _MIDDLE
    left, right, middle, timestep = (batch[n][chosen] for n in ("left", "right", "middle", "timestep"))
    if not len(left):
        return torch.stack([p.sum() for p in module_of(interpolator).parameters()]).sum() * 0.0
    # A session of each step: what it keeps of the parameters belongs to the graph of this step.
    session = interpolator.open(*left.shape[-2:])
    try:
        frames = session.between(session.encode(left), session.encode(right), timestep)
    finally:
        session.close()
    return laplacian_loss(frames.float(), middle)


def network_with_loss(model: str, levels: int) -> tuple[nn.Module, Loss]:
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
