"""The one frame loop, and the names that a caller of it needs.

A :class:`Timeline` says which frames come out, a model makes those between two source frames, and a sink
takes each finished one at once. The loop knows no multiplier, frame rate or skip list: these are timelines.
How the frames of a pair are queued and made is in :mod:`.engine`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any

from torch import Tensor

from .engine.host import Host, QuietHost
from .engine.keyframes import Sides, Way, Ways
from .engine.runner import ModelRunner
from .engine.scheduler import FrameScheduler
from .engine.settings import Schedule, Settings
from .engine.states import States, StatesLike
from .engine.timeline import EndLaw, Timeline, Timesteps, by_fps, by_multiplier, require_timesteps
from .errors import MidframeError, OutOfMemoryError
from .inputs.frames import checked_pictures
from .inputs.objects import require_like
from .memory.ladder import is_out_of_memory
from .memory.sinks import NarrowSink, Sink
from .memory.staging import blended, same_bits
from .vfi_models.interface import Interpolator, InterruptibleInterpolator
from .vfi_models.surroundings import undisturbed

__all__ = [
    "EndLaw",
    "FrameLoop",
    "Host",
    "QuietHost",
    "Schedule",
    "Settings",
    "States",
    "StatesLike",
    "Timeline",
    "Timesteps",
    "by_fps",
    "by_multiplier",
    "require_model",
    "run_timeline",
]


def require_model(model: Any) -> None:
    """Check that ``model`` is an interpolator.

    Raises:
        BadInputError: it is something else.
    """
    require_like(
        model,
        ("spec", "device", "dtype", "open"),
        wrong="This is not a model.",
        advice="Load one: load_model() gives the built-in one, load_model(name) any other.",
    )


def run_timeline(
    source: Iterable[Tensor],
    timeline: Timesteps,
    model: Interpolator,
    sink: Sink,
    *,
    settings: Settings | None = None,
    host: Host | None = None,
) -> int:
    """Make every frame of a timeline of a clip, and put each into the sink at once.

    See :meth:`FrameLoop.feed` for what goes in and comes out, and what is raised.

    Returns:
        Number of output frames.
    """
    with FrameLoop(timeline, settings=settings) as loop:
        return loop.feed(source, model, sink, last=True, host=host)


class FrameLoop:
    """The frame loop over a clip that comes in one part or in several.

    Between two parts it keeps a copy of the last source frame and its features, so that the parts together
    give the frames of one single run, and each source frame is encoded once. Nothing else of a part is kept
    alive: neither its frames, nor its sink, nor its host.

    Args:
        timeline: which frames come out; its pairs are counted over all parts.
        settings: how to run.
        first: the first frame of the clip, for a loop of which only a later part comes here.
    """

    def __init__(
        self, timeline: Timesteps, *, settings: Settings | None = None, first: Tensor | None = None
    ) -> None:
        require_timesteps(timeline)
        if settings is not None:
            require_like(
                settings, ("options", "batch"), wrong="These are not settings.", advice="Use Settings(...)."
            )
        self._timeline = timeline
        self._ways = timeline if isinstance(timeline, Ways) else None
        self._given_first = first
        self._settings = settings or Settings()
        self._runner: ModelRunner | None = None
        self._reset()

    @property
    def timeline(self) -> Timesteps:
        """Return what says which frames come out."""
        return self._timeline

    def count(self, frames: int, *, last: bool = False) -> int:
        """Return the number of output frames that :meth:`feed` makes of a part of so many source frames."""
        if not frames + self._kept:
            return 0
        end = self._index + frames + self._kept - 1
        if not last and end > self._index and self._needs_next(end - 1):
            end -= 1
        between = sum(len(self._timeline.shown(i, last=False)) for i in range(self._index, end))
        shown = self._timeline.shown(end, last=last)
        return between + (len(shown) if last else _untouched(shown)) - self._emitted

    def feed(
        self,
        frames: Iterable[Tensor],
        model: Interpolator,
        sink: Sink,
        *,
        last: bool = False,
        host: Host | None = None,
    ) -> int:
        """Make all output frames that the next part of the clip allows, and put each into the sink at once.

        Each source frame is read once, in order, and uploaded and encoded at most once; where t is 0 it
        goes to the sink untouched, and so it does at every t where the next frame is the same, bit for bit:
        a held frame costs no pass. Made frames are clamped to 0..1; what the network sees is clamped too,
        and NaN is 0 there. Alpha and other channels follow the flow of the picture. Runs without
        gradients and without autocast.

        Args:
            frames: source frames (H, W, C), all of one size; float 0..1, uint8 or uint16; C of 1 (grey) or
                3 and up. Each a tensor of its own: one is still in use while the next is read.
            model: on the device where it shall run. Another one than for the part before encodes the frame
                that was kept again.
            sink: takes the frames of this part, numbered from 0.
            last: nothing follows; then the loop is as new.
            host: told of progress, asked for cancelling.

        Returns:
            Number of output frames of this part.

        Raises:
            BadInputError: a frame of another shape than the first or of a type that is not a picture, or no
                model.
            OutOfMemoryError: after everything that keeps the picture was tried.
            Both say how many output frames of this part were ``finished``; these are in the sink. After any
            error the loop is as new.
        """
        require_model(model)
        source = checked_pictures(frames, first=self._index + self._kept, like=self._left)
        runner = self._runner_for(model)
        host = host or QuietHost(runner.device)
        # An iterator does not say how many frames it has: then the progress is without a total.
        total = self.count(len(frames), last=last) if isinstance(frames, (Sequence, Tensor)) else None
        delivery = _Delivery(sink, host, total)
        scheduler = FrameScheduler(runner, host, delivery, delivery.narrowed)
        # An error leaves the loop as new; so does the last part, but no other.
        over = True
        try:
            with undisturbed(runner.device), _interruptible(model, host), scheduler:
                self._run(source, scheduler, runner, delivery, last=last)
            over = last
        except BaseException as error:
            if isinstance(error, MidframeError):
                error.finished = delivery.done
            elif is_out_of_memory(error):
                raise _outside_the_network(error, delivery.done) from error
            raise
        finally:
            if over:
                self.close()
        return delivery.done

    def release(self) -> None:
        """Drop the model and its features; the next part computes them anew from the frame that was kept."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def close(self) -> None:
        """Drop everything; the loop is as new."""
        self.release()
        self._reset()

    def __enter__(self) -> FrameLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _kept(self) -> int:
        """Return how many frames are known of the next pair."""
        return (self._left is not None) + (self._waiting is not None)

    def _reset(self) -> None:
        self._index = 0  # of the last source frame, the left one of the next pair
        self._left: Tensor | None = None
        self._before: Tensor | None = None  # the one before it, where a motion may go on from there
        self._waiting: Tensor | None = None  # the right one of a pair that needs the frame after it, too
        self._after: Tensor | None = None  # that frame
        self._first = self._given_first  # of the clip, which follows the last one of a loop
        self._emitted = 0  # how often that frame has been shown already

    def _runner_for(self, model: Interpolator) -> ModelRunner:
        if self._runner is None or self._runner.model is not model:
            self.release()
            self._runner = ModelRunner(model, self._settings)
        return self._runner

    def _run(
        self,
        frames: Iterator[Tensor],
        scheduler: FrameScheduler,
        runner: ModelRunner,
        delivery: _Delivery,
        *,
        last: bool,
    ) -> None:
        try:
            self._schedule(frames, scheduler, last=last)
            scheduler.finish()
            if not last:
                self._keep_last_frame(runner)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C: nobody waits for what is half done
                scheduler.stop()
            delivery.end(scheduler.finish)
            raise

    def _schedule(self, frames: Iterator[Tensor], scheduler: FrameScheduler, *, last: bool) -> None:
        for frame in frames:
            if self._left is None:
                self._left = frame
                if self._first is None and getattr(self._timeline, "closes", False):
                    self._first = frame.clone()  # a view would keep the whole part
                continue
            self._schedule_waiting(scheduler, frame)
            if self._needs_next(self._index):
                self._waiting = frame
            else:
                self._advance(self._left, frame, scheduler)
        if last:
            self._schedule_waiting(scheduler, None)
        if self._left is None:
            return
        times = self._timeline.shown(self._index, last=last)
        if last and self._first is not None:
            self._schedule_pair(self._left, self._first, scheduler, times, "motion")
        else:
            # A part should hold whatever is known already, and never be empty only because its end is open.
            self._emit_source(self._left, _untouched(times), scheduler)

    def _needs_next(self, index: int) -> bool:
        """Tell whether what is made in a pair depends on the frame after it."""
        ways = self._ways
        return ways is not None and ways.way(index) == "extrapolate" and ways.sides(index).after

    def _schedule_waiting(self, scheduler: FrameScheduler, after: Tensor | None) -> None:
        """Schedule the pair that waited for the frame ``after`` it; None where the clip ends."""
        right, self._waiting = self._waiting, None
        if self._left is not None and right is not None:
            self._advance(self._left, right, scheduler, after)

    def _advance(
        self, left: Tensor, right: Tensor, scheduler: FrameScheduler, after: Tensor | None = None
    ) -> None:
        """Schedule a pair, and go on to the next; ``after`` is the frame after it, where that is needed."""
        way = "motion" if self._ways is None else self._ways.way(self._index)
        times = self._timeline.shown(self._index, last=False)
        self._after = after
        held = self._schedule_pair(left, right, scheduler, times, way)
        self._index, self._emitted = self._index + 1, 0
        # Where a frame repeats the left one, that one's features go on to hold.
        moves = not held and way != "repeat"
        self._before = left if moves and self._ways is not None and self._ways.looks_back else None
        self._left = right if moves else left

    def _schedule_pair(
        self, left: Tensor, right: Tensor, scheduler: FrameScheduler, times: tuple[Fraction, ...], way: Way
    ) -> bool:
        """Schedule what is shown between two frames, and return whether these are equal bit for bit."""
        held = right is left or same_bits(left, right)
        untouched = len(times) if held else _untouched(times)
        self._emit_source(left, untouched, scheduler)
        if untouched < len(times) and way == "extrapolate":
            self._schedule_cut(left, right, scheduler, times[untouched:])
        elif untouched < len(times) and way == "blend":
            for time in times[untouched:]:
                scheduler.emit_source(blended(left, right, float(time)))
        elif untouched < len(times):
            scheduler.make(left, right, times[untouched:])
        return held

    def _schedule_cut(
        self, left: Tensor, right: Tensor, scheduler: FrameScheduler, times: tuple[Fraction, ...]
    ) -> None:
        """Schedule what is shown between two shots: the nearer frame, moving on as its own shot does."""
        sides = Sides() if self._ways is None else self._ways.sides(self._index)
        for time in times:
            if time < _HALF and sides.before and self._before is not None:
                scheduler.make(self._before, left, (1 + time,))
            elif time >= _HALF and sides.after and self._after is not None:
                scheduler.make(right, self._after, (time - 1,))
            else:
                scheduler.emit_source(left if time < _HALF else right)

    def _emit_source(self, frame: Tensor, times: int, scheduler: FrameScheduler) -> None:
        for _ in range(times - self._emitted):
            scheduler.emit_source(frame)
        self._emitted = times

    def _keep_last_frame(self, runner: ModelRunner) -> None:
        """Keep the last frames as copies: a view would keep the whole part that it came in."""
        self._before, self._waiting = (
            None if frame is None else frame.clone() for frame in (self._before, self._waiting)
        )
        if self._left is not None:
            copy = self._left.clone()
            runner.rebase_last_frame(self._left, copy)
            self._left = copy


