"""RIFE 4.x: flow and mask by a pyramid of blocks, for any timestep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import torch

from ...errors import BadInputError
from .._ops.padding import round_up
from ..interface import Architecture, Detection, ModelSpec, Options
from ..options import checked_scale, chosen, require_padding, with_half_scale
from ..torch_interpolator import TorchInterpolator, build_strict, shapes_of
from .config import FAMILIES, detect
from .net import IFNet
from .session import RifeOptions, RifeSession

__all__ = ["ARCHITECTURE", "Rife"]


def _safe_dtypes(net: IFNet) -> tuple[torch.dtype, ...]:
    """Return the dtypes that keep the picture, bfloat16 among them but for 4.0.

    With its published weights 4.25 stays at least 51 dB from float32 in bfloat16 on real clips
    (benchmarks/README.md), and every family but one at least 49 with synthetic weights. 4.0's flows can grow
    so large that the last digit shows.
    """
    safe = (torch.float32, torch.float16)
    return safe if net.family.inner == "plain_skip" else (*safe, torch.bfloat16)


class Rife(TorchInterpolator[IFNet]):
    """A RIFE 4.x network. See :class:`~..interface.Interpolator`."""

    def __init__(self, net: IFNet) -> None:
        spec = ModelSpec(
            architecture="rife",
            family=net.family.name,
            any_timestep=True,
            follows_extra=True,
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
            safe_dtypes=_safe_dtypes(net),
            options=asdict(RifeOptions()),
            licence="MIT",
            source="ECCV 2022, arXiv 2011.06294; hzwer/Practical-RIFE",
        )
        super().__init__(net, spec)

    def open(self, height: int, width: int, options: Options | None = None) -> RifeSession:
        """Open a session for frames of this size; see :class:`~..interface.Interpolator`.

        Raises:
            BadInputError: an unknown option, or one that this family or file does not have.
        """
        checked = self._checked(options)
        return RifeSession(
            self.module, (height, width), padded=self._padded(height, width, checked), options=checked
        )

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes that one timestep takes.

        They are float32 values at full size (pictures, flow, mask, carry, grids, a block's outputs), and what
        the last block holds in the network's dtype.
        """
        checked = self._checked(options)
        rows, columns = self._padded(height, width, checked)
        family = self.module.family
        item = self.dtype.itemsize
        full = 2 * 3 * 3 + 4 * family.outputs + 12
        # The last block reads the largest input; its divisor says at which size.
        reach = family.divisors[-1] / checked.flow_scale
        # Published divisors end at 1, so the scale decides; 0.25 is that of flow scale 4.
        inside = (2 * family.later_inputs + family.widths[-1] / 2 + 4 * family.outputs) / max(
            reach, 0.25
        ) ** 2
        features = 4 * (family.picture_channels - 3)
        return int(rows * columns * (4 * (full + features) + item * inside) * (2 if checked.ensemble else 1))

    def low_memory(self, options: Options) -> Options | None:
        """Return the options with half the flow scale, or None below 0.25."""
        return with_half_scale(options, self._checked(options).flow_scale)

    def _padded(self, height: int, width: int, options: RifeOptions) -> tuple[int, int]:
        # A restart doubles the divisors, so the sides must divide by twice as much.
        needed = self.module.family.modulo * (2 if options.restart else 1)
        multiple = max(needed, int(needed / options.flow_scale))
        if options.padded_size is None:
            return round_up(height, multiple), round_up(width, multiple)
        # At flow scales above 1 ``multiple`` is more than the network needs, which is this.
        least = max(int(needed / options.flow_scale), 2)
        rows, columns = options.padded_size
        if rows < height or columns < width or rows % least or columns % least:
            raise BadInputError(
                "The picture cannot be padded to this size.",
                f"{height}x{width} to {rows}x{columns}",
                f"Use multiples of {least} that hold the picture, or leave padded_size out.",
            )
        return rows, columns

    def _checked(self, options: Options | None) -> RifeOptions:
        checked = _typed(options)
        family = self.module.family
        if checked.ensemble and not family.ensemble:
            raise BadInputError(
                "Ensemble is not defined for this RIFE family.",
                f"RIFE {' / '.join(family.versions)} carries features from block to block",
                "Switch ensemble off, or choose RIFE 4.0 to 4.20 or 4.24.",
            )
        if checked.refine and not hasattr(self.module, "contextnet"):
            raise BadInputError(
                "This file has no refinement network.",
                f"RIFE {family.name} without contextnet and unet",
                "Switch refinement off, or load a 4.0 to 4.4 file that carries it.",
            )
        if checked.restart and family.name != "4.0":
            raise BadInputError(
                "Only RIFE 4.0 and 4.1 restart.", f"RIFE {family.name}", "Switch restart off."
            )
        return checked


def _typed(options: Options | None) -> RifeOptions:
    """Return the options, each of its type and in its range; whether this family has them is checked
    later.
    """
    typed = chosen(options, RifeOptions(), "RIFE")
    scale = checked_scale(typed.flow_scale, "RIFE")
    require_padding(typed.padding)
    _require_size(typed.padded_size)
    return replace(typed, flow_scale=scale)


def _require_size(size: object) -> None:
    sides = list(size) if isinstance(size, Sequence) else []
    pair = len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)  # noqa: PLR2004
    if size is not None and not pair:
        raise BadInputError(
            "RIFE cannot take this value of padded_size.",
            repr(size),
            "Give (height, width) in pixels, or leave padded_size out.",
        )


def build(detection: Detection) -> Rife:
    """Build the network of a detected state dict, loaded strictly.

    Raises:
        UnsupportedWeightsError: parameters missing, left over, or of another shape.
    """
    family = FAMILIES[detection.family]
    weights = dict(detection.state_dict)
    # Half a refinement, the leftover of a training, is dropped.
    refine = "contextnet.conv1.conv1.0.weight" in weights and "unet.conv.weight" in weights
    if not refine:
        weights = {k: v for k, v in weights.items() if not k.startswith(("contextnet.", "unet."))}
    net = build_strict(
        partial(IFNet, family, refine=refine),
        weights,
        what=f"RIFE {family.name}",
        family=family.name,
        advice="Download the checkpoint again, or convert it with the code it was trained with.",
    )
    return Rife(net)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a family, without the optional refinement."""
    return shapes_of(partial(IFNet, FAMILIES[family]))


ARCHITECTURE = Architecture(name="rife", families=tuple(FAMILIES), shapes=shapes, detect=detect, build=build)
