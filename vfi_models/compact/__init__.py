"""The built-in model: small, offline, trained by ``midframe.training``."""

from __future__ import annotations

from dataclasses import asdict

import torch

from ...errors import BadInputError
from ..interface import Architecture, Detection, ModelSpec, Options, StateDict
from ..options import chosen, with_half_scale
from ..torch_interpolator import TorchInterpolator, build_strict, require_fit, shapes_of
from .net import PyramidNet
from .session import CompactOptions, CompactSession, Geometry, activation_bytes

__all__ = ["ARCHITECTURE", "Compact"]

_LEAST_SCALE, _LARGEST_SCALE = 0.25, 4.0
_ADVICE = "Use the file that came with this version, or train one: python -m midframe.training.train."
# Its files say no version; a network of another shape under these names would be the next family.
_FAMILY = "v2"
# Names that only this network has together.
_TELLING = ("decoders.0.sharpness", "encoder.stem.weight", "fine.leave.weight")


class Compact(TorchInterpolator[PyramidNet]):
    """The built-in network. See :class:`~..interface.Interpolator`."""

    def __init__(self, net: PyramidNet) -> None:
        spec = ModelSpec(
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
        super().__init__(net, spec)

    def open(self, height: int, width: int, options: Options | None = None) -> CompactSession:
        """Open a session for frames of this size; see :class:`~..interface.Interpolator`.

        Raises:
            BadInputError: an unknown option, or a value out of range.
        """
        checked = _checked(options)
        return CompactSession(self.module, Geometry.of(height, width, checked.flow_scale), checked)

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes that one timestep takes."""
        return activation_bytes(Geometry.of(height, width, _checked(options).flow_scale), self.module.dtype)

    def low_memory(self, options: Options) -> Options | None:
        """Return the options with half the flow scale, or None below 0.25."""
        return with_half_scale(options, _checked(options).flow_scale)


def _checked(options: Options | None) -> CompactOptions:
    checked = chosen(options, CompactOptions(), "The built-in model")
    if not _LEAST_SCALE <= checked.flow_scale <= _LARGEST_SCALE:
        raise BadInputError(
            "The built-in model cannot take this value.",
            f"flow_scale {checked.flow_scale!r}",
            f"Use a number from {_LEAST_SCALE:g} to {_LARGEST_SCALE:g}.",
        )
    return checked


def detect(state_dict: StateDict) -> Detection | None:
    """Recognise the built-in model's own files; they carry no prefix and nothing but parameters.

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
        advice=_ADVICE,
    )
    return Detection("compact", _FAMILY, dict(state_dict))


def build(detection: Detection) -> Compact:
    """Build the network of a detected state dict, loaded strictly."""
    net: PyramidNet = build_strict(
        PyramidNet,
        detection.state_dict,
        # The file is float16, so float() copies; float32 weights, as a training evaluates them, are shared
        # instead.
        convert=torch.Tensor.float,
        what="the built-in model",
        family=detection.family,
        advice=_ADVICE,
    )
    return Compact(net)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a family."""
    if family != _FAMILY:
        raise KeyError(family)
    return shapes_of(PyramidNet)


ARCHITECTURE = Architecture(name="compact", families=(_FAMILY,), shapes=shapes, detect=detect, build=build)
