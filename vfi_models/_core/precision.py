"""What convolutions run in: what a user calls it, and what is chosen where nobody says."""

from __future__ import annotations

import torch

from ...errors import BadInputError
from .convolution import multiplies_bfloat16

_SHORT = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64", "f16": "float16"}


def suited(device: torch.device) -> torch.dtype:
    """16 bits where they are up to twice as fast: float16 on CUDA, bfloat16 on a CPU that has instructions
    for it; float32 elsewhere. Flow stays float32 in all of them.

    By what the processor has, never by timing: the same machine must choose the same every time. Whether a
    network keeps its picture in 16 bits is for the network to say: ``ModelSpec.safe_dtypes``.
    """
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else torch.float32


def dtype_named(dtype: object) -> torch.dtype | None:
    """Return the dtype that a user means.

    Args:
        dtype: one of torch's or numpy's, or a name: ``"float16"``, ``"half"``, ``"fp16"``,
            ``"torch.float16"``, in any case. None and ``"auto"`` leave the choice to the device.

    Raises:
        BadInputError: no such dtype.
    """
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", getattr(dtype, "__name__", None))
    text = name.strip().casefold().rpartition(".")[-1] if isinstance(name, str) else ""
    if text == "auto":
        return None
    found = getattr(torch, _SHORT.get(text, text), None) if text else None
    if not isinstance(found, torch.dtype):
        raise BadInputError(
            "There is no such dtype.", f"{dtype!r:.80}", "Use float32, float16, bfloat16 or auto."
        )
    return found
