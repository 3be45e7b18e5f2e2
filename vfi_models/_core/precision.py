"""What convolutions run in where nobody says."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from .convolution import Convolution, memory_format, multiplies_bfloat16

_CHANNELS, _SIDE = 64, 48
_RUNS = 5
_WORTH = 1.3
"""How many times as fast bfloat16 has to be."""


def suited(device: torch.device) -> torch.dtype:
    """float16 on CUDA, where it is twice as fast; bfloat16 on a CPU that multiplies in it, where it is faster
    by measure; float32 elsewhere. Flow stays float32 in all of them.

    Whether a network keeps its picture in 16 bits is for the network to say: ``ModelSpec.safe_dtypes``.
    """
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and _bfloat16_pays() else torch.float32


@cache
def _bfloat16_pays() -> bool:
    """Measured once a process, in about ten milliseconds. A CPU without the instructions is not asked: it
    takes seconds there.
    """
    if not multiplies_bfloat16():
        return False
    runs = {dtype: _convolution(dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for _ in range(_RUNS):  # in turns, the first ones to warm up; others may use the machine too
            for dtype, run in runs.items():
                began = time.perf_counter()
                run()
                seconds[dtype] = min(seconds[dtype], time.perf_counter() - began)
    return seconds[torch.bfloat16] * _WORTH < seconds[torch.float32]


def _convolution(dtype: torch.dtype) -> Callable[[], Tensor]:
    """One as networks have it."""
    weight = torch.full((_CHANNELS, _CHANNELS, 3, 3), 1e-3, dtype=dtype)
    x = torch.ones(1, _CHANNELS, _SIDE, _SIDE, dtype=dtype)
    x = x.contiguous(memory_format=memory_format(x.device))
    return partial(Convolution(weight, weight.new_zeros(_CHANNELS), slope=0.2), x)
