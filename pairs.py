"""The frames between two source frames, pair after pair: made at a workbench, handed on in order."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from types import TracebackType

from torch import Tensor

from .lanes import Lanes
from .memory.host import Host
from .memory.ladder import Ladder
from .memory.staging import Downloader
from .workbench import NotFiniteError, Workbench

_LOG = logging.getLogger(__name__)
_LOOK_EVERY = 0.02
"""Seconds between two looks at whether the host has cancelled, while a lane is waited for."""


@dataclass
class _Waiting:
    """Output frames whose turn has not come."""

    left: Tensor
    right: Tensor | None = None
    """None where it is the left one that is shown, as it is."""
    times: Sequence[Fraction] = ()
    making: Future[Tensor] | None = None
    """The first of ``times``, in a lane; None where they are made when it is their turn."""

    def ready(self) -> bool:
        """Whether a lane need not be waited for."""
        return self.making is None or self.making.done()


class PairMaker:
    """Makes the frames of some pairs at a workbench, for one host, and hands them on in order.

    On a CPU a few frames are made beside one another, see :mod:`.lanes`. The host, the sink and the source
    are only ever used by the thread that calls.

    Args:
        bench: where they are made.
        host: asked for cancelling and memory.
        deliver: takes the number of the first of some output frames, from 0, and the frames on the host.
        narrowed: makes fewer bytes of frames, where they are made; see :class:`~.memory.sinks.NarrowSink`.
    """

    def __init__(
        self,
        bench: Workbench,
        host: Host,
        deliver: Callable[[int, Tensor], None],
        narrowed: Callable[[Tensor], Tensor],
    ) -> None:
        self._bench = bench
        self._host = host
        self._narrowed = narrowed
        self._download = Downloader(deliver)
        self._next = 0
        self._lanes: Lanes | None = None
        self._queue: deque[_Waiting] = deque()
        self._stopped = False
        # Of the bench and the host, never of this object: no cycle shall keep a model and an output alive
        # until the garbage collector looks.
        self._ladder = Ladder(bench.shrink, partial(_clear, bench, host), partial(_lighten, bench, host))

    def pass_on(self, frame: Tensor) -> None:
        """A source frame is shown as it is."""
        self._check()
        self._queue.append(_Waiting(frame))
        self._hand_on()

    def make(self, left: Tensor, right: Tensor, times: Sequence[Fraction]) -> None:
        """The frames of one pair at ``times``, each in (0, 1), ascending."""
        if self._bench.lanes(left) > 1:
            self._check()
            self._lanes = self._lanes or Lanes(self._bench.lanes(left))
            for some in self._bench.portions(times):
                pair = self._bench.pair(left, right)
                making = partial(self._bench.some, pair, some, self._lanes.check, self._host.free_bytes)
                self._queue.append(_Waiting(left, right, some, self._lanes.submit(making)))
                self._hand_on()
        else:
            self._queue.append(_Waiting(left, right, times))
            self._hand_on()
        room = partial(self._bench.room, self._host)
        cached = partial(self._bench.cached_bytes, self._host)
        self._bench.clearing.pair_done(self._bench.budget.bytes_each, cached, room, self._host.clear_cache)

    def finish(self) -> None:
        """Everything that was started is in the sink; once stopped, what is made already."""
        while self._queue and (not self._stopped or self._queue[0].ready()):
            self._land()
        self._download.finish()

    def stop(self) -> None:
        """What is being made in lanes is not wanted any more."""
        self._stopped = True
        if self._lanes is not None:
            self._lanes.stop()

    def __enter__(self) -> PairMaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends what is still being made."""
        if self._lanes is not None:
            self._lanes.close()

    def _hand_on(self) -> None:
        """What is ready goes, and the oldest is waited for where enough is under way."""
        most = self._lanes.count if self._lanes else 0
        while self._queue and (
            self._queue[0].ready()
            or sum(not one.ready() for one in self._queue) > most
            or len(self._queue) > 2 * most  # a slow one shall not have finished ones pile up behind it
        ):
            self._land()

    def _land(self) -> None:
        """The oldest frames that wait are made, or taken from their lane, and handed on."""
        try:
            waiting = self._queue.popleft()
            if waiting.right is None:
                self._start(waiting.left.unsqueeze(0), made=False)
                return
            times = waiting.times
            while times:
                made = self._ladder.climb(partial(self._taken, waiting, waiting.right, times))
                times = times[len(made) :]
                self._start(made, made=True)
        except BaseException:
            self._queue.clear()  # nothing may come after a hole
            raise

    def _taken(self, waiting: _Waiting, right: Tensor, times: Sequence[Fraction]) -> Tensor:
        """Return the first of some frames, in float32 where 16 bits turn out to be too few."""
        with contextlib.suppress(NotFiniteError):
            return self._taken_once(waiting, right, times)
        # Outside the handler, where the traceback has let go of the tensors of the failed call.
        self._wait_for_lanes()
        self._bench.widen()
        return self._taken_once(waiting, right, times)

    def _taken_once(self, waiting: _Waiting, right: Tensor, times: Sequence[Fraction]) -> Tensor:
        """Frames from the lane that makes them; made here where there is none, or where it failed."""
        making, waiting.making = waiting.making, None
        if making is not None:
            self._wait(making)
            try:
                return making.result()
            finally:
                del making  # or the error would keep itself alive, and what its pass had in memory
        self._wait_for_lanes()
        pair = self._bench.pair(waiting.left, right)
        return self._bench.some(pair, times, self._host.check_cancelled, self._host.free_bytes)

    def _wait_for_lanes(self) -> None:
        """Be alone, as memory may be short."""
        self._wait(*(one.making for one in self._queue if one.making))
        for one in self._queue:
            if one.making and one.making.exception():  # made here in its turn, and no memory held until then
                one.making = None

    def _wait(self, *making: Future[Tensor]) -> None:
        while wait(making, _LOOK_EVERY).not_done:
            self._check()

    def _check(self) -> None:
        try:
            self._host.check_cancelled()
        except BaseException:
            self.stop()
            raise

    def _start(self, frames: Tensor, *, made: bool) -> None:
        self._ladder.climb(partial(self._begin, frames, made=made))
        self._next += len(frames)
        self._download.hand_on()

    def _begin(self, frames: Tensor, *, made: bool) -> None:
        if made or frames.device.type != "cpu":
            frames = self._narrowed(frames)
        self._download.start(self._next, frames)


def _clear(bench: Workbench, host: Host) -> str:
    bench.ease()
    host.clear_cache()
    return "cleared cached memory"


def _lighten(bench: Workbench, host: Host) -> str | None:
    changed = bench.lighten()
    if changed is not None:
        _clear(bench, host)
        _LOG.warning("Memory ran out: going on with %s. The picture changes.", changed)
    return changed
