"""Ends a forward pass half-way, where one takes long enough for a person to wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

# The check of this thread's pass: another thread may run the same network meanwhile.
# A context variable and no argument: layers of torch are called with tensors alone.
_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


def ask(*_: Any) -> None:
    """End the pass that runs in this thread if its caller wants that. For code that is no layer of a
    module.
    """
    check = _CHECK.get()
    if check is not None:
        check()


@contextmanager
def asking(check: Callable[[], None] | None) -> Iterator[None]:
    """Have :func:`ask` in this thread call ``check``, which raises to end the pass, while the context is
    open.
    """
    before = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(before)


@contextmanager
def interruptible(module: nn.Module, device: torch.device, check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before every layer of ``module`` that this thread runs while the context is open.

    Only on a CPU, where a single frame may take minutes. Elsewhere layers are queued and not waited for: a
    check would slow the queueing down and could not end what the device already has.

    Args:
        module: the network, left as it was.
        device: where it runs.
        check: raises to end the pass.
    """
    waits = device.type == "cpu"
    # The hooks are on the shared module, but ``ask`` reads the check of its own thread: another thread that
    # runs the same network is not ended.
    hooks = [layer.register_forward_pre_hook(ask) for layer in module.modules()] if waits else []
    try:
        with asking(check if waits else None):
            yield
    finally:
        for hook in hooks:
            hook.remove()
