"""Ours and a peer, as functions from frames to more frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..api import interpolate
from ..errors import BadInputError
from ..vfi_models.interface import Interpolator
from ..vfi_utils import Settings
from .peers import Against, Interpolate, Task
from .peers.checkout import OtherCheckout
from .work import BUILT_IN, Work, synthetic

OURS = "midframe"


def ours(model: Interpolator, work: Work, against: Against | None) -> Interpolate:
    """Return our frame loop around a model, with the options that a peer's pictures ask for."""
    settings = Settings(options=options(model, work, against))
    return lambda frames, multiplier: interpolate(frames, model, multiplier, settings=settings)


def options(model: Interpolator, work: Work, against: Against | None) -> dict[str, Any]:
    """Return the session's options: those of the work, and those with which ours does as the peer does."""
    asked = {}
    if against is not None and same_network(work, against):
        asked = against.peer.options(work.model, *work.size)
    # A peer may ask for what this model does not have. Options of the work come last and win.
    return {name: value for name, value in asked.items() if name in model.spec.options} | work.options


def opened(against: Against, work: Work, folder: Path) -> Interpolate:
    """Open a peer with the weights of the work, or with synthetic ones where it runs another network.

    Raises:
        BadInputError: it cannot run this.
    """
    # Another checkout of this project is the one peer that has the built-in network.
    if against.network is None and work.model == BUILT_IN and not isinstance(against.peer, OtherCheckout):
        raise BadInputError(
            "No peer has the built-in network.",
            against.argument,
            f"Say which network it shall run instead: {against.label}:rife-4.6=FOLDER.",
        )
    same = same_network(work, against)
    task = Task(
        work.model if same else str(against.network),
        work.weights() if same else synthetic(str(against.network)),
        folder,
        torch.device(work.device),
        getattr(torch, work.peer_dtype),
        work.options if same else {},
    )
    return against.peer.open(task)


def same_network(work: Work, against: Against) -> bool:
    """Tell whether both run the same network, so that pictures can be compared."""
    return against.network in (None, work.model)
