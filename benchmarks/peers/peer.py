"""The protocol of a peer, and helpers that several peers need."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from ...errors import BadInputError
from ...vfi_models.rife.config import FAMILIES, Family

Interpolate = Callable[[Tensor, int], Tensor]
"""(N, H, W, 3) float32 frames and a multiplier to ((N - 1) * m + 1, H, W, 3) float32."""

_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Task:
    """The network that a peer is to run, and where."""

    network: str
    """Architecture and family as ours are called: ``rife-4.25``."""
    weights: Mapping[str, Tensor]
    """Named as published, float32."""
    folder: Path
    """For scratch files."""
    device: torch.device
    dtype: torch.dtype = torch.float32
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of ours, for a peer that has the same ones."""


class Peer(Protocol):
    """An implementation to compare with."""

    def open(self, task: Task) -> Interpolate:
        """Load the weights.

        Raises:
            BadInputError: the peer does not have this network or dtype.
        """
        ...

    def options(self, network: str, height: int, width: int) -> dict[str, Any]:
        """Return session options with which ours does as the peer does, so that pictures can agree."""
        ...


class Checkout:
    """A folder whose modules can be imported by their top-level names while the context is open.

    Outside of it these names are free: they are such as ``model`` and ``utils``, and another checkout has
    them too. Meanwhile this project's own folder, in which the command may be run, is not searched: its
    packages would come before a checkout's folders without ``__init__.py``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = {path.stem for path in folder.iterdir()}
        self._mine: dict[str, ModuleType] = {}
        self._others: dict[str, ModuleType] = {}
        self._path: list[str] = []

    def __enter__(self) -> None:
        # Modules of the same names, of another checkout or of this environment, come back at the end.
        self._others = self._taken_out()
        sys.modules.update(self._mine)
        self._path = list(sys.path)
        sys.path[:] = [
            str(self._folder),
            *(folder for folder in sys.path if Path(folder).resolve() != _PROJECT),
        ]

    def __exit__(self, *error: object) -> None:
        sys.path[:] = self._path
        # Kept for the next time: a module that is loaded anew would have lost its networks and caches.
        self._mine = self._taken_out()
        sys.modules.update(self._others)

    def _taken_out(self) -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] in self._names]
        return {name: sys.modules.pop(name) for name in names}


def rife_family(task_or_network: Task | str, known: Mapping[str, str], peer: str) -> tuple[Family, str]:
    """Return the family of a RIFE network, and the peer's name for it.

    Raises:
        BadInputError: no RIFE, or one that the peer does not have.
    """
    network = task_or_network if isinstance(task_or_network, str) else task_or_network.network
    name, _, family = network.partition("-")
    if name != "rife" or family not in known:
        raise BadInputError(
            f"The peer {peer} does not have this network.",
            network,
            "Measure one of " + ", ".join(f"rife-{one}" for one in known) + ".",
        )
    return FAMILIES[family], known[family]


def require_dtype(task: Task, peer: str, *dtypes: torch.dtype) -> None:
    """Refuse a dtype that a peer cannot run in.

    Raises:
        BadInputError: it is none of ``dtypes``.
    """
    if task.dtype not in dtypes:
        raise BadInputError(
            f"The peer {peer} does not run in this dtype.",
            str(task.dtype),
            "Use one of " + ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes) + ".",
        )
