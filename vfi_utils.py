"""Timelines, which say what frames come out, and the one frame loop, which makes them.

A timeline is lazy: it says which times are shown between source frames i and i + 1, for any i, and
what happens after the last. The loop knows no multiplier, frame rate or skip list.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from math import ceil
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from .errors import BadInputError, MidframeError, OutOfMemoryError
from .memory.budget import Budget, Clearing
from .memory.host import Host, QuietHost
from .memory.ladder import Ladder, is_out_of_memory
from .memory.sinks import Sink
from .memory.staging import Downloader, Uploader, checked_pictures
from .vfi_models._core.bisect import Bisecting
from .vfi_models._core.seam import Interpolator, Session

EndLaw = Literal["end_on_last", "hold_last"]
"""``end_on_last``: the last output frame is the last source frame, (N - 1) * m + 1 frames at multiplier m.
``hold_last``: the last source frame is shown as long as any other, N * m frames, so the duration is kept."""

__all__ = [
    "EndLaw",
    "Host",
    "QuietHost",
    "Settings",
    "States",
    "StatesLike",
    "Timeline",
    "by_fps",
    "by_multiplier",
    "run_timeline",
]

_LOG = logging.getLogger(__name__)
_LIST_DEFAULT = 2
_RGB = 3


class StatesLike(Protocol):
    """Interpolation states of this pack or of an older one."""

    def is_frame_skipped(self, frame_index: int, /) -> bool:
        """Whether nothing is made between source frames ``frame_index`` and ``frame_index + 1``."""
        ...


@dataclass(frozen=True)
class States:
    """Which pairs are interpolated. Pair i is source frames i and i + 1."""

    indices: frozenset[int]
    skip: bool = True
    """True: the listed pairs are left alone. False: only the listed pairs are interpolated."""

    def is_frame_skipped(self, frame_index: int) -> bool:
        """Whether nothing is made in pair ``frame_index``."""
        return (frame_index in self.indices) == self.skip


@dataclass(frozen=True)
class Timeline:
    """Which frames come out."""

    times: Callable[[int], tuple[Fraction, ...]]
    """For pair i, the times shown, ascending, each in [0, 1); 0 is source frame i itself, untouched."""
    end: EndLaw = "end_on_last"

    def __post_init__(self) -> None:
        if self.end not in get_args(EndLaw):
            raise BadInputError(
                "There is no such end law.", repr(self.end), f"Use one of {get_args(EndLaw)}."
            )

    def shown(self, index: int, *, last: bool) -> tuple[Fraction, ...]:
        """The times of source frame ``index``; after the last frame there is nothing to move towards."""
        times = self.times(index)
        if not last:
            return times
        if self.end == "end_on_last":
            return tuple(t for t in times if t == 0)
        return (Fraction(0),) * len(times)

    def count(self, frames: int) -> int:
        """Number of output frames of ``frames`` source frames."""
        return sum(len(self.shown(i, last=i == frames - 1)) for i in range(frames))


def by_multiplier(
    multiplier: int | Sequence[int], *, states: StatesLike | None = None, end: EndLaw = "end_on_last"
) -> Timeline:
    """``multiplier`` output frames for each source frame, evenly spaced.

    Args:
        multiplier: 1 and up, or one for each pair: pairs past the end of the list get 2, entries past the
            last pair are ignored, 0 inserts nothing like 1.
        states: pairs in which nothing is made.
        end: what follows the last source frame.

    Raises:
        BadInputError: not an integer, or out of range.
    """
    listed = isinstance(multiplier, Sequence) and not isinstance(multiplier, str)
    wanted: list[int] = list(multiplier) if isinstance(multiplier, Sequence) else [multiplier]
    least = 0 if listed else 1
    if any(not isinstance(m, int) or isinstance(m, bool) or m < least for m in wanted):
        raise BadInputError(
            "The multiplier must be a whole number of 1 or more, or a list of whole numbers of 0 or more.",
            repr(multiplier),
            "Use 2 to double the frame rate; for another frame rate use fps.",
        )

    def times(index: int) -> tuple[Fraction, ...]:
        if states is not None and states.is_frame_skipped(index):
            return (Fraction(0),)
        m = wanted[0] if not listed else wanted[index] if index < len(wanted) else _LIST_DEFAULT
        return tuple(Fraction(k, m) for k in range(m)) or (Fraction(0),)

    return Timeline(times, end)


def by_fps(
    source_fps: Fraction | int,
    target_fps: Fraction | int,
    *,
    states: StatesLike | None = None,
    end: EndLaw = "end_on_last",
) -> Timeline:
    """Output frame k shows the source at time k * source_fps / target_fps, exactly.

    Args:
        source_fps, target_fps: frames a second; exact rationals such as ``Fraction(24000, 1001)``.
        states: pairs in which nothing is made; their left frame is held, so that the rate stays.
        end: what follows the last source frame.

    Raises:
        BadInputError: a rate that is not positive.
    """
    if source_fps <= 0 or target_fps <= 0:
        raise BadInputError(
            "Frame rates must be positive.",
            f"{source_fps} to {target_fps}",
            "Give rates such as 24000/1001 or 60.",
        )
    step = Fraction(source_fps) / Fraction(target_fps)

    def times(index: int) -> tuple[Fraction, ...]:
        first, after = ceil(index / step), ceil((index + 1) / step)
        if states is not None and states.is_frame_skipped(index):
            return (Fraction(0),) * (after - first)
        return tuple(k * step - index for k in range(first, after))

    return Timeline(times, end)


@dataclass(frozen=True)
class Settings:
    """How the loop runs."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the model; see ``spec.options``."""
    batch: int = 0
    """Timesteps of a pair that run at once; 0 decides from measured free memory."""
    clear_every: int = 0
    """Clear cached device memory after this many source pairs; 0 only under pressure."""
    allow_changed_picture: bool = False
    """Where memory runs out, go on at a lower flow scale instead of failing."""
    memory_lines: bool = False
    """Say in the log, after every source pair, how much memory there is."""


