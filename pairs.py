"""A model at work: it makes the frames between two source frames, pair after pair."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .errors import BadInputError
from .memory.budget import Budget, Clearing
from .memory.host import Host
from .memory.ladder import Ladder
from .memory.staging import Downloader, Uploader
from .vfi_models._core.bisect import Bisecting
from .vfi_models._core.recursion import Recursive
from .vfi_models._core.seam import Interpolator, PairSession, Session

Schedule = Literal["any_t", "bisect"]
"""``any_t``: each frame is made from the two source frames at its own time, where the model can.
``bisect``: from its nearest neighbours, made ones too, as the older FILM nodes do; see :mod:`.recursion`."""

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


@dataclass(frozen=True)
class _Encoded:
    """A source frame on the device: what the model knows of it, and channels that the model cannot move."""

    frame: Tensor
    features: Any
    extra: Tensor | None


class Workbench:
    """A model with its session, and what it knows of the source frames that it was shown last.

    It may lie untouched between two parts of a clip: it holds no host, no sink and nothing else of a run.

    Args:
        model: on the device where it shall run.
        settings: how.
    """

    def __init__(self, model: Interpolator, settings: Settings) -> None:
        divided = Recursive if settings.schedule == "bisect" else None
        self.model = model
        self.device = device_of(model)
        self.budget = Budget(self.device, settings.batch)
        self.clearing = Clearing(settings.clear_every, lines=settings.memory_lines)
        self._options = dict(settings.options)
        self._allow_changed = settings.allow_changed_picture
        self._divide = divided if model.spec.any_timestep else Bisecting
        self._upload = Uploader(self.device)
        self._session: Session[Any] | None = None
        self._known: tuple[_Encoded, ...] = ()
        self._motion: tuple[_Encoded, _Encoded, Any] | None = None

    def some(self, left: Tensor, right: Tensor, times: Sequence[Fraction], host: Host) -> Tensor:
        """The first of ``times``, as many as the budget allows: (K, H, W, C) on the device, clamped."""
        kept = tuple(known for known in self._known if known.frame is left or known.frame is right)
        if len(kept) < len(self._known):  # before another is encoded: two at once are the most that is held
            self._known, self._motion = kept, None
        a, b = self._encode(left, host), self._encode(right, host)
        session = self._opened(left)
        if self._divide is not None:  # shares what it makes on the way, and makes one frame after the other
            session, count = self._divide(session, host.check_cancelled), len(times)
        else:
            count = self.budget.batch(len(times), partial(host.free_bytes, self.device))
        # Filled on the device: a tensor made of a list is a copy, which waits.
        timestep = torch.cat([torch.full((1,), float(t), device=self.device) for t in times[:count]])
        make = partial(session.between, a.features, b.features, timestep)
        if isinstance(session, PairSession):
            make = partial(make, self._moved(session, a, b, host.check_cancelled))
        host.check_cancelled()
        with self.budget.watch(count):
            made = make()
        if a.extra is not None and b.extra is not None:
            made = torch.cat((made, torch.lerp(a.extra, b.extra, timestep.view(-1, 1, 1, 1))), 1)
        if left.shape[-1] == 1:
            made = made.mean(1, keepdim=True)
        return made.clamp_(0.0, 1.0).permute(0, 2, 3, 1)

    def rest(self, frame: Tensor, copy: Tensor) -> None:
        """Keeps only what is known of ``frame``, which is called ``copy`` from here on."""
        self._known = tuple(replace(known, frame=copy) for known in self._known if known.frame is frame)
        self._motion = None
        self._upload = Uploader(self.device)  # without the pinned memory of the last one

    def close(self) -> None:
        """Lets go of the session and of everything on the device. May be used again."""
        self._known, self._motion = (), None
        if self._session is not None:
            self._session.close()
            self._session = None

    def ease(self) -> None:
        """Closes; a session opened from here on keeps nothing that it can run without."""
        self.close()
        if "graphs" in self.model.spec.options:
            self._options["graphs"] = False

    def lighten(self) -> str | None:
        """Changes the options for less memory; says how, or None where the user or the model will not."""
        options = self.model.lighter(self._options) if self._allow_changed else None
        if options is None:
            return None
        self._options = dict(options)
        return ", ".join(f"{k} {v}" for k, v in options.items())

    def _moved(self, session: PairSession[Any], a: _Encoded, b: _Encoded, check: Callable[[], None]) -> Any:
        """The motion of a pair, taken over from its batch before."""
        if self._motion is None or self._motion[0] is not a or self._motion[1] is not b:
            check()
            self._motion = a, b, session.motion(a.features, b.features)
        return self._motion[2]

    def _encode(self, frame: Tensor, host: Host) -> _Encoded:
        """What is known of a source frame, taken over from the batch or pair before where it can be."""
        for encoded in self._known:
            if encoded.frame is frame:
                return encoded
        self._motion = None
        host.check_cancelled()
        session = self._opened(frame)
        picture = self._upload(frame)
        if picture.shape[1] == 1:
            picture = picture.expand(-1, _RGB, -1, -1)
        moved = self.model.spec.follows_extra or picture.shape[1] == _RGB
        features = session.encode(picture if moved else picture[:, :_RGB])
        encoded = _Encoded(frame, features, None if moved else picture[:, _RGB:])
        self._known = (*self._known, encoded)
        return encoded

    def _opened(self, frame: Tensor) -> Session[Any]:
        if self._session is None:
            height, width = frame.shape[:2]
            self.budget.estimate(self.model.activation_bytes(height, width, self._options))
            self._session = self.model.open(height, width, self._options)
        return self._session


class PairMaker:
    """Makes the frames of some pairs at a workbench, for one host, and hands them on in order.

    Args:
        bench: where they are made.
        host: asked for cancelling and memory.
        deliver: takes the number of the first of some output frames, from 0, and the frames on the host.
    """

    def __init__(self, bench: Workbench, host: Host, deliver: Callable[[int, Tensor], None]) -> None:
        self._bench = bench
        self._host = host
        self._download = Downloader(bench.device, deliver)
        self._next = 0
        # Of the bench and the host, never of this object: no cycle shall keep a model and an output alive
        # until the garbage collector looks.
        self._ladder = Ladder(
            bench.budget.shrink, partial(_clear, bench, host), partial(_lighten, bench, host)
        )

    def pass_on(self, frame: Tensor) -> None:
        """A source frame is shown as it is."""
        self._host.check_cancelled()
        self._start(frame.unsqueeze(0))

    def make(self, left: Tensor, right: Tensor, times: Sequence[Fraction]) -> None:
        """The frames of one pair at ``times``, each in (0, 1), ascending."""
        while times:
            made = self._ladder.climb(partial(self._bench.some, left, right, times, self._host))
            times = times[len(made) :]
            self._start(made)
        free = partial(self._host.free_bytes, self._bench.device)
        self._bench.clearing.pair_done(self._bench.budget.bytes_each, free, self._host.clear_cache)

    def finish(self) -> None:
        """Everything that was started is in the sink."""
        self._download.finish()

    def _start(self, frames: Tensor) -> None:
        self._ladder.climb(partial(self._download.start, self._next, frames))
        self._next += len(frames)
        self._download.hand_on()


def device_of(model: Interpolator) -> torch.device:
    """Where a model runs."""
    return next(model.module.parameters()).device


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
