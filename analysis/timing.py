"""Decides from the notes of a clip's pairs between which frames frames are made: cuts and held frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median_low
from typing import Literal, get_args

from ..engine.keyframes import Key, KeyedTimesteps, Keyframes, Sides
from ..engine.states import StatesLike
from ..engine.timeline import Timesteps, states_of
from ..inputs.objects import require_one_of
from .notes import Analysis

CutLaw = Literal["hold", "blend", "extrapolate", "interpolate"]
"""What is shown between the last frame of a shot and the first of the next. ``hold``: the nearer of the two.
``blend``: a mean of both. ``extrapolate``: the nearer of the two, moved on as it moved before the cut or will
after it. ``interpolate``: what the model makes of them, as if there was no cut."""
HeldLaw = Literal["keep", "retime"]
"""What becomes of source frames that repeat the one before, such as drawings on twos. ``keep``: they stay,
and the motion halts as in the source. ``retime``: they make room for frames of a motion that does not halt;
number of frames, duration and sound stay."""

_WINDOW = 9
"""Drawings around one, by whose beat it is shown."""
_PAUSE = 4
"""A drawing that is held longer than so many usual ones is meant to stand."""
_OF_A_BEAT = 3
"""Changes of length among the drawings of a window, from which on they are a beat."""
_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Timing:
    """What is done about cuts and held frames.

    Raises:
        BadInputError: no such law.
    """

    cuts: CutLaw = "hold"
    held: HeldLaw = "keep"

    def __post_init__(self) -> None:
        require_one_of(self.cuts, get_args(CutLaw), "law for cuts")
        require_one_of(self.held, get_args(HeldLaw), "law for held frames")

    @property
    def looks(self) -> bool:
        """Tell whether the clip has to be looked at."""
        return self.cuts != "interpolate" or self.held == "retime"

    @property
    def only_cuts(self) -> bool:
        """Tell whether nothing but cuts has to be found."""
        # A frame moves on where it moved before: not where it was held, or where a flash was.
        return self.held != "retime" and self.cuts != "extrapolate"

    @property
    def follows(self) -> bool:
        """Tell whether no later pair has to be known for what is shown in one."""
        return self.looks and self.only_cuts

    def timesteps(
        self,
        timesteps: Timesteps,
        look: Callable[[], Analysis],
        number_of: Callable[[int], int] = lambda index: index,
    ) -> Timesteps:
        """Return the timesteps of a clip with all that is noted of it.

        Args:
            timesteps: of neighbouring frames.
            look: looks at the clip; called only where that is needed.
            number_of: see :class:`~..engine.keyframes.KeyedTimesteps`.
        """
        keyframes = self.keyframes(look(), states_of(timesteps)) if self.looks else Keyframes()
        # As they are where nothing is noted: a clean clip takes the very same way as without looking.
        return KeyedTimesteps(timesteps, keyframes, number_of) if keyframes else timesteps

    def keyframes(self, analysis: Analysis, states: StatesLike | None = None) -> Keyframes:
        """Return the keyframes of a clip.

        Args:
            analysis: of the clip.
            states: pairs in which nothing is made.
        """
        noted = [note for note in analysis.pairs if note.cut or note.held]
        cuts = [note.index + 1 for note in noted if note.cut]
        keys: dict[int, Key] = {}
        repeats: frozenset[int] = frozenset()
        if self.held == "retime":
            repeats = frozenset(note.index + 1 for note in noted if note.held and not note.cut)
            for shot in _shots([0, *cuts, _frames_of(analysis)], repeats):
                keys.update(_retimed(shot))
            if states is not None:
                _hold_skipped(keys, repeats, states)
        if self.cuts == "blend":
            return Keyframes(_blended(keys, repeats, cuts), repeats, frozenset(cut - 1 for cut in cuts))
        if self.cuts == "extrapolate":
            sides = {cut - 1: _sides(analysis, cut - 1, states) for cut in cuts}
            return Keyframes(_blended(keys, repeats, cuts), repeats, extrapolated=sides)
        if self.cuts == "hold":
            keys = _held_at(keys, repeats, cuts)
        return Keyframes(keys, repeats)


def _frames_of(analysis: Analysis) -> int:
    """Return the number of frames, as far as the notes tell: plain pairs at the end may be missing."""
    return analysis.pairs[-1].index + 2 if analysis.pairs else 0


def _shots(bounds: Sequence[int], repeats: frozenset[int]) -> Iterator[list[int]]:
    """Return for each shot with repeats the numbers of its keyframes, and of the first frame after it.

    Of a long shot it is only what is near the repeats.
    """
    marked = sorted(repeats)
    for first, after in pairwise(bounds):
        near = [number for number in marked if first <= number < after]
        if near:
            start, end = max(first, near[0] - 1 - _WINDOW), min(after, near[-1] + 1 + _WINDOW)
            yield [*(i for i in range(start, end) if i == start or i not in repeats), end]


def _retimed(bounds: Sequence[int]) -> dict[int, Key]:
    """Return the keys of the drawings of a shot: where they begin, and at last the end of the shot."""
    lengths = [after - begin for begin, after in pairwise(bounds)]
    keys = {}
    group: list[int] = []
    for place, begin in enumerate(bounds[:-1]):
        group.append(begin)
        around = lengths[max(place - _WINDOW // 2, 0) : place] + lengths[place + 1 : place + 1 + _WINDOW // 2]
        usual = median_low(around or [1])
        pauses = lengths[place] > _PAUSE * usual
        if pauses or place == len(lengths) - 1:
            keys.update(_even(group, lengths[place + 1 - len(group) : place]))
            group = []
        if pauses:
            # It stands, and goes on in the time that a drawing usually has.
            keys[begin] = Key(keys[begin].since, Fraction(bounds[place + 1] - usual))
    return keys


def _even(begins: Sequence[int], lengths: Sequence[int]) -> dict[int, Key]:
    """Return the keys of drawings that follow each other without a pause.

    Args:
        begins: where each begins.
        lengths: of all but the last, whose end may be that of the shot.
    """
    keys: dict[int, Key] = {}
    for place, begin in enumerate(begins):
        since = Fraction(begin)
        if place:  # the first is the source's own beginning
            first = min(max(place - _WINDOW // 2, 0), max(len(begins) - _WINDOW, 0))
            since = _on_the_beat(begins[first : first + _WINDOW], lengths[first : first + _WINDOW - 1], begin)
            # One earlier at most, and in order.
            if since <= keys[begins[place - 1]].since:
                since = Fraction(begin)
        keys[begin] = Key(since, since)
    return keys


def _on_the_beat(begins: Sequence[int], lengths: Sequence[int], begin: int) -> Fraction:
    """Return where a drawing belongs if those around it were made for equal times, as in 2-2-2-3 and 3:2.

    Where their lengths do not look like that, it belongs where it begins.
    """
    changes = sum(a != b for a, b in pairwise(lengths))
    # One that is longer than the others is a pause of one frame; of a beat there are several, and it goes on.
    if not lengths or max(lengths) - min(lengths) > 1 or 0 < changes < _OF_A_BEAT:
        return Fraction(begin)
    count, places = len(begins), range(len(begins))
    middle, mean = Fraction(count - 1, 2), Fraction(sum(begins), count)
    rises = [(place - middle) * (at - mean) for place, at in zip(places, begins, strict=True)]
    slope = sum(rises, Fraction(0)) / sum((place - middle) ** 2 for place in places)
    line = [mean + slope * (place - middle) for place in places]
    # Never later than it begins: what is shown is never older than what the source shows.
    late = max(at - source for at, source in zip(line, begins, strict=True))
    return max(line[begins.index(begin)] - late, Fraction(begin - 1))


def _held_at(keys: dict[int, Key], repeats: frozenset[int], cuts: Sequence[int]) -> dict[int, Key]:
    """Return keys of which those at a cut stand until half way to it, and from there on."""
    for cut in cuts:
        left = _keyframe(cut - 1, repeats)
        keys[left] = Key(keys[left].since if left in keys else Fraction(left), None)
    for cut in cuts:
        begin = keys[cut].moves_from if cut in keys else Fraction(cut)
        keys[cut] = Key(cut - _HALF, begin)
    return keys


def _blended(keys: dict[int, Key], repeats: frozenset[int], cuts: Sequence[int]) -> dict[int, Key]:
    """Return keys of which those before a cut stand until the last frame before it."""
    for cut in cuts:
        left = _keyframe(cut - 1, repeats)
        if left != cut - 1:
            keys[left] = Key(keys[left].since, Fraction(cut - 1))
    return keys


def _hold_skipped(keys: dict[int, Key], repeats: frozenset[int], states: StatesLike) -> None:
    """Change keys so that nothing moves in pairs that are skipped: a drawing stands until the next one.

    Only where drawings were re-timed: elsewhere the timeline itself leaves a pair alone.
    """
    near = {*keys, *(key - 1 for key in keys), *repeats, *(repeat - 1 for repeat in repeats)}
    for pair in sorted(near - {-1}):
        if states.is_frame_skipped(pair):
            left = _keyframe(pair, repeats)
            keys[left] = Key(keys[left].since if left in keys else Fraction(left), None)
            if pair + 1 in keys:
                # No earlier than it begins.
                moves_from = keys[pair + 1].moves_from
                begin = Fraction(pair + 1)
                keys[pair + 1] = Key(begin, None if moves_from is None else max(moves_from, begin))


def _sides(analysis: Analysis, cut: int, states: StatesLike | None) -> Sides:
    """Return on which sides of the pair ``cut`` there is a motion of its shot."""

    def skipped(pair: int) -> bool:
        return states is not None and states.is_frame_skipped(pair)

    return Sides(
        _moves(analysis, cut - 1, cut - 2) and not skipped(cut - 1),
        _moves(analysis, cut + 1, cut + 2) and not skipped(cut + 1),
    )


def _moves(analysis: Analysis, near: int, next_to_it: int) -> bool:
    """Tell whether a pair beside a cut shows how its shot moves; ``next_to_it`` is the one farther away."""
    if near < 0:
        return False
    note = analysis.note(near)
    # A drawing that follows one held for several frames moves by all of these at once.
    held = note.held or (next_to_it >= 0 and analysis.note(next_to_it).held)
    return not (held or note.cut or note.flash or note.dissolve)


def _keyframe(number: int, repeats: frozenset[int]) -> int:
    while number in repeats:
        number -= 1
    return number
