"""An example of a network: recognised by its names, configured from its shapes, run by the common loop."""

from __future__ import annotations

from dataclasses import asdict

import torch

from ...errors import BadInputError
from ..interface import Architecture, Detection, ModelSpec, Options, StateDict
from ..options import chosen
from ..torch_interpolator import TorchInterpolator, build_strict, require_fit, shapes_of
from .net import ExampleNet, ExampleOptions, ExampleSession, padded_size

__all__ = ["ARCHITECTURE", "Example"]

_WIDTHS = {"small": 8, "large": 16}
"""Channels, by family: whatever tells two published networks of one design apart."""
_ADVICE = "Get the checkpoint as it was published."


class Example(TorchInterpolator[ExampleNet]):
    """The example network with its weights. See :class:`~..interface.Interpolator`."""

    def __init__(self, net: ExampleNet, family: str) -> None:
        spec = ModelSpec(
            architecture="example_model",
            family=family,
            any_timestep=True,
            follows_extra=True,
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
            safe_dtypes=(torch.float32,),
            options=asdict(ExampleOptions()),
            licence="MIT",
            source="this project's CONTRIBUTING.md",
        )
        super().__init__(net, spec)

    def open(self, height: int, width: int, options: Options | None = None) -> ExampleSession:
        """Open a session for frames of ``height`` x ``width``.

        Raises:
            BadInputError: an unknown option, or a reach that is not positive.
        """
        return ExampleSession(self.module, (height, width), _checked(options))

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes of one timestep: some 30 float32 values for each padded pixel."""
        rows, columns = padded_size(height, width)
        return rows * columns * 4 * 30

    def low_memory(self, options: Options) -> Options | None:
        """Return None: no option saves memory."""
        return None


def _checked(options: Options | None) -> ExampleOptions:
    checked = chosen(options, ExampleOptions(), "The example model")
    if checked.reach <= 0:
        raise BadInputError("The example model cannot reach so far.", repr(checked.reach), "Use 8.0.")
    return checked


def detect(state_dict: StateDict) -> Detection | None:
    """Recognise the network by two names that no other has together, and its family by one shape.

    Raises:
        UnsupportedWeightsError: its names with other shapes.
    """
    if not {"encoder.0.weight", "estimator.0.weight"} <= state_dict.keys():
        return None
    width = state_dict["encoder.0.weight"].shape[0]
    family = next((name for name, channels in _WIDTHS.items() if channels == width), "small")
    require_fit(state_dict, shapes(family), what="the example model", family=family, advice=_ADVICE)
    return Detection("example_model", family, dict(state_dict))


def build(detection: Detection) -> Example:
    """Build the network of a detected state dict, loaded strictly."""
    net = build_strict(
        lambda: ExampleNet(_WIDTHS[detection.family]),
        detection.state_dict,
        what="the example model",
        family=detection.family,
        advice=_ADVICE,
    )
    return Example(net, detection.family)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a family."""
    return shapes_of(lambda: ExampleNet(_WIDTHS[family]))


ARCHITECTURE = Architecture(
    name="example_model", families=tuple(_WIDTHS), shapes=shapes, detect=detect, build=build
)
