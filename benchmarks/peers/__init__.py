"""Other implementations, run from a checkout that the user names. None of their code is here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import BadInputError
from .comfyui import ComfyUI
from .peer import Interpolate, Peer
from .tlbvfi import TLBVFI

__all__ = ["PEERS", "Interpolate", "Peer", "peer"]

PEERS: dict[str, Callable[[Path], Peer]] = {"comfyui": ComfyUI, "tlbvfi": TLBVFI}


def peer(argument: str) -> tuple[str, Peer]:
    """A peer from ``name=PATH``.

    Raises:
        BadInputError: no such peer, or no such folder.
    """
    name, _, path = argument.partition("=")
    if name not in PEERS or not Path(path).is_dir():
        raise BadInputError(
            "There is no such peer to compare with.",
            argument,
            f"Give NAME=FOLDER, the folder a checkout, NAME one of {', '.join(PEERS)}.",
        )
    return name, PEERS[name](Path(path).resolve())
