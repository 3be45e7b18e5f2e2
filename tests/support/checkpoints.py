"""Checkpoints for tests to save."""

import torch
from safetensors.torch import save_file

KINDS = ("safetensors", "zip", "legacy")


def tiny():
    return {"a": torch.randn(3, 4), "b": torch.randn(5).half(), "c": torch.arange(6).reshape(2, 3)}


def save(path, what, kind):
    if kind == "safetensors":
        save_file(what, path)
    else:
        torch.save(what, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def same(left, right):
    return list(left) == list(right) and all(
        left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left
    )
