"""Other implementations, run from a checkout that the user names. None of their code is here."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import BadInputError

Interpolate = Callable[[Tensor, int], Tensor]
"""(N, H, W, 3) float32 frames and a multiplier to ((N - 1) * m + 1, H, W, 3) float32."""


class Peer(Protocol):
    """Something to compare with."""

    def open(self, weights: Mapping[str, Tensor], folder: Path, device: torch.device) -> Interpolate:
        """Loads ``weights`` (named as published) in float32; ``folder`` is for scratch files."""
        ...

    def padding(self, height: int, width: int) -> dict[str, Any]:
        """Session options with which ours pads a frame as the peer does, so that pictures can agree."""
        ...


class ComfyUI:
    """ComfyUI's own "Run Frame Interpolation Model" node, for FILM, RIFE 4.25 and 4.26, by its functions."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def open(self, weights: Mapping[str, Tensor], folder: Path, device: torch.device) -> Interpolate:
        """See :class:`Peer`. ComfyUI's requirements must be installed here."""
        # ComfyUI is not a package: its modules find one another only from its own folder.
        sys.path.insert(0, str(self._checkout))
        options = importlib.import_module("comfy.cli_args").args
        options.cpu = device.type == "cpu"
        options.force_fp32 = True
        nodes = importlib.import_module("comfy_extras.nodes_frame_interpolation")
        paths = importlib.import_module("folder_paths")
        save_file(dict(weights), folder / "midframe_bench.safetensors")
        paths.add_model_folder_path("frame_interpolation", str(folder))
        patcher = nodes.FrameInterpolationModelLoader.execute("midframe_bench.safetensors").args[0]
        # Its own progress bar would be timed along.
        setattr(nodes, "tqdm", _NoBar)  # noqa: B010 - a module of no known type
        logging.getLogger("comfy").setLevel(logging.WARNING)

        def run(frames: Tensor, multiplier: int) -> Tensor:
            made: Tensor = nodes.FrameInterpolate.execute(patcher, frames, multiplier).args[0]
            return made

        return run

    def padding(self, height: int, width: int) -> dict[str, Any]:
        """See :class:`Peer`: RIFE in multiples of 64, mirrored; FILM as it is, as ours does by itself."""
        return {"padding": "reflect", "padded_size": (-(-height // 64) * 64, -(-width // 64) * 64)}


class _NoBar:
    def __init__(self, total: int, desc: str) -> None:
        pass

    def update(self, count: int) -> None:
        pass

    def close(self) -> None:
        pass


PEERS: dict[str, Callable[[Path], Peer]] = {"comfyui": ComfyUI}


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