def run_timeline(
    source: Iterable[Tensor],
    timeline: Timeline,
    model: Interpolator,
    sink: Sink,
    *,
    settings: Settings | None = None,
    host: Host | None = None,
) -> int:
    """The frame loop: makes every frame of a timeline and hands it on at once.

    Each source frame is read once, in order, and uploaded and encoded at most once; where t is 0 it goes
    to the sink untouched. Made frames are clamped to 0..1; what the network sees is clamped too, and NaN
    is 0 there. Alpha and other channels follow the flow of the picture. Runs in ``inference_mode``.

    Args:
        source: frames (H, W, C), all of one size; float 0..1, uint8 or uint16; C of 1 (grey) or 3 and up.
        timeline: which frames come out.
        model: on the device where it shall run.
        sink: takes the frames.
        settings: how to run.
        host: told of progress, asked for cancelling.

    Returns:
        Number of output frames.

    Raises:
        BadInputError: a frame of another shape than the first or of a type that is not a picture.
        OutOfMemoryError: after everything that keeps the picture was tried.
        Both say how many output frames were ``finished``; these are in the sink.
    """
    host = host or QuietHost(next(model.module.parameters()).device)
    total = timeline.count(len(source)) if isinstance(source, (Sequence, Tensor)) else None
    delivery = _Delivery(sink, host, total)
    with torch.inference_mode():
        maker = _PairMaker(model, settings or Settings(), host, delivery)
        try:
            return _run(checked_pictures(source), timeline, maker, delivery)
        except MidframeError as error:
            with contextlib.suppress(MidframeError):
                maker.finish()
            error.finished = delivery.done
            raise
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failure = OutOfMemoryError(
                "Memory ran out outside the network.",
                f"{str(error) or type(error).__name__} after {delivery.done} finished frames",
                "Close other programs, use fewer or smaller frames, or stream from file to file.",
            )
            failure.finished = delivery.done
            raise failure from error
        finally:
            maker.end()


def _run(frames: Iterator[Tensor], timeline: Timeline, maker: _PairMaker, delivery: _Delivery) -> int:
    index, left = 0, next(frames, None)
    while left is not None:
        right = next(frames, None)
        times = timeline.shown(index, last=right is None)
        untouched = sum(t == 0 for t in times)
        for _ in range(untouched):
            maker.pass_on(left)
        if right is not None and untouched < len(times):
            maker.make(left, right, times[untouched:])
        index, left = index + 1, right
    maker.finish()
    return delivery.done


class _Delivery:
    """Hands finished frames to the sink and tells the host."""

    def __init__(self, sink: Sink, host: Host, total: int | None) -> None:
        self._sink = sink
        self._host = host
        self._total = total
        self.done = 0

    def __call__(self, index: int, frames: Tensor) -> None:
        self._sink.put(index, frames)
        self.done = index + len(frames)
        self._host.progress(self.done, self._total, lambda: frames[-1])


@dataclass(frozen=True)
class _Encoded:
    """A source frame on the device: what the model knows of it, and channels that the model cannot move."""

    frame: Tensor
    features: Any
    extra: Tensor | None


