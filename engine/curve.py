"""Retime curves: keyframes of speed, as people write them.

``0:1, 2s:0.25, 4s:1`` plays a clip at its own speed, falls to a quarter of it at second 2 of the clip, and is
back at second 4. Positions are those of the source, so that a keyframe stays at its picture whatever the
speeds before it are. What a curve makes of a clip is its :class:`~.route.Route`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple, get_args

from ..errors import BadInputError
from ..inputs.numbers import number
from ..inputs.objects import described, require_one_of

Ease = Literal["linear", "eased", "steps"]
"""How one speed becomes the next: what changes is the time that a source frame takes, which is the inverse of
the speed. ``linear``: evenly over the source. ``eased``: slowly at both keyframes. ``steps``: at once, at the
second keyframe."""
Unit = Literal["frames", "s", "%"]

ADVICE = (
    "Write keyframes as position:speed, such as 0:1, 2s:0.25, 4s:1. A position is a frame (48), a second "
    "(2s) or a part of the clip (50%); 2s:0 for 1.5s stops there, and a speed below 0 plays backwards from "
    "there."
)

_SLOWEST, _FASTEST = Fraction(1, 1000), Fraction(1000)
# Seconds, or frames, of a stop: more is a slip of the keyboard.
_LONGEST = 10**5
_KEY = re.compile(r"([^:]+):(.+?)(?:\s+for\s+(.+))?", re.DOTALL)
_PAIR = 2
# Dimensions of an array of speeds, and of one of pairs.
_LISTS = (1, 2)


class Position(NamedTuple):
    """A place in the source, or a length of time."""

    value: Fraction
    unit: Unit


class SpeedKey(NamedTuple):
    """The speed from a place in the source on; 0 stops there."""

    at: Position
    speed: Fraction
    """1 is that of the source; below 0 the clip plays backwards."""
    stop: Position | None = None
    """How long it stops, where the speed is 0."""


@dataclass(frozen=True)
class Curve:
    """How fast a clip plays.

    Before the first keyframe its speed counts, after the last one that one's. Where a speed is below 0 the
    clip plays backwards from there to the next keyframe; if it is the first one, it begins there.

    Raises:
        BadInputError: no keyframes, speeds or stops that cannot be, or no such easing.
    """

    keys: tuple[SpeedKey, ...]
    ease: Ease = "linear"

    def __post_init__(self) -> None:
        require_one_of(self.ease, get_args(Ease), "easing")
        if not self.keys:
            raise BadInputError("A speed has no keyframes.", "nothing", ADVICE)
        for key in self.keys:
            wrong = _wrong_with(key)
            if wrong:
                raise BadInputError(wrong, _written(key), ADVICE)

    @classmethod
    def of(cls, value: Any, ease: Ease = "linear") -> Curve | None:
        """Return the curve that ``value`` stands for; None where that is nothing, or a speed of 1 throughout.

        Args:
            value: a text such as ``0:1, 2s:0.25, 4s:1``; one number, which is the speed of the whole clip,
                and below 0 plays it backwards; a list, array or tensor of numbers, one for each source frame,
                or of pairs; a mapping of positions and speeds, such as ``{"2s": 0.25, 48: 1}``; a curve.
            ease: how one speed becomes the next.

        Raises:
            BadInputError: none of these; the error shows the place in the text.
        """
        if value is None or isinstance(value, Curve):
            curve = value
        elif isinstance(value, str):
            curve = _of_text(value, ease)
        elif isinstance(value, Mapping):
            curve = cls(tuple(_key(*pair) for pair in value.items()), ease)
        elif getattr(value, "ndim", 0) in _LISTS:
            return cls.of(value.tolist(), ease)
        elif isinstance(value, Sequence):
            curve = cls(tuple(_listed(index, item) for index, item in enumerate(value)), ease)
        else:
            curve = cls((_whole_clip(_speed(value)),), ease)
        return None if curve is None or curve.plain else curve

    @property
    def plain(self) -> bool:
        """Tell whether it is a speed of 1 throughout."""
        return all(key.speed == 1 for key in self.keys)

    @property
    def in_seconds(self) -> bool:
        """Tell whether a rate has to be known to place it on frames."""
        return any(
            place is not None and place.unit == "s" for key in self.keys for place in (key.at, key.stop)
        )

    @property
    def turns(self) -> bool:
        """Tell whether anything is played backwards."""
        return any(key.speed < 0 for key in self.keys)

    def as_data(self) -> tuple[Any, ...]:
        """Return it in types of Python alone, exact; see :meth:`from_data`."""
        keys = (
            (at.unit, str(at.value), str(speed), stop and (stop.unit, str(stop.value)))
            for at, speed, stop in self.keys
        )
        return self.ease, *keys

    @classmethod
    def from_data(cls, data: Sequence[Any]) -> Curve:
        """Return the curve of which ``data`` is what :meth:`as_data` returned."""
        ease, *keys = data
        made = (
            SpeedKey(
                Position(Fraction(value), unit),
                Fraction(speed),
                stop and Position(Fraction(stop[1]), stop[0]),
            )
            for unit, value, speed, stop in keys
        )
        return cls(tuple(made), ease)

    def __str__(self) -> str:
        return ", ".join(map(_written, self.keys))


def _of_text(text: str, ease: Ease) -> Curve | None:
    """Return the curve that is written; None for an empty text."""
    if not text.strip():
        return None
    whole = _number(text)
    if whole is not None:
        return Curve((_whole_clip(whole),), ease)
    keys, done = [], 0
    for item in re.split(r"([,;\n])", text.rstrip(" ,;\n")):
        try:
            if item.strip(" ,;\n"):
                keys.append(_written_key(item.strip()))
        except BadInputError as error:
            # The text with marks around what cannot be read.
            begin = text[: done + len(item) - len(item.lstrip())]
            marked = f"{begin}>>{item.strip()}<<{text[done + len(item.rstrip()) :]}"
            raise BadInputError(error.wrong, " ".join(marked.split()), error.advice) from error
        done += len(item)
    return Curve(tuple(keys), ease)


def _written_key(item: str) -> SpeedKey:
    match = _KEY.fullmatch(item)
    if match is None:
        raise BadInputError("This is no keyframe of speed.", item, ADVICE)
    at, speed, stop = match.groups()
    return _key(at, speed, stop)


def _key(at: Any, speed: Any, stop: Any = None) -> SpeedKey:
    key = SpeedKey(_position(at), _speed(speed), None if stop is None else _position(stop))
    wrong = _wrong_with(key)
    if wrong:
        raise BadInputError(wrong, _written(key), ADVICE)
    return key


def _wrong_with(key: SpeedKey) -> str:
    """Return what is wrong with a keyframe; empty where nothing is."""
    if key.at.value < 0:
        return "A keyframe of speed cannot be before the clip."
    if key.speed and not _SLOWEST <= abs(key.speed) <= _FASTEST:
        return f"A speed must be from {_SLOWEST} to {_FASTEST}, forwards or backwards; or 0 for a time."
    if not key.speed and (key.stop is None or key.stop.unit == "%" or not 0 < key.stop.value <= _LONGEST):
        return "A speed of 0 needs the time for which it stops."
    if key.speed and key.stop is not None:
        return "Only a speed of 0 has a time for which it stops."
    return ""


def _listed(index: int, item: Any) -> SpeedKey:
    """Return the keyframe of an item of a list: a pair, a text, or the speed of a frame."""
    if isinstance(item, str) and ":" in item:
        return _written_key(item.strip())
    if isinstance(item, Sequence) and not isinstance(item, str) and len(item) in (_PAIR, _PAIR + 1):
        return _key(*item)
    return _key(index, item)


def _whole_clip(speed: Fraction) -> SpeedKey:
    """Return the keyframe of one speed for a whole clip, which begins at its end where that is below 0."""
    at = Position(Fraction(100), "%") if speed < 0 else Position(Fraction(0), "frames")
    return SpeedKey(at, speed)


def _position(value: Any) -> Position:
    unit: Unit = "frames"
    if isinstance(value, str):
        text = value.strip()
        for mark in ("s", "%"):
            if text.endswith(mark):
                value, unit = text.removesuffix(mark), mark
    exact = number(value)
    if exact is None:
        raise BadInputError("This is no position in a clip.", described(value), ADVICE)
    return Position(Fraction(exact), unit)


def _speed(value: Any) -> Fraction:
    exact = _number(value)
    if exact is None:
        raise BadInputError("This is no speed.", described(value), ADVICE)
    return exact


def _number(value: Any) -> Fraction | None:
    """Return a number, or a percentage as a part of 1."""
    percent = isinstance(value, str) and value.strip().endswith("%")
    exact = number(value.strip().removesuffix("%") if percent else value)
    return None if exact is None else Fraction(exact) / (100 if percent else 1)


def _written(key: SpeedKey) -> str:
    stop = "" if key.stop is None else f" for {_short(key.stop)}"
    return f"{_short(key.at)}:{float(key.speed):g}{stop}"


def _short(position: Position) -> str:
    return f"{float(position.value):g}{'' if position.unit == 'frames' else position.unit}"
