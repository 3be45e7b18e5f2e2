"""The protocol of an opened clip, and what is known of one, wherever it is read from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from torch import Tensor

from ...engine.pieces import Retiming
from .span import Span

UNSPECIFIED = 2
"""Matrix, primaries or transfer that a file does not name (ITU-T H.273, as FFmpeg numbers them)."""

HDR_TRANSFERS = (16, 18)
"""SMPTE 2084 (HDR10) and ARIB B67 (HLG), as ITU-T H.273 numbers them."""

RGB_FORMATS = {(8, 3): "rgb24", (8, 4): "rgba", (16, 3): "rgb48le", (16, 4): "rgba64le"}
"""FFmpeg's names of pixels in memory, by bits and channels."""


@dataclass(frozen=True)
class Colour:
    """The tags of a clip's YUV. Numbers are FFmpeg's, which are those of ITU-T H.273."""

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
    """(H, W, C), upright, C of 3 (RGB) or 4 (RGBA, not premultiplied): uint8 or uint16 over the full scale,
    or float in 0..1 where the clip was in memory as that."""
    pts: Fraction
    """Seconds since the start of the clip."""
    duration: Fraction | None
    """Seconds, as the file says; None where it does not."""


@dataclass(frozen=True)
class Waveform:
    """Sound in memory."""

    samples: Tensor
    """(channels, samples) float in -1..1, on the host."""
    rate: int
    """Samples a second."""


@dataclass(frozen=True)
class Mastering:
    """Mastering display and light levels that a film of high dynamic range states."""

    display: tuple[Fraction, ...] | None
    """x and y of red, green, blue and white (CIE 1931), then least and most light, cd/m2."""
    light: tuple[int, int] | None
    """Most light of any pixel, and of the average of any frame (MaxCLL, MaxFALL), cd/m2."""


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip once its first frame is decoded."""

    path: Path
    height: int
    width: int
    """Of the upright picture."""
    bits: int
    """Of a channel: 8 (frames are uint8) or more (uint16), where they are no floats."""
    alpha: bool
    rate: Fraction
    """Average frames a second; exact where the frames come at a constant rate."""
    tick: Fraction
    """Every timestamp is a multiple of this, seconds."""
    frames_estimate: int | None
    """From the header, which may be wrong."""
    frames_guessed: bool = False
    """The estimate follows from duration and rate alone, and the file is so small that its frames are counted
    in no time: at a variable rate it may be a hundred times too many."""
    colour: Colour | None = None
    """None where the source is RGB."""
    pixel_aspect: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    """When the first frame is shown, seconds, as in ``Frame.pts``."""
    origin: Fraction = Fraction(0)
    """Time in the file that is 0 in ``Frame.pts``, seconds; its sound is moved by the same."""
    sound: bool = False
    """Whether there are audio or subtitle streams to carry."""
    sound_from: BytesIO | Waveform | None = None
    """Where they are, if not in ``path``."""
    sound_span: Span | None = None
    """The part of them that belongs to the clip, in its time; all where it is left out."""
    metadata: dict[str, str] = field(default_factory=dict)
    carries: bool = False
    """Whether the file has anything besides its picture: other streams of any kind, or chapters."""
    codec: str = ""
    """FFmpeg's name of the picture's codec; empty where the clip is no file."""
    stored: str = ""
    """FFmpeg's name of the pixel format in the file."""
    interlaced: bool = False
    mastering: Mastering | None = None
    loops: int | None = None
    """How often an animated image is played, 0 without end; None for all else."""
    picture_tags: dict[str, str] = field(default_factory=dict)
    """Tags of the picture's stream, such as its language."""
    disposition: int = 0
    """Of the picture's stream, in FFmpeg's bits."""
    stated: Fraction | None = None
    """How long the picture is as the header says, seconds; None where it does not."""
    retiming: Retiming | None = None
    """What becomes of the times of sound, subtitles and chapters, from those in ``Frame.pts`` of the file;
    None where the clip plays at the speed of its file."""

    @property
    def high_dynamic_range(self) -> bool:
        """Tell whether the transfer is that of HDR10 (SMPTE 2084) or HLG (ARIB B67), in more than 8 bits."""
        return self.colour is not None and self.colour.transfer in HDR_TRANSFERS and self.bits > 8  # noqa: PLR2004

    @property
    def pixel_format(self) -> str:
        """Return FFmpeg's name of what ``Frame.pixels`` hold."""
        return RGB_FORMATS[8 if self.bits <= 8 else 16, 4 if self.alpha else 3]  # noqa: PLR2004

    def cut(self, span: Span) -> ClipInfo:
        """Return what is known of the part of the clip in ``span``, whose beginning is its time 0."""
        # The sound's span moves into the time of the part, and is cut by it at both ends.
        sound = self.sound_span or Span(Fraction(0))
        sound_ends = [end - span.start for end in (sound.end, span.end) if end is not None]
        sound_start = max(sound.start - span.start, Fraction(0))
        return replace(
            self,
            start=max(self.start - span.start, Fraction(0)),
            # Of a clip at another speed, the sound moves after it has become that of the clip.
            origin=self.origin if self.retiming else self.origin + span.start,
            retiming=self.retiming and self.retiming.shifted(span.start),
            sound_span=Span(sound_start, min(sound_ends, default=None)),
            frames_estimate=None,
        )


class Clip(Protocol):
    """An opened clip, whose frames can be read once."""

    @property
    def info(self) -> ClipInfo:
        """Return what is known of the clip."""
        ...

    def start_at(self, time: Fraction) -> None:
        """Begin at the frame that is shown at ``time`` (seconds), or at any frame before it.

        To be called before the first frame is read.
        """
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the frames in the order in which they are shown: ``pts`` rises strictly."""
        ...

    def __enter__(self) -> Clip: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FrameTime(NamedTuple):
    """When a source frame is shown: ``pts`` and ``duration`` of a :class:`Frame`."""

    pts: Fraction
    duration: Fraction | None


class TimedClip(Clip, Protocol):
    """A clip that knows when its frames are shown."""

    def times(self) -> Iterator[FrameTime]:
        """Yield the times of all frames, in order, without decoding any. May be called at any time."""
        ...

    def __enter__(self) -> TimedClip: ...
