"""Log the state of a job and of memory each time a chunk is finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import psutil
import torch

from ..memory.peak import peak_resident_bytes
from .run import Report

_GIB = 2**30


class Watch:
    """A report for :func:`.run.process` that says a line for each finished chunk.

    Args:
        device: where the model runs.
        say: takes a line.
    """

    def __init__(self, device: torch.device, say: Callable[[str], None]) -> None:
        self._device = device
        self._say = say
        self._start = time.monotonic()
        self._frames = 0

    def __call__(self, report: Report) -> None:
        """Say how the job stands now that a chunk is finished."""
        self._frames += report.frames
        of = f" of about {report.total}" if report.total else ""
        line = f"chunk {report.chunk} is safe: {report.finished}{of} frames{self._remaining(report)}"
        self._say(f"{line}; {memory_line(self._device)}")

    def _remaining(self, report: Report) -> str:
        if not report.total or not self._frames:
            return ""
        # By the frames of this run alone: those that were there already took it no time.
        left = max(0, report.total - report.finished)
        seconds = round(left * (time.monotonic() - self._start) / self._frames)
        return f", {timedelta(seconds=seconds)} to go"


def memory_line(device: torch.device) -> str:
    """Return the memory of this process, its peak where the system tells, and what is free; also of a GPU."""
    memory = psutil.Process().memory_info()
    peak = peak_resident_bytes()
    line = f"memory {memory.rss / _GIB:.2f} GiB used"
    line += f", {peak / _GIB:.2f} at most" if peak else ""
    line += f", {psutil.virtual_memory().available / _GIB:.1f} free"
    if device.type == "cuda":
        used, most = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
        free, _ = torch.cuda.mem_get_info(device)
        line += f"; GPU {used / _GIB:.2f} used, {most / _GIB:.2f} at most, {free / _GIB:.1f} free"
    return line
