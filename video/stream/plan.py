"""What is made of a clip: its timeline, and how the output is written."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import get_args

from torch import Tensor

from ...analysis.notes import Analysis
from ...analysis.parts import PartTimesteps
from ...analysis.routed import routed_notes
from ...analysis.timing import Timing
from ...engine.curve import Curve
from ...engine.keyframes import KeyedTimesteps, Keyframes
from ...engine.pieces import SoundLaw
from ...engine.route import at_constant_rate, routed
from ...engine.shutter import Shutter
from ...engine.states import StatesLike, require_states
from ...engine.timeline import AtRate, EndLaw, Timeline, Timesteps, by_multiplier, states_of
from ...inputs.numbers import Number, multipliers
from ...inputs.objects import require_one_of
from ...inputs.rates import frame_rate, require_ratio
from ..read.clip import Clip, ClipInfo, TimedClip
from ..read.decode import open_clip
from ..read.part import Part
from ..read.retimed import Retimed
from ..read.scaled import Scaled
from ..read.span import Span
from ..read.trim import Trimmed
from ..write.formats import Coding
from .clock import Clock


@dataclass(frozen=True)
class Plan:
    """What is made of a clip.

    Raises:
        BadInputError: a multiplier, frame rate, end law or states that cannot be.
    """

    multiplier: Number | Sequence[int] = 2
    """Output frames for each source frame, or a list of whole numbers with one for each pair of these, see
    :func:`...engine.timeline.by_multiplier`. A whole number divides each gap between source frames; any
    other, such as 2.5, is a constant frame rate: so many times the average of the source. A list of numbers
    that are all the same is that number, for every pair."""
    fps: Fraction | int | None = None
    """Constant frame rate to come out, instead of ``multiplier``; see :func:`...inputs.rates.frame_rate`."""
    end: EndLaw = "hold_last"
    """``hold_last`` keeps the duration, so that sound stays in step; see :data:`...vfi_utils.EndLaw`."""
    source_fps: Fraction | None = None
    """Frames a second of a folder of images; 24 where it is left out."""
    coding: Coding = field(default_factory=Coding)
    """Codec and quality."""
    overwrite: bool = False
    """Whether a file that is there is replaced."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Tags of the output, besides those of the source."""
    deinterlace: bool = False
    """Whether whole pictures are made of the two fields of each frame of the source."""
    start: Fraction | None = None
    """Seconds of the source that are left out at its beginning; sound and all else with them."""
    stop: Fraction | None = None
    """Where in the source the output ends, seconds."""
    width: int | None = None
    """Of the output, pixels; left out with ``height`` that of the source, else it follows from it."""
    height: int | None = None
    """The same of its height."""
    states: StatesLike | None = None
    """Pairs of source frames in which nothing is made, see :class:`...engine.states.States`. At a constant
    frame rate their left frame is held, so that the rate stays."""
    timing: Timing = field(default_factory=Timing)
    """What is done about cuts and held frames."""
    analysis: Analysis | None = None
    """What is known of the clip's pairs; left out, the clip is looked at where ``timing`` needs that."""
    speed: Curve | None = None
    """How fast the clip plays, or what :meth:`...engine.curve.Curve.of` understands, such as ``0.5`` or
    ``0:1, 2s:0.25, 4s:1``. The frame rate is constant then: ``fps``, or ``multiplier`` times the source's."""
    sound_speed: SoundLaw = "stretch"
    """What becomes of the sound where ``speed`` is given."""
    shutter: Shutter | None = None
    """Makes each output frame the mean of several moments; the frame rate is constant then."""

    def __post_init__(self) -> None:
        require_one_of(self.end, get_args(EndLaw), "end law")
        require_one_of(self.sound_speed, get_args(SoundLaw), "law for sound")
        require_states(self.states)
        # Exact from here on: what comes in may be a float, a text, a tensor or a number of numpy.
        exact = {
            "multiplier": _multiplier(self.multiplier),
            "fps": None if self.fps is None else frame_rate(self.fps),
            "source_fps": None if self.source_fps is None else frame_rate(self.source_fps),
            "speed": Curve.of(self.speed),
        }
        for name, value in exact.items():
            object.__setattr__(self, name, value)
        if self._constant and self.fps is None:
            at_constant_rate(by_multiplier(self.multiplier))

    def open(self, source: Path, *, alpha: bool) -> TimedClip:
        """Open the source as the plan takes it: at another rate, or a part of it.

        Raises:
            BadInputError: see :func:`~..read.decode.open_clip` and :class:`~..read.trim.Trimmed`.
        """

        def opened() -> TimedClip:
            clip = open_clip(source, rate=self.source_fps, alpha=alpha, deinterlace=self.deinterlace)
            return clip if self.width is self.height is None else Scaled(clip, self.width, self.height)

        if self.start is None and self.stop is None:
            return self.at_speed(opened)
        whole = opened()
        with whole:
            origin = whole.info.origin
        start, stop = (None if time is None else time + origin for time in (self.start, self.stop))
        return self.at_speed(lambda: Trimmed(opened, Span(start or origin, stop)))

    def at_speed(self, open_clip: Callable[[], TimedClip]) -> TimedClip:
        """Open a clip at the speed of the plan.

        Raises:
            BadInputError: see :class:`~..read.retimed.Retimed`.
        """
        return open_clip() if self.speed is None else Retimed(open_clip, self.speed, self.sound_speed)

    def timeline(self, info: ClipInfo) -> Timeline:
        """Return the timeline of the output of a clip, whose time 0 is when the clip's first frame is shown.

        Raises:
            BadInputError: the frame rate is more than 10000 times that of the clip.
        """
        if self.fps is None:
            plain = by_multiplier(self.multiplier, states=self.states, end=self.end, source_fps=info.rate)
            return at_constant_rate(plain) if self._constant else plain
        fps = Fraction(self.fps)
        require_ratio(info.rate, fps)
        return Timeline(AtRate(fps, self.states), self.end, info.rate)

    def clock(self, clip: TimedClip, span: Span | None = None) -> Clock:
        """Return a clock that says when the output frames of a clip, or of a part of it, are shown.

        Args:
            clip: its frames are not read.
            span: the part of the output, in the clip's time; all where it is left out.

        Raises:
            BadInputError: see :meth:`timeline`.
        """
        return self._clock(clip, span, numbered=False)

    def read(self, clip: TimedClip, span: Span | None = None, *, reopen: Callable[[], TimedClip]) -> Reading:
        """Return what is read of a clip for a part of the output, and what the loop makes of that.

        Args:
            clip: not read yet; the caller closes it.
            span: the part of the output, in the clip's time; all where it is left out.
            reopen: opens the clip once more, where its first frame is needed for a part without it.

        Raises:
            BadInputError: see :meth:`timeline`.
        """
        analysis = self.notes_of(clip)
        timeline = self._routed(clip)
        keyframes = self.timing.keyframes(analysis, states_of(timeline)) if analysis else Keyframes()
        clock = self._clock(clip, span, numbered=bool(keyframes))
        first, part = None, span
        if self.shutter is not None and span is not None and span.end is not None:
            # The last frame of a part is open until the next one.
            part = Span(span.start, span.end + 1 / self.timeline(clip.info).average_fps(None))
        if keyframes and part is not None:
            part = _widened(part, keyframes, [time.pts for time in clip.times()])
        if self.end == "close_loop" and span is not None and span.start > clip.info.start:
            with reopen() as whole:
                first = next(iter(whole)).pixels
        timesteps = KeyedTimesteps(clock, keyframes, clock.number_of) if keyframes else clock
        return Reading(clip if part is None else Part(clip, part), clock, timesteps, first, self._samples)

    def read_watched(self, clip: TimedClip) -> Reading:
        """Return what is read of a whole clip whose cuts are found on the way; see :meth:`read`."""
        clock = self._clock(clip, None, numbered=True)
        timesteps = PartTimesteps(clock, self.timing, clock.number_of)
        return Reading(clip, clock, timesteps, samples=self._samples)

    def notes_of(self, clip: TimedClip) -> Analysis | None:
        """Return what is known of the pairs of a clip, by the numbers of its frames as it is opened."""
        if isinstance(clip, Retimed) and self.analysis is not None:
            return routed_notes(self.analysis, clip.route)
        return self.analysis

    def rate_and_tick(self, info: ClipInfo) -> tuple[Fraction, Fraction]:
        """Return the average output frames a second, and the seconds of which output times are multiples."""
        timeline = self.timeline(info)
        return timeline.average_fps(info.frames_estimate), timeline.policy.tick(info.tick)

    def frames_estimate(self, info: ClipInfo, span: Span | None = None) -> int | None:
        """Return how many output frames there will be, of a span or of all, as far as the header tells.

        At a constant rate it is exact where the header is right; None where nothing is known.
        """
        span = Span(info.start) if span is None else span
        start, end = (None if time is None else max(time - info.start, Fraction(0)) for time in span)
        if self.speed is not None and info.retiming is not None:
            fps, held = self.timeline(info).average_fps(None), self.end != "end_on_last"
            total, before = (info.retiming.count_before(time, fps, held=held) for time in (end, start))
            return max(total - before, 0)
        return self.timeline(info).count_between(start or Fraction(0), end, info.frames_estimate)

    def _clock(self, clip: TimedClip, span: Span | None, *, numbered: bool) -> Clock:
        timeline = self._routed(clip)
        # All packets are read for it, the whole file: only where the numbers of pairs count.
        times = clip.times() if numbered or timeline.policy.needs_index else None
        if self.shutter is None:
            return Clock(timeline, start=clip.info.start, span=span, times=times)
        samples = self.shutter.exposed(timeline)
        dense = replace(timeline, policy=samples)
        return Clock(dense, start=clip.info.start, span=span, times=times, frame_time=samples.frame_time)

    def _routed(self, clip: TimedClip) -> Timeline:
        """Return the timeline of a clip, whose states are by the pairs of frames as it is opened."""
        timeline = self.timeline(clip.info)
        return routed(timeline, clip.route) if isinstance(clip, Retimed) else timeline

    @property
    def _samples(self) -> int:
        return 1 if self.shutter is None else self.shutter.samples

    @property
    def _constant(self) -> bool:
        """Tell whether the frame rate has to be constant."""
        return self.speed is not None or self.shutter is not None


