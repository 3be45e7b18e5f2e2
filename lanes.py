"""Frames made beside one another on a CPU, each by its share of the processors.

At common sizes a network is many short operations, after each of which threads wait for one another: two
frames at once, by one processor each, are done up to 1.4 times as fast as one after the other by both.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from .vfi_models._core.interruption import asking
from .vfi_models._core.surroundings import undisturbed

T = TypeVar("T")

_CPU = torch.device("cpu")
_MOST = 4
_MOST_BYTES = 400 * 2**20
"""Activations and weights of all lanes: larger pictures keep processors busy, and memory is for frames.
Not a part of what is free: the same clip must come out the same on the same machine."""
_MOST_PIXELS = 1280 * 720
"""Of a frame: a lane holds a few besides, before and after the network."""
_LEAST_BYTES = 16 * 2**20
"""Activations of a picture that is worth a thread."""


def lanes_for(pixels: int, activations: int, weights: int) -> int:
    """How many frames of a CPU's network to make at once.

    Args:
        pixels: of a frame.
        activations: bytes that one takes while it is made.
        weights: bytes that a lane keeps besides.
    """
    threads = torch.get_num_threads()
    if threads == 1 or pixels > _MOST_PIXELS or activations < _LEAST_BYTES:
        return 1
    most = max(1, min(threads, _MOST, _MOST_BYTES // (activations + weights)))
    # Equal shares of the processors, where there are any.
    return next((n for n in range(most, 1, -1) if threads % n == 0), most)


class StoppedError(Exception):
    """A lane was told to stop."""


class Lanes:
    """Some threads, each with its part of torch's threads.

    The number of threads that torch uses is each thread's own, but what torch gives to threads to come is
    not: it is put back as soon as the lanes have theirs.

    Args:
        count: of the threads.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._stopped = threading.Event()
        whole = torch.get_num_threads()
        ready = threading.Barrier(count + 1)

        def begin() -> None:
            torch.get_num_threads()  # a thread takes over the common number when it first asks
            torch.set_num_threads(max(1, whole // count))
            with contextlib.suppress(threading.BrokenBarrierError):
                ready.wait()

        self._threads = ThreadPoolExecutor(count, "midframe-lane", begin)
        try:
            for _ in range(count):
                self._threads.submit(int)
            ready.wait()
        except BaseException:  # Ctrl-C: no thread may wait for ever
            ready.abort()
            self.close()
            raise
        finally:
            torch.set_num_threads(whole)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Runs ``work`` in the next free lane, without gradients.

        The future may raise :class:`StoppedError`.
        """
        return self._threads.submit(self._run, work)

    def stop(self) -> None:
        """What runs ends at its next layer."""
        self._stopped.set()

    def close(self) -> None:
        """Stops, and waits until nothing runs. May be called twice."""
        self.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def check(self) -> None:
        """Raises :class:`StoppedError` once that is wanted."""
        if self._stopped.is_set():
            raise StoppedError

    def _run(self, work: Callable[[], T]) -> T:
        with undisturbed(_CPU), asking(self.check):
            return work()


class Once(Generic[T]):
    """A value made by whichever thread asks first; the others wait for it.

    All share one condition: a lock of its own for every frame would lie between the frames in memory, and
    keep a tenth of a gigabyte from being used again.
    """

    def __init__(self) -> None:
        self._made: list[T] = []
        self._making = False

    def get(self, make: Callable[[], T]) -> T:
        """The value. Where ``make`` raises, the next one who asks makes it."""
        with _CHANGED:
            while self._making:
                _CHANGED.wait()
            if self._made:
                return self._made[0]
            self._making = True
        try:
            made = make()
            self._made.append(made)
            return made
        finally:
            with _CHANGED:
                self._making = False
                _CHANGED.notify_all()


_CHANGED = threading.Condition()
