"""Ending a forward pass in the middle, where one takes long enough for a person to wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def interruptible(module: nn.Module, device: torch.device, check: Callable[[], None]) -> Iterator[None]:
    """While it is open, ``check`` is called before every layer of ``module`` that this thread runs.

    Only on a CPU, where a single frame may take minutes: elsewhere layers are queued and not waited for, so
    that asking would cost the launches their lead and tell nothing.

    Args:
        module: the network, left as it was.
        device: where it runs.
        check: raises to end the pass.
    """
    runner = threading.get_ident()  # another thread may run the same network meanwhile

    def ask(*_: Any) -> None:
        if threading.get_ident() == runner:
            check()

    layers = module.modules() if device.type == "cpu" else ()
    hooks = [layer.register_forward_pre_hook(ask) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
