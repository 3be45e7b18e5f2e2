"""The ladder: where memory runs out, need less of it step by step, and try the same work again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from ..errors import OutOfMemoryError

T = TypeVar("T")
Rung = Callable[[], "str | None"]
"""Frees memory or needs less of it and says how, or returns None when nothing is left to try."""

# Allocation failures that arrive as a plain RuntimeError: the CPU allocator and mmap, MPS, DirectML, XPU,
# handles and workspaces of cuBLAS and cuDNN, and asynchronous CUDA errors. "Unable to find an engine" is what
# torch says of a convolution once every engine of cuDNN has failed, mostly as none got its workspace.
_PHRASES = (
    *("out of memory", "out_of_device_memory", "out_of_host_memory", "not enough memory"),
    *("can't allocate memory", "cannot allocate memory", "not enough gpu video memory"),
    *("alloc_failed", "unable to find an engine"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether ``error`` says that an allocation failed, on the host or on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


class Ladder:
    """A runner of work that takes one rung after the other where memory runs out, and runs it again.

    Args:
        smaller: keeps less (no recorded passes), then does less at once (a smaller batch, until that is 1).
        clear: gives back what is only cached; taken once for each piece of work.
        lighter: changes the picture to need less, where the user allowed it.
    """

    def __init__(self, smaller: Rung, clear: Rung, lighter: Rung) -> None:
        self._smaller = smaller
        self._clear = clear
        self._lighter = lighter
        self.tried: list[str] = []

    def climb(self, work: Callable[[], T]) -> T:
        """Return ``work()``, repeated after each rung; the work must be repeatable.

        Raises:
            OutOfMemoryError: every rung was taken.
        """
        cleared = False
        while True:
            try:
                return work()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).partition("\n")[0] or type(error).__name__
            # Only here, outside the handler, has the traceback let go of the tensors of the failed call.
            step = self._smaller()
            if step is None and not cleared:
                step, cleared = self._clear(), True
            if step is None:
                step = self._lighter()
            if step is None:
                raise OutOfMemoryError(
                    "Memory ran out, and nothing is left to try that keeps the picture.",
                    f"{reason}; tried: {', '.join(self.tried) or 'nothing applied'}",
                    "Close other programs or models, use smaller frames or a lower flow scale, "
                    "run on the CPU, or allow a changed picture.",
                    tried=self.tried,
                )
            self.tried.append(step)
