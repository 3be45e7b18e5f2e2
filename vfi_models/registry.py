"""Finds the architectures of the pack, and the one that a state dict belongs to."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from ..errors import UnsupportedWeightsError
from .interface import Architecture, Detection, Interpolator, StateDict

_SHOWN_NAMES = 6


@cache
def architectures() -> tuple[Architecture, ...]:
    """Return every architecture of the pack, sorted by name."""
    names = sorted(
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        # _ops and _sampling are no networks.
        if module.ispkg and not module.name.startswith("_")
    )
    modules = [importlib.import_module(f".{name}", __package__) for name in names]
    return tuple(module.ARCHITECTURE for module in modules)


def detect(state_dict: StateDict) -> Detection:
    """Recognise the network that a state dict belongs to, from names and shapes alone.

    Args:
        state_dict: parameters as a file has them, with any known prefix and anything that training left.

    Returns:
        Architecture, family, and the parameters under the network's own names.

    Raises:
        UnsupportedWeightsError: no architecture knows these names, or the shapes fit no family.
    """
    refusals = []
    for architecture in architectures():
        try:
            detection = architecture.detect(state_dict)
        except UnsupportedWeightsError as error:
            # A network may contain another's blocks, as TLBVFI does RIFE's: these not fitting decides
            # nothing.
            refusals.append(error)
            continue
        if detection is not None:
            _require_floats(detection)
            return detection
    if refusals:
        # The refusal that names a family says most: it has read the shapes and not only the names.
        raise next((refusal for refusal in refusals if refusal.nearest), refusals[0])
    names = sorted(state_dict)
    shown = ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
    raise UnsupportedWeightsError(
        "These weights belong to no network of this pack.",
        f"{len(names)} parameters: {shown or 'none'}",
        "Choose weights of " + ", ".join(a.name for a in architectures()) + ".",
        unexpected=names,
    )


def _require_floats(detection: Detection) -> None:
    other = sorted(name for name, value in detection.state_dict.items() if not value.is_floating_point())
    if other:
        raise UnsupportedWeightsError(
            f"Weights of {detection.architecture} {detection.family} that are no floating-point numbers.",
            f"{', '.join(other[:_SHOWN_NAMES])}",
            "Get the checkpoint as it was published: quantised ones are not supported.",
            nearest=detection.family,
        )


def build(detection: Detection) -> Interpolator:
    """Build the interpolator of a detected state dict: on the CPU, float32, eval mode, loaded strictly.

    Raises:
        UnsupportedWeightsError: names or shapes that the detected family does not have.
    """
    owner = next(a for a in architectures() if a.name == detection.architecture)
    return owner.build(detection)
