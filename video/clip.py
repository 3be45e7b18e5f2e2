"""What a clip is, wherever it is read from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm
from pathlib import Path
from types import TracebackType
from typing import Protocol

from torch import Tensor

UNSPECIFIED = 2
"""Matrix, primaries or transfer that a file does not name (ITU-T H.273, as FFmpeg numbers them)."""

RGB_FORMATS = {(8, 3): "rgb24", (8, 4): "rgba", (16, 3): "rgb48le", (16, 4): "rgba64le"}
"""FFmpeg's names of pixels in memory, by bits and channels."""


@dataclass(frozen=True)
class Colour:
    """How a clip's YUV is meant. Numbers are FFmpeg's, which are those of ITU-T H.273."""

    matrix: int = UNSPECIFIED
    full_range: bool = False
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


REC709 = Colour(1, False, 1, 1)
"""What is written where the source is RGB."""


@dataclass(frozen=True)
class Frame:
    """One picture and when it is shown."""

    pixels: Tensor
    """(H, W, C) uint8 or uint16 over the full scale, upright, C of 3 (RGB) or 4 (RGBA, not premultiplied)."""
    pts: Fraction
    """Seconds since the start of the clip."""
    duration: Fraction | None
    """Seconds, as the file says; None where it does not."""


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip once its first frame is decoded."""

    path: Path
    height: int
    width: int
    """Of the upright picture."""
    bits: int
    """Of a channel: 8 (frames are uint8) or more (uint16)."""
    alpha: bool
    rate: Fraction
    """Average frames a second; exact where the frames come at a constant rate."""
    tick: Fraction
    """Every timestamp is a multiple of this, seconds."""
    frames_estimate: int | None
    """From the header, which may be wrong."""
    colour: Colour | None = None
    """None where the source is RGB."""
    pixel_aspect: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    """When the first frame is shown, seconds, as in ``Frame.pts``."""
    origin: Fraction = Fraction(0)
    """Time in the file that is 0 in ``Frame.pts``, seconds; its sound is moved by the same."""
    sound: bool = False
    """Whether there are audio or subtitle streams to carry."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of what ``Frame.pixels`` hold."""
        return RGB_FORMATS[8 if self.bits <= 8 else 16, 4 if self.alpha else 3]  # noqa: PLR2004


class Clip(Protocol):
    """An opened clip. Its frames can be read once."""

    @property
    def info(self) -> ClipInfo:
        """What is known of it."""
        ...

    def start_at(self, time: Fraction) -> None:
        """Frames before the one that is shown at ``time`` (seconds) are not needed, but may come.

        To be called before the first frame is read.
        """
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames in the order in which they are shown; ``pts`` rises from each to the next."""
        ...

    def __enter__(self) -> Clip: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def common_tick(a: Fraction, b: Fraction) -> Fraction:
    """The largest time of which both are multiples."""
    denominator = lcm(a.denominator, b.denominator)
    return Fraction(gcd(int(a * denominator), int(b * denominator)), denominator)
