"""Timelines: which output frames a clip has, what each shows and when. Pure functions on Fractions.

A :class:`Policy` gives the output frames of one :class:`Gap`, which is a source frame and the time until the
next one. A :class:`Timeline` is a policy and what follows the last source frame. Both are asked gap by gap:
frames may come at any rate, and nobody has to know how many there will be. A clip of frames without times is
the special case of a constant rate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, lcm
from typing import Literal, NamedTuple, Protocol

from ..errors import BadInputError
from ..inputs.numbers import Number, multipliers
from ..inputs.objects import require_like
from ..inputs.rates import common_tick, frame_rate, require_ratio
from .states import StatesLike, require_states

# Output frames of a pair past the end of a list of multipliers.
_LIST_DEFAULT = 2

EndLaw = Literal["end_on_last", "hold_last", "close_loop"]
"""``end_on_last``: nothing is shown after the time of the last source frame, (N - 1) * m + 1 frames at
multiplier m.
``hold_last``: the last source frame is shown as long as any other, N * m frames, so the duration is kept.
``close_loop``: it moves on to the first, N * m frames, which play as a loop without a seam."""


@dataclass(frozen=True)
class Gap:
    """A source frame and the time until the next one is shown."""

    index: int
    """Of the source frame in its clip, from 0; pair ``index`` is this frame and the next."""
    start: Fraction
    """When the frame is shown, seconds since the first frame of the clip."""
    end: Fraction
    """When the next one is shown; of the last frame, when its own duration is over."""


class Moment(NamedTuple):
    """When an output frame is shown and for how long, in seconds."""

    time: Fraction
    duration: Fraction


class Output(NamedTuple):
    """An output frame: what it shows, and when."""

    timestep: Fraction
    """In [0, 1), from the source frame of its gap to the next; 0 is the source frame itself, untouched."""
    moment: Moment


class Policy(ABC):
    """Gives the output frames of a gap, whatever the gap's length."""

    @abstractmethod
    def outputs(self, gap: Gap) -> Sequence[Output]:
        """Return the output frames of ``gap``: timesteps ascending, times rising in [gap.start, gap.end)."""

    @abstractmethod
    def tick(self, source: Fraction) -> Fraction:
        """Return the seconds of which output times are multiples, where source times are so of ``source``."""

    @property
    def needs_index(self) -> bool:
        """Tell whether the output depends on the number of the pair: a part of a clip must then know it."""
        return True

    def count(self, gaps: int, source_fps: Fraction) -> int:
        """Return how many output frames the first ``gaps`` gaps of a clip at a constant rate have.

        Override it where there is a formula: long films have hundreds of thousands of gaps.
        """
        return sum(len(self.outputs(gap_at(index, source_fps))) for index in range(gaps))

    def average_fps(self, source_fps: Fraction, gaps: int | None) -> Fraction:
        """Return the output frames a second, on average over the first ``gaps`` gaps.

        Where nobody knows how many there are, the first one counts.
        """
        gaps = gaps or 1
        return source_fps * Fraction(self.count(gaps, source_fps), gaps)


@dataclass(frozen=True)
class Evenly(Policy):
    """So many output frames in each gap, evenly spaced over its length."""

    multiplier: int | tuple[int, ...]
    """Output frames of each gap, or a list with one for each pair: 0 inserts nothing, like 1, and pairs past
    the end of the list get 2."""
    states: StatesLike | None = None
    """Pairs in which nothing is made: their gap has the source frame alone."""

    def outputs(self, gap: Gap) -> Sequence[Output]:
        """Return the output frames of ``gap``, of which the first is the source frame."""
        count = self._count(gap.index)
        step = (gap.end - gap.start) / count
        return [Output(Fraction(k, count), Moment(gap.start + k * step, step)) for k in range(count)]

    def tick(self, source: Fraction) -> Fraction:
        """Return the part of ``source`` that every gap can be divided into."""
        if isinstance(self.multiplier, int):
            return source / self.multiplier
        # A gap may have any of these counts, or the default: their common multiple serves all of them.
        return source / lcm(_LIST_DEFAULT, *(max(each, 1) for each in self.multiplier))

    @property
    def needs_index(self) -> bool:
        """Tell whether there is a list or there are states."""
        return self.states is not None or not isinstance(self.multiplier, int)

    def count(self, gaps: int, source_fps: Fraction) -> int:
        """See :meth:`Policy.count`."""
        return sum(map(self._count, range(gaps))) if self.needs_index else gaps * self._count(0)

    def average_fps(self, source_fps: Fraction, gaps: int | None) -> Fraction:
        """See :meth:`Policy.average_fps`; where nobody knows how many there are, those of the list count."""
        listed = 1 if isinstance(self.multiplier, int) else len(self.multiplier)
        return super().average_fps(source_fps, gaps or listed)

    def _count(self, index: int) -> int:
        if self.states is not None and self.states.is_frame_skipped(index):
            return 1
        each = self.multiplier
        if isinstance(each, int):
            return each
        return max(each[index] if index < len(each) else _LIST_DEFAULT, 1)


