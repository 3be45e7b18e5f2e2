"""Describes the machine, and measures how fast it can be."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import psutil
import torch
import torch.nn.functional as F

# Runs at most, and seconds after which no more are begun: float16 runs at 2 GFLOP/s on a CPU, where all of
# the tries took a minute.
_TRIES, _ENOUGH = 15, 2.0
# Bytes that are copied to measure the rate of memory, by kind of device.
_COPIED = {"cpu": 2**27, "cuda": 2**30}


@dataclass(frozen=True)
class Rates:
    """The best rates of a few tries: an upper bound for any program on this machine as busy as it is."""

    flops: float
    """Floating-point operations a second, a multiply-add counted as two, of large matrix products and
    3x3 convolutions."""
    bytes: float
    """Bytes a second read and written, of a copy."""


@cache
def rates(device: str, dtype: str) -> Rates:
    """Measure the rates of a device, in a second or so."""
    kind = torch.device(device).type
    one = torch.ones((), dtype=getattr(torch, dtype), device=device)
    side = 1024 if kind == "cpu" else 8192
    a, b = one.new_ones(side, side), one.new_ones(side, side)
    best = 2 * side**3 / _best(lambda: a @ b, kind)
    channels = 128
    picture = one.new_ones(1, channels, side // 8, side // 8).to(memory_format=torch.channels_last)
    kernel = one.new_ones(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    # Two operations for each multiply-add, nine taps.
    count = 2 * 9 * channels**2 * picture.shape[2] * picture.shape[3]
    best = max(best, count / _best(lambda: F.conv2d(picture, kernel, padding=1), kind))
    return Rates(best, _copied(device))


@cache
def _copied(device: str) -> float:
    kind = torch.device(device).type
    source = torch.ones(_COPIED.get(kind, 2**27), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    # Each byte is read once and written once.
    return 2 * source.numel() / _best(lambda: target.copy_(source), kind)


def _best(run: Callable[[], Any], kind: str) -> float:
    """Return the seconds of the fastest of some runs, fewer where they take long; the first, slow one is left
    out.
    """
    times: list[float] = []
    with torch.inference_mode():
        start = time.perf_counter()
        run()
        synchronise(kind)
        if time.perf_counter() - start > _ENOUGH:
            return time.perf_counter() - start
        # The fastest of several: other programs only ever make a run slower.
        while len(times) < _TRIES and sum(times) < _ENOUGH:
            synchronise(kind)
            start = time.perf_counter()
            run()
            synchronise(kind)
            times.append(time.perf_counter() - start)
    return min(times)


def synchronise(kind: str) -> None:
    """Wait for everything that was queued on a kind of device."""
    if kind in ("cuda", "xpu", "mps"):
        getattr(torch, kind).synchronize()


def machine(device: str) -> dict[str, Any]:
    """Describe the machine that is measured on."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else _processor()
    about = {
        "device": device,
        "name": name,
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "system": platform.system(),
    }
    if kind == "cuda":
        about |= {
            "cuda": torch.version.cuda or torch.version.hip,
            "driver": _driver(),
            "triton": _triton(),
        }
    return about


def _processor() -> str:
    """Return the name of the processor, where the system has it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return (names[0] if names else platform.processor()) or platform.machine()


def _triton() -> str:
    """Return the version of Triton, under whichever name it was installed."""
    for name in ("triton", "pytorch-triton", "triton-windows", "pytorch-triton-rocm"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "none"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip() if done.stdout else "unknown"
