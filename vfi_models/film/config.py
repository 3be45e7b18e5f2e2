"""The sizes of a FILM network, and how they are read off a state dict of any layout.

Three layouts of names are published: the two TorchScript archives (v1.0.0 and v1.0.2 of
dajes/frame-interpolation-pytorch, under one file name) and ComfyUI's safetensors file. The network here has
the names of the last one, so that a converted file serves ComfyUI's own node too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from ...errors import UnsupportedWeightsError
from ..interface import Detection, StateDict

T = TypeVar("T")

LEVELS = 7
"""Levels of the image, feature and flow pyramids; level l has 1/2^l of the size, rounded down."""
FUSED_LEVELS = 5
"""Levels 0 to 4 are warped and fused; the flow of the others only leads to these."""
STAGES = 4
"""Stages of the feature extractor, each at half the size of the one before."""
OWN_FLOW_LEVELS = 3
"""Flow levels 0, 1, 2 have a predictor of their own; 3 to 6 share the last one."""
RGB = 3


@dataclass(frozen=True)
class Config:
    """The widths of a network, which differ between the published FILM and a small one for tests."""

    filters: int
    """Channels of the first stage; each later stage has twice as many."""
    flow_filters: tuple[int, int, int, int]
    """Channels of the flow predictors of level 0, 1, 2 and of the shared one."""

    def features(self, level: int) -> int:
        """Return the channels of the features of a level."""
        # A level joins stages 0 to 3 as far as they reach it: filters * (1 + 2 + 4 + 8)
        # channels from level 3 on.
        return self.filters * ((2 << min(level, STAGES - 1)) - 1)

    def flow_width(self, level: int) -> int:
        """Return the channels of the flow predictor of a level."""
        return self.flow_filters[min(level, OWN_FLOW_LEVELS)]

    def aligned(self, level: int) -> int:
        """Return the channels of a level of the fusion's input: both pictures, both features, both flows."""
        return 2 * (RGB + self.features(level) + 2)

    def fused(self, level: int) -> int:
        """Return the channels that the fusion passes from a level to the next finer one."""
        return self.filters << level if level < FUSED_LEVELS - 1 else self.aligned(level)


FAMILIES: dict[str, Config] = {
    "film": Config(64, (32, 64, 128, 256)),
    "narrow": Config(4, (4, 4, 8, 8)),
}
"""``film`` is the published network. ``narrow`` stands for the same network in any other width: none is
published, but a small one does for the goldens and for tests of the loop."""

_PREFIX = re.compile(r"^(?:module\.|model\.)+")
# Matches a convolution in any layout: some wrap it (`.0` or `.conv`) together with its activation.
_LAYER = re.compile(
    r"(extract\.extract_sublevels\.convs\.\d\.\d"
    r"|predict_flow\._predictor\._convs\.\d"
    r"|predict_flow\._predictors\.\d\._convs\.\d"
    r"|fuse\.convs\.\d\.\d)(?:\.0|\.conv)?\.(weight|bias)"
)
_FIRST = "extract.extract_sublevels.convs.0.0.conv.weight"
# The predictors of level 0, 1 and 2: they are numbered from coarse to fine.
_FLOW = ("predict_flow._predictors.2", "predict_flow._predictors.1", "predict_flow._predictors.0")


def clean(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the parameters under the network's own names, whatever the layout."""
    return {_LAYER.sub(r"\1.conv.\2", _PREFIX.sub("", name)): value for name, value in state_dict.items()}


def published_names(state_dict: Mapping[str, T]) -> dict[str, T]:
    """Return values under the names of the v1.0.2 archive instead of the network's own."""
    return {name.replace(".conv.", ".0."): value for name, value in state_dict.items()}


def detect(state_dict: StateDict) -> Detection | None:
    """Recognise FILM in any layout; return None where the names are another network's.

    Raises:
        UnsupportedWeightsError: FILM by its names, but cut off or of other depth.
    """
    weights = clean(state_dict)
    if _FIRST not in weights:
        return None
    config = read_config(weights)
    # Any other width is called narrow: the network is built from the shapes and not from the family.
    family = next((name for name, known in FAMILIES.items() if known == config), "narrow")
    return Detection("film", family, weights)


def read_config(weights: StateDict) -> Config:
    """Read the sizes off the shapes of parameters under the network's own names.

    Raises:
        UnsupportedWeightsError: a parameter that all sizes have is missing or is no convolution.
    """
    names = [_FIRST, *(f"{name}._convs.0.conv.weight" for name in (*_FLOW, "predict_flow._predictor"))]
    bad = [name for name in names if name not in weights or weights[name].ndim != 4]  # noqa: PLR2004
    if bad:
        raise UnsupportedWeightsError(
            "These weights look like FILM but do not fit it.",
            f"missing or of another shape: {', '.join(bad)}",
            "Download the checkpoint again.",
            nearest="film",
            missing=bad,
        )
    filters, fine, middle, coarse, shared = (int(weights[name].shape[0]) for name in names)
    return Config(filters, (fine, middle, coarse, shared))
