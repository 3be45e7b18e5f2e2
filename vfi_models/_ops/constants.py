"""Tensors that depend on nothing but a size, kept by a session: on a GPU they are launches each time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Constants = dict[Hashable, Tensor]

_KEPT: ContextVar[Constants | None] = ContextVar("constants", default=None)
"""Of the session that runs in this thread."""


@contextmanager
def keeping(constants: Constants, device: torch.device) -> Iterator[None]:
    """Have :func:`constant` keep what it makes in ``constants`` while this is open, in this thread.

    Not on a CPU, where to make them again takes less than the memory that they would hold.
    """
    before = _KEPT.set(constants if device.type != "cpu" else None)
    try:
        yield
    finally:
        _KEPT.reset(before)


def constant(key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """Return ``make()``, of this session the same tensor each time. Never written to.

    Args:
        key: everything that it depends on: what it is, sizes, dtype, device.
        make: makes it.
    """
    kept = _KEPT.get()
    if kept is None:
        return make()
    if key not in kept:
        kept[key] = make()
    return kept[key]
