"""What a retimed clip makes of everything in it that is no picture: sound, subtitles and chapters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import ceil, floor, inf
from typing import Literal, NamedTuple

from .route import Route

SoundLaw = Literal["stretch", "drop", "keep"]
"""What becomes of the sound of a clip that plays at another speed. ``stretch``: it stays with the picture, at
its own pitch; where the picture stops it is silent. ``drop``: it is left out. ``keep``: it goes on at its own
speed from the beginning, as music does, until the picture ends."""

# Seconds by which sound may be apart from its picture: a tenth of what people notice.
_HEARD = 0.005


class Piece(NamedTuple):
    """A part of a source that plays at an even speed: from where to where in either time, seconds."""

    source: tuple[Fraction, Fraction]
    """Where the picture stops, both are the same."""
    shown: tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Retiming:
    """How the time of a source becomes that of the clip."""

    pieces: tuple[Piece, ...]
    """One after the other; none where the clip plays backwards, and has neither sound nor subtitles."""
    law: SoundLaw = "stretch"
    begin: Fraction = Fraction(0)
    """Of a part of the clip: where in the clip it begins, seconds."""
    ends: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    """When the last frame of the whole clip is shown, and when its time is over, seconds after the first."""

    def count_before(self, time: Fraction | None, fps: Fraction, *, held: bool) -> int:
        """Return how many frames at a constant rate are shown before ``time``; None: in the whole clip.

        Args:
            time: seconds after the first frame.
            fps: frames a second.
            held: the last frame of the clip is shown for its whole time, and not once.
        """
        last, end = self.ends
        total = ceil(end * fps) if held else floor(last * fps) + 1
        return total if time is None else min(ceil(time * fps), total)

    def time(self, source: Fraction) -> Fraction:
        """Return when something is shown, from when it is in the source; both seconds."""
        index = max(bisect_right(self.pieces, source, key=lambda piece: piece.source[0]) - 1, 0)
        (begin, end), (start, stop) = self.pieces[index]
        # Before the first piece and after the last one time goes on as in these.
        slope = (stop - start) / (end - begin) if end > begin else Fraction(1)
        return start + (source - begin) * slope

    def shifted(self, by: Fraction) -> Retiming:
        """Return the same for the part of the clip that begins at ``by``."""
        pieces = (Piece(piece.source, (piece.shown[0] - by, piece.shown[1] - by)) for piece in self.pieces)
        return replace(self, pieces=tuple(pieces), begin=self.begin + by)


def pieces_of(route: Route, times: Sequence[Fraction], end: Fraction, start: Fraction) -> tuple[Piece, ...]:
    """Return the pieces of a route that does not turn, as far as anybody hears it.

    Args:
        route: from 0 on, as it is.
        times: of all source frames, seconds from the first.
        end: when the last one's time is over.
        start: when the first frame is shown, of either clip: what is heard before it stays where it is.
    """
    points = [(times[visit.frame] + start, visit.start + start) for visit in route.visits]
    points.append((end + start, route.end + start))
    before = [(Fraction(0), Fraction(0))] if start > 0 else []
    return tuple(_even_pieces([*before, *points]))


def _even_pieces(points: Sequence[tuple[Fraction, Fraction]]) -> Iterator[Piece]:
    # Where a piece ends is decided in floats, which are fast; from where to where it goes is exact.
    rounded = [(float(source), float(shown)) for source, shown in points]
    first = 0
    while first < len(points) - 1:
        last = _reach(rounded, first)
        (source, shown), (source_end, shown_end) = points[first], points[last]
        yield Piece((source, source_end), (shown, shown_end))
        first = last


def _reach(points: Sequence[tuple[float, float]], first: int) -> int:
    """Return the last point to which a line from the first passes all between them within _HEARD."""
    source, shown = points[first]
    flattest, steepest = 0.0, inf
    last = first
    for here, there in islice(points, first + 1, None):
        if here == points[last][0]:  # it stops here
            return last + 1 if last == first else last
        length, slope = here - source, (there - shown) / (here - source)
        if not flattest <= slope <= steepest:
            return last
        last += 1
        flattest = max(flattest, slope - _HEARD / length)
        steepest = min(steepest, slope + _HEARD / length)
    return last
