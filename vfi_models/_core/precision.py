"""What convolutions run in where nobody says."""

from __future__ import annotations

import torch


def suited(device: torch.device) -> torch.dtype:
    """float16 on CUDA, where it is twice as fast; float32 elsewhere. Flow stays float32 in all of them.

    Not bfloat16 on a CPU: what it does to pictures of trained networks has not been measured.
    Whether a network keeps its picture in 16 bits is for the network to say: ``ModelSpec.safe_dtypes``.
    """
    return torch.float16 if device.type == "cuda" else torch.float32
