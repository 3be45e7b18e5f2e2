"""A trained RIFE as a teacher: it supplies flow, none of its weights is taken over."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import BadInputError
from ..vfi_models.rife.net import IFNet
from ..vfi_models.torch_interpolator import module_of
from ..weights.loading import open_weights
from .networks import passes
from .triplets import Teacher


def load_teacher(path: Path) -> Teacher:
    """Return the flow of a RIFE 4.x checkpoint as a function; height and width are multiples of 64.

    Raises:
        BadInputError: another network.
    """
    net = module_of(open_weights(path))
    if not isinstance(net, IFNet):
        raise BadInputError("Only RIFE 4.x can be the teacher.", path.name, "Give a checkpoint of RIFE 4.x.")

    # Not inference mode, whose tensors autograd refuses to keep for the backward pass of a loss.
    @torch.no_grad()
    def flow(left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
        return passes(net, {"left": left, "right": right, "timestep": timestep})[-1].flow

    return flow
