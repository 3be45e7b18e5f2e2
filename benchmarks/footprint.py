"""Measures the memory that one run of a contender takes, in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from ..errors import BadInputError
from .contenders import OURS, opened, ours
from .peers import Against, parse
from .work import Work

# Sides of the frames of the first run, in pixels: TLBVFI's authors' code takes nothing smaller.
_SMALL = 256
_MIB = 2**20


def in_own_process(work: Work, who: str, against: Against | None, vram_gib: float | None) -> dict[str, Any]:
    """Return the MiB that a run adds to a process that holds the model and the input; see
    :func:`measured`.
    """
    # A fresh process, for memory that a library takes once stays with a process for good.
    command = [sys.executable, "-m", (__package__ or "").partition(".")[0], "bench", "--peak-of", who]
    command += ["--model", work.model, "--size", f"{work.size[0]}x{work.size[1]}"]
    command += ["--multiplier", str(work.multiplier), "--frames", str(work.frames)]
    command += ["--dtype", work.dtype, "--peer-dtype", work.peer_dtype, "--device", work.device]
    # As JSON, which keeps the type of the value for the other process.
    command += [f"--option={name}={json.dumps(value)}" for name, value in work.options.items()]
    command += ["--weights", work.file] if work.file else []
    command += ["--against", against.argument] if against else []
    command += ["--vram-gib", str(vram_gib)] if vram_gib else []
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
    if done.returncode:
        raise BadInputError("Measuring memory failed.", done.stderr[-2000:], "Run it again, or report this.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(work: Work, who: str, arguments: list[str]) -> dict[str, Any]:
    """Return the rise of this process's memory over what it holds before one run, in MiB.

    ``host`` is resident memory. ``device`` is the device memory of tensors; ``reserved`` is the memory that
    torch's allocator takes from the driver for them, with its cache and the pools of recorded passes. Both
    are None on the CPU.

    A run on two small frames comes first: it loads libraries, whose memory belongs to no contender.
    """
    clip = work.clip()
    against = parse(arguments[0]) if arguments else None
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        if who == OURS:
            model = work.build()
            contender = ours(model, work, against)
            # Without the options that match the peer: they name the padded size of the whole frames.
            small = ours(model, work, None)
        elif against is None:
            raise BadInputError(
                "There is no such contender.", who, f"Name {OURS}, or a peer to compare with."
            )
        else:
            contender = small = opened(against, work, Path(scratch))
        small(clip[:2, :_SMALL, :_SMALL], work.multiplier)
        return _rise(lambda: contender(clip, work.multiplier), torch.device(work.device).type)


def _rise(run: Callable[[], Tensor], kind: str) -> dict[str, Any]:
    before = (0, 0)
    if kind == "cuda":
        torch.cuda.synchronize()
        # What the first run left cached would serve the measured one, and not show as reserved by it.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    with _Sampled() as memory:
        run()
    found: dict[str, Any] = {"host": round(memory.rise / _MIB, 1), "device": None, "reserved": None}
    if kind == "cuda":
        found["device"] = round((torch.cuda.max_memory_allocated() - before[0]) / _MIB, 1)
        found["reserved"] = round((torch.cuda.max_memory_reserved() - before[1]) / _MIB, 1)
    return found


class _Sampled:
    """Samples the most resident memory of this process while it is entered, over that at the start, in
    bytes.
    """

    def __enter__(self) -> _Sampled:
        _give_back_free_heap()
        self._process = psutil.Process()
        self._before = self._most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self.rise = self._most - self._before

    def _sample(self) -> None:
        # Sampled, for the peak that a system counts is of the whole life of a process.
        while not self._over.wait(0.002):
            self._most = max(self._most, self._process.memory_info().rss)


def _give_back_free_heap() -> None:
    """Give freed heap back to the system, or it would hide new allocations. Only glibc has a call for it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
