"""Turn frame rates, as people write them and other nodes pass them on, into exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import BadInputError
from .numbers import MOST_MULTIPLIER, number
from .objects import described

# FFmpeg's names.
_NAMED = {
    "film": Fraction(24),
    "ntsc-film": Fraction(24000, 1001),
    "pal": Fraction(25),
    "ntsc": Fraction(30000, 1001),
}
# Frames a second.
_FASTEST = 1_000_000
# What NTSC made of whole rates: 24, 30 and 60 became 23.976, 29.97 and 59.94.
_NTSC = Fraction(1000, 1001)
# Digits after the point from which on a written 59.94 is taken for 60000/1001.
_SHORT = 2
# 23.976 and 23.98 stand for 24000/1001; no two rates in use are as close as that.
_ROUNDED = Fraction(5, 1000)
# Largest denominator of a rate that went through floats; one within 1/1000 of a whole rate is that rate.
_DENOMINATOR = 1000

ADVICE = f"Write 60, 59.94, 24000/1001, {', '.join(_NAMED)}."


def frame_rate(value: Any) -> Fraction:
    """Return frames a second: ``60``, ``24000/1001``, ``59.94`` (60000/1001), ``ntsc``.

    Args:
        value: a text, or any number, see :func:`.numbers.number`. Whole numbers and fractions are exact.
            Decimals that are an NTSC rate rounded to two or more digits are that rate. Floats are nobody's
            writing, so they are also rounded to a denominator of 1000.

    Raises:
        BadInputError: no positive rate; more than a million frames a second, or less than one in a million
            seconds.
    """
    rate = _rate(value)
    if rate is None or not Fraction(1, _FASTEST) <= rate <= _FASTEST:
        raise BadInputError(
            f"Frame rates must be positive numbers, from 1/{_FASTEST} to {_FASTEST}.",
            described(value),
            ADVICE,
        )
    return rate


def rate_or_zero(value: Any) -> Fraction:
    """Return frames a second as :func:`frame_rate` does, and 0 for 0 and None: a rate that is not known.

    Raises:
        BadInputError: see :func:`frame_rate`.
    """
    return Fraction(0) if value is None or number(value) == 0 else frame_rate(value)


def require_ratio(source: Fraction, target: Fraction) -> None:
    """Check that there are not more output frames for each source frame than any multiplier may ask for.

    Args:
        source, target: frames a second, positive.

    Raises:
        BadInputError: there are more.
    """
    if target > source * MOST_MULTIPLIER:
        raise BadInputError(
            "The target frame rate is too far from that of the source.",
            f"{float(source):g} to {float(target):g} frames a second",
            f"Give at most {MOST_MULTIPLIER} times the frame rate of the source.",
        )


def common_tick(a: Fraction, b: Fraction) -> Fraction:
    """Return the largest time of which both ``a`` and ``b``, positive, are multiples."""
    denominator = lcm(a.denominator, b.denominator)
    return Fraction(gcd(int(a * denominator), int(b * denominator)), denominator)


def _rate(value: Any) -> Fraction | None:
    exact = number(value)
    if isinstance(value, str):
        named = _NAMED.get(value.strip().lower())
        return named or (None if exact is None else _written(value, Fraction(exact)))
    if exact is None:
        return None
    floating = isinstance(value, (Real, Tensor, np.ndarray)) and not isinstance(value, (int, Fraction))
    return _measured(Fraction(exact)) if floating else _written(str(value), Fraction(exact))


def _written(text: str, rate: Fraction) -> Fraction:
    """Return a rate that a person wrote, as NTSC where its digits are those of one."""
    digits = len(text.strip().partition(".")[2])
    # The NTSC rate that is nearest, if the digits are that one rounded: half a unit of the last is the most.
    meant = round(rate / _NTSC) * _NTSC
    rounded = digits >= _SHORT and rate.denominator > 1 and abs(meant - rate) <= Fraction(1, 2 * 10**digits)
    return meant if rounded else rate


def _measured(rate: Fraction) -> Fraction:
    """Return a rate that went through floats: the nearest whole or NTSC one where it is close."""
    nearest = Fraction(round(rate))
    if nearest and abs(rate - nearest) * _DENOMINATOR < 1:
        return nearest
    ntsc = round(rate / _NTSC) * _NTSC
    if ntsc and abs(rate - ntsc) <= _ROUNDED:
        return ntsc
    return rate.limit_denominator(_DENOMINATOR) or rate
