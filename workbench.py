"""A model at work: what it runs with, and what it knows of the source frames that it was shown last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .errors import BadInputError, MidframeError
from .inputs.numbers import whole
from .inputs.objects import described
from .lanes import Once, lanes_for
from .memory.budget import Budget, Clearing, Room
from .memory.host import Host
from .memory.staging import Uploader
from .vfi_models._core.bisect import Bisecting
from .vfi_models._core.recursion import Recursive
from .vfi_models._core.seam import Interpolator, PairSession, RecordingSession, Session

Schedule = Literal["any_t", "bisect"]
"""``any_t``: each frame is made from the two source frames at its own time, where the model can.
``bisect``: from its nearest neighbours, made ones too, as the older FILM nodes do; see :mod:`.recursion`."""

FreeBytes = Callable[[torch.device], int]

_LOG = logging.getLogger(__name__)

_RGB = 3
_MOST_LANES = 64
_HALVES = (torch.float16, torch.bfloat16)


class NotFiniteError(MidframeError):
    """The first frames that a run made in 16 bits hold what is no number. Never leaves the loop."""


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
    lanes: int = 0
    """Frames made beside one another on a CPU, up to 64; 0 decides from their size, see :mod:`.lanes`."""
    memory_lines: bool = False
    """Say in the log, after every source pair, how much memory there is."""

    def __post_init__(self) -> None:
        for name, most in (("batch", None), ("clear_every", None), ("lanes", _MOST_LANES)):
            object.__setattr__(self, name, whole(getattr(self, name), f"the setting {name}", most=most))
        if not isinstance(self.options, Mapping):
            raise BadInputError(
                "The options of a model must be a mapping.",
                described(self.options),
                'Give {"flow_scale": 0.5}.',
            )
        if self.schedule not in get_args(Schedule):
            raise BadInputError(
                "There is no such schedule.", repr(self.schedule), f"Use one of {get_args(Schedule)}."
            )


@dataclass(frozen=True)
class _Encoded:
    """What the model knows of a source frame, on the device, and channels that the model cannot move."""

    features: Any
    extra: Tensor | None


@dataclass(frozen=True)
class _Source:
    """A source frame (H, W, C), encoded where it is first needed."""

    frame: Tensor
    encoded: Once[_Encoded] = field(default_factory=Once)


@dataclass(frozen=True)
class Pair:
    """Two source frames, and what the model finds out about them once."""

    left: _Source
    right: _Source
    motion: Once[Any] = field(default_factory=Once)


class Workbench:
    """A model with its sessions, and what it knows of the source frames that it was shown last.

    It may lie untouched between two parts of a clip: it holds no host, no sink and nothing else of a run.

    Args:
        model: on the device where it shall run.
        settings: how.
    """

    def __init__(self, model: Interpolator, settings: Settings) -> None:
        divided = Recursive if settings.schedule == "bisect" else None
        self.model = model
        """The one that was given."""
        self._running = model
        self._checked = next(model.module.parameters()).dtype not in _HALVES
        self.device = device_of(model)
        self.budget = Budget(self.device, settings.batch)
        self.clearing = Clearing(settings.clear_every, lines=settings.memory_lines)
        self._options = dict(settings.options)
        self._allow_changed = settings.allow_changed_picture
        self._divide = divided if model.spec.any_timestep else Bisecting
        self._upload = Uploader(self.device)
        self._lanes = settings.lanes if self.device.type == "cpu" else 1
        self._sessions: list[Session[Any]] = []
        self._idle: list[Session[Any]] = []
        self._pair: Pair | None = None
        self._known: tuple[_Source, ...] = ()

    def lanes(self, frame: Tensor) -> int:
        """How many frames like this one to make beside one another: 1 but on a CPU."""
        if not self._lanes:
            weights = sum(p.nbytes for p in self.model.module.parameters())
            pixels = frame.shape[0] * frame.shape[1]
            self._lanes = lanes_for(pixels, self._activation_bytes(frame), weights)
        return self._lanes

    def portions(self, times: Sequence[Fraction]) -> list[Sequence[Fraction]]:
        """``times`` of a pair as they are made beside one another."""
        if self._divide is not None:
            return [times]
        step = self.budget.wish or 1
        return [times[i : i + step] for i in range(0, len(times), step)]

    def pair(self, left: Tensor, right: Tensor) -> Pair:
        """Two source frames, with what is known of them from the pair before."""
        if self._pair is None or self._pair.left.frame is not left or self._pair.right.frame is not right:
            # Let go before another is encoded: two at once are the most that is held, but for lanes.
            self._pair = None
            self._known = tuple(one for one in self._known if one.frame is left or one.frame is right)
            a, b = (
                next((one for one in self._known if one.frame is frame), _Source(frame))
                for frame in (left, right)
            )
            self._pair, self._known = Pair(a, b), (a, b)
        return self._pair

    def some(
        self, pair: Pair, times: Sequence[Fraction], check: Callable[[], None], free: FreeBytes
    ) -> Tensor:
        """The first of ``times``, as many as the budget allows: (K, H, W, C) on the device, clamped.

        Args:
            pair: see :meth:`pair`.
            times: in (0, 1), ascending.
            check: called before every forward pass; raises to cancel.
            free: tells how many bytes are free on a device.

        Raises:
            NotFiniteError: in 16 bits, the first time; to be repeated after :meth:`widen`.
        """
        # Whoever has one uses it alone: it may write to memory of its own.
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._opened(pair.left.frame)
        try:
            made = self._made(session, pair, times, check, free)
        finally:
            self._idle.append(session)
        if not self._checked:
            if not are_numbers(made):
                dtype = next(self.model.module.parameters()).dtype
                raise NotFiniteError(
                    "A frame is not a number everywhere.", f"made in {dtype}", "Use float32."
                )
            self._checked = True
        if pair.left.frame.shape[-1] == 1:
            made = made.mean(1, keepdim=True)
        if self.device.type == "cpu":
            return made.clamp_(0.0, 1.0).permute(0, 2, 3, 1)
        pictures = made.permute(0, 2, 3, 1)  # as they travel: clamped and laid out in one launch
        laid_out = torch.empty(pictures.shape, dtype=pictures.dtype, device=pictures.device)
        return torch.clamp(pictures, 0.0, 1.0, out=laid_out)

    def rest(self, frame: Tensor, copy: Tensor) -> None:
        """Keeps only what is known of ``frame``, which is called ``copy`` from here on."""
        self._known = tuple(replace(one, frame=copy) for one in self._known if one.frame is frame)
        self._pair = None
        self._upload = Uploader(self.device)  # without the pinned memory of the last one

    def close(self) -> None:
        """Lets go of the sessions and of everything on the device. May be used again."""
        self._known, self._pair = (), None
        for session in self._sessions:
            session.close()
        self._sessions, self._idle = [], []

    def widen(self) -> None:
        """Go on in float32, as what the device makes in 16 bits is no number.

        With a copy of the model, whose weights are those rounded to 16 bits: others may be running it.
        """
        dtype = next(self.model.module.parameters()).dtype
        _LOG.warning(
            "What this model makes in %s on %s is not a number: going on in float32, which is slower. "
            "To choose float32 spares the attempt.",
            str(dtype).removeprefix("torch."),
            self.device,
        )
        self.close()
        self._running = deepcopy(self.model)
        self._running.module.float()
        self._checked = True

    def shrink(self) -> str | None:
        """Keep less, then do less at once from now on; return how, or None where nothing is left."""
        if self._lanes > 1:
            self._lanes = 1
            return "one frame at a time"
        return self.drop_recordings() or self.budget.shrink()

    def held_bytes(self) -> int:
        """Return what recorded passes keep of the device's memory, in bytes: no allocation gets it."""
        return sum(one.held_bytes() for one in self._sessions if isinstance(one, RecordingSession))

    def room(self, host: Host) -> Room:
        """Return what an allocation can get from the driver and from the cache, recordings not counted."""
        free, cached = host.free_bytes(self.device), host.cached_bytes(self.device)
        return Room(max(0, free - cached), self.cached_bytes(host))

    def cached_bytes(self, host: Host) -> int:
        """Return what the allocator keeps though nothing uses it, recordings not counted, in bytes."""
        return max(0, host.cached_bytes(self.device) - self.held_bytes())

    def drop_recordings(self) -> str | None:
        """Let go of recorded passes, and record none from now on; None where there are none."""
        dropped = [one.drop_recordings() for one in self._sessions if isinstance(one, RecordingSession)]
        if not any(dropped):
            return None
        self._record_no_more()
        return "no recorded passes"

    def ease(self) -> None:
        """Closes; a session opened from here on keeps nothing that it can run without."""
        self.close()
        self._record_no_more()
        if "strips" in self.model.spec.options:
            self._options["strips"] = True

    def _record_no_more(self) -> None:
        if "graphs" in self.model.spec.options:
            self._options["graphs"] = False

    def lighten(self) -> str | None:
        """Changes the options for less memory; says how, or None where the user or the model will not."""
        options = self.model.lighter(self._options) if self._allow_changed else None
        if options is None:
            return None
        self._options = dict(options)
        return ", ".join(f"{k} {v}" for k, v in options.items())

    def _made(
        self,
        session: Session[Any],
        pair: Pair,
        times: Sequence[Fraction],
        check: Callable[[], None],
        free: FreeBytes,
    ) -> Tensor:
        """(K, C, H, W)."""
        a, b = (
            one.encoded.get(partial(self._encoded, session, one.frame, check))
            for one in (pair.left, pair.right)
        )
        if self._divide is not None:  # shares what it makes on the way, and makes one frame after the other
            session, count = self._divide(session, check, times), len(times)
        else:
            count = self._batch(len(times), free)
        # Filled on the device: a tensor made of a list is a copy, which waits.
        places = [torch.full((1,), float(t), dtype=torch.float32, device=self.device) for t in times[:count]]
        timestep = torch.cat(places)
        make = partial(session.between, a.features, b.features, timestep)
        if isinstance(session, PairSession):
            make = partial(make, pair.motion.get(partial(_motion, session, a, b, check)))
        check()
        with self.budget.watch(count):
            made = make()
        if a.extra is None or b.extra is None:
            return made
        return torch.cat((made, torch.lerp(a.extra, b.extra, timestep.view(-1, 1, 1, 1))), 1)

    def _batch(self, wanted: int, free: FreeBytes) -> int:
        """Return how many timesteps to run at once. Where memory for all is short, recordings go."""

        def left() -> int:
            return max(0, free(self.device) - self.held_bytes())

        count = self.budget.batch(wanted, left)
        if count < self.budget.most(wanted) and self.drop_recordings():
            count = self.budget.batch(wanted, left)
        return count

    def _encoded(self, session: Session[Any], frame: Tensor, check: Callable[[], None]) -> _Encoded:
        check()
        picture = self._upload(frame)
        if picture.shape[1] == 1:
            picture = picture.expand(-1, _RGB, -1, -1)
        moved = self.model.spec.follows_extra or picture.shape[1] == _RGB
        features = session.encode(picture if moved else picture[:, :_RGB])
        return _Encoded(features, None if moved else picture[:, _RGB:])

    def _activation_bytes(self, frame: Tensor) -> int:
        height, width = frame.shape[:2]
        return self._running.activation_bytes(height, width, self._options)

    def _opened(self, frame: Tensor) -> Session[Any]:
        if not self._sessions:
            self.budget.estimate(self._activation_bytes(frame))
        height, width = frame.shape[:2]
        self._sessions.append(self._running.open(height, width, self._options))
        return self._sessions[-1]


def are_numbers(frames: Tensor) -> bool:
    """Return whether frames hold numbers only, neither NaN nor infinite. Waits for the device."""
    return bool(frames.isfinite().all())


def device_of(model: Interpolator) -> torch.device:
    """Where a model runs."""
    return next(model.module.parameters()).device


def _motion(session: PairSession[Any], a: _Encoded, b: _Encoded, check: Callable[[], None]) -> Any:
    check()
    return session.motion(a.features, b.features)