@dataclass(frozen=True)
class AtRate(Policy):
    """Output frames at a constant rate, whatever the gaps are: frame k is shown at k / fps."""

    fps: Fraction
    states: StatesLike | None = None
    """Pairs in which nothing is made: their left frame is held, so that the rate stays."""

    def outputs(self, gap: Gap) -> Sequence[Output]:
        """Return the output frames of ``gap``; none where it is shorter than a frame and between two."""
        # The frames lie on one grid over the whole clip, of which each gap takes those in [start, end):
        # none falls into two gaps or between them, and nothing adds up over a long clip.
        held = self.states is not None and self.states.is_frame_skipped(gap.index)
        # At a timestep of 0 throughout, the left frame is shown again and again.
        scale = 0 if held else 1 / (gap.end - gap.start)
        moments = [
            Moment(k / self.fps, 1 / self.fps)
            for k in range(ceil(gap.start * self.fps), ceil(gap.end * self.fps))
        ]
        return [Output((moment.time - gap.start) * scale, moment) for moment in moments]

    def tick(self, source: Fraction) -> Fraction:
        """Return the largest time that both the source's times and 1 / fps are multiples of."""
        return common_tick(source, 1 / self.fps)

    @property
    def needs_index(self) -> bool:
        """Tell whether there are states."""
        return self.states is not None

    def count(self, gaps: int, source_fps: Fraction) -> int:
        """See :meth:`Policy.count`."""
        return ceil(gaps / source_fps * self.fps)

    def average_fps(self, source_fps: Fraction, gaps: int | None) -> Fraction:
        """Return the rate itself."""
        return self.fps


# What each end law makes of the output frames of the last source frame, after which there is none.
_AFTER_LAST: dict[EndLaw, Callable[[Gap, Sequence[Output]], Sequence[Output]]] = {
    # By time: states may say that nothing is made after the last frame either, which is at 0 throughout then.
    "end_on_last": lambda gap, outputs: [
        output for output in outputs if output.timestep == 0 and output.moment.time == gap.start
    ],
    "hold_last": lambda gap, outputs: [Output(Fraction(0), output.moment) for output in outputs],
    "close_loop": lambda gap, outputs: outputs,
}


class Timesteps(Protocol):
    """What the frame loop asks: a :class:`Timeline`, or a clock that knows when source frames are shown."""

    def shown(self, index: int, *, last: bool) -> tuple[Fraction, ...]:
        """Return the timesteps of the output frames after source frame ``index``, ascending, in [0, 1).

        The loop asks for each source frame in order. ``last``: there is no next one; then all are 0, or some
        are not and the first frame of the clip is the next one.
        """
        ...


def states_of(timesteps: Timesteps) -> StatesLike | None:
    """Return the pairs in which timesteps make nothing, of the frames that they count; None: there are none.

    A policy may be anybody's, and need not have any.
    """
    timeline = getattr(timesteps, "timeline", timesteps)
    states: StatesLike | None = getattr(getattr(timeline, "policy", None), "states", None)
    return states


def require_timesteps(value: object) -> None:
    """Refuse what is no :class:`Timesteps`.

    Raises:
        BadInputError: it is not.
    """
    require_like(value, ("shown",), wrong="This is not a timeline.", advice="Use by_multiplier or by_fps.")


