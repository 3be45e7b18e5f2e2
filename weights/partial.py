"""The file that a download goes into: hidden, one writer at a time, and kept where the rest can follow."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_log = logging.getLogger(__name__)

# Seconds after which an unfinished download belongs to nobody any more.
_STALE = 24 * 3600.0
# Hexadecimal digits in a name that tell one published file from another of the same name.
_KEY_LENGTH = 16


@contextmanager
def unfinished(folder: Path, file: str, identity: str | None) -> Iterator[Path]:
    """Yield the file to write a download to, with what an earlier download of the same file left in it.

    Args:
        folder: where the finished file goes.
        file: name of the finished file.
        identity: what tells this published file from every other; None where the server does not say. What is
            left of a download without one is removed, for nobody could tell what it is a part of.

    Yields:
        A hidden file, which nobody lists as weights. It need not be there yet. An empty one does not stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        kept = None if identity is None else _own(folder, file, identity, stack)
        # A name that nobody else has: two processes may download the same file.
        part = kept or folder / f".{file}.{uuid.uuid4().hex}.part"
        _remove_stale(folder, file, part)
        try:
            yield part
        finally:
            _leave(part, keep=kept is not None)


def _own(folder: Path, file: str, identity: str, stack: ExitStack) -> Path | None:
    """Return the part of a published file, locked until ``stack`` closes; None where another writes to it."""
    part = folder / f".{file}.{hashlib.sha256(identity.encode()).hexdigest()[:_KEY_LENGTH]}.part"
    lock_file = part.with_suffix(".lock")
    lock = FileLock(lock_file, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):  # the last two: a file system without locks
        return None
    stack.callback(_unlink, lock_file)
    stack.callback(lock.release)
    return part


def _leave(part: Path, *, keep: bool) -> None:
    """Keep what has come of a download, or remove it."""
    size = part.stat().st_size if part.is_file() else 0
    if keep and size:
        _log.info("%s bytes are kept in %s: the next download goes on from there", f"{size:,}", part)
    else:
        _unlink(part)


def _remove_stale(folder: Path, file: str, own: Path) -> None:
    """Remove what other downloads of this file left long ago."""
    for item in folder.iterdir():
        if item != own and item.name.startswith(f".{file}.") and item.name.endswith(".part"):
            with suppress(OSError):
                if time.time() - item.stat().st_mtime > _STALE:
                    item.unlink()


def _unlink(path: Path) -> None:
    # Windows does not remove a file that another process has open.
    with suppress(OSError):
        path.unlink(missing_ok=True)
