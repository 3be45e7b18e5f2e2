"""The one frame loop: it makes the frames of a timeline.

It knows no multiplier, frame rate or skip list: those are timelines (:mod:`.timeline`, whose names are
here too).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .errors import BadInputError, MidframeError, OutOfMemoryError
from .memory.budget import Budget, Clearing
from .memory.host import Host, QuietHost
from .memory.ladder import Ladder, is_out_of_memory
from .memory.sinks import Sink
from .memory.staging import Downloader, Uploader, checked_pictures
from .timeline import EndLaw, States, StatesLike, Timeline, by_fps, by_multiplier
from .vfi_models._core.bisect import Bisecting
from .vfi_models._core.interruption import interruptible
from .vfi_models._core.recursion import Recursive
from .vfi_models._core.seam import Interpolator, PairSession, Session

Schedule = Literal["any_t", "bisect"]
"""``any_t``: each frame is made from the two source frames at its own time, where the model can.
``bisect``: from its nearest neighbours, made ones too, as the older FILM nodes do; see :mod:`.recursion`."""

__all__ = [
    "EndLaw",
    "Host",
    "QuietHost",
    "Schedule",
    "Settings",
    "States",
    "StatesLike",
    "Timeline",
    "by_fps",
    "by_multiplier",
    "run_timeline",
]

_LOG = logging.getLogger(__name__)
_RGB = 3


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
    schedule: Schedule = "any_t"
    """From which frames a frame is made. A model that only knows the middle bisects in any case."""
    memory_lines: bool = False
    """Say in the log, after every source pair, how much memory there is."""

    def __post_init__(self) -> None:
        for name, value in (("batch", self.batch), ("clear_every", self.clear_every)):
            if not isinstance(value, int) or value < 0:
                raise BadInputError(
                    f"The setting {name} must be a whole number, 0 or more.",
                    repr(value),
                    "Use 0 for automatic.",
                )
        if self.schedule not in get_args(Schedule):
            raise BadInputError(
                "There is no such schedule.", repr(self.schedule), f"Use one of {get_args(Schedule)}."
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
    """The frame loop: makes every frame of a timeline and hands it on at once.

    Each source frame is read once, in order, and uploaded and encoded at most once; where t is 0 it goes
    to the sink untouched. Made frames are clamped to 0..1; what the network sees is clamped too, and NaN
    is 0 there. Alpha and other channels follow the flow of the picture. Runs in ``inference_mode``.

    Args:
        source: frames (H, W, C), all of one size; float 0..1, uint8 or uint16; C of 1 (grey) or 3 and up.
            Each a tensor of its own: one is still in use while the next is read.
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
    device = next(model.module.parameters()).device
    host = host or QuietHost(device)
    total = timeline.count(len(source)) if isinstance(source, (Sequence, Tensor)) else None
    delivery = _Delivery(sink, host, total)
    with torch.inference_mode(), interruptible(model.module, device, host.check_cancelled):
        maker = _PairMaker(model, settings or Settings(), host, delivery)
        try:
            return _run(checked_pictures(source), timeline, maker, delivery)
        except BaseException as error:
            delivery.end(maker.finish)
            if isinstance(error, MidframeError):
                error.finished = delivery.done
                raise
            if not is_out_of_memory(error):
                raise
            raise _outside_the_network(error, delivery.done) from error
        finally:
            maker.end()


def _outside_the_network(error: BaseException, finished: int) -> OutOfMemoryError:
    failure = OutOfMemoryError(
        "Memory ran out outside the network.",
        f"{str(error) or type(error).__name__} after {finished} finished frames",
        "Close other programs, use fewer or smaller frames, or stream from file to file.",
    )
    failure.finished = finished
    return failure


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

    def end(self, finish: Callable[[], None]) -> None:
        """After an error: what is finished and on its way goes to the sink, unless that is what failed."""
        self._over = True
        with contextlib.suppress(Exception):
            finish()


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
        divided = Recursive if settings.schedule == "bisect" else None
        self._divide = divided if model.spec.any_timestep else Bisecting
        self._host = host
        self._device = device
        self._upload = Uploader(device)
        self._download = Downloader(device, delivery)
        self._next = 0
        self._session: Session[Any] | None = None
        self._known: tuple[_Encoded, ...] = ()
        self._motion: tuple[_Encoded, _Encoded, Any] | None = None
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
        self._download.finish()

    def close(self) -> None:
        """Lets go of the session and of everything on the device."""
        self._known, self._motion = (), None
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
        self._download.hand_on()

    def _some(self, left: Tensor, right: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The first of ``times``, as many as the budget allows: (K, H, W, C) on the device, clamped."""
        kept = tuple(known for known in self._known if known.frame is left or known.frame is right)
        if len(kept) < len(self._known):  # before another is encoded: two at once are the most that is held
            self._known, self._motion = kept, None
        a, b = self._encode(left), self._encode(right)
        session = self._opened(left)
        # What divides a pair shares what it makes on the way, and makes one frame after the other.
        count = len(times) if self._divide else self._budget.batch(len(times))
        # Filled on the device: a tensor made of a list is a copy, which waits.
        timestep = torch.cat([torch.full((1,), float(t), device=self._device) for t in times[:count]])
        make = partial(session.between, a.features, b.features, timestep)
        if isinstance(session, PairSession):
            make = partial(make, self._moved(session, a, b))
        self._host.check_cancelled()
        with self._budget.watch(count):
            made = make()
        if a.extra is not None and b.extra is not None:
            made = torch.cat((made, torch.lerp(a.extra, b.extra, timestep.view(-1, 1, 1, 1))), 1)
        if left.shape[-1] == 1:
            made = made.mean(1, keepdim=True)
        return made.clamp_(0.0, 1.0).permute(0, 2, 3, 1)

    def _moved(self, session: PairSession[Any], left: _Encoded, right: _Encoded) -> Any:
        """The motion of a pair, taken over from its batch before."""
        if self._motion is None or self._motion[0] is not left or self._motion[1] is not right:
            self._host.check_cancelled()
            self._motion = left, right, session.motion(left.features, right.features)
        return self._motion[2]

    def _encode(self, frame: Tensor) -> _Encoded:
        """What is known of a source frame, taken over from the batch or pair before where it can be."""
        for encoded in self._known:
            if encoded.frame is frame:
                return encoded
        self._motion = None
        self._host.check_cancelled()
        session = self._opened(frame)
        picture = self._upload(frame)
        if picture.shape[1] == 1:
            picture = picture.expand(-1, _RGB, -1, -1)
        moved = self._model.spec.follows_extra or picture.shape[1] == _RGB
        features = session.encode(picture if moved else picture[:, :_RGB])
        encoded = _Encoded(frame, features, None if moved else picture[:, _RGB:])
        self._known = (*self._known, encoded)
        return encoded

    def _opened(self, frame: Tensor) -> Session[Any]:
        if self._session is None:
            height, width = frame.shape[:2]
            self._budget.estimate(self._model.activation_bytes(height, width, self._options))
            session = self._model.open(height, width, self._options)
            self._session = self._divide(session, self._host.check_cancelled) if self._divide else session
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