@dataclass(frozen=True)
class Reading:
    """What is read of a clip, and which frames the loop makes of it."""

    clip: Clip
    """The clip, or the part of it that is needed."""
    clock: Clock
    """Given the time of each frame; says when the output frames are shown."""
    timesteps: Timesteps
    """For the loop: the clock itself, or what is made of it where the clip has cuts or held frames."""
    first: Tensor | None = None
    """The first frame of a clip that plays as a loop, where the part is without it."""
    samples: int = 1
    """Frames of the loop of which each output frame is the mean."""

    def watched(self, frames: Iterator[Tensor]) -> Iterator[Tensor]:
        """Return the frames of the clip for the loop, whose cuts are found now if they were not before."""
        return self.timesteps.follow(frames) if isinstance(self.timesteps, PartTimesteps) else frames

    @property
    def exhausted(self) -> bool:
        """Tell whether a part came to the end of its clip."""
        return not isinstance(self.clip, Part) or self.clip.exhausted


def _widened(span: Span, keyframes: Keyframes, times: Sequence[Fraction]) -> Span:
    """Return the part of a clip that is read for the output of ``span``.

    Args:
        span: of the output.
        keyframes: of the clip.
        times: when each frame is shown, rising.
    """
    first = max(bisect_right(times, span.start) - 1, 0)
    last = len(times) if span.end is None else max(bisect_left(times, span.end) - 1, 0)
    begin, end = keyframes.reach(first, last)
    start = min(times[begin], span.start) if times else span.start
    return Span(start, times[end] if end < len(times) else None)


def _multiplier(value: Number | Sequence[int]) -> Number | tuple[int, ...]:
    """Return one multiplier where all pairs have the same, else those of each pair."""
    given = multipliers(value)
    # Videos took such a list as one number before they took lists, and still do.
    if isinstance(given, tuple) and len(set(given)) == 1:
        # 0 is for single pairs, and no multiplier of a clip: a list of zeros stays one.
        return given[0] or given
    return given