class _PairMaker:
    """Makes the frames between two source frames; keeps what the next pair can use."""

    def __init__(self, model: Interpolator, settings: Settings, host: Host, delivery: _Delivery) -> None:
        device = next(model.module.parameters()).device

        def free() -> int:
            return host.free_bytes(device)

        self._model = model
        self._options = dict(settings.options)
        self._allow_changed = settings.allow_changed_picture
        self._host = host
        self._device = device
        self._upload = Uploader(device)
        self._download = Downloader(device, delivery)
        self._next = 0
        self._session: Session[Any] | None = None
        self._known: tuple[_Encoded, ...] = ()
        self._budget = Budget(device, free, settings.batch)
        self._clearing = Clearing(
            settings.clear_every, self._budget.need, free, host.clear_cache, lines=settings.memory_lines
        )
        self._ladder = Ladder(self._budget.shrink, self._clear, self._lighten)

    def pass_on(self, frame: Tensor) -> None:
        """A source frame is shown as it is."""
        self._host.check_cancelled()
        self._start(frame.unsqueeze(0))

    def make(self, left: Tensor, right: Tensor, times: Sequence[Fraction]) -> None:
        """The frames of one pair at ``times``, each in (0, 1), ascending."""
        while times:
            made = self._ladder.climb(partial(self._some, left, right, times))
            times = times[len(made) :]
            self._start(made)
        self._clearing.pair_done()

    def finish(self) -> None:
        """Everything that was started is in the sink."""
        self._ladder.climb(self._download.finish)

    def close(self) -> None:
        """Lets go of the session and of everything on the device."""
        self._known = ()
        if self._session is not None:
            self._session.close()
            self._session = None

    def end(self) -> None:
        """Nothing more comes. Without these two, which refer back here, no cycle keeps the model and the
        output alive until the garbage collector looks.
        """
        self.close()
        del self._ladder, self._clearing

    def _start(self, frames: Tensor) -> None:
        self._ladder.climb(partial(self._download.start, self._next, frames))
        self._next += len(frames)

    def _some(self, left: Tensor, right: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The first of ``times``, as many as the budget allows: (K, H, W, C) on the device, clamped."""
        a, b = self._encode(left), self._encode(right)
        self._known = (a, b)
        self._host.check_cancelled()
        session = self._opened(left)
        # Halving shares what it makes on the way, and runs one at a time whatever it is asked for.
        count = self._budget.batch(len(times)) if self._model.spec.any_timestep else len(times)
        timestep = torch.tensor([float(t) for t in times[:count]], device=self._device)
        with self._budget.watch(count):
            made = session.between(a.features, b.features, timestep)
        if a.extra is not None and b.extra is not None:
            made = torch.cat((made, torch.lerp(a.extra, b.extra, timestep.view(-1, 1, 1, 1))), 1)
        if left.shape[-1] == 1:
            made = made.mean(1, keepdim=True)
        return made.clamp_(0.0, 1.0).permute(0, 2, 3, 1)

    def _encode(self, frame: Tensor) -> _Encoded:
        """What is known of a source frame, taken over from the batch or pair before where it can be."""
        for encoded in self._known:
            if encoded.frame is frame:
                return encoded
        self._host.check_cancelled()
        session = self._opened(frame)
        picture = self._upload(frame)
        if picture.shape[1] == 1:
            picture = picture.expand(-1, _RGB, -1, -1)
        if self._model.spec.follows_extra or picture.shape[1] == _RGB:
            return _Encoded(frame, session.encode(picture), None)
        return _Encoded(frame, session.encode(picture[:, :_RGB]), picture[:, _RGB:])

    def _opened(self, frame: Tensor) -> Session[Any]:
        if self._session is None:
            height, width = frame.shape[:2]
            self._budget.estimate(self._model.activation_bytes(height, width, self._options))
            session = self._model.open(height, width, self._options)
            exact = self._model.spec.any_timestep
            self._session = session if exact else Bisecting(session, self._host.check_cancelled)
        return self._session

    def _clear(self) -> str:
        self.close()
        self._host.clear_cache()
        return "cleared cached memory"

    def _lighten(self) -> str | None:
        options = self._model.lighter(self._options) if self._allow_changed else None
        if options is None:
            return None
        self._options = dict(options)
        self._clear()
        changed = ", ".join(f"{k} {v}" for k, v in options.items())
        _LOG.warning("Memory ran out: going on with %s. The picture changes.", changed)
        return changed
