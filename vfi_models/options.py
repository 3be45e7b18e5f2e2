"""Checks the options of a model as they come from a caller, and holds what several models do with theirs."""

from __future__ import annotations

from dataclasses import fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeVar, get_args

from ..errors import BadInputError
from ._ops.padding import PaddingMode
from .interface import Options

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

FLOW_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The flow scales of RIFE. Others do not divide a padded size into whole cells at every level."""
# The smallest that with_half_scale returns.
_LEAST_SCALE = FLOW_SCALES[0]

# The abstract types of `numbers`, for numpy registers its scalars with them.
_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
}


def chosen(options: Options | None, defaults: T, model: str) -> T:
    """Return ``defaults`` with the values of ``options``; whether these are in range is for the model to
    check.

    Args:
        options: some of the fields of ``defaults``, by name.
        defaults: a dataclass of options, none of them without its default value.
        model: what a person calls the model.

    Raises:
        BadInputError: an option that does not exist, or a value of another type than the default: bools,
            whole numbers and numbers are told apart.
    """
    by_name = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    given = dict(options or {})
    unknown = sorted(given.keys() - by_name.keys())
    if unknown:
        raise BadInputError(
            f"{model} does not have this option.",
            ", ".join(unknown),
            f"Use one of {', '.join(sorted(by_name))}.",
        )
    for name, value in given.items():
        # What is neither bool nor number, a padding mode or a size, is checked by its model alone.
        kind, words = _KINDS.get(type(by_name[name]), (object, ""))
        # True is an int to Python: without this test ``batch=True`` would pass as 1.
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise BadInputError(f"{model} cannot take this value of {name}.", repr(value), f"Use {words}.")
    return replace(defaults, **given)


def checked_scale(scale: float, model: str) -> float:
    """Return a flow scale as a float.

    Args:
        scale: a number.
        model: what a person calls the model.

    Raises:
        BadInputError: it is not one of :data:`FLOW_SCALES`.
    """
    if scale not in FLOW_SCALES:
        allowed = ", ".join(f"{each:g}" for each in FLOW_SCALES)
        raise BadInputError(f"{model} does not run at this flow scale.", repr(scale), f"Use {allowed}.")
    return float(scale)


def require_padding(padding: object) -> None:
    """Check a padding mode, as it comes from a caller.

    Raises:
        BadInputError: it is not one of :data:`~._ops.padding.PaddingMode`.
    """
    modes = get_args(PaddingMode)
    if padding not in modes:
        raise BadInputError("There is no such padding.", repr(padding), f"Use one of {modes}.")


def with_half_scale(options: Options, scale: float) -> Options | None:
    """Return options with half the flow scale, or None where that is below 0.25.

    Motion is then found on a picture of half the size; the picture itself is warped at full size still.

    Args:
        options: of a model, as :meth:`~.interface.Interpolator.low_memory` gets them.
        scale: the flow scale that they mean.
    """
    half = scale / 2
    return {**options, "flow_scale": half} if half >= _LEAST_SCALE else None
