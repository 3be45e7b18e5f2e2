"""Timing of a node's clip: its cuts, held frames, speed, levels and overlays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..analysis.notes import Analysis
from ..analysis.parts import PartTimesteps
from ..analysis.routed import routed_notes
from ..analysis.timing import Timing
from ..analysis.watch import analyse
from ..engine.curve import Curve
from ..engine.pieces import SoundLaw
from ..engine.playing import Playing, speed_of
from ..engine.route import at_constant_rate
from ..engine.settings import Levels, Settings
from ..engine.shutter import Shutter
from ..errors import BadInputError
from ..inputs.objects import described, require_like
from ..memory.staging import as_dtype
from ..vfi_utils import Timeline, Timesteps
from . import _host

Linked = TypeVar("Linked", bound="ClipSpeed | ClipTiming")


def _linked(link: Linked | None, usual: Linked, wrong: str, advice: str) -> Linked:
    """Return what a link carries, or ``usual`` where there is none.

    Raises:
        BadInputError: a link of another kind than ``usual``, with these words.
    """
    if link is None:
        return usual
    require_like(link, [one.name for one in fields(usual)], wrong=wrong, advice=advice)
    return link


@dataclass(frozen=True)
class ClipSpeed:
    """What a ``MIDFRAME_SPEED`` link carries."""

    curve: Curve | None = None
    sound: SoundLaw = "stretch"
    shutter: Shutter | None = None

    @classmethod
    def of(cls, link: ClipSpeed | None) -> ClipSpeed:
        """Return what a link carries; a clip at its own speed where there is none.

        Raises:
            BadInputError: a link of another kind.
        """
        return _linked(link, cls(), "This is no speed.", "Connect Speed Curve, or nothing.")

    @property
    def plain(self) -> bool:
        """Tell whether a clip plays as it is."""
        return self.curve is None and self.shutter is None


def mask_file(mask: Tensor) -> str:
    """Write a MASK, (H, W) or several of one clip (N, H, W), as one picture, and return its file.

    Chunks are made in other processes too, where a tensor does not come. The name is that of what is in it.

    Raises:
        BadInputError: no mask.
    """
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or not mask.numel():
        raise BadInputError(
            "The mask of the overlay must be a MASK.", described(mask), "Link a mask, (H, W) or (N, H, W)."
        )
    # An overlay stands: where one mask of a clip has it, it is.
    one = mask.reshape(-1, *mask.shape[-2:]).amax(0).cpu()
    pixels = as_dtype(one, torch.uint8).numpy()
    name = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    file = _host.temp_folder() / f"midframe_mask_{pixels.shape[1]}x{pixels.shape[0]}_{name}.png"
    Image.fromarray(pixels).save(file)
    return str(file)


@dataclass(frozen=True)
class ClipTiming:
    """What a ``MIDFRAME_TIMING`` link carries."""

    timing: Timing = field(default_factory=Timing)
    analysis: Analysis | None = None
    """None: each clip is looked at."""
    speed: ClipSpeed = field(default_factory=ClipSpeed)
    levels: Levels = Settings.levels
    guard: str = Settings.guard
    """See :class:`~..engine.settings.Settings`."""

    @classmethod
    def of(cls, link: ClipTiming | None) -> ClipTiming:
        """Return what a link carries; what is done without one where there is none.

        Raises:
            BadInputError: a link of another kind.
        """
        return _linked(link, cls(), "This is no timing.", "Connect Clip Timing, or nothing.")

    def settings(self, settings: Settings) -> Settings:
        """Return the settings of a run of which this says what becomes of levels and overlays."""
        return replace(settings, levels=self.levels, guard=self.guard)

    def playing(self, timeline: Timeline, frames: int) -> Playing:
        """Return how a clip of ``frames`` frames plays.

        Raises:
            BadInputError: see :meth:`~..engine.playing.Playing.of`.
        """
        return Playing.of(timeline, frames, speed=self.speed.curve, shutter=self.speed.shutter)

    def whole(self, playing: Playing, frames: Tensor, poll: Callable[[], None]) -> Timesteps:
        """Return the timesteps of a clip; ``poll`` is called while it is looked at, and may raise."""

        def look() -> Analysis:
            notes = self.analysis or analyse(frames, only_cuts=self.timing.only_cuts, poll=poll)
            notes.warn_past(len(frames))
            return notes if playing.route is None else routed_notes(notes, playing.route)

        return self.timing.timesteps(playing.timesteps, look)

    def in_parts(self, timeline: Timeline) -> Timesteps:
        """Return the timesteps of a clip that comes in parts.

        Raises:
            BadInputError: held frames cannot be re-timed in parts, and a clip not play at another speed.
        """
        if not self.speed.plain:
            raise BadInputError(
                "Another speed or a shutter does not go with Meta Batch: where a curve leads is not known "
                "while a batch is all that is there.",
                "a speed curve, and a batch manager",
                "Leave the batch manager out, or use Interpolate Video.",
            )
        if self.analysis is not None:
            return self.timing.timesteps(timeline, lambda: self.analysis or Analysis(()))
        return PartTimesteps(timeline, self.timing) if self.timing.looks else timeline

    def require_usable(self, timeline: Timeline, source_fps: Any) -> None:
        """Check what can be checked of the speed before the clip is there.

        Args:
            timeline: of the clip at its own speed.
            source_fps: its frame rate; 0 where nobody knows.

        Raises:
            BadInputError: a speed in seconds without a rate, or multipliers in a list.
        """
        if not self.speed.plain:
            speed_of(self.speed.curve, rate_known=bool(source_fps))
            at_constant_rate(timeline)
