"""TLBVFI: video frame interpolation by a Brownian bridge between latents of videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import nn

from ...errors import BadInputError, UnsupportedWeightsError
from .._core.seam import Architecture, Detection, ModelSpec, Options
from .bridge import FEWEST_STEPS, MOST_STEPS
from .config import FAMILIES, Family, detect
from .net import TlbvfiNet
from .session import Geometry, TlbvfiOptions, TlbvfiSession

__all__ = ["ARCHITECTURE", "Tlbvfi"]

_LEAST_SCALE = 0.05


class Tlbvfi:
    """A TLBVFI network. See :class:`~.._core.seam.Interpolator`."""

    def __init__(self, net: TlbvfiNet) -> None:
        self._net = net
        self._spec = ModelSpec(
            architecture="tlbvfi",
            family=net.family.name,
            any_timestep=False,
            follows_extra=False,
            dtypes=(torch.float32,),
            options=asdict(TlbvfiOptions()),
            licence="LicenseRef-none",
            source="ICCV 2025, arXiv 2507.04984; ZonglinL/TLBVFI",
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is and can do."""
        return self._spec

    @property
    def module(self) -> TlbvfiNet:
        """The parameters."""
        return self._net

    def open(self, height: int, width: int, options: Options | None = None) -> TlbvfiSession:
        chosen = replace(TlbvfiOptions(), **(options or {}))
        return TlbvfiSession(self._net, Geometry.of(height, width, chosen.flow_scale), chosen)


def build(detection: Detection) -> Tlbvfi:
    with torch.device("meta"):
        net = TlbvfiNet(FAMILIES[detection.family])
    net.load_state_dict(dict(detection.state_dict), assign=True)
    return Tlbvfi(net.eval().requires_grad_(False))


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of a family."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in TlbvfiNet(FAMILIES[family]).state_dict().items()}


ARCHITECTURE = Architecture(name="tlbvfi", families=tuple(FAMILIES), shapes=shapes, detect=detect, build=build)
