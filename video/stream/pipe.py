"""A queue between two threads that is bounded in bytes and carries errors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

PIPE_BYTES = 16 * 2**20
"""Bytes between two threads: two frames of 1080p, six of 720p. More is not faster, and costs several
times as much memory as it holds: freed frames of a few megabytes leave gaps in the heap of every thread.
"""

# Between two checks of whether the user has cancelled. A wait without end could not be interrupted by Ctrl-C
# on Windows.
_POLL_SECONDS = 0.1


class AbandonedError(Exception):
    """The side that gets has gone; raised in the one that still puts."""


class Pipe(Generic[T]):
    """A queue of items of any size: one thread puts, another gets.

    Args:
        limit_bytes: that may be in the pipe; a single item may be larger.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._finished = False
        self._abandoned = False
        self._error: BaseException | None = None

    def put(self, item: T, size: int, poll: Callable[[], None] | None = None) -> None:
        """Wait for room and put an item in; ``poll`` is called while waiting and may raise.

        Raises:
            AbandonedError: nobody will ever get the item.
            BaseException: the error that the getting side failed with.
        """
        # An item that is larger than the limit goes into an empty pipe; it would wait for ever otherwise.
        self._wait(lambda: not self._items or self._bytes + size <= self._limit, poll)
        with self._changed:
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def get(self, poll: Callable[[], None] | None = None) -> Iterator[T]:
        """Yield the items until the putting side has finished; raise the error that it failed with."""
        while True:
            self._wait(lambda: bool(self._items) or self._finished, poll, getting=True)
            with self._changed:
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item, size = self._items.popleft()
                self._bytes -= size
                self._changed.notify_all()
            yield item
            del item  # not held while the next one is waited for

    def require_wanted(self) -> None:
        """Raise :class:`AbandonedError` where nobody will get what is put."""
        with self._changed:
            if self._abandoned:
                raise self._error or AbandonedError

    def finish(self, error: BaseException | None = None) -> None:
        """End the putting side, which may have failed with ``error``; what is in the pipe is still got."""
        with self._changed:
            # Raised by get() only when the pipe is empty: what was finished before a failure is not lost.
            self._finished, self._error = True, error
            self._changed.notify_all()

    def abandon(self, error: BaseException | None = None) -> None:
        """End the getting side; what is in the pipe is dropped, and putting raises ``error``."""
        with self._changed:
            self._abandoned, self._error = True, error or self._error
            # Freed now: an error's traceback may keep the pipe, and with it all these frames.
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()

    def _wait(
        self, ready: Callable[[], bool], poll: Callable[[], None] | None, *, getting: bool = False
    ) -> None:
        while True:
            with self._changed:
                if self._abandoned:
                    raise self._error or AbandonedError
                if ready():
                    return
                self._changed.wait(_POLL_SECONDS)
                if ready() or (getting and self._finished):
                    continue
            # Outside the lock: it is the host's code, which may take long or raise.
            if poll is not None:
                poll()