_HALF = Fraction(1, 2)
"""From here on what is shown at a cut belongs to the right frame."""


def _interruptible(model: Interpolator, host: Host) -> contextlib.AbstractContextManager[None]:
    if isinstance(model, InterruptibleInterpolator):
        return model.interruptible(host.check_cancelled)
    return contextlib.nullcontext()


def _untouched(times: Sequence[Fraction]) -> int:
    """Return how many of the times of a source frame show itself; they come first."""
    return sum(t == 0 for t in times)


def _outside_the_network(error: BaseException, finished: int) -> OutOfMemoryError:
    failure = OutOfMemoryError(
        "Memory ran out outside the network.",
        f"{str(error) or type(error).__name__} after {finished} finished frames",
        "Close other programs, use fewer or smaller frames, or stream from file to file.",
    )
    failure.finished = finished
    return failure


class _Delivery:
    """Puts finished frames into the sink and tells the host."""

    def __init__(self, sink: Sink, host: Host, total: int | None) -> None:
        self._sink = sink
        self._host = host
        self._total = total
        self._broken = False
        self._over = False
        self.done = 0

    def __call__(self, index: int, frames: Tensor) -> None:
        if self._broken:
            return
        # Until put returns: where it raises, no frame may come after the one that is missing.
        self._broken = True
        self._sink.put(index, frames)
        self._broken = False
        self.done = index + len(frames)
        if not self._over:
            self._host.progress(self.done, self._total, lambda: frames[-1])

    def narrowed(self, frames: Tensor) -> Tensor:
        """Return frames as the sink stores them, where it says so."""
        return self._sink.narrowed(frames) if isinstance(self._sink, NarrowSink) else frames

    def end(self, finish: Callable[[], None]) -> None:
        """Put what is finished into the sink after an error, unless the sink is what failed."""
        self._over = True
        with contextlib.suppress(Exception):
            finish()
