"""Tensors that depend on nothing but a size, kept by a session: on a GPU each would cost launches every
time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Constants = dict[Hashable, Tensor]

# The constants of the session that runs in this thread.
_KEPT: ContextVar[Constants | None] = ContextVar("constants", default=None)


@contextmanager
def keeping(constants: Constants, device: torch.device) -> Iterator[None]:
    """Have :func:`constant` keep its tensors in ``constants`` while the context is open, in this thread.

    Not on a CPU: there they are quick to compute again, and the memory is worth more.
    """
    # A context variable, because the operations that ask for constants are functions without a session.
    before = _KEPT.set(constants if device.type != "cpu" else None)
    try:
        yield
    finally:
        _KEPT.reset(before)


def constant(key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """Return ``make()``, within a session the same tensor each time. Never written to.

    Args:
        key: a name, and everything that the tensor depends on: sizes, dtype, device.
        make: computes it.
    """
    kept = _KEPT.get()
    # No session to own it, as in training, or a CPU, where nothing is kept; see keeping.
    if kept is None:
        return make()
    if key not in kept:
        kept[key] = make()
    return kept[key]
