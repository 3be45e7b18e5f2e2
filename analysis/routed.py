"""The notes of a clip that plays along a route: of the pairs of frames that follow each other there."""

from __future__ import annotations

from dataclasses import replace

from ..engine.route import Route
from .notes import Analysis


def routed_notes(analysis: Analysis, route: Route) -> Analysis:
    """Return the notes of the pairs of a route, by the number of the left visit.

    What is said of a pair holds either way. Nothing is said where one frame follows itself, as in a stop:
    it is meant to stand.

    Args:
        analysis: of the source.
        route: through it.
    """
    pairs = ((index, route.pair(index)) for index in range(max(len(route.visits) - 1, 0)))
    notes = (replace(analysis.note(pair), index=index) for index, pair in pairs if pair is not None)
    # Plain ones are left out, but for the last: it says how many pairs there are.
    last = len(route.visits) - 2
    return Analysis(tuple(note for note in notes if not note.plain or note.index == last))
