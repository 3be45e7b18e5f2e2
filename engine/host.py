"""Who the frame loop works for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ..memory.budget import cached_bytes, empty_cache, free_bytes


class Host(Protocol):
    """ComfyUI, the command line, a test."""

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """``done`` of ``total`` output frames are finished (None: not known yet).

        ``preview()`` is the newest, (H, W, C) on the host, float in 0..1, uint8 or uint16, valid only until
        ``progress`` returns.
        """
        ...

    def check_cancelled(self) -> None:
        """Raises whatever the host cancels with. Called before every forward pass, and on a CPU, where one
        takes long, before every layer: it must be quick.
        """
        ...

    def clear_cache(self) -> None:
        """Gives memory that is only cached back to the device."""
        ...

    def free_bytes(self, device: torch.device) -> int:
        """Memory that an allocation on ``device`` can still get."""
        ...

    def cached_bytes(self, device: torch.device) -> int:
        """The part of :meth:`free_bytes` that ``clear_cache`` would give back to the device's driver."""
        ...


class QuietHost:
    """Nobody watches and nobody cancels. Memory figures are real."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """Nothing."""

    def check_cancelled(self) -> None:
        """Nothing."""

    def clear_cache(self) -> None:
        """See :class:`Host`."""
        empty_cache(self._device)

    def free_bytes(self, device: torch.device) -> int:
        """See :class:`Host`."""
        return free_bytes(device)

    def cached_bytes(self, device: torch.device) -> int:
        """See :class:`Host`."""
        return cached_bytes(device)
