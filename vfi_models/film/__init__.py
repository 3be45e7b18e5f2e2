"""FILM: frame interpolation for large motion."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor

from .._ops.padding import round_up
from ..interface import Architecture, Detection, ModelSpec, Options
from ..options import chosen
from ..torch_interpolator import TorchInterpolator, build_strict
from ..torch_interpolator import shapes_of as shapes_of_network
from .config import FAMILIES, FUSED_LEVELS, LEVELS, Config, detect, read_config
from .net import FilmNet, strips
from .session import FilmOptions, FilmSession

__all__ = ["ARCHITECTURE", "Film"]

# Below it the coarsest level has no pixels.
_LEAST_SIDE = 2 ** (LEVELS - 1)
# Bytes.
_FLOAT32 = 4


class Film(TorchInterpolator[FilmNet]):
    """A FILM network. See :class:`~..interface.Interpolator`."""

    def __init__(self, net: FilmNet, family: str) -> None:
        spec = ModelSpec(
            architecture="film",
            family=family,
            any_timestep=True,
            follows_extra=True,
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
            safe_dtypes=(torch.float32, torch.float16),  # bfloat16: not measured with trained weights
            options=asdict(FilmOptions()),
            licence="Apache-2.0",
            source="ECCV 2022, arXiv 2202.04901; google-research/frame-interpolation",
        )
        super().__init__(net, spec)

    def open(self, height: int, width: int, options: Options | None = None) -> FilmSession:
        """Open a session for frames of this size; see :class:`~..interface.Interpolator`.

        Sides below 64, which no published FILM takes, are mirrored up to 64 at the right and at the bottom,
        and the frame is cropped again.

        Raises:
            BadInputError: an unknown option, or a value that it cannot take.
        """
        checked = chosen(options, FilmOptions(), "FILM")
        return FilmSession(
            self.module,
            (height, width),
            _padded(height, width, checked),
            in_strips=checked.strips or self.device.type == "cpu",
        )

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes that one timestep takes.

        They are the features of both frames, and what the largest level of the fusion holds besides.
        """
        checked = chosen(options, FilmOptions(), "FILM")
        rows, columns = _padded(height, width, checked)
        in_strips = checked.strips or self.device.type == "cpu"
        config, item = self.module.config, self.dtype.itemsize
        # Features and the first layer's part of them stay for both frames and all levels; a level has a
        # quarter of the pixels of the one before.
        kept = 2 * sum((config.features(k) + config.flow_width(k)) * 0.25**k for k in range(LEVELS))
        # All levels together are 4/3 of the finest.
        pictures_and_flows = (2 * (3 + 2) + 2 * (2 + 4)) * 4 / 3

        def fused(level: int) -> float:
            strips_there = len(strips(rows >> level)) if in_strips else 1
            strip = (config.aligned(level) + 3 * config.fused(level)) / strips_there
            between = config.fused(level) + config.fused(level + 1) / 4
            converted = 0 if item == _FLOAT32 or self.device.type != "cpu" else 2 * config.features(level)
            warped = config.features(level) / strips_there if self.device.type == "cpu" else 0
            return (item * (strip + between) + _FLOAT32 * (converted + warped)) * 0.25**level

        # Levels are made one after the other, so only the largest counts.
        largest = max(fused(level) for level in range(FUSED_LEVELS - 1))
        return int(rows * columns * (item * kept + _FLOAT32 * pictures_and_flows + largest))

    def low_memory(self, options: Options) -> Options | None:
        """Return None: there are no options with which this network takes less."""
        return None


def _padded(height: int, width: int, options: FilmOptions) -> tuple[int, int]:
    if options.align:
        return round_up(height, _LEAST_SIDE), round_up(width, _LEAST_SIDE)
    return max(height, _LEAST_SIDE), max(width, _LEAST_SIDE)


def build(detection: Detection) -> Film:
    """Build the network of a detected state dict, loaded strictly.

    Raises:
        UnsupportedWeightsError: parameters missing, left over, or of another shape.
    """
    net = build_strict(
        partial(FilmNet, read_config(detection.state_dict)),
        detection.state_dict,
        convert=_laid_out,
        what="FILM",
        family=detection.family,
        advice="Download the checkpoint again.",
    )
    return Film(net, detection.family)


def _laid_out(value: Tensor) -> Tensor:
    """Return a parameter in float32, in the layout that convolutions with adjacent channels want."""
    layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format  # noqa: PLR2004
    return value.to(torch.float32, memory_format=layout)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a family."""
    return shapes_of(FAMILIES[family])


def shapes_of(config: Config) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a network of any size."""
    return shapes_of_network(partial(FilmNet, config))


ARCHITECTURE = Architecture(name="film", families=tuple(FAMILIES), shapes=shapes, detect=detect, build=build)
