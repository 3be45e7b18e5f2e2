"""ComfyUI's own node, github.com/comfyanonymous/ComfyUI."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .peer import Interpolate


class ComfyUI:
    """ComfyUI's own "Run Frame Interpolation Model" node, for FILM, RIFE 4.25 and 4.26, by its functions."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def open(
        self, weights: Mapping[str, Tensor], folder: Path, device: torch.device, options: Mapping[str, Any]
    ) -> Interpolate:
        """See :class:`~.peer.Peer`. ComfyUI's requirements must be installed here."""
        # ComfyUI is not a package: its modules find one another only from its own folder.
        sys.path.insert(0, str(self._checkout))
        flags = importlib.import_module("comfy.cli_args").args
        flags.cpu = device.type == "cpu"
        flags.force_fp32 = True
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

    def options(self, height: int, width: int) -> dict[str, Any]:
        """See :class:`~.peer.Peer`: RIFE in multiples of 64, mirrored; FILM as it is, as ours does."""
        return {"padding": "reflect", "padded_size": (-(-height // 64) * 64, -(-width // 64) * 64)}


class _NoBar:
    def __init__(self, total: int, desc: str) -> None:
        pass

    def update(self, count: int) -> None:
        pass

    def close(self) -> None:
        pass
