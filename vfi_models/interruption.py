"""Ending a forward pass in the middle, where one takes long enough for a person to wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)
"""Of this thread's pass: another thread may run the same network meanwhile."""


def ask(*_: Any) -> None:
    """Ends the pass that is open in this thread, if somebody wants that. For what is no layer of a module."""
    check = _CHECK.get()
    if check is not None:
        check()


@contextmanager
def asking(check: Callable[[], None] | None) -> Iterator[None]:
    """While it is open, :func:`ask` in this thread calls ``check``, which raises to end the pass."""
    before = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(before)


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
    waits = device.type == "cpu"
    hooks = [layer.register_forward_pre_hook(ask) for layer in module.modules()] if waits else []
    try:
        with asking(check if waits else None):
            yield
    finally:
        for hook in hooks:
            hook.remove()
