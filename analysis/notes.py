"""Notes of pairs of neighbouring source frames, and their text form.

A pair has the index of its left frame. The text is JSON that a person can read and correct: one line for
each pair that is not plain, and in it only what is not plain of it.

    {"loop": false, "pairs": [
    {"index": 41, "cut": true, "motion": 3.5},
    {"index": 42, "held": "equal"}
    ]}
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import BadInputError
from ..inputs.objects import described, path_of

_LOG = logging.getLogger(__name__)

Held = Literal["", "equal", "alike"]
HELD: tuple[Held, ...] = ("", "equal", "alike")

_WRONG = "This is not an analysis of a clip."
_ADVICE = "Correct the file, or make a new one from the clip."
_MEANINGS = {
    "index": "the number of the pair's left frame, a whole number from 0",
    "cut": "true or false",
    "dissolve": "true or false",
    "flash": "true or false",
    "held": 'one of "", "equal" and "alike"',
    "still": "a share from 0 to 1",
    "gain": "a number above 0",
    "motion": "a number of pixels, 0 or more",
    "loop": "true or false",
}


@dataclass(frozen=True)
class PairNote:
    """Note of the pair of frame ``index`` and the next one; a plain pair by default.

    Raises:
        BadInputError: a value of another type or range.
    """

    index: int
    """Number of the left frame, from 0."""
    cut: bool = False
    """The right frame belongs to another shot."""
    dissolve: bool = False
    """The pair lies in a slow change from one shot into another, or in a fade."""
    flash: bool = False
    """One of the two frames is much brighter or darker than its surroundings, for a few frames only."""
    held: Held = ""
    """The right frame repeats the left: ``equal`` bit for bit, or ``alike`` but for compression or grain."""
    still: float = 0.0
    """Share of the picture that stands while the rest moves, 0..1."""
    gain: float = 1.0
    """Mean of the right frame over that of the left where that is a step of brightness and not motion."""
    motion: float = 0.0
    """Size of the motion: 95th percentile over the picture, in pixels of the source."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not _valid(name, value):
                raise BadInputError(
                    f"The {name} of a pair must be {_MEANINGS[name]}.", described(value), _ADVICE
                )
        for name in ("still", "gain", "motion"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def plain(self) -> bool:
        """Tell whether nothing is noted of the pair."""
        return self == PairNote(self.index)


@dataclass(frozen=True)
class Analysis:
    """The notes of a clip's pairs. Two are equal if they say the same of every pair.

    Args:
        pairs: by rising index; plain ones may be missing.
        loop: the last frame is followed by the first as any frame by its next.

    Raises:
        BadInputError: something else than notes, an index twice, or not in rising order.
    """

    pairs: tuple[PairNote, ...] = field(compare=False)
    loop: bool = False
    _named: dict[int, PairNote] = field(init=False, repr=False, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.loop, bool):
            raise BadInputError(f"The loop must be {_MEANINGS['loop']}.", described(self.loop), _ADVICE)
        object.__setattr__(self, "pairs", _checked(self.pairs))
        object.__setattr__(self, "_named", {note.index: note for note in self.pairs if not note.plain})

    def note(self, index: int) -> PairNote:
        """Return the note of a pair; a plain one where there is none, past the end too."""
        return self._named.get(index) or PairNote(index)

    def warn_past(self, frames: int) -> None:
        """Warn if a pair is named that a clip of so many frames does not have: it may be that of another."""
        last = max(self._named, default=0)
        if last > frames - 2:
            _LOG.warning(
                "The analysis names frames %d and %d, and the clip has %d: it may be that of another clip. "
                "What is noted past the end counts for nothing.",
                last,
                last + 1,
                frames,
            )

    def to_json(self) -> str:
        """Return the text of :meth:`from_json`, a line for each pair that is not plain."""
        lines = ",\n".join(json.dumps(_named_parts(note)) for note in self._named.values())
        pairs = f"[\n{lines}\n]" if lines else "[]"
        return f'{{"loop": {json.dumps(self.loop)}, "pairs": {pairs}}}\n'

    @classmethod
    def from_json(cls, text: str) -> Analysis:
        """Read the text of :meth:`to_json`, also one that a person has changed; pairs may be in any order.

        Raises:
            BadInputError: no JSON; an unknown, repeated or missing key; a value of another type or range;
                the same pair twice.
        """
        try:
            parsed = json.loads(text, object_pairs_hook=_without_repeats)
        except (ValueError, TypeError, RecursionError) as error:
            raise BadInputError(
                _WRONG, f"text that is no JSON: {error or type(error).__name__}", _ADVICE
            ) from error
        _require_keys(parsed, {"loop", "pairs"}, "the file")
        entries = parsed.get("pairs")
        if not isinstance(entries, list):
            raise BadInputError(_WRONG, f'"pairs" is {described(entries)}, expected a list', _ADVICE)
        notes = [_note_of(entry, place) for place, entry in enumerate(entries)]
        return cls(tuple(sorted(notes, key=lambda note: note.index)), parsed.get("loop", False))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the text to a file, in place of one that is there."""
        path_of(path, "analysis").write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Analysis:
        """Read a file of :meth:`save`.

        Raises:
            BadInputError: no file that can be read, or see :meth:`from_json`; the error names the file.
        """
        file = path_of(path, "analysis")
        try:
            return cls.from_json(file.read_text(encoding="utf-8-sig"))
        except BadInputError as error:
            raise BadInputError(error.wrong, f"{error.found}, in {file}", error.advice) from error
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError("This analysis cannot be read.", f"{file}: {error}", _ADVICE) from error


def _valid(name: str, value: Any) -> bool:
    """Tell whether a value may stand for the part ``name`` of a pair."""
    if name in ("cut", "dissolve", "flash"):
        return isinstance(value, bool)
    if name == "held":
        return isinstance(value, str) and value in HELD
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if name == "index":
        return isinstance(value, int) and value >= 0
    try:
        number = float(value)
    except OverflowError:
        return False
    lowest, highest = (0.0, 1.0) if name == "still" else (0.0, math.inf)
    return math.isfinite(number) and lowest <= number <= highest and not (name == "gain" and number == 0)


def _checked(pairs: Iterable[PairNote]) -> tuple[PairNote, ...]:
    notes = tuple(pairs)
    last = -1
    for note in notes:
        if not isinstance(note, PairNote):
            raise BadInputError(_WRONG, f"{described(note)} among the notes of pairs", "Give PairNote(...).")
        if note.index <= last:
            what = "twice" if note.index == last else f"after pair {last}"
            raise BadInputError(_WRONG, f"pair {note.index} {what}", "Give each pair once, by rising index.")
        last = note.index
    return notes


def _named_parts(note: PairNote) -> dict[str, Any]:
    """Return what is not plain of a pair, and its index."""
    plain = vars(PairNote(note.index))
    return {name: value for name, value in vars(note).items() if name == "index" or value != plain[name]}


def _without_repeats(items: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in items]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ValueError(f"{json.dumps(repeated[0])} twice in one place")
    return dict(items)


def _require_keys(entry: Any, allowed: set[str], place: str) -> None:
    if not isinstance(entry, dict):
        raise BadInputError(_WRONG, f"{described(entry)} as {place}, expected {{...}}", _ADVICE)
    unknown = sorted(set(entry) - allowed)
    if unknown:
        names = ", ".join(sorted(allowed))
        raise BadInputError(_WRONG, f"{json.dumps(unknown[0])} in {place}; there are {names}", _ADVICE)


def _note_of(entry: Any, place: int) -> PairNote:
    """Return the note of an entry of the list, the one at ``place`` from 0."""
    where = f"entry {place + 1} of the pairs"
    _require_keys(entry, {part.name for part in dataclasses.fields(PairNote)}, where)
    if "index" not in entry:
        raise BadInputError(
            _WRONG, f'no "index" in {where}', "Say which pair it is: the number of its left frame."
        )
    try:
        return PairNote(**entry)
    except BadInputError as error:
        raise BadInputError(error.wrong, f"{error.found} in {where}", error.advice) from error
