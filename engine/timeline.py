"""Timelines: which frames come out. Pure functions on Fractions.

A timeline is lazy: it says which times are shown between source frames i and i + 1, for any i, and
what happens after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any, Literal, Protocol, get_args

from ..errors import BadInputError
from ..inputs.numbers import Number, multipliers, whole
from ..inputs.objects import described, require_like
from ..inputs.rates import frame_rate, require_ratio

_LIST_DEFAULT = 2

EndLaw = Literal["end_on_last", "hold_last"]
"""``end_on_last``: nothing is shown after the time of the last source frame, (N - 1) * m + 1 frames at
multiplier m.
``hold_last``: the last source frame is shown as long as any other, N * m frames, so the duration is kept."""


class StatesLike(Protocol):
    """Interpolation states of this pack or of an older one."""

    def is_frame_skipped(self, frame_index: int, /) -> bool:
        """Whether nothing is made between source frames ``frame_index`` and ``frame_index + 1``."""
        ...


@dataclass(frozen=True)
class States:
    """Which pairs are interpolated. Pair i is source frames i and i + 1.

    Raises:
        BadInputError: ``indices`` are no whole numbers of 0 or more.
    """

    indices: frozenset[int]
    skip: bool = True
    """True: the listed pairs are left alone. False: only the listed pairs are interpolated."""

    def __post_init__(self) -> None:
        if isinstance(self.indices, (str, bytes)) or not isinstance(self.indices, Iterable):
            raise BadInputError(
                "The pairs must be a set of whole numbers.",
                described(self.indices),
                "Give {1, 2}, for example.",
            )
        indices = frozenset(whole(index, "the number of a pair") for index in self.indices)
        object.__setattr__(self, "indices", indices)

    def is_frame_skipped(self, frame_index: int) -> bool:
        """Whether nothing is made in pair ``frame_index``."""
        return (frame_index in self.indices) == self.skip


def require_states(states: Any) -> None:
    """Check that ``states`` are interpolation states, or None.

    Raises:
        BadInputError: they are something else.
    """
    if states is not None:
        require_like(
            states,
            ("is_frame_skipped",),
            wrong="These are not interpolation states.",
            advice="Connect Interpolation States, or give States({1, 2}), which leaves pairs 1 and 2 alone.",
        )


@dataclass(frozen=True)
class Timeline:
    """Which frames come out."""

    times: Callable[[int], tuple[Fraction, ...]]
    """For pair i, the times shown, ascending, each in [0, 1); 0 is source frame i itself, untouched."""
    end: EndLaw = "end_on_last"

    def __post_init__(self) -> None:
        if self.end not in get_args(EndLaw):
            raise BadInputError(
                "There is no such end law.", repr(self.end), f"Use one of {get_args(EndLaw)}."
            )

    def shown(self, index: int, *, last: bool) -> tuple[Fraction, ...]:
        """The times of source frame ``index``; after the last frame there is nothing to move towards."""
        times = self.times(index)
        if not all(a <= b for a, b in pairwise((Fraction(0), *times))) or (times and times[-1] >= 1):
            raise BadInputError(
                f"The timeline shows impossible times after source frame {index}.",
                ", ".join(map(str, times)),
                "Give ascending times of 0 or more and below 1.",
            )
        if not last:
            return times
        if self.end == "end_on_last":
            return tuple(t for t in times if t == 0)
        return (Fraction(0),) * len(times)

    def count(self, frames: int) -> int:
        """Number of output frames of ``frames`` source frames."""
        return sum(len(self.shown(i, last=i == frames - 1)) for i in range(frames))


def by_multiplier(
    multiplier: Number | Sequence[int], *, states: StatesLike | None = None, end: EndLaw = "end_on_last"
) -> Timeline:
    """Return a timeline of ``multiplier`` output frames for each source frame, evenly spaced.

    Args:
        multiplier: 1 to 10000, or a list with one for each pair: pairs past the end of the list get 2,
            entries past the last pair are ignored, 0 inserts nothing like 1. Any kind of number, see
            :func:`.inputs.numbers.number`. One that is not whole, such as 2.5, is a rate: output frame k
            shows the source at time k / 2.5, see :func:`by_fps`.
        states: pairs in which nothing is made.
        end: what follows the last source frame.

    Raises:
        BadInputError: no such number or list, or no states.
    """
    given = multipliers(multiplier)
    if isinstance(given, Fraction):
        return by_fps(1, given, states=states, end=end)
    require_states(states)

    def times(index: int) -> tuple[Fraction, ...]:
        if states is not None and states.is_frame_skipped(index):
            return (Fraction(0),)
        m = given if isinstance(given, int) else pair_multiplier(given, index)
        return tuple(Fraction(k, m) for k in range(m)) or (Fraction(0),)

    return Timeline(times, end)


def pair_multiplier(each: Sequence[int], index: int) -> int:
    """Return the multiplier of pair ``index``: its entry in a list, 2 past the end of it."""
    return each[index] if index < len(each) else _LIST_DEFAULT


def by_fps(
    source_fps: Number | float | str,
    target_fps: Number | float | str,
    *,
    states: StatesLike | None = None,
    end: EndLaw = "end_on_last",
) -> Timeline:
    """Return a timeline whose output frame k shows the source at time k * source_fps / target_fps, exactly.

    Args:
        source_fps, target_fps: frames a second, see :func:`.inputs.rates.frame_rate`: exact rationals such as
            ``Fraction(24000, 1001)``, or 23.976, which stands for that.
        states: pairs in which nothing is made; their left frame is held, so that the rate stays.
        end: what follows the last source frame.

    Raises:
        BadInputError: a rate that is not positive, more than 10000 output frames for a source frame, or no
            states.
    """
    source, target = frame_rate(source_fps), frame_rate(target_fps)
    require_ratio(source, target)
    require_states(states)
    step = source / target

    def times(index: int) -> tuple[Fraction, ...]:
        first, after = ceil(index / step), ceil((index + 1) / step)
        if states is not None and states.is_frame_skipped(index):
            return (Fraction(0),) * (after - first)
        return tuple(k * step - index for k in range(first, after))

    return Timeline(times, end)
