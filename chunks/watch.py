"""Says, each time a chunk is finished, how the job and the memory stand."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import psutil
import torch

from .run import Report

_GIB = 2**30


class Watch:
    """Told of finished chunks, it says a line for each.

    Args:
        device: where the model runs.
        say: takes a line.
    """

    def __init__(self, device: torch.device, say: Callable[[str], None]) -> None:
        self._device = device
        self._say = say
        self._begun = time.monotonic()
        self._made = 0

    def __call__(self, report: Report) -> None:
        """A chunk is finished."""
        self._made += report.frames
        of = f" of about {report.total}" if report.total else ""
        line = f"chunk {report.chunk} is safe: {report.finished}{of} frames{self._remaining(report)}"
        self._say(f"{line}; {memory_line(self._device)}")

    def _remaining(self, report: Report) -> str:
        if not report.total or not self._made:
            return ""
        left = max(0, report.total - report.finished)
        seconds = round(left * (time.monotonic() - self._begun) / self._made)
        return f", {timedelta(seconds=seconds)} to go"


def memory_line(device: torch.device) -> str:
    """Memory of this process, its peak where the system tells, and what is free; the same of a GPU."""
    memory = psutil.Process().memory_info()
    peak = getattr(memory, "peak_wset", None) or _peak()
    line = f"memory {memory.rss / _GIB:.2f} GiB used"
    line += f", {peak / _GIB:.2f} at most" if peak else ""
    line += f", {psutil.virtual_memory().available / _GIB:.1f} free"
    if device.type == "cuda":
        used, most = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
        free, _ = torch.cuda.mem_get_info(device)
        line += f"; GPU {used / _GIB:.2f} used, {most / _GIB:.2f} at most, {free / _GIB:.1f} free"
    return line


def _peak() -> int:
    """The most resident memory of this process so far, bytes; 0 where the system does not tell."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return 0
    most = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else most * 1024
