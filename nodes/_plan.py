"""What the widgets of an interpolation node ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ..engine.timeline import pair_multiplier
from ..errors import BadInputError
from ..inputs.numbers import Number, multipliers
from ..inputs.rates import rate_or_zero
from ..vfi_utils import (
    EndLaw,
    StatesLike,
    Timeline,
    by_fps,
    by_multiplier,
)

_LOG = logging.getLogger(__name__)

ASSUMED_FPS = 24
"""Frames a second of a source whose rate nobody knows: film's, and what Midframe takes folders of images for.
Video Combine and Create Video need some rate, and refuse 0."""


def plan(
    multiplier: Any,
    rates: tuple[Any, Any],
    *,
    states: StatesLike | None,
    end: EndLaw,
    in_batches: bool = False,
    frames: int | None = None,
) -> tuple[Timeline, float]:
    """Return the timeline of a node's widgets, and the frame rate at which its output plays at natural speed.

    That rate is the target rate; without one the source's times the multiplier, on average over all pairs
    where they differ. A source whose rate is not known counts as :data:`ASSUMED_FPS`.

    Args:
        multiplier: a number or a list of whole numbers, where there is no target rate.
        rates: of the source and of the target, 0 for none.
        states: pairs in which nothing is made.
        end: what follows the last source frame.
        in_batches: the clip comes in batches, of which each must have an output.
        frames: of the clip, where that is known.

    Raises:
        BadInputError: a multiplier, rate or states that cannot be used, or a target rate without a source
            rate.
    """
    source, target = map(rate_or_zero, rates)
    if target:
        _check_target(source, target, in_batches=in_batches)
        return by_fps(source, target, states=states, end=end), float(target)
    given = multipliers(multiplier)
    if not source:
        _LOG.info("source_fps is not set: the fps output counts on %d frames a second", ASSUMED_FPS)
    fps = (source or ASSUMED_FPS) * _mean(given, None if in_batches else frames)
    return by_multiplier(given, states=states, end=end), float(fps)


def _check_target(source: Fraction, target: Fraction, *, in_batches: bool) -> None:
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


def _mean(given: Number | tuple[int, ...], frames: int | None) -> Number:
    """Return how many frames come out for each source frame, on average over the pairs of a clip.

    Where nobody knows how many pairs there are, those of the list count.
    """
    if not isinstance(given, tuple):
        return given
    pairs = len(given) if frames is None else frames - 1
    each = [max(pair_multiplier(given, index), 1) for index in range(max(pairs, 1))]
    return Fraction(sum(each), len(each))


def unlike_default(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options that differ from their defaults: a model need not know the others."""
    return {name: value for name, value in options.items() if value != defaults[name]}
