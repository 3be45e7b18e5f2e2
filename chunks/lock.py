"""A lock file, which one process at a time can hold."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadInputError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` while entered. The system frees it when the process ends in any way.

    Raises:
        BadInputError: another process holds it.
        OSError: there can be no such file, or no lock on it.
    """
    # Appending creates it, and leaves it alone where another process has it.
    with path.open("a+b") as file:
        try:
            _take(file.fileno())
        except (BlockingIOError, PermissionError) as error:  # Unix, Windows
            raise BadInputError(
                "Another process works on this job.",
                str(path.parent),
                "Wait for it or end it; or give this run a work folder of its own.",
            ) from error
        yield


def _take(handle: int) -> None:
    if os.name == "nt":
        msvcrt = importlib.import_module("msvcrt")
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl = importlib.import_module("fcntl")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
