"""Keyframes: from which source frames a frame is made, where that is not simply the two around it.

Positions count in source frames: 3.5 is half way from frame 3 to frame 4. Every source frame is a keyframe
that is shown at its own position, unless :class:`Keyframes` says otherwise: a frame may repeat an earlier
one, and then is no keyframe; its picture may belong to an earlier position; and it may stand still until the
next keyframe, as before a cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import takewhile
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from .timeline import Timesteps

Way = Literal["motion", "blend", "extrapolate", "repeat"]
"""A way to make the frames of a pair. ``motion``: by the model. ``blend``: as a weighted mean.
``extrapolate``: from either frame by the motion on its own side. ``repeat``: the right frame repeats the
left, and what is shown here comes with a later pair."""


class Sides(NamedTuple):
    """On which sides of a pair there is a motion that can go on; a frame without one stands."""

    before: bool = False
    after: bool = False


class Key(NamedTuple):
    """Where the picture of a keyframe belongs."""

    since: Fraction
    """Position from which on it is shown; at most one before that of its frame, and never after it."""
    moves_from: Fraction | None
    """Position at which the motion to the next keyframe begins; None where there is none."""


@dataclass(frozen=True)
class Keyframes:
    """What is not plain of a clip's source frames, by their numbers in the whole clip, from 0."""

    keys: Mapping[int, Key] = field(default_factory=dict)
    repeats: frozenset[int] = frozenset()
    """Frames that are no keyframes."""
    blends: frozenset[int] = frozenset()
    """Left frames of pairs that are blended."""
    extrapolated: Mapping[int, Sides] = field(default_factory=dict)
    """Sides of the pairs in which motion goes on, by their left frames."""

    def __bool__(self) -> bool:
        return bool(self.keys or self.repeats or self.blends or self.extrapolated)

    def key(self, number: int) -> Key:
        """Return the key of frame ``number``."""
        return self.keys.get(number) or Key(Fraction(number), Fraction(number))

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Return the first and the last frame that it takes to show what lies from frame ``first`` to the one
        after ``last``.
        """
        # What is shown before a keyframe's own place is made from that one and the next, and what is shown
        # after the last of a shot from that and the one before.
        begin = self._at_or_before(max(first - 1, 0) if first in self.extrapolated else first)
        return begin, self._after(self._after(last)) if self else last + 1

    def _at_or_before(self, number: int) -> int:
        while number in self.repeats:
            number -= 1
        return number

    def _after(self, number: int) -> int:
        number += 1
        while number in self.repeats:
            number += 1
        return number


@runtime_checkable
class Ways(Protocol):
    """Timesteps that say besides how the frames of each pair are made."""

    def way(self, index: int) -> Way:
        """Return how the frames between source frames ``index`` and ``index + 1`` are made."""
        ...

    def sides(self, index: int) -> Sides:
        """Return on which sides of a pair whose way is ``extrapolate`` a motion goes on."""
        ...

    @property
    def looks_back(self) -> bool:
        """Tell whether any pair may have that way."""
        ...


class KeyedTimesteps:
    """The timesteps of a timeline, between keyframes instead of neighbouring frames.

    Args:
        timesteps: of neighbouring frames; asked once for each source frame and in order, but for what
            :meth:`~..vfi_utils.FrameLoop.count` asks in advance.
        keyframes: of the clip.
        number_of: returns the number in the whole clip of a source frame that the loop counts.
    """

    def __init__(
        self,
        timesteps: Timesteps,
        keyframes: Keyframes,
        number_of: Callable[[int], int] = lambda index: index,
    ) -> None:
        self._timesteps = timesteps
        self.keyframes = keyframes
        """Of the clip; more may come to be known between two parts."""
        self._number_of = number_of
        self.closes = getattr(timesteps, "closes", False)
        """Whether the first frame follows the last; see :class:`~.timeline.Timeline`."""
        # What the timeline answered for the last keyframe's own pair: some of it may belong to the next one.
        self._answers: dict[tuple[int, bool], tuple[Fraction, ...]] = {}

    def shown(self, index: int, *, last: bool) -> tuple[Fraction, ...]:
        """Return the timesteps from the last keyframe at or before ``index`` to the next one.

        None where frame ``index + 1`` repeats that keyframe; see :class:`~.timeline.Timesteps`.
        """
        if not last and self.way(index) == "repeat":
            return ()
        keys, first = self.keyframes, self._first_of_run(index)
        key = keys.key(self._number_of(first))
        end = None if last else keys.key(self._number_of(index + 1)).since
        positions = [
            position
            for pair in range(max(first - 1, 0), index + 1)
            for position in self._positions(pair, last=last and pair == index)
            if position >= key.since and (end is None or position < end)
        ]
        self._answers = {asked: answer for asked, answer in self._answers.items() if asked[0] >= index}
        begin = key.moves_from
        if last and self.closes:
            end = Fraction(self._number_of(index) + 1)
        # A hold may be known to go on past the end of a part of a clip: then it stands until there.
        if end is None or begin is None or begin >= end:
            return (Fraction(0),) * len(positions)
        return tuple(max((position - begin) / (end - begin), Fraction(0)) for position in positions)

    def way(self, index: int) -> Way:
        """See :class:`Ways`."""
        if self._number_of(index + 1) in self.keyframes.repeats:
            return "repeat"
        number = self._number_of(index)
        if number in self.keyframes.extrapolated:
            return "extrapolate"
        return "blend" if number in self.keyframes.blends else "motion"

    def sides(self, index: int) -> Sides:
        """See :class:`Ways`."""
        return self.keyframes.extrapolated.get(self._number_of(index), Sides())

    @property
    def looks_back(self) -> bool:
        """See :class:`Ways`."""
        return bool(self.keyframes.extrapolated)

    def _first_of_run(self, index: int) -> int:
        """Return the keyframe that frame ``index`` shows, or the first frame of a part that begins later."""
        repeated = takewhile(lambda i: self._number_of(i) in self.keyframes.repeats, range(index, 0, -1))
        return index - sum(1 for _ in repeated)

    def _positions(self, index: int, *, last: bool) -> Iterator[Fraction]:
        """Return the positions of the output frames between source frames ``index`` and ``index + 1``."""
        asked = index, last
        if asked not in self._answers:
            self._answers[asked] = self._timesteps.shown(index, last=last)
        number = self._number_of(index)
        # A frame between the two may have been impossible to decode.
        gap = 1 if last or not any(self._answers[asked]) else self._number_of(index + 1) - number
        return (number + timestep * gap for timestep in self._answers[asked])
