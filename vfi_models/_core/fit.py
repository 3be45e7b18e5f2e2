"""Whether weights fit a network, to the last name and shape."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import UnsupportedWeightsError
from .seam import StateDict

_SHOWN = 6


def require_fit(
    weights: StateDict, shapes: Mapping[str, tuple[int, ...]], *, what: str, family: str, advice: str
) -> None:
    """Refuses weights that are not exactly the parameters of a network.

    Args:
        weights: under the network's own names.
        shapes: of its parameters, by name.
        what: the network, as a person calls it.
        family: the family that was detected.
        advice: what to do.

    Raises:
        UnsupportedWeightsError: parameters missing, left over, or of another shape.
    """
    missing, unexpected = shapes.keys() - weights.keys(), weights.keys() - shapes.keys()
    misshapen = {n for n in shapes.keys() & weights.keys() if tuple(weights[n].shape) != tuple(shapes[n])}
    if not (missing or unexpected or misshapen):
        return
    raise UnsupportedWeightsError(
        f"These weights look like {what} but do not fit it.",
        f"{len(missing)} parameters missing, {len(unexpected)} left over, {len(misshapen)} of another shape: "
        + ", ".join(sorted(missing | unexpected | misshapen)[:_SHOWN]),
        advice,
        nearest=family,
        missing=[*missing, *misshapen],
        unexpected=[*unexpected, *misshapen],
    )
