"""Checkpoints for tests to save."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

KINDS = ("safetensors", "zip", "legacy")


def tiny() -> dict[str, torch.Tensor]:
    return {"a": torch.randn(3, 4), "b": torch.randn(5).half(), "c": torch.arange(6).reshape(2, 3)}


def save(path: Path, what: Any, kind: str) -> Path:
    if kind == "safetensors":
        save_file(what, path)
    else:
        torch.save(what, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return list(left) == list(right) and all(
        left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left
    )
