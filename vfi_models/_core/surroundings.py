"""Networks run the same whatever the thread that they run in has switched on.

Default dtype and default device are met where tensors are made: each factory names both. The rest belongs to
a thread, and is put in order for as long as a network runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Run without gradients, without autocast, and with numbers close to 0 as they are, in this thread.

    All three are the thread's own: no other thread sees a difference, and they are put back at the end,
    also after an error. What belongs to the whole process stays as it is: see the README.

    Args:
        device: where the network runs. Autocast is switched off there and on the CPU.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for kind in {"cpu", device.type}:
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_denormal_numbers())
        yield


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
