"""Makes the frames of source pairs in the order in which they are shown, a few of them at once on a CPU."""

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

from ..memory.ladder import Ladder
from ..memory.staging import Downloader
from .cpu_workers import CpuWorkers
from .host import Host
from .runner import ModelRunner, NotFiniteError

_LOG = logging.getLogger(__name__)

# Seconds between two checks for cancelling while a worker is waited for: 0.1 s feels instant to a person, and
# a check costs microseconds.
_POLL_SECONDS = 0.02


@dataclass
class _Entry:
    """Output frames in the queue: a source frame, or some frames between two."""

    left: Tensor
    right: Tensor | None = None
    """None where ``left`` is shown as it is."""
    times: Sequence[Fraction] = ()
    future: Future[Tensor] | None = None
    """The first of ``times``, from a CPU worker; None where they are made in the calling thread."""

    def ready(self) -> bool:
        """Tell whether no worker has to be waited for."""
        return self.future is None or self.future.done()


class FrameScheduler:
    """Queues the output frames of a run, has a model runner make them, and delivers them in order.

    On a CPU a few frames are made at once, see :mod:`.cpu_workers`. The host, the sink and the source are
    only used by the thread that calls.

    Args:
        runner: makes the frames.
        host: asked for cancelling and memory.
        deliver: takes the index of the first of some output frames, from 0, and the frames on the host.
        narrowed: makes fewer bytes of frames, on their device; see :class:`~..memory.sinks.NarrowSink`.
    """

    def __init__(
        self,
        runner: ModelRunner,
        host: Host,
        deliver: Callable[[int, Tensor], None],
        narrowed: Callable[[Tensor], Tensor],
    ) -> None:
        self._runner = runner
        self._host = host
        self._narrowed = narrowed
        self._download = Downloader(deliver)
        self._next = 0
        self._workers: CpuWorkers | None = None
        self._queue: deque[_Entry] = deque()
        self._stopped = False
        # Partials of the runner and the host, never of this object: a cycle would keep a model and an output
        # alive until the garbage collector runs.
        self._ladder = Ladder(runner.shrink, partial(_clear, runner, host), partial(_degrade, runner, host))

    def emit_source(self, frame: Tensor) -> None:
        """Queue a source frame (H, W, C), which is shown as it is."""
        self._check_cancelled()
        self._queue.append(_Entry(frame))
        self._flush_ready()

    def make(self, left: Tensor, right: Tensor, times: Sequence[Fraction]) -> None:
        """Queue the frames between two source frames (H, W, C) at ``times``, each in (0, 1), ascending.

        Or all of them below 0, or all above 1: there the motion between the two goes on.
        """
        if self._runner.workers(left) > 1:
            self._check_cancelled()
            self._workers = self._workers or CpuWorkers(self._runner.workers(left))
            for part in self._runner.split_timesteps(times):
                pair = self._runner.pair(left, right)
                work = partial(self._runner.infer, pair, part, self._workers.check, self._host.free_bytes)
                self._queue.append(_Entry(left, right, part, self._workers.submit(work)))
                self._flush_ready()
        else:
            self._queue.append(_Entry(left, right, times))
            self._flush_ready()
        self._runner.clearing.pair_done(
            self._runner.budget.bytes_each,
            partial(self._runner.cached_bytes, self._host),
            partial(self._runner.room, self._host),
            self._host.clear_cache,
        )

    def finish(self) -> None:
        """Deliver everything in the queue; after :meth:`stop`, only frames that are finished."""
        while self._queue and (not self._stopped or self._queue[0].ready()):
            self._collect()
        self._download.finish()

    def stop(self) -> None:
        """Have workers end the frames that they are making."""
        self._stopped = True
        if self._workers is not None:
            self._workers.stop()

    def __enter__(self) -> FrameScheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._workers is not None:
            self._workers.close()

    def _flush_ready(self) -> None:
        """Collect entries from the head of the queue while they are ready, or while the queue is full.

        Full is: each worker has one to make, or twice as many entries as workers wait. The second bound keeps
        finished frames from piling up behind a slow one.
        """
        # 0 without workers: then every entry is made at once, here.
        most = self._workers.count if self._workers else 0
        while self._queue and (
            self._queue[0].ready()
            or sum(not entry.ready() for entry in self._queue) > most
            or len(self._queue) > 2 * most
        ):
            self._collect()

    def _collect(self) -> None:
        """Take the oldest entry, make its frames or wait for their worker, and start their download."""
        try:
            entry = self._queue.popleft()
            if entry.right is None:
                self._start_download(entry.left.unsqueeze(0), from_model=False)
                return
            times = entry.times
            while times:
                frames = self._ladder.climb(partial(self._infer, entry, entry.right, times))
                times = times[len(frames) :]
                self._start_download(frames, from_model=True)
        except BaseException:
            self._queue.clear()  # output has no gaps: nothing may follow a frame that is missing
            raise

    def _infer(self, entry: _Entry, right: Tensor, times: Sequence[Fraction]) -> Tensor:
        """Return the first of some frames, in float32 where 16 bits overflow."""
        with contextlib.suppress(NotFiniteError):
            return self._infer_once(entry, right, times)
        # Outside the handler: inside it the traceback keeps the failed call's tensors alive.
        self._wait_for_workers()
        self._runner.widen()
        return self._infer_once(entry, right, times)

    def _infer_once(self, entry: _Entry, right: Tensor, times: Sequence[Fraction]) -> Tensor:
        """Return frames from their worker, or make them here where there is none or it failed."""
        future, entry.future = entry.future, None
        if future is not None:
            self._wait(future)
            try:
                return future.result()
            finally:
                del future  # in an error's traceback it would keep the memory of its pass alive
        self._wait_for_workers()
        pair = self._runner.pair(entry.left, right)
        return self._runner.infer(pair, times, self._host.check_cancelled, self._host.free_bytes)

    def _wait_for_workers(self) -> None:
        """Wait until no worker runs: the next pass may need all the memory there is."""
        self._wait(*(entry.future for entry in self._queue if entry.future))
        for entry in self._queue:
            # A failed one is made again here in its turn; its exception must not hold memory until then.
            if entry.future and entry.future.exception():
                entry.future = None

    def _wait(self, *futures: Future[Tensor]) -> None:
        while wait(futures, _POLL_SECONDS).not_done:
            self._check_cancelled()

    def _check_cancelled(self) -> None:
        try:
            self._host.check_cancelled()
        except BaseException:
            self.stop()
            raise

    def _start_download(self, frames: Tensor, *, from_model: bool) -> None:
        self._ladder.climb(partial(self._start_download_once, frames, from_model=from_model))
        self._next += len(frames)
        self._download.flush_ready()

    def _start_download_once(self, frames: Tensor, *, from_model: bool) -> None:
        if from_model or frames.device.type != "cpu":
            frames = self._narrowed(frames)
        self._download.start(self._next, frames)


def _clear(runner: ModelRunner, host: Host) -> str:
    runner.release()
    host.clear_cache()
    return "cleared cached memory"


def _degrade(runner: ModelRunner, host: Host) -> str | None:
    changed = runner.degrade_options()
    if changed is not None:
        _clear(runner, host)
        _LOG.warning("Memory ran out: going on with %s. The picture changes.", changed)
    return changed
