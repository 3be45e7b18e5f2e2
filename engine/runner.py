"""Runs a model: sessions, batches, memory, and the features of the last two source frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import MidframeError
from ..memory.budget import Budget, Clearing, Room
from ..memory.staging import Uploader
from ..vfi_models import sampler_for
from ..vfi_models.interface import Interpolator, PairSession, RecordingSession, Session
from .cpu_workers import workers_for
from .extrapolation import carried_on, velocity
from .guard import Overlay, OverlayGuard
from .host import Host
from .levels import sampled, step_between
from .pair import Encoded, Pair, Source
from .settings import Settings

FreeBytes = Callable[[torch.device], int]

_LOG = logging.getLogger(__name__)

_RGB = 3
_HALVES = (torch.float16, torch.bfloat16)


class NotFiniteError(MidframeError):
    """The first frames of a run in 16 bits are not finite. The scheduler catches it: no caller gets it."""


class ModelRunner:
    """A model with its sessions, its memory budget and the features of the last two source frames.

    It may stay unused between two parts of a clip: it keeps no host, no sink and nothing else of a run.

    Args:
        model: on the device where it shall run.
        settings: how to run it.
    """

    def __init__(self, model: Interpolator, settings: Settings) -> None:
        self.model = model
        """The model that was given; a copy in float32 may run in its place, see :meth:`widen`."""
        self.device = model.device
        self.budget = Budget(self.device, settings.batch)
        self.clearing = Clearing(settings.clear_every, lines=settings.memory_lines)
        self._running = model
        # Only the first frames of a run are checked, for a check waits for the device.
        self._checked = model.dtype not in _HALVES
        self._options = dict(settings.options)
        self._allow_changed = settings.allow_changed_picture
        self._sampler = sampler_for(model.spec, settings.schedule)
        self._matches = settings.levels == "match"
        self._guard = OverlayGuard.of(settings.guard)
        self._upload = Uploader(self.device)
        self._workers = settings.cpu_workers if self.device.type == "cpu" else 1
        self._sessions: list[Session[Any]] = []
        self._idle: list[Session[Any]] = []
        self._pair: Pair | None = None
        self._sources: tuple[Source, ...] = ()
        self._said_held = False
        if not settings.record:
            self._record_no_more()

    def workers(self, frame: Tensor) -> int:
        """Return how many frames like this one to make at once: 1 but on a CPU."""
        if not self._workers:
            pixels = frame.shape[0] * frame.shape[1]
            self._workers = workers_for(pixels, self._activation_bytes(frame), self.model.weight_bytes)
        return self._workers

    def split_timesteps(self, times: Sequence[Fraction]) -> list[Sequence[Fraction]]:
        """Return ``times`` of a pair in the portions that workers make at once."""
        if self._sampler is not None:  # it shares intermediate frames among the timesteps of a pair
            return [times]
        # One timestep for each worker, unless the user asks for batches.
        step = self.budget.wish or 1
        return [times[i : i + step] for i in range(0, len(times), step)]

    def pair(self, left: Tensor, right: Tensor) -> Pair:
        """Return a pair of source frames, with the features that the pair before computed of them."""
        if self._pair is None or self._sources[0].frame is not left or self._sources[-1].frame is not right:
            # Dropped before another frame is encoded: one thread never holds features of more than two.
            self._pair = None
            self._sources = tuple(
                source for source in self._sources if source.frame is left or source.frame is right
            )
            a, b = (
                next((source for source in self._sources if source.frame is frame), Source(frame))
                for frame in (left, right)
            )
            self._sources = (a, b)
            self._pair = replace(self._levelled(a, b), sources=self._sources)
        return self._pair

    def infer(
        self, pair: Pair, times: Sequence[Fraction], check: Callable[[], None], free: FreeBytes
    ) -> Tensor:
        """Make the frames at the first of ``times``, as many as the budget allows.

        Args:
            pair: from :meth:`pair`.
            times: in (0, 1), ascending; or all of them before the pair or after it, where its motion goes
                on.
            check: called before every forward pass; raises to cancel.
            free: returns the bytes that are free on a device.

        Returns:
            (K, H, W, C) on the device, in 0..1.

        Raises:
            NotFiniteError: the first frames in 16 bits; to be repeated after :meth:`widen`.
        """
        frames = self._checked_frames(pair, times, check, free)
        if pair.left.frame.shape[-1] == 1:
            # A grey frame ran as RGB of three equal channels, which the network may return slightly
            # different.
            frames = frames.mean(1, keepdim=True)
        pixels = _clamped_pixels(frames)
        shown = times[: len(pixels)]
        if pair.step is not None and 0 < shown[0] < 1:
            pair.step.put_back(pixels, shown)
        if self._guard is not None:
            nearest = [min(max(time, Fraction(0)), Fraction(1)) for time in shown]
            pair.overlay.get(partial(self._overlay, self._guard, pair)).put_over(pixels, nearest)
        return pixels

    def rebase_last_frame(self, frame: Tensor, copy: Tensor) -> None:
        """Keep only the features of ``frame``, and take them for those of ``copy`` from here on."""
        self._sources = tuple(
            replace(source, frame=copy) for source in self._sources if source.frame is frame
        )
        self._pair = None
        self._upload = Uploader(self.device)  # the old one keeps pinned memory

    def close(self) -> None:
        """Drop the sessions and all memory on the device. May be used again."""
        self._sources, self._pair = (), None
        for session in self._sessions:
            session.close()
        self._sessions, self._idle = [], []

    def widen(self) -> None:
        """Go on in float32 where the model overflows in 16 bits.

        What runs from here on is a copy whose weights are those rounded to 16 bits: the model itself may be
        running elsewhere.
        """
        _LOG.warning(
            "What this model makes in %s on %s is not a number: going on in float32, which is slower. "
            "To choose float32 spares the attempt.",
            str(self.model.dtype).removeprefix("torch."),
            self.device,
        )
        self.close()
        self._running = deepcopy(self.model).to(dtype=torch.float32)
        self._checked = True

    def shrink(self) -> str | None:
        """Keep less, then compute less at once from now on; return how, or None where nothing is left to
        reduce.
        """
        if self._workers > 1:
            self._workers = 1
            return "one frame at a time"
        return self.drop_recordings() or self.budget.shrink()

    def held_bytes(self) -> int:
        """Return the bytes of device memory that recorded passes keep: no allocation gets them."""
        return sum(
            session.held_bytes() for session in self._sessions if isinstance(session, RecordingSession)
        )

    def room(self, host: Host) -> Room:
        """Return the bytes that an allocation can get from the driver and from the cache, without those of
        recordings.
        """
        free, cached = host.free_bytes(self.device), host.cached_bytes(self.device)
        return Room(max(0, free - cached), self.cached_bytes(host))

    def cached_bytes(self, host: Host) -> int:
        """Return the bytes that the allocator keeps unused, without those of recordings."""
        return max(0, host.cached_bytes(self.device) - self.held_bytes())

    def drop_recordings(self) -> str | None:
        """Drop recorded passes, and record none from now on; return how, or None where there were none."""
        dropped = [s.drop_recordings() for s in self._sessions if isinstance(s, RecordingSession)]
        if not any(dropped):
            return None
        self._record_no_more()
        return "no recorded passes"

    def release(self) -> None:
        """Close, and have sessions opened from here on keep nothing that they can run without."""
        self.close()
        self._record_no_more()
        # FILM in strips takes less memory, and makes the same picture.
        if "strips" in self.model.spec.options:
            self._options["strips"] = True

    def degrade_options(self) -> str | None:
        """Change the options for less memory; return how, or None where user or model does not allow it."""
        # Only where the user allows it: less memory here means a coarser flow, and another picture.
        options = self.model.low_memory(self._options) if self._allow_changed else None
        if options is None:
            return None
        self._options = dict(options)
        return ", ".join(f"{name} {value}" for name, value in options.items())

    def _levelled(self, left: Source, right: Source) -> Pair:
        """Return the pair of two source frames, at one level where there is a step of exposure between them.

        The darker one keeps its features, and so does the brighter one for its other pair.
        """
        if not self._matches:
            return Pair(left, right)
        samples = [source.samples.get(partial(sampled, source.frame)) for source in (left, right)]
        step = step_between(*samples)
        if step is None:
            return Pair(left, right)
        a, b = step.matched(left.frame, right.frame)
        return Pair(left.scaled(a), right.scaled(b), step)

    def _overlay(self, guard: OverlayGuard, pair: Pair) -> Overlay:
        return guard.between(*map(self._picture, pair.sources))

    def _picture(self, source: Source) -> Tensor:
        """Return a source frame on the device; it is kept where overlays need it, too."""
        upload = partial(self._upload, source.frame)
        return upload() if self._guard is None else source.picture.get(upload)

    def _record_no_more(self) -> None:
        if "graphs" in self.model.spec.options:
            self._options["graphs"] = False

    def _checked_frames(
        self, pair: Pair, times: Sequence[Fraction], check: Callable[[], None], free: FreeBytes
    ) -> Tensor:
        """Return the first frames of a pair, (K, C, H, W), made in a session of this thread; see
        :meth:`infer`.
        """
        # Each thread has a session to itself: a session may write to memory of its own.
        try:
            # pop of a list is atomic: workers take sessions without a lock.
            session = self._idle.pop()
        except IndexError:
            session = self._open(pair.left.frame)
        try:
            if 0 < times[0] < 1:
                frames = self._infer(session, pair, times, check, free)
            else:
                frames = self._extrapolate(session, pair, times[0], check)
        finally:
            self._idle.append(session)
        if not self._checked:
            if not are_finite(frames):
                dtype = self.model.dtype
                raise NotFiniteError("A frame is not finite.", f"made in {dtype}", "Use float32.")
            self._checked = True
        return frames

    def _infer(
        self,
        session: Session[Any],
        pair: Pair,
        times: Sequence[Fraction],
        check: Callable[[], None],
        free: FreeBytes,
    ) -> Tensor:
        """Compute the frames (K, C, H, W), not clamped."""
        a, b = (
            source.encoded.get(partial(self._encode, session, source, check))
            for source in (pair.left, pair.right)
        )
        if self._sampler is not None:
            session, count = self._sampler(session, check, times), len(times)
        else:
            count = self._batch(len(times), free)
        # Filled on the device: a tensor of a list would be a copy from the host, which waits.
        values = [torch.full((1,), float(t), dtype=torch.float32, device=self.device) for t in times[:count]]
        timestep = torch.cat(values) if len(values) > 1 else values[0]
        between = partial(session.between, a.features, b.features, timestep)
        if isinstance(session, PairSession):
            between = partial(between, pair.motion.get(partial(_motion, session, a, b, check)))
        check()
        with self.budget.watch(count):
            frames = between()
        if a.extra is None or b.extra is None:
            return frames
        # (K, 3, H, W) from the model; E channels past RGB, (1, E, H, W), blended at (K, 1, 1, 1) timesteps.
        return torch.cat((frames, torch.lerp(a.extra, b.extra, timestep.view(-1, 1, 1, 1))), 1)

    def _extrapolate(
        self, session: Session[Any], pair: Pair, time: Fraction, check: Callable[[], None]
    ) -> Tensor:
        """Return the nearer source frame as the motion of the pair takes it on, (1, C, H, W)."""
        picture = self._picture(pair.sources[-1 if time > 1 else 0])
        if not self.model.spec.follows_extra:
            if not self._said_held:
                _LOG.warning("This model does not say how things move: at cuts the nearer frame is held.")
            self._said_held = True
            return picture.clone()
        # At one level, where there is a step of exposure between the two.
        sides = partial(self._picture, pair.left), partial(self._picture, pair.right)
        motion = pair.velocity.get(lambda: velocity(session, sides[0](), sides[1](), check))
        return carried_on(picture, motion, float(time))

    def _batch(self, timesteps: int, free: FreeBytes) -> int:
        """Return how many timesteps to run at once; recordings are dropped where memory is short for all."""

        def left() -> int:
            return max(0, free(self.device) - self.held_bytes())

        count = self.budget.batch(timesteps, left)
        if count < self.budget.most(timesteps) and self.drop_recordings():
            count = self.budget.batch(timesteps, left)
        return count

    def _encode(self, session: Session[Any], source: Source, check: Callable[[], None]) -> Encoded:
        check()
        picture = self._picture(source)
        if picture.shape[1] == 1:
            picture = picture.expand(-1, _RGB, -1, -1)
        warped = self.model.spec.follows_extra or picture.shape[1] == _RGB
        features = session.encode(picture if warped else picture[:, :_RGB])
        return Encoded(features, None if warped else picture[:, _RGB:])

    def _activation_bytes(self, frame: Tensor) -> int:
        height, width = frame.shape[:2]
        return self._running.activation_bytes(height, width, self._options)

    def _open(self, frame: Tensor) -> Session[Any]:
        if not self._sessions:
            # Once: later sessions, of other workers, are of the same size.
            self.budget.estimate(self._activation_bytes(frame))
        height, width = frame.shape[:2]
        self._sessions.append(self._running.open(height, width, self._options))
        return self._sessions[-1]


def _clamped_pixels(frames: Tensor) -> Tensor:
    """Return frames (K, C, H, W), which may be written over, as (K, H, W, C) in 0..1."""
    if frames.device.type == "cpu":
        return frames.clamp_(0.0, 1.0).permute(0, 2, 3, 1)
    # Clamped, and laid out as they are downloaded, in one launch.
    pixels = frames.permute(0, 2, 3, 1)
    output = torch.empty(pixels.shape, dtype=pixels.dtype, device=pixels.device)
    return torch.clamp(pixels, 0.0, 1.0, out=output)


def are_finite(frames: Tensor) -> bool:
    """Tell whether frames hold neither NaN nor infinity. Waits for the device."""
    return bool(frames.isfinite().all())


def _motion(session: PairSession[Any], a: Encoded, b: Encoded, check: Callable[[], None]) -> Any:
    check()
    return session.motion(a.features, b.features)
