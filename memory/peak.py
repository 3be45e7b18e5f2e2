"""The most memory that a process has held."""

import importlib
import sys
from pathlib import Path

import psutil


def peak_resident_bytes() -> int:
    """Return the most resident memory that this process's program has held, bytes; 0 where nothing tells.

    Linux hands `ru_maxrss` on to the program that a process starts: a small child of a large parent is
    told the parent's peak. `VmHWM` begins anew with each program.
    """
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text("ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    # Windows tells it beside the rest.
    if peak := getattr(psutil.Process().memory_info(), "peak_wset", 0):
        return int(peak)
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return 0
    # Bytes on macOS, KiB elsewhere.
    most = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else most * 1024
