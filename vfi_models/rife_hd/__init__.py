"""RIFE HD 3.x: three blocks, the frame in the middle, always on both orders of the pair."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch

from ...errors import BadInputError
from .._ops.padding import round_up
from ..interface import Architecture, Detection, ModelSpec, Options, StateDict
from ..options import checked_scale, chosen, require_padding, with_half_scale
from ..rife.config import clean
from ..torch_interpolator import TorchInterpolator, build_strict, require_fit, shapes_of
from .net import HDNet
from .session import HDOptions, HDSession

__all__ = ["ARCHITECTURE", "RifeHD"]

_FAMILY = "hdv3"
_ADVICE = "Choose RIFE HD 3.6, or a checkpoint of RIFE 4.0 to 4.26."
# Both padded sides are multiples of this, and of this over the flow scale, as published.
_MODULO = 32


class RifeHD(TorchInterpolator[HDNet]):
    """A RIFE HD 3.x network. See :class:`~..interface.Interpolator`."""

    def __init__(self, net: HDNet) -> None:
        spec = ModelSpec(
            architecture="rife_hd",
            family=_FAMILY,
            any_timestep=False,
            follows_extra=True,
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
            # At least 51 dB from float32 on real clips with published weights, see benchmarks/README.md.
            safe_dtypes=(torch.float32, torch.float16, torch.bfloat16),
            options=asdict(HDOptions()),
            licence="MIT",
            source="ECCV 2022, arXiv 2011.06294; hzwer/ECCV2022-RIFE",
        )
        super().__init__(net, spec)

    def open(self, height: int, width: int, options: Options | None = None) -> HDSession:
        """Open a session for frames of this size; see :class:`~..interface.Interpolator`.

        Raises:
            BadInputError: an unknown option, or a value that the network cannot take.
        """
        checked = _checked(options)
        padded = _padded(height, width, checked.flow_scale)
        return HDSession(self.module, (height, width), padded=padded, options=checked)

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes that one timestep takes.

        They are float32 values at full size (pictures, warped ones, flow, mask, coordinates), and what the
        last block holds of both orders in the network's dtype: its input, and outputs at half its size.
        """
        scale = _checked(options).flow_scale
        rows, columns = _padded(height, width, scale)
        item = self.dtype.itemsize
        return int(rows * columns * (4 * 40 + 2 * (3 * item + 4) * 20 * scale**2))

    def low_memory(self, options: Options) -> Options | None:
        """Return the options with half the flow scale, or None below 0.25."""
        return with_half_scale(options, _checked(options).flow_scale)


def _padded(height: int, width: int, scale: float) -> tuple[int, int]:
    multiple = max(_MODULO, int(_MODULO / scale))
    return round_up(height, multiple), round_up(width, multiple)


def _checked(options: Options | None) -> HDOptions:
    checked = chosen(options, HDOptions(), "RIFE HD 3.x")
    scale = checked_scale(checked.flow_scale, "RIFE HD 3.x")
    require_padding(checked.padding)
    if not checked.ensemble:
        raise BadInputError(
            "RIFE HD 3.x always averages over both orders of the pair.",
            "ensemble is off",
            "Leave ensemble out.",
        )
    return replace(checked, flow_scale=scale)


def detect(state_dict: StateDict) -> Detection | None:
    """Recognise a RIFE HD 3.x state dict by the pairs that its blocks are made of.

    Raises:
        UnsupportedWeightsError: its names with other shapes, or more or fewer of them.
    """
    weights = clean(state_dict)
    if "block0.convblock0.0.0.weight" not in weights:
        return None
    require_fit(
        weights,
        shapes(_FAMILY),
        what="RIFE HD 3.x",
        family=_FAMILY,
        advice=_ADVICE,
    )
    return Detection("rife_hd", _FAMILY, weights)


def build(detection: Detection) -> RifeHD:
    """Build the network of a detected state dict, loaded strictly."""
    net = build_strict(
        HDNet, detection.state_dict, what="RIFE HD 3.x", family=detection.family, advice=_ADVICE
    )
    return RifeHD(net)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a family."""
    if family != _FAMILY:
        raise KeyError(family)
    return shapes_of(HDNet)


ARCHITECTURE = Architecture(name="rife_hd", families=(_FAMILY,), shapes=shapes, detect=detect, build=build)
