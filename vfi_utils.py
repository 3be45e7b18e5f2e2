"""The one frame loop: it makes the frames of a timeline.

It knows no multiplier, frame rate or skip list: those are timelines (:mod:`.timeline`). How a model makes the
frames of a pair is in :mod:`.pairs` and :mod:`.workbench`. The names of all that a caller needs are here too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any

from torch import Tensor

from .errors import MidframeError, OutOfMemoryError
from .inputs.frames import checked_pictures
from .inputs.objects import require_like
from .memory.host import Host, QuietHost
from .memory.ladder import is_out_of_memory
from .memory.sinks import NarrowSink, Sink
from .memory.staging import same_bits
from .pairs import PairMaker
from .timeline import EndLaw, States, StatesLike, Timeline, by_fps, by_multiplier
from .vfi_models._core.interruption import interruptible
from .vfi_models._core.seam import Interpolator
from .vfi_models._core.surroundings import undisturbed
from .workbench import Schedule, Settings, Workbench

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
        ("spec", "module", "open"),
        wrong="This is not a model.",
        advice="Load one: load_model() gives the built-in one, load_model(name) any other.",
    )


def run_timeline(
    source: Iterable[Tensor],
    timeline: Timeline,
    model: Interpolator,
    sink: Sink,
    *,
    settings: Settings | None = None,
    host: Host | None = None,
) -> int:
    """Makes every frame of a timeline of a clip and hands it on at once.

    See :meth:`FrameLoop.feed` for what goes in and comes out, and what is raised.

    Returns:
        Number of output frames.
    """
    with FrameLoop(timeline, settings=settings) as loop:
        return loop.feed(source, model, sink, last=True, host=host)


class FrameLoop:
    """The frame loop over a clip that comes in one part or in several.

    Between two parts it keeps a copy of the last source frame and what the model knows of it, so that the
    parts together give the frames of one single run, and each source frame is encoded once. Nothing else
    of a part is kept alive: neither its frames, nor its sink, nor its host.

    Args:
        timeline: which frames come out; its pairs are counted over all parts.
        settings: how to run.
    """

    def __init__(self, timeline: Timeline, *, settings: Settings | None = None) -> None:
        require_like(
            timeline, ("shown",), wrong="This is not a timeline.", advice="Use by_multiplier or by_fps."
        )
        if settings is not None:
            require_like(
                settings, ("options", "batch"), wrong="These are not settings.", advice="Use Settings(...)."
            )
        self._timeline = timeline
        self._settings = settings or Settings()
        self._bench: Workbench | None = None
        self._forget()

    def count(self, frames: int, *, last: bool = False) -> int:
        """Number of output frames that :meth:`feed` makes of a part of so many source frames."""
        waiting = frames + (self._left is not None)
        if not waiting:
            return 0
        end = self._index + waiting - 1
        between = sum(len(self._timeline.shown(i, last=False)) for i in range(self._index, end))
        return between + _untouched(self._timeline.shown(end, last=last)) - self._shown

    def feed(
        self,
        frames: Iterable[Tensor],
        model: Interpolator,
        sink: Sink,
        *,
        last: bool = False,
        host: Host | None = None,
    ) -> int:
        """Makes all output frames that the next part of the clip allows, and hands each on at once.

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
        source = checked_pictures(frames, first=self._index + (self._left is not None), like=self._left)
        bench = self._bench_of(model)
        host = host or QuietHost(bench.device)
        total = self.count(len(frames), last=last) if isinstance(frames, (Sequence, Tensor)) else None
        delivery = _Delivery(sink, host, total)
        making = PairMaker(bench, host, delivery, delivery.narrowed)
        over = True
        asked = interruptible(model.module, bench.device, host.check_cancelled)
        try:
            with undisturbed(bench.device), asked, making as maker:
                self._make(source, maker, bench, delivery, last=last)
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

    def let_go(self) -> None:
        """Lets go of the model and of what it knows; the next part makes that anew from the kept frame."""
        if self._bench is not None:
            self._bench.close()
            self._bench = None

    def close(self) -> None:
        """Lets go of everything; the loop is as new."""
        self.let_go()
        self._forget()

    def __enter__(self) -> FrameLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self) -> None:
        self._index = 0  # of the last source frame, the next left one
        self._left: Tensor | None = None
        self._shown = 0  # how often it has been passed on already

    def _bench_of(self, model: Interpolator) -> Workbench:
        if self._bench is None or self._bench.model is not model:
            self.let_go()
            self._bench = Workbench(model, self._settings)
        return self._bench

    def _make(
        self, frames: Iterator[Tensor], maker: PairMaker, bench: Workbench, delivery: _Delivery, *, last: bool
    ) -> None:
        try:
            self._walk(frames, maker, last=last)
            maker.finish()
            if not last:
                self._rest(bench)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C: nobody waits for what is half done
                maker.stop()
            delivery.end(maker.finish)
            raise

    def _walk(self, frames: Iterator[Tensor], maker: PairMaker, *, last: bool) -> None:
        for frame in frames:
            held = self._left is not None and same_bits(self._left, frame)
            if self._left is not None:
                self._pair(self._left, frame, maker, held=held)
            if not held:  # else what the model knows of the left one goes on to hold
                self._left = frame
        if self._left is not None:
            # Also where more follows: a part should hold whatever is known already, and never be empty
            # only because its end is open.
            self._pass_on(self._left, _untouched(self._timeline.shown(self._index, last=last)), maker)

    def _pair(self, left: Tensor, right: Tensor, maker: PairMaker, *, held: bool) -> None:
        times = self._timeline.shown(self._index, last=False)
        untouched = len(times) if held else _untouched(times)
        self._pass_on(left, untouched, maker)
        if untouched < len(times):
            maker.make(left, right, times[untouched:])
        self._index, self._shown = self._index + 1, 0

    def _pass_on(self, frame: Tensor, times: int, maker: PairMaker) -> None:
        for _ in range(times - self._shown):
            maker.pass_on(frame)
        self._shown = times

    def _rest(self, bench: Workbench) -> None:
        """Keeps the last frame as a copy, so that the part that it came in can go."""
        if self._left is not None:
            copy = self._left.clone()
            bench.rest(self._left, copy)
            self._left = copy


def _untouched(times: Sequence[Fraction]) -> int:
    """How many of the times of a source frame show itself; they come first."""
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
    """Hands finished frames to the sink and tells the host."""

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
        """After an error: what is finished and on its way goes to the sink, unless that is what failed."""
        self._over = True
        with contextlib.suppress(Exception):
            finish()
