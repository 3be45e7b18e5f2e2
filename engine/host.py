"""The host of the frame loop: where it reports progress, and what it asks about cancelling and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..memory.budget import cached_bytes, empty_cache, free_bytes


class Host(Protocol):
    """The program that runs the frame loop: ComfyUI, the command line, a test."""

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """Report that ``done`` of ``total`` output frames are finished (None: not known yet).

        ``preview()`` is the newest, (H, W, C) on the host, float in 0..1, uint8 or uint16, valid only until
        ``progress`` returns.
        """
        ...

    def check_cancelled(self) -> None:
        """Raise the host's own exception where the user has cancelled.

        Called before every forward pass, and on a CPU, where one takes long, before every layer: it must be
        quick.
        """
        ...

    def clear_cache(self) -> None:
        """Give memory that is only cached back to the device."""
        ...

    def free_bytes(self, device: torch.device) -> int:
        """Return the bytes that an allocation on ``device`` can still get."""
        ...

    def cached_bytes(self, device: torch.device) -> int:
        """Return the part of :meth:`free_bytes` that ``clear_cache`` would give back to the device's
        driver.
        """
        ...


@runtime_checkable
class LookingHost(Protocol):
    """A host that also shows how far a clip has been looked at, which is before its first frame is made."""

    def looked(self, done: int, total: int | None) -> None:
        """Report that ``done`` of ``total`` source frames have been looked at (None: not known)."""
        ...


def report_looked(host: object) -> Callable[[int, int | None], None]:
    """Return what reports to a host how far a clip has been looked at, where it shows that."""
    return host.looked if isinstance(host, LookingHost) else lambda done, total: None


class QuietHost:
    """A host without a user: it shows no progress and never cancels. Memory figures are real."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """Do nothing."""

    def check_cancelled(self) -> None:
        """Do nothing."""

    def clear_cache(self) -> None:
        """Give memory that is only cached back to the device."""
        empty_cache(self._device)

    def free_bytes(self, device: torch.device) -> int:
        """Return the bytes that an allocation on ``device`` can still get."""
        return free_bytes(device)

    def cached_bytes(self, device: torch.device) -> int:
        """Return the bytes that are only cached on ``device``."""
        return cached_bytes(device)
