"""A pair of source frames, and what is computed of it once, by whichever thread needs it first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .cpu_workers import Once
from .guard import Overlay
from .levels import Step


@dataclass(frozen=True)
class Encoded:
    """Features of a source frame, and its channels past RGB where the model cannot warp those."""

    features: Any
    extra: Tensor | None


@dataclass(frozen=True)
class Source:
    """A source frame (H, W, C), encoded when it is first needed."""

    frame: Tensor
    encoded: Once[Encoded] = field(default_factory=Once)
    samples: Once[Tensor] = field(default_factory=Once)
    """See :func:`.levels.sampled`."""
    picture: Once[Tensor] = field(default_factory=Once)
    """(1, C, H, W) on the device, where overlays are looked for."""

    def scaled(self, frame: Tensor) -> Source:
        """Return the source with its frame at another level; itself where that is the same."""
        return self if frame is self.frame else Source(frame)


@dataclass(frozen=True)
class Pair:
    """Two source frames, and the motion between them, computed once."""

    left: Source
    right: Source
    step: Step | None = None
    """The step of exposure between them: both are at the darker one's level, and made frames are put back."""
    motion: Once[Any] = field(default_factory=Once)
    sources: tuple[Source, ...] = ()
    """Both frames as they were given."""
    overlay: Once[Overlay] = field(default_factory=Once)
    velocity: Once[Tensor] = field(default_factory=Once)
    """See :func:`.extrapolation.velocity`."""
