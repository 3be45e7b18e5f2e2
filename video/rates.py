"""Frame rates as people write them."""

from __future__ import annotations

from fractions import Fraction

from ..errors import BadInputError

_RATES = {
    "film": Fraction(24),
    "ntsc-film": Fraction(24000, 1001),
    "pal": Fraction(25),
    "ntsc": Fraction(30000, 1001),
}
_SHORT = 2
"""Digits after the point from which on 59.94 is taken for 60000/1001."""


def frame_rate(text: str) -> Fraction:
    """A frame rate from what people write: ``60``, ``24000/1001``, ``59.94`` (60000/1001), ``ntsc``.

    Raises:
        BadInputError: not a positive rate.
    """
    try:
        value = _RATES.get(text.strip().lower()) or Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise BadInputError(
            "This is no frame rate.", repr(text), f"Write 60, 59.94, 24000/1001, {', '.join(_RATES)}."
        )
    digits = len(text.partition(".")[2])
    meant = Fraction(1000 * round(value * 1001 / 1000), 1001)
    rounded = digits >= _SHORT and value.denominator > 1 and abs(meant - value) <= Fraction(1, 2 * 10**digits)
    return meant if rounded else value
