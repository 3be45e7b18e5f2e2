"""Timelines: which frames come out. Pure functions on Fractions.

A timeline is lazy: it says which times are shown between source frames i and i + 1, for any i, and
what happens after the last.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any, Literal, Protocol, get_args

from .errors import BadInputError

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
    """Which pairs are interpolated. Pair i is source frames i and i + 1."""

    indices: frozenset[int]
    skip: bool = True
    """True: the listed pairs are left alone. False: only the listed pairs are interpolated."""

    def is_frame_skipped(self, frame_index: int) -> bool:
        """Whether nothing is made in pair ``frame_index``."""
        return (frame_index in self.indices) == self.skip


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
    multiplier: int | Sequence[int], *, states: StatesLike | None = None, end: EndLaw = "end_on_last"
) -> Timeline:
    """``multiplier`` output frames for each source frame, evenly spaced.

    Args:
        multiplier: 1 and up, or one for each pair: pairs past the end of the list get 2, entries past the
            last pair are ignored, 0 inserts nothing like 1.
        states: pairs in which nothing is made.
        end: what follows the last source frame.

    Raises:
        BadInputError: not an integer, or out of range.
    """
    listed = isinstance(multiplier, Sequence) and not isinstance(multiplier, (str, bytes))
    given: Sequence[Any] = multiplier if isinstance(multiplier, Sequence) and listed else [multiplier]
    try:
        wanted = [operator.index(m) for m in given]
    except TypeError:
        wanted = [-1]
    if min(wanted, default=0) < (0 if listed else 1) or any(isinstance(m, bool) for m in given):
        raise BadInputError(
            "The multiplier must be a whole number of 1 or more, or a list of whole numbers of 0 or more.",
            repr(multiplier),
            "Use 2 to double the frame rate; for another frame rate use fps.",
        )

    def times(index: int) -> tuple[Fraction, ...]:
        if states is not None and states.is_frame_skipped(index):
            return (Fraction(0),)
        m = wanted[0] if not listed else wanted[index] if index < len(wanted) else _LIST_DEFAULT
        return tuple(Fraction(k, m) for k in range(m)) or (Fraction(0),)

    return Timeline(times, end)


def by_fps(
    source_fps: Fraction | int,
    target_fps: Fraction | int,
    *,
    states: StatesLike | None = None,
    end: EndLaw = "end_on_last",
) -> Timeline:
    """Output frame k shows the source at time k * source_fps / target_fps, exactly.

    Args:
        source_fps, target_fps: frames a second; exact rationals such as ``Fraction(24000, 1001)``.
        states: pairs in which nothing is made; their left frame is held, so that the rate stays.
        end: what follows the last source frame.

    Raises:
        BadInputError: a rate that is not positive.
    """
    try:
        source, target = Fraction(source_fps), Fraction(target_fps)
    except (TypeError, ValueError, OverflowError):
        source = target = Fraction(0)
    if source <= 0 or target <= 0:
        raise BadInputError(
            "Frame rates must be positive numbers.",
            f"{source_fps} to {target_fps}",
            "Give rates such as Fraction(24000, 1001) or 60.",
        )
    step = source / target

    def times(index: int) -> tuple[Fraction, ...]:
        first, after = ceil(index / step), ceil((index + 1) / step)
        if states is not None and states.is_frame_skipped(index):
            return (Fraction(0),) * (after - first)
        return tuple(k * step - index for k in range(first, after))

    return Timeline(times, end)
