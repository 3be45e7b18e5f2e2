"""What convolutions run in where nobody says."""

from __future__ import annotations

import torch

from .convolution import multiplies_bfloat16


def suited(device: torch.device) -> torch.dtype:
    """16 bits where they are up to twice as fast: float16 on CUDA, bfloat16 on a CPU that has instructions
    for it; float32 elsewhere. Flow stays float32 in all of them.

    By what the processor has, never by timing: the same machine must choose the same every time. Whether a
    network keeps its picture in 16 bits is for the network to say: ``ModelSpec.safe_dtypes``.
    """
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else torch.float32
