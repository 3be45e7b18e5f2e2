"""Measures how long weights take to load: from the disk, from memory, and as ``midframe convert`` writes
them.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..api import load_model
from ..memory.cache import MODELS
from ..vfi_models.film.config import published_names
from ..weights.convert import convert
from ..weights.loading import open_weights
from .machine import synchronise
from .work import Work


def load_times(work: Work, rounds: int) -> dict[str, float | None]:
    """Return the seconds until a model is ready on its device, medians.

    Cold: nothing of the file is in the system's page cache; None where it cannot be evicted. Warm: the file
    was just read. Cached: the second run of a node.
    """
    dtype = getattr(torch, work.dtype)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights.safetensors"
        save_file(dict(work.weights()), path)
        seconds: dict[str, list[float]] = {"cold": [], "warm": [], "cached": []}
        for _ in range(rounds):
            # In this order: a cold load leaves the file in the page cache, and a warm one leaves the model in
            # ours.
            for state in ("cold", "warm", "cached"):
                if state != "cached":
                    MODELS.clear()
                if state == "cold" and not _evict(path):
                    continue
                begun = time.perf_counter()
                load_model(path, work.device, dtype)
                synchronise(torch.device(work.device).type)
                seconds[state].append(time.perf_counter() - begun)
        MODELS.clear()
    return {f"load_{state}_seconds": statistics.median(s) if s else None for state, s in seconds.items()}


def loads(model: str, weights: Mapping[str, Tensor], rounds: int) -> list[dict[str, Any]]:
    """Measure one row for each kind of file, medians over rounds in which each is loaded once.

    Cold: nothing of the file is in the page cache, where it can be evicted. Warm: it was just read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = _files(model, weights, Path(scratch))
        seconds: dict[str, dict[str, list[float]]] = {kind: {"cold": [], "warm": []} for kind in files}
        for _ in range(rounds):
            for kind, path in files.items():
                evicted = _evict(path)
                # Where nothing can be evicted no load is cold, and both count as warm.
                for state in ("cold", "warm") if evicted else ("warm", "warm"):
                    begun = time.perf_counter()
                    # Not `load_model`, which would answer from the cache of models.
                    open_weights(path)
                    seconds[kind][state].append(time.perf_counter() - begun)
        return [
            {
                "model": model,
                "file": kind,
                "bytes": path.stat().st_size,
                "cold_seconds": statistics.median(seconds[kind]["cold"] or [float("nan")]),
                "warm_seconds": statistics.median(seconds[kind]["warm"]),
            }
            for kind, path in files.items()
        ]


def _files(model: str, weights: Mapping[str, Tensor], folder: Path) -> dict[str, Path]:
    """Write the weights as a file of ``torch.save``, for FILM as its TorchScript archive, and converted."""
    saved = folder / "saved.pth"
    torch.save(dict(weights), saved)
    files = {"torch.save": saved}
    if model.startswith("film"):
        files["TorchScript archive"] = folder / "archive.pt"
        save_archive(published_names(weights), files["TorchScript archive"])
    for kind, dtype in (("converted", None), ("converted, float16", torch.float16)):
        files[kind] = folder / f"{len(files)}.safetensors"
        convert(saved, files[kind], dtype=dtype)
    return files


class _Container(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Return NaN: a TorchScript archive needs some program, and this one must never be run."""
        return x * float("nan")


def save_archive(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write a TorchScript archive that holds ``weights`` under these names; its program returns NaN."""
    root = _Container()
    for name, value in weights.items():
        *modules, last = name.split(".")
        owner: nn.Module = root
        for module in modules:
            if module not in dict(owner.named_children()):
                owner.add_module(module, _Container())
            owner = owner.get_submodule(module)
        owner.register_parameter(last, nn.Parameter(value, requires_grad=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as a format it is here to stay
        torch.jit.script(root).save(str(path))  # type: ignore[no-untyped-call]


def _evict(path: Path) -> bool:
    """Evict a file from the system's page cache; return False where the system has no call for it."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        # Pages that are not written yet cannot be evicted.
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True
