"""What the widgets of an interpolation node ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadInputError
from ..vfi_utils import EndLaw, StatesLike, Timeline, by_fps, by_multiplier
from ._widgets import exact_rate, whole_numbers


def plan(
    multiplier: Any,
    rates: tuple[float, float],
    *,
    states: StatesLike | None,
    end: EndLaw,
    in_batches: bool = False,
) -> tuple[Timeline, float]:
    """The timeline of a node's widgets, and the frame rate of its output (0 where it is not known).

    Args:
        multiplier: a whole number or a list of them, where there is no target rate.
        rates: of the source and of the target, 0 for none.
        states: pairs in which nothing is made.
        end: what follows the last source frame.
        in_batches: the clip comes in batches, of which each must have an output.

    Raises:
        BadInputError: a multiplier or rate that cannot be used, or a target rate without a source rate.
    """
    source, target = map(exact_rate, rates)
    if target:
        if not source:
            raise BadInputError(
                "A target frame rate needs the frame rate of the source.",
                f"target fps {float(target):g}, source fps 0",
                "Set source fps, for example from Get Video Components, or set target fps to 0.",
            )
        if in_batches and target < source:
            raise BadInputError(
                "A lower frame rate does not go with Meta Batch: a batch could come out empty, which Video "
                "Combine takes for the end.",
                f"{float(source):g} to {float(target):g}",
                "Lower it where the clip is loaded (force_rate, select_every_nth).",
            )
        return by_fps(source, target, states=states, end=end), float(target)
    each = whole_numbers(multiplier)
    fps = float(source * each) if isinstance(each, int) else 0.0
    return by_multiplier(each, states=states, end=end), fps


def unlike_default(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that differ from their defaults: a model need not know the others."""
    return {name: value for name, value in options.items() if value != defaults[name]}
