"""Other implementations, run from a checkout that the user names. None of their code is here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadInputError
from .checkout import OtherCheckout
from .comfyui import ComfyUI
from .older import Older
from .peer import Interpolate, Peer, Task
from .tlbvfi import TLBVFI
from .vsrife import VsRife

__all__ = ["PEERS", "Against", "Interpolate", "Peer", "Task", "parse"]

PEERS: dict[str, Callable[[Path], Peer]] = {
    "comfyui": ComfyUI,
    "midframe": OtherCheckout,
    "older": Older,
    "tlbvfi": TLBVFI,
    "vsrife": VsRife,
}


@dataclass(frozen=True)
class Against:
    """A peer, and the network that it shall run."""

    argument: str
    """As it was given."""
    label: str
    """The part before the ``=``."""
    network: str | None
    """None is the network that ours runs; another one's pictures cannot be compared."""
    peer: Peer


def parse(argument: str) -> Against:
    """Parse a peer from ``NAME=PATH`` or ``NAME:NETWORK=PATH``.

    Raises:
        BadInputError: no such peer, or no such folder.
    """
    label, _, path = argument.partition("=")
    name, _, network = label.partition(":")
    if name not in PEERS or not Path(path).is_dir():
        raise BadInputError(
            "There is no such peer to compare with.",
            argument,
            "Give NAME=FOLDER, or NAME:NETWORK=FOLDER (older:rife-4.6=FOLDER) where it shall run another "
            f"network than ours; the folder a checkout, NAME one of {', '.join(PEERS)}.",
        )
    return Against(argument, label, network or None, PEERS[name](Path(path).resolve()))
