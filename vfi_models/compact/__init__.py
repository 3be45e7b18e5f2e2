"""The built-in model: small, offline, trained by ``midframe.training`` on generated motion."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import nn

from ...errors import BadInputError
from .._core.fit import require_fit
from .._core.options import chosen
from .._core.seam import Architecture, Detection, ModelSpec, Options, StateDict
from .net import CompactNet
from .session import CompactOptions, CompactSession, Geometry, activation_bytes, option_problem

__all__ = ["ARCHITECTURE", "Compact"]

_FAMILY = "v1"
_LEAST_SCALE = 0.25
_TELLING = ("decoder.sharpness", "encoder.stem.weight", "fine.leave.weight")
"""Names that no other network has together."""


class Compact:
    """The built-in network. See :class:`~.._core.seam.Interpolator`."""

    def __init__(self, net: CompactNet) -> None:
        self._net = net
        self._spec = ModelSpec(
            architecture="compact",
            family=_FAMILY,
            any_timestep=True,
            follows_extra=True,
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
            safe_dtypes=(torch.float32, torch.float16, torch.bfloat16),
            options=asdict(CompactOptions()),
            licence="MIT",
            source="this project; trained by midframe.training",
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is and can do."""
        return self._spec

    @property
    def module(self) -> nn.Module:
        """The parameters."""
        return self._net

    def open(self, height: int, width: int, options: Options | None = None) -> CompactSession:
        """See the seam.

        Raises:
            BadInputError: an unknown option, or a value out of range.
        """
        chosen = _checked(options)
        return CompactSession(self._net, Geometry.of(height, width, chosen.flow_scale), chosen)

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """See the seam."""
        return activation_bytes(Geometry.of(height, width, _checked(options).flow_scale), self._net.dtype)

    def lighter(self, options: Options) -> Options | None:
        """See the seam: half the flow scale, down to 0.25."""
        scale = _checked(options).flow_scale / 2
        return {**options, "flow_scale": scale} if scale >= _LEAST_SCALE else None


def _checked(options: Options | None) -> CompactOptions:
    checked = chosen(options, CompactOptions(), "The built-in model")
    problem = option_problem(checked)
    if problem:
        raise BadInputError("The built-in model cannot take this value.", *problem)
    return checked


def detect(state_dict: StateDict) -> Detection | None:
    """The built-in model's own files; they carry no prefix and nothing but parameters.

    Raises:
        UnsupportedWeightsError: its names with other shapes.
    """
    if not all(name in state_dict for name in _TELLING):
        return None
    require_fit(
        state_dict,
        shapes(_FAMILY),
        what="the built-in model",
        family=_FAMILY,
        advice="Use the file that came with this version, or train one: python -m midframe.training.train.",
    )
    return Detection("compact", _FAMILY, dict(state_dict))


def build(detection: Detection) -> Compact:
    """The network of a detected state dict, loaded strictly."""
    net = _empty()
    weights = {name: value.float() for name, value in detection.state_dict.items()}
    net.load_state_dict(weights, assign=True)
    return Compact(net.eval().requires_grad_(False))


def _empty() -> CompactNet:
    """The network without storage for its parameters."""
    with torch.device("meta"):
        return CompactNet()


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of a family."""
    if family != _FAMILY:
        raise KeyError(family)
    return {name: tuple(value.shape) for name, value in _empty().state_dict().items()}


ARCHITECTURE = Architecture(name="compact", families=(_FAMILY,), shapes=shapes, detect=detect, build=build)