@dataclass(frozen=True)
class Timeline:
    """Which output frames a clip has.

    Raises:
        BadInputError: there is no such end law.
    """

    policy: Policy
    end: EndLaw = "end_on_last"
    source_fps: Fraction = Fraction(1)
    """Frames a second of the clip: constant where frames come without times, else the average."""

    def __post_init__(self) -> None:
        if self.end not in _AFTER_LAST:
            raise BadInputError(
                "There is no such end law.", repr(self.end), f"Use one of {tuple(_AFTER_LAST)}."
            )

    def outputs(self, gap: Gap, *, last: bool) -> Sequence[Output]:
        """Return the output frames of a gap.

        Args:
            gap: a source frame and how long it is shown.
            last: no source frame follows, so that there is nothing to move towards.

        Raises:
            BadInputError: the policy gives impossible times.
        """
        outputs = self.policy.outputs(gap)
        _require_possible(outputs, gap)
        return _AFTER_LAST[self.end](gap, outputs) if last else outputs

    def shown(self, index: int, *, last: bool) -> tuple[Fraction, ...]:
        """Return the timesteps after source frame ``index`` of a clip at a constant rate.

        See :class:`Timesteps`, and :meth:`outputs` for what is raised.
        """
        gap = gap_at(index, self.source_fps)
        return tuple(output.timestep for output in self.outputs(gap, last=last))

    @property
    def closes(self) -> bool:
        """Tell whether the first frame follows the last, which the loop then keeps."""
        return self.end == "close_loop"

    def count(self, frames: int) -> int:
        """Return the number of output frames of ``frames`` source frames, exact at a constant rate."""
        if not frames:
            return 0
        # Only the last gap is under the end law; for the others there may be a formula.
        last = self.outputs(gap_at(frames - 1, self.source_fps), last=True)
        return self.policy.count(frames - 1, self.source_fps) + len(last)

    def count_between(self, start: Fraction, end: Fraction | None, frames: int | None) -> int | None:
        """Return how many output frames are shown at ``start`` or later and before ``end``.

        It is exact at a constant rate, and an estimate where the rate is an average.

        Args:
            start: seconds since the first frame of the clip, 0 or more.
            end: None: to the end of the clip.
            frames: in the source; None where that is not known.

        Returns:
            None where neither ``end`` nor ``frames`` is known.
        """
        if end is None:
            return None if frames is None else self.count(frames) - self._count_before(start, frames)
        return max(self._count_before(end, frames) - self._count_before(start, frames), 0)

    def average_fps(self, frames: int | None) -> Fraction:
        """Return the output frames a second on average, where the source has ``frames``; None: not known."""
        return self.policy.average_fps(self.source_fps, frames)

    def _count_before(self, time: Fraction, frames: int | None) -> int:
        """Return how many output frames are shown before ``time``."""
        index = max(floor(time * self.source_fps), 0)
        if frames is not None and index >= frames:
            return self.count(frames)
        outputs = self.outputs(gap_at(index, self.source_fps), last=index + 1 == frames)
        # Whole gaps at once, the one around the time frame by frame.
        within = sum(output.moment.time < time for output in outputs)
        return self.policy.count(index, self.source_fps) + within


def gap_at(index: int, source_fps: Fraction) -> Gap:
    """Return gap ``index`` of a clip at a constant rate."""
    return Gap(index, index / source_fps, (index + 1) / source_fps)


def _require_possible(outputs: Sequence[Output], gap: Gap) -> None:
    # A policy may be anybody's. Wrong times would come out as a frame of another moment, or as a file that
    # no muxer takes.
    steps = [output.timestep for output in outputs]
    times = [output.moment.time for output in outputs]
    if (
        all(a <= b for a, b in pairwise((Fraction(0), *steps)))
        and all(a < b for a, b in pairwise(times))
        and (not outputs or (steps[-1] < 1 and times[0] >= gap.start and times[-1] < gap.end))
    ):
        return
    raise BadInputError(
        f"The timeline shows impossible times after source frame {gap.index}.",
        ", ".join(f"{output.timestep} at {output.moment.time}" for output in outputs),
        "Give ascending timesteps of 0 or more and below 1, at rising times from "
        f"{gap.start} to before {gap.end}.",
    )


def by_multiplier(
    multiplier: Number | Sequence[int],
    *,
    states: StatesLike | None = None,
    end: EndLaw = "end_on_last",
    source_fps: Fraction = Fraction(1),
) -> Timeline:
    """Return a timeline of ``multiplier`` output frames for each source frame, evenly spaced.

    Args:
        multiplier: 1 to 10000, or a list with one for each pair: pairs past the end of the list get 2,
            entries past the last pair are ignored, 0 inserts nothing like 1. Any kind of number, see
            :func:`~..inputs.numbers.number`. One that is not whole, such as 2.5, is a rate: output frame k
            shows the source at time k / 2.5, see :func:`by_fps`.
        states: pairs in which nothing is made.
        end: what follows the last source frame.
        source_fps: of the source; frames without times need none.

    Raises:
        BadInputError: no such number or list, or no states.
    """
    given = multipliers(multiplier)
    require_states(states)
    # No gap holds 2.5 frames: such a multiplier is a rate over the whole clip.
    if isinstance(given, Fraction):
        return Timeline(AtRate(given * source_fps, states), end, source_fps)
    return Timeline(Evenly(given, states), end, source_fps)


def by_fps(
    source_fps: Number | float | str,
    target_fps: Number | float | str,
    *,
    states: StatesLike | None = None,
    end: EndLaw = "end_on_last",
) -> Timeline:
    """Return a timeline whose output frame k shows the source at time k * source_fps / target_fps, exactly.

    Args:
        source_fps, target_fps: frames a second, see :func:`~..inputs.rates.frame_rate`: exact rationals such
            as ``Fraction(24000, 1001)``, or 23.976, which stands for that.
        states: pairs in which nothing is made; their left frame is held, so that the rate stays.
        end: what follows the last source frame.

    Raises:
        BadInputError: a rate that is not positive, more than 10000 output frames for a source frame, or no
            states.
    """
    source, target = frame_rate(source_fps), frame_rate(target_fps)
    require_ratio(source, target)
    require_states(states)
    return Timeline(AtRate(target, states), end, source)
