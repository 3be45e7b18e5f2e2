"""The dtype that convolutions run in: its names, and the choice where the user makes none."""

from __future__ import annotations

import re

import torch

from ..errors import BadInputError
from ._ops.convolution import multiplies_bfloat16

_SHORT = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64", "f16": "float16"}
# The capability from which 16 bits are faster: Volta. Most of Pascal takes 64 times as long in them.
_FASTER_FROM = (7, 0)
# Turing without tensor cores (TU116, TU117), which only the name tells: float16 convolutions return NaN
# there.
_BROKEN_HALF = re.compile(r"\b(GTX 16\d\d|MX[45]50|T[456]00|T550|T1[02]00|T2000|CMP 30HX)\b")


def suited(device: torch.device) -> torch.dtype:
    """Return 16 bits where they are up to twice as fast: float16 on CUDA, but for old devices and those that
    are known to fail in it; bfloat16 on a CPU that has instructions for it; float32 elsewhere. Flow stays
    float32 in all of them.

    By what the processor has, never by timing: the same machine must choose the same every time. Whether a
    network keeps its picture in 16 bits is for the network to say: ``ModelSpec.safe_dtypes``.
    """
    if device.type == "cuda":
        return torch.float16 if _halves(device) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else torch.float32


def _halves(device: torch.device) -> bool:
    """Return whether a CUDA device is faster in float16 and right; True where there is none to be asked."""
    # A CUDA device is also named where there is none, to plan for another machine: there the common case is
    # assumed.
    if not torch.cuda.is_available():
        return True
    if torch.cuda.get_device_capability(device) < _FASTER_FROM:
        return False
    return not _BROKEN_HALF.search(torch.cuda.get_device_name(device))


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
    # torch has its own aliases as attributes too: half, double, float.
    found = getattr(torch, _SHORT.get(text, text), None) if text else None
    if not isinstance(found, torch.dtype):
        raise BadInputError(
            "There is no such dtype.", f"{dtype!r:.80}", "Use float32, float16, bfloat16 or auto."
        )
    return found
