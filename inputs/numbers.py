"""Turn numbers from widgets, links, scripts and the command line into exact ones."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from numbers import Rational, Real
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import BadInputError
from .objects import described

Number = int | Fraction
"""Exact: an int where it is whole."""

MOST_MULTIPLIER = 10_000
"""Output frames for each source frame, at most. More is a slip of the keyboard, and would fill any memory."""

# Characters: no number that somebody means has more.
_LONGEST_TEXT = 64
# Largest power of ten: Fraction would write out the zeros of 1e999999999 one by one.
_LARGEST_EXPONENT = 30
# Up to six decimals a number is taken to be typed, and exact.
_TYPED_DENOMINATOR = 10**6
# That of NTSC: 23.976023976 is 24000/1001, and no simpler ratio that is nearly as close.
_PLAIN_DENOMINATOR = 1001
# 7/3 as a float is 2.3333333333333335, as float32 2.3333333: what nobody types is a ratio, rounded.
_ROUNDING = Fraction(1, 10**7)

_MULTIPLIER_ADVICE = (
    "Use 2 to double the frame rate, 2.5 or 5/2 for two and a half times; for a frame rate set target fps. "
    f"At most {MOST_MULTIPLIER}."
)


def number(value: Any) -> Number | None:
    """Return the exact number that ``value`` stands for, or None where it stands for none.

    Args:
        value: an int, Fraction, float or Decimal, those of numpy, a tensor or array of one element, or a text
            such as ``"2"``, ``" 2.5 "`` or ``"5/2"``. Floats are taken as the decimals that they are shown
            as: 2.4 is 12/5. True, complex numbers, NaN and infinity are no numbers.
    """
    value = _unwrapped(value)
    exact = None
    if isinstance(value, str):
        exact = _of_text(value)
    elif isinstance(value, (bool, np.bool_)):  # before whole numbers, one of which True is to Python
        return None
    elif isinstance(value, Rational):
        exact = Fraction(int(value.numerator), int(value.denominator))
    elif isinstance(value, (Real, Decimal)):
        exact = _of_decimal(str(value))
    elif not isinstance(value, (Tensor, np.ndarray)) and hasattr(type(value), "__index__"):
        exact = Fraction(operator.index(value))
    if exact is None:
        return None
    return int(exact) if exact.denominator == 1 else exact


def whole(value: Any, name: str, *, least: int = 0, most: int | None = None) -> int:
    """Return ``value`` as an int; 2.0, ``"2"`` and a tensor that holds 2 are 2.

    Args:
        value: see :func:`number`.
        name: of what it is, for the error.
        least: that it may be.
        most: that it may be; None for no limit.

    Raises:
        BadInputError: no whole number, or out of range.
    """
    exact = number(value)
    if isinstance(exact, int) and exact >= least and (most is None or exact <= most):
        return exact
    limits = f"{least} or more" if most is None else f"{least} to {most}"
    raise BadInputError(
        f"{name[0].upper()}{name[1:]} must be a whole number, {limits}.",
        described(value),
        f"Give a number such as {least}.",
    )


def real(value: Any, name: str) -> float:
    """Return ``value`` as a float.

    Args:
        value: see :func:`number`.
        name: of what it is, for the error.

    Raises:
        BadInputError: no number.
    """
    exact = number(value)
    if exact is None:
        raise BadInputError(
            f"{name[0].upper()}{name[1:]} must be a number.", described(value), "Give a number such as 0.5."
        )
    return float(exact)


def multipliers(value: Any) -> Number | tuple[int, ...]:
    """Return one multiplier, from 1 to :data:`MOST_MULTIPLIER`, or those of each pair: whole, 0 and up.

    Args:
        value: a number, see :func:`number`; or a list, tuple or one-dimensional array or tensor of several,
            which must be whole, unless all are the same: pairs of 2.5 frames each are a rate.

    Raises:
        BadInputError: not that, or out of range.
    """
    items = _items(value)
    if items is None:
        return _multiplier(value)
    each = [number(item) for item in items]
    if len(set(each)) == 1 and isinstance(each[0], Fraction):
        return _multiplier(each[0])
    if all(isinstance(item, int) and 0 <= item <= MOST_MULTIPLIER for item in each):
        return tuple(int(item) for item in each if item is not None)
    raise BadInputError(
        "A list of multipliers must hold whole numbers of 0 or more.", described(value), _MULTIPLIER_ADVICE
    )


def _multiplier(value: Any) -> Number:
    exact = number(value)
    if exact is not None and 1 <= exact <= MOST_MULTIPLIER:
        return exact
    raise BadInputError(
        "The multiplier must be a number of 1 or more, or a list of whole numbers of 0 or more.",
        described(value),
        _MULTIPLIER_ADVICE,
    )


def _items(value: Any) -> Sequence[Any] | None:
    """Return the items of what is a list of numbers, None for anything else."""
    if isinstance(value, (Tensor, np.ndarray)):
        return list(value) if value.ndim == 1 and _count(value) != 1 else None
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        return value
    return None


def _count(value: Tensor | np.ndarray) -> int:
    return value.numel() if isinstance(value, Tensor) else value.size


def _unwrapped(value: Any) -> Any:
    """Return the element of a tensor or array that has one, as a scalar of numpy: it knows its precision."""
    if not isinstance(value, (Tensor, np.ndarray)) or _count(value) != 1:
        return value
    if isinstance(value, Tensor):
        try:
            # Not item(): 2.4 in float32 would become 2.4000000953674316. numpy's scalar shows itself as 2.4.
            return value.detach().cpu().reshape(()).numpy()[()]
        except TypeError:  # numpy has no bfloat16
            return value.item()
        except (RuntimeError, NotImplementedError):  # sparse, quantized or without data
            return value
    return value.reshape(())[()]


def _of_text(text: str) -> Fraction | None:
    above, slash, below = text.partition("/")
    numerator, denominator = _of_decimal(above), _of_decimal(below) if slash else Fraction(1)
    return numerator / denominator if numerator is not None and denominator else None


def _of_decimal(text: str) -> Fraction | None:
    """Return the number that decimals stand for: themselves, or the ratio that was rounded to them."""
    try:
        decimal = Decimal(text) if len(text) <= _LONGEST_TEXT else Decimal("nan")
    except InvalidOperation:
        return None
    if not decimal.is_finite() or abs(decimal.adjusted()) > _LARGEST_EXPONENT:
        return None
    exact = Fraction(decimal)
    if exact.denominator <= _TYPED_DENOMINATOR:
        return exact
    ratio = exact.limit_denominator(_PLAIN_DENOMINATOR)
    return ratio if abs(ratio - exact) <= abs(exact) * _ROUNDING else exact
