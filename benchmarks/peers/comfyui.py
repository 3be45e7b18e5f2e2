"""ComfyUI's own node, github.com/comfyanonymous/ComfyUI."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .peer import Interpolate, Task, require_dtype


class ComfyUI:
    """ComfyUI's own "Run Frame Interpolation Model" node, for FILM, RIFE 4.25 and 4.26, by its functions.

    ComfyUI's requirements must be installed here.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def open(self, task: Task) -> Interpolate:
        """Load the weights into ComfyUI's node; see :class:`~.peer.Peer`."""
        require_dtype(task, "comfyui", torch.float32, torch.float16)
        # It imports more modules while it runs, so its folder stays on the path.
        if str(self._checkout) not in sys.path:
            sys.path.insert(0, str(self._checkout))
        # Before anything else of ComfyUI is imported: comfy.model_management reads these flags once, at its
        # import.
        flags = importlib.import_module("comfy.cli_args").args
        flags.cpu = task.device.type == "cpu"
        flags.force_fp32 = task.dtype == torch.float32
        flags.force_fp16 = task.dtype == torch.float16
        nodes = importlib.import_module("comfy_extras.nodes_frame_interpolation")
        paths = importlib.import_module("folder_paths")
        file = f"midframe_bench_{task.network}.safetensors"
        save_file(dict(task.weights), task.folder / file)
        # The loader takes the name of a file in a model folder, and no path.
        paths.add_model_folder_path("frame_interpolation", str(task.folder))
        patcher = nodes.FrameInterpolationModelLoader.execute(file).args[0]
        # Its own progress bar would be timed along.
        setattr(nodes, "tqdm", _NoBar)  # noqa: B010 - a module of no known type
        logging.getLogger("comfy").setLevel(logging.WARNING)

        def run(frames: Tensor, multiplier: int) -> Tensor:
            result: Tensor = nodes.FrameInterpolate.execute(patcher, frames, multiplier).args[0]
            return result

        return run

    def options(self, network: str, height: int, width: int) -> dict[str, Any]:
        """Return the padding of RIFE: multiples of 64, mirrored. FILM runs unpadded, as ours does."""
        if not network.startswith("rife"):
            return {}
        # The next multiple of 64, for each side.
        return {"padding": "reflect", "padded_size": (-(-height // 64) * 64, -(-width // 64) * 64)}


class _NoBar:
    def __init__(self, total: int, desc: str) -> None:
        pass

    def update(self, count: int) -> None:
        pass

    def close(self) -> None:
        pass
