"""One process at a time in a work folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import BadInputError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` while entered. The system releases it when the process ends, however.

    Raises:
        BadInputError: another process holds it.
        OSError: there can be no such file, or no lock on it.
    """
    # Not waited for: the other run may take days.
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BadInputError(
            "Another process works on this job.",
            str(path.parent),
            "Wait for it or end it; or give this run a work folder of its own.",
        ) from error
    try:
        yield
    finally:
        lock.release()
