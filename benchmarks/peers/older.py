"""The older frame-interpolation pack for ComfyUI, github.com/Fannovel16/ComfyUI-Frame-Interpolation."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .peer import Checkout, Interpolate, Task, require_dtype, rife_family

# Families of RIFE, and what its network calls them; it has more of them than its menu. 4.0 and 4.2 it only
# has with a refinement, which synthetic weights are without.
_ARCHITECTURES = {
    "4.5": "4.5",
    "4.6": "4.6",
    "4.7": "4.7",
    "4.10": "4.10",
    "4.13": "4.17",
    "4.25": "4.26",
}
# The default of its widget: cached memory is given back after so many pairs.
_CLEAR_AFTER = 10


class Older:
    """Its "RIFE VFI" node, widgets at their defaults. Needs einops, PyYAML, packaging and torchvision."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def open(self, task: Task) -> Interpolate:
        """Load the weights into its node; see :class:`~.peer.Peer`."""
        family, architecture = rife_family(task, _ARCHITECTURES, "older")
        require_dtype(task, "older", torch.float32, torch.float16, torch.bfloat16)
        file = f"rife-{family.name}.pth"
        torch.save(dict(task.weights), task.folder / file)
        checkout = Checkout(self._checkout)
        with checkout, _host(task.device):
            module = importlib.import_module("vfi_models.rife")
            # Now, while there is a host for it: the node would import it only when it runs.
            importlib.import_module("vfi_models.rife.rife_arch")
        # In place of a download.
        module.__dict__["load_file_from_github_release"] = lambda _, name: str(task.folder / name)
        module.CKPT_NAME_VER_DICT[file] = architecture
        node = module.RIFE_VFI()

        def run(frames: Tensor, multiplier: int) -> Tensor:
            with checkout, contextlib.redirect_stdout(io.StringIO()):
                result: Tensor = node.vfi(
                    file,
                    frames,
                    clear_cache_after_n_frames=_CLEAR_AFTER,
                    multiplier=multiplier,
                    fast_mode=True,
                    ensemble=True,
                    dtype=str(task.dtype).removeprefix("torch."),
                )[0]
            return result

        return run

    def options(self, network: str, height: int, width: int) -> dict[str, Any]:
        """Return its padding: zeros up to multiples of 64."""
        return {"padding": "zeros", "padded_size": (-(-height // 64) * 64, -(-width // 64) * 64)}


@contextlib.contextmanager
def _host(device: torch.device) -> Iterator[None]:
    """Provide the two functions of ComfyUI that it imports, where ComfyUI itself is not in this process."""
    # ComfyUI's own modules, of another peer, stay where they are.
    if "comfy.model_management" in sys.modules:
        yield
        return
    parent, management = ModuleType("comfy"), ModuleType("comfy.model_management")

    def clear() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.ipc_collect()  # type: ignore[no-untyped-call]

    management.__dict__.update(get_torch_device=lambda: device, soft_empty_cache=clear)
    parent.__dict__["model_management"] = management
    sys.modules.update({"comfy": parent, "comfy.model_management": management})
    try:
        yield
    finally:
        del sys.modules["comfy"], sys.modules["comfy.model_management"]
