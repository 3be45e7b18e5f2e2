"""What a peer is to the command, and what several of them need."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

Interpolate = Callable[[Tensor, int], Tensor]
"""(N, H, W, 3) float32 frames and a multiplier to ((N - 1) * m + 1, H, W, 3) float32."""


class Peer(Protocol):
    """Something to compare with."""

    def open(
        self, weights: Mapping[str, Tensor], folder: Path, device: torch.device, options: Mapping[str, Any]
    ) -> Interpolate:
        """Loads ``weights`` (named as published) in float32.

        Args:
            weights: the network's parameters.
            folder: for scratch files.
            device: where it runs.
            options: of ours, for a peer that has the same ones.
        """
        ...

    def options(self, height: int, width: int) -> dict[str, Any]:
        """Session options with which ours does as the peer does, so that pictures can agree."""
        ...


@contextlib.contextmanager
def modules_of(checkout: Path) -> Iterator[None]:
    """Lets the modules of a checkout find one another by their top-level names.

    Afterwards the names are free again: they are such as ``model`` and ``utils``, and another checkout has
    them too. What was imported lives on in the objects that were made of it.
    """
    own = {path.stem for path in checkout.iterdir()}
    others = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in own}
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))
        for name in list(sys.modules):
            if name.partition(".")[0] in own:
                del sys.modules[name]
        sys.modules.update(others)
