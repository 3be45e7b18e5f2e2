"""Which frames come out of a node that takes frames, and the rate at which they play at natural speed."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import Any

from ..errors import BadInputError
from ..inputs.numbers import Number, multipliers
from ..inputs.rates import rate_or_zero
from ..vfi_utils import EndLaw, StatesLike, Timeline, Timesteps, by_fps, by_multiplier

_LOG = logging.getLogger(__name__)

ASSUMED_FPS = 24
"""Frames a second of a source whose rate nobody knows: film's, and what Midframe takes folders of images for.
Video Combine and Create Video need some rate, and refuse 0."""
UNKNOWN_RATE = f"source_fps is not set: the fps output counts on {ASSUMED_FPS} frames a second"
_PAIR = 2


def timeline_and_fps(
    multiplier: Any,
    rates: tuple[Any, Any],
    *,
    states: StatesLike | None,
    end: EndLaw,
    frames: int | None,
) -> tuple[Timeline, float]:
    """Return the timeline of a node's widgets, and the frame rate at which its output plays at natural speed.

    That rate is the target rate; without one the source's times the multiplier, on average over all pairs
    where they differ. A source whose rate is not known counts as :data:`ASSUMED_FPS`.

    Args:
        multiplier: a number or a list of whole numbers, where there is no target rate.
        rates: of the source and of the target, 0 for none.
        states: pairs in which nothing is made.
        end: what follows the last source frame.
        frames: of the clip; None where it comes in batches, of which each must have an output.

    Raises:
        BadInputError: a multiplier, rate or states that cannot be used, or a target rate without a source
            rate.
    """
    source, target = map(rate_or_zero, rates)
    if target:
        _check_target(source, target, in_batches=frames is None)
        return by_fps(source, target, states=states, end=end), float(target)
    exact = multipliers(multiplier)
    fps = (source or ASSUMED_FPS) * _mean_multiplier(exact, frames)
    # Without a rate a frame takes a second: nothing but a speed asks how long it takes.
    return by_multiplier(exact, states=states, end=end, source_fps=source or Fraction(1)), float(fps)


def say_assumed_rate(source_fps: Any, target_fps: Any) -> None:
    """Log that the rate of the output is an assumption, where it is one."""
    if not rate_or_zero(source_fps) and not rate_or_zero(target_fps):
        _LOG.info("source_fps is not set: the fps output counts on %d frames a second", ASSUMED_FPS)


def nothing_to_make(timeline: Timesteps, frames: int) -> str | None:
    """Return why no frame is made of a clip of so many frames, for its user; None where some are."""
    if frames < _PAIR:
        found = "one frame" if frames else "no frame"
        return (
            f"Nothing was made: {found} came in, and frames are made between two. Where a list hands them on "
            "one by one, join them first, with Rebatch Images for example."
        )
    # A timestep of 0 is the source frame itself; the search ends at the first other one.
    if any(any(timeline.shown(index, last=False)) for index in range(frames - 1)):
        return None
    return "Nothing was made: multiplier, frame rates and states leave no moment between two source frames."


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


def _mean_multiplier(exact: Number | tuple[int, ...], frames: int | None) -> Number:
    """Return how many frames come out for each source frame, on average over the pairs of a clip.

    Where nobody knows how many pairs there are, those of the list count.
    """
    if not isinstance(exact, tuple):
        return exact
    pairs = max(len(exact) if frames is None else frames - 1, 1)
    steps = by_multiplier(exact).count(pairs + 1) - 1  # from the first source frame to the last
    return Fraction(steps, pairs)
