"""The networks of the RIFE paper: IFNet (the frame in the middle), IFNet_2R, and IFNet_m (any timestep)."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

import torch

from ...errors import BadInputError, UnsupportedWeightsError
from .._ops.padding import round_up
from ..interface import Architecture, Detection, ModelSpec, Options, StateDict
from ..options import checked_scale, chosen, require_padding, with_half_scale
from ..rife.config import clean
from ..torch_interpolator import TorchInterpolator, build_strict, require_fit, shapes_of
from .net import PaperNet
from .session import PaperOptions, PaperSession

__all__ = ["ARCHITECTURE", "RifePaper"]

_WHAT = "the RIFE paper's model"
_ADVICE = (
    "Take the checkpoint as the training wrote it, with contextnet and unet; or choose RIFE 4.0 to 4.26."
)
_FAMILIES = {"paper": False, "paper_m": True}
"""Families, and True for those that read the timestep."""
# Input channels of the first convolution: both pictures, and in IFNet_m the timestep.
_FIRST_INPUTS = {6: "paper", 7: "paper_m"}
# Both padded sides are multiples of this, and of this over the flow scale, as published.
_MODULO = 32


class RifePaper(TorchInterpolator[PaperNet]):
    """A network of the RIFE paper. See :class:`~..interface.Interpolator`."""

    def __init__(self, net: PaperNet) -> None:
        spec = ModelSpec(
            architecture="rife_paper",
            family="paper_m" if net.any_timestep else "paper",
            any_timestep=net.any_timestep,
            follows_extra=True,
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
            # 16 bits were not measured with trained weights, and 4.0, whose blocks these are, lost its
            # picture in bfloat16 where flows grew large.
            safe_dtypes=(torch.float32,),
            options=asdict(PaperOptions()),
            licence="MIT",
            source="ECCV 2022, arXiv 2011.06294; hzwer/ECCV2022-RIFE",
        )
        super().__init__(net, spec)

    def open(self, height: int, width: int, options: Options | None = None) -> PaperSession:
        """Open a session for frames of this size; see :class:`~..interface.Interpolator`.

        Raises:
            BadInputError: an unknown option, or a value that the network cannot take.
        """
        checked = self._checked(options)
        padded = padded_size(height, width, checked.flow_scale)
        return PaperSession(self.module, (height, width), padded=padded, options=checked)

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes that one timestep takes.

        They are float32 values at full size (pictures, warped ones, flow, mask, coordinates, the residual),
        and in the network's dtype what the last block and the refinement hold. All of IFNet_2R but its
        pictures is of twice the height and width.
        """
        checked = self._checked(options)
        rows, columns = padded_size(height, width, checked.flow_scale)
        inside = self.dtype.itemsize * (_REFINEMENT + _LAST_BLOCK * checked.flow_scale**2)
        return int(rows * columns * (4 * _FULL_SIZE + inside * (4 if checked.two_r else 1)))

    def low_memory(self, options: Options) -> Options | None:
        """Return the options with half the flow scale, or None below 0.25."""
        return with_half_scale(options, self._checked(options).flow_scale)

    def _checked(self, options: Options | None) -> PaperOptions:
        checked = chosen(options, PaperOptions(), _WHAT)
        scale = checked_scale(checked.flow_scale, _WHAT)
        require_padding(checked.padding)
        if checked.two_r and self.module.any_timestep:
            raise BadInputError(
                "IFNet_2R makes the frame in the middle, and these weights read the timestep.",
                "two_r is on",
                "Leave two_r out: these are weights of IFNet_m.",
            )
        return replace(checked, flow_scale=scale)


# Values that a pixel of the padded picture takes: at full size, and in the last block and the refinement,
# which work at half of it and less.
_FULL_SIZE, _LAST_BLOCK, _REFINEMENT = 60, 40, 70


def padded_size(height: int, width: int, flow_scale: float) -> tuple[int, int]:
    """Return the (height, width) that frames are padded to."""
    multiple = max(_MODULO, int(_MODULO / flow_scale))
    return round_up(height, multiple), round_up(width, multiple)


def detect(state_dict: StateDict) -> Detection | None:
    """Recognise a network of the paper by its three blocks; by the first one's inputs, which.

    Raises:
        UnsupportedWeightsError: its names with other shapes, or more or fewer of them.
    """
    weights = clean(state_dict)
    first = weights.get("block0.conv0.0.0.weight")
    if first is None or "block2.conv0.0.0.weight" not in weights or "block3.conv0.0.0.weight" in weights:
        return None
    inputs = first.shape[1] if first.ndim > 1 else 0
    family = _FIRST_INPUTS.get(inputs)
    refined = "unet.conv.weight" in weights
    if family is None or not refined:
        raise UnsupportedWeightsError(
            f"These weights look like {_WHAT} but do not fit it.",
            f"three blocks, the first of which reads {inputs} channels (6 or 7 in that model), and "
            f"{'a' if refined else 'no'} refinement network",
            _ADVICE,
            # Other networks have such blocks somewhere inside, TLBVFI for one: their own word goes first.
            nearest="paper" if refined else None,
        )
    require_fit(weights, shapes(family), what=_WHAT, family=family, advice=_ADVICE)
    return Detection("rife_paper", family, weights)


def build(detection: Detection) -> RifePaper:
    """Build the network of a detected state dict, loaded strictly."""
    make = partial(PaperNet, any_timestep=_FAMILIES[detection.family])
    net = build_strict(make, detection.state_dict, what=_WHAT, family=detection.family, advice=_ADVICE)
    return RifePaper(net)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a family, without the teacher."""
    return shapes_of(partial(PaperNet, any_timestep=_FAMILIES[family]))


ARCHITECTURE = Architecture(
    name="rife_paper", families=tuple(_FAMILIES), shapes=shapes, detect=detect, build=build
)
