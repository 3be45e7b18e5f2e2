"""Options of a model as they come from a caller: known, and each of its type."""

from __future__ import annotations

from dataclasses import fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeVar

from ..errors import BadInputError
from .interface import Options

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
}


def chosen(options: Options | None, defaults: T, model: str) -> T:
    """``defaults`` with the values of ``options``; whether these are in range is the model's to say.

    Args:
        options: some of the fields of ``defaults``, by name.
        defaults: a dataclass of options, none of them without its default value.
        model: what a person calls the model.

    Raises:
        BadInputError: an option that there is not, or a value of another type than the default: on and off,
            whole numbers and numbers are told apart.
    """
    known = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    given = dict(options or {})
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise BadInputError(
            f"{model} does not have this option.",
            ", ".join(unknown),
            f"Use one of {', '.join(sorted(known))}.",
        )
    for name, value in given.items():
        kind, words = _KINDS.get(type(known[name]), (object, ""))
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise BadInputError(f"{model} cannot take this value of {name}.", repr(value), f"Use {words}.")
    return replace(defaults, **given)
