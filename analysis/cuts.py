"""Tells which pairs of a clip are cuts, and which are flashes, from the pairs around them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .look import Change, Match, Thumbnail, ends_a_fade, mismatch
from .notes import Held

LEAST_MISMATCH = 0.35
"""A pair is a cut where more of the picture than this is not found again, and much more than around it."""
_ABOVE_OTHERS = 1.5
SIMILAR_MISMATCH = 0.25
"""Or more than this, and more above the others: another moment of the same take. Less still, and pairs under
grain and shaking pass for cuts."""
_SIMILAR_ABOVE = 2.0
# Or less still, but the picture changes by so many times as much as in any pair near it, and so many grey
# levels: a jump within a slow take. So many pairs are needed to both sides, for motion may begin there.
_SUDDEN_MISMATCH, _SUDDEN, _SUDDEN_LEAST, _SUDDEN_SIDE = 0.15, 3.0, 5.0, 2
# Pictures that have nothing to do with each other: 99 of 100 cuts between shots lose more than this, and of
# 7,315 pairs of pans, shaking, explosions and held drawings none does.
_UNRELATED = 0.45
# Grey levels: a frame that is held changes by less, grain or not.
_GOES_ON = 1.0
_NEIGHBOURS = 2
# Of fewer frames each is a picture of its own, such as two photographs that somebody wants to see change
# into each other: what stands out is not known.
_LEAST_CLIP = 4
SAME_SHOT = 0.25
"""Two frames are of the same shot where no more than this is missing."""
# Frames from the last before a flash to the first after it.
_FLASH_SPAN = 5
FLASH_STEP = 0.1
"""A change of mean brightness by this share may be a flash."""
_NO_CHANGE = Change(areas=0.0, most=0.0, drift=0.0)
UNCHANGED = Match(mismatch=0.0, motion=0.0, gain=1.0)


@dataclass(frozen=True)
class Pair:
    """Measurements of a pair alone, without its neighbours."""

    held: Held
    found: Match
    """:data:`UNCHANGED` where it was not looked for, because little changes."""
    still: float
    change: float
    """Mean difference of coarse pixels, in grey levels."""
    similarity: float = 1.0
    """By the older measure, where that is asked for."""
    near: bool = False
    """Little changes, as between repeated frames."""
    parts: Change = _NO_CHANGE
    """The change by parts, where the pair moves or may repeat a frame."""


class Cuts:
    """Compares pairs with those around them.

    Args:
        frames, pairs: what is known around the pair that is asked for, by number; they may change between
            two questions.
        reach: pairs further away are not asked.
    """

    def __init__(self, frames: dict[int, Thumbnail], pairs: dict[int, Pair], reach: int) -> None:
        self._frames, self._pairs, self._reach = frames, pairs, reach
        self._shots: dict[tuple[int, int], bool] = {}

    def is_cut(self, index: int, count: int) -> bool:
        """Tell whether a pair that is no flash is a cut, of a clip of so many frames as far as is known."""
        return count >= _LEAST_CLIP and self._stands_out(index) and not self._fades(index)

    def is_flash(self, index: int) -> bool:
        """Tell whether the same shot goes on after a few frames that look otherwise."""
        left, right = self._frames[index].coarse, self._frames[index + 1].coarse
        lost = self._pairs[index].found.mismatch > LEAST_MISMATCH
        if not lost and not _far(left, right, FLASH_STEP):
            return False
        for first in range(index, index - _FLASH_SPAN, -1):
            for after in range(max(index + 1, first + 2), first + _FLASH_SPAN + 1):
                if first in self._frames and after in self._frames and self._same_shot(first, after):
                    return True
        return False

    def forget(self, frame: int) -> None:
        """Drop what is known of the pairs that begin at a frame, which is not asked for again."""
        for after in range(frame, frame + _FLASH_SPAN + 1):
            self._shots.pop((frame, after), None)

    def _stands_out(self, index: int) -> bool:
        """Tell whether more of the picture is lost than can be lost by motion, and than around this pair."""
        here = self._pairs[index].found.mismatch
        others = max((self._pairs[i].found.mismatch for i in self._others(index)), default=0.0)
        return (
            (here > LEAST_MISMATCH and here > _ABOVE_OTHERS * others)
            or (here > SIMILAR_MISMATCH and here > _SIMILAR_ABOVE * others)
            or (self._is_sudden(index) and self._lost(index) > max(_SUDDEN_MISMATCH, _SIMILAR_ABOVE * others))
        )

    def _others(self, index: int) -> list[int]:
        """Return the pairs that a pair is compared with: the nearest to both sides in which something moves.

        Drawings on threes move in every third pair alone, and in a frame of one colour, as a flash at a cut
        may be, nothing is found. The cuts at the other ends of short shots are none of them, if a shot around
        goes on for a pair at least: where every picture is another one, none of them is a shot.
        """
        moving = [self._moving(index, way) for way in (-1, 1)]
        if self._pairs[index].found.mismatch > _UNRELATED and self._goes_on_near(index):
            moving = [[i for i in side if self._pairs[i].found.mismatch <= _UNRELATED] for side in moving]
        return [i for side in moving for i in side[:_NEIGHBOURS]]

    def _moving(self, index: int, way: int) -> list[int]:
        """Return the pairs to one side in which something moves, the nearest first."""
        moving = (i for i in self._beside(index, way) if not self._pairs[i].near)
        return [i for i in moving if not any(self._frames[k].flat for k in (i, i + 1))]

    def _beside(self, index: int, way: int) -> list[int]:
        side = (index + way * distance for distance in range(1, self._reach))
        return [i for i in side if i in self._pairs]

    def _goes_on_near(self, index: int) -> bool:
        """Tell whether some pair near this one shows one shot, which moves a little."""
        near = (self._pairs[i] for way in (-1, 1) for i in self._beside(index, way))
        return any(pair.found.mismatch < SAME_SHOT and pair.change > _GOES_ON for pair in near)

    def _fades(self, index: int) -> bool:
        frames = self._frames
        return ends_a_fade(frames.get(index - 1), frames[index], frames[index + 1], frames.get(index + 2))

    def _is_sudden(self, index: int) -> bool:
        """Tell whether the picture moves on both sides of a pair, and changes by far the most in it."""
        sides = [[self._pairs[i].change for i in self._beside(index, way)] for way in (-1, 1)]
        # Where all is equal on one side, drawings or slides follow each other.
        if any(len(side) < _SUDDEN_SIDE or max(side) == 0 for side in sides):
            return False
        return self._pairs[index].change > max(_SUDDEN_LEAST, _SUDDEN * max(map(max, sides)))

    def _lost(self, index: int) -> float:
        """Return the mismatch of a pair, also of one that changes too little for it to be looked for."""
        pair = self._pairs[index]
        if pair.found is not UNCHANGED:
            return pair.found.mismatch
        return mismatch(self._frames[index].coarse, self._frames[index + 1].coarse)

    def _same_shot(self, first: int, after: int) -> bool:
        """Tell whether two frames agree in picture and brightness; several pairs between them ask."""
        if (first, after) not in self._shots:
            a, b = self._frames[first].coarse, self._frames[after].coarse
            self._shots[first, after] = not _far(a, b, FLASH_STEP / 2) and mismatch(a, b) < SAME_SHOT
        return self._shots[first, after]


def _far(left: Tensor, right: Tensor, share: float) -> bool:
    """Tell whether the mean brightness of two thumbnails differs by more than a share."""
    a, b = float(left.mean()) + 1.0, float(right.mean()) + 1.0
    return abs(b - a) > share * min(a, b)
