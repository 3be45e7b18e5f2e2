"""Contexts in which networks run the same, whatever the calling thread has switched on.

Default dtype and default device do not matter: each call that creates a tensor names both. Gradients,
autocast and flushing of denormal numbers belong to a thread, and are set for as long as a network runs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch

_DIRECTML = "privateuseone"


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Run without gradients, without autocast, and with numbers close to 0 as they are, in this thread.

    All three are the thread's own: no other thread sees a difference, and they are put back at the end,
    also after an error. What belongs to the whole process stays as it is: see the README.

    Args:
        device: where the network runs. Autocast is switched off there and on the CPU.
    """
    with ExitStack() as stack:
        # DirectML fails in inference mode (microsoft/DirectML#602), and has no autocast to switch off.
        stack.enter_context(torch.no_grad() if device.type == _DIRECTML else torch.inference_mode())
        # Samplers and estimates run small operations on the CPU also where the network is elsewhere.
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_denormal_numbers())
        yield


def exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Run float32 convolutions in float32 on CUDA, where cuDNN otherwise takes TF32: 10 bits, 1e-3 off.

    The switch belongs to the whole process: meanwhile other threads' convolutions are exact too, and slower.
    It is put back when the last thread that needs it is done, also after an error.
    """
    return _EXACT if device.type == "cuda" else nullcontext()


class _Shared:
    """A context that several threads may be in at once: the first of them opens it, the last closes it."""

    def __init__(self, opened: Callable[[], AbstractContextManager[None]]) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._inside = 0
        self._context = opened()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._context = self._opened()
                self._context.__enter__()
            # Counted under the lock: a thread that comes while the last one leaves must open the context
            # again.
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._context.__exit__(None, None, None)


@contextmanager
def _without_tf32() -> Iterator[None]:
    cudnn: Any = torch.backends.cudnn
    try:
        before: dict[Any, Any] = {(cudnn, "allow_tf32"): cudnn.allow_tf32}
    except RuntimeError:
        # From torch 2.9 on there is one for each kind of layer too; where others have set these, torch
        # refuses whoever reads the one for all.
        kinds = (cudnn.conv, cudnn.rnn)
        before = {(kind, "fp32_precision"): kind.fp32_precision for kind in kinds}
    # Set by the old name, which every supported torch has; where others have used the new ones, setting it is
    # allowed though reading is not.
    cudnn.allow_tf32 = False
    if hasattr(cudnn, "conv") and cudnn.conv.fp32_precision == "tf32":  # by the one for all of torch
        cudnn.conv.fp32_precision = "ieee"
    try:
        yield
    finally:
        for (owner, name), value in before.items():
            setattr(owner, name, value)


_EXACT = _Shared(_without_tf32)


@contextmanager
def _denormal_numbers() -> Iterator[None]:
    """Keep numbers below the smallest normal one, which ``torch.set_flush_denormal`` makes 0."""
    # torch cannot be asked; but Python divides in the same unit of the processor.
    flushed = sys.float_info.min / 2 == 0
    if flushed:
        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)
