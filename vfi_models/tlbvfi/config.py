"""The networks of TLBVFI, and how a state dict is recognised as one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...errors import UnsupportedWeightsError
from ..interface import Detection, StateDict


@dataclass(frozen=True)
class Family:
    """Everything that tells one network from another."""

    name: str
    width: int
    """Channels of a frame's features at full size."""
    flow: tuple[int, int, int]
    """Channels of the three blocks of the coarse flow."""
    codes: int
    """Entries of the codebook."""
    samples: bool = True
    """Whether it has the sampler's network; without one the decoder gets the latent of the empty middle."""


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("vimeo", 64, (240, 150, 90), 8192),
        Family("vimeo-autoencoder", 64, (240, 150, 90), 8192, samples=False),
        # The same layout, a quarter as wide, without published weights: for tests.
        Family("small", 16, (48, 32, 16), 512),
    )
}

_CONV_IN = "vqgan.encoder.conv_in.weight"
_CODES = "vqgan.quantize.embedding.weight"
_FLOW = tuple(f"vqgan.decoder.flownet.block{i}.conv0.1.0.weight" for i in range(3))
_TIME = "denoise_fn.time_embed.0.weight"

_PREFIX = re.compile(r"^(?:module\.)+")
_AUTOENCODER = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
# The condition's network is the autoencoder once more; the others are buffers of the schedule, networks of
# the training's losses, counters, and layers that the published code has and never calls.
_DROPPED = ("cond_stage_model.", "vqgan.loss.", "loss.")
_SCHEDULE = {"m_t", "m_tminus", "variance_t", "variance_tminus", "variance_t_tminus", "posterior_variance_t"}
_UNUSED = re.compile(r"\.num_batches_tracked$|\.cross_attn\.out_conv\.")
_SHORTCUT = ".block.0.nin_shortcut."


def clean(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the parameters under the network's own names, without those that the network does not use.

    A file of the autoencoder alone has its names without ``vqgan.``.
    """
    kept: dict[str, Tensor] = {}
    for published, value in state_dict.items():
        name = _PREFIX.sub("", published)
        if name.startswith(_DROPPED) or name in _SCHEDULE or _UNUSED.search(name):
            continue
        kept[f"vqgan.{name}" if name.startswith(_AUTOENCODER) else name] = value
    # The published code creates these layers everywhere and calls them only where the width changes.
    idle = [name for name in kept if _SHORTCUT in name and _keeps_width(kept, name)]
    return {name: value for name, value in kept.items() if name not in idle}


def _keeps_width(weights: Mapping[str, Tensor], name: str) -> bool:
    """Tell whether a shortcut stands where the width does not change: there the published code adds the
    input.
    """
    weight = weights.get(name.rpartition(".")[0] + ".weight")
    return weight is not None and weight.ndim > 1 and weight.shape[0] == weight.shape[1]


def detect(state_dict: StateDict) -> Detection | None:
    """Recognise the family of a TLBVFI state dict; return None where the names are another network's.

    Raises:
        UnsupportedWeightsError: TLBVFI by its names, but of no known family.
    """
    weights = clean(state_dict)
    if not {_CONV_IN, _CODES, *_FLOW} <= weights.keys():
        return None
    found = (_rows(weights, _CONV_IN), tuple(_rows(weights, name) for name in _FLOW), _rows(weights, _CODES))
    samples = _TIME in weights
    for family in FAMILIES.values():
        if (family.width, family.flow, family.codes) == found and family.samples == samples:
            return Detection("tlbvfi", family.name, weights)
    width, flow, codes = found
    raise UnsupportedWeightsError(
        "These TLBVFI weights are of no network that this pack runs.",
        f"{width} channels, flow blocks of {flow}, {codes} codes, with{'' if samples else 'out'} a sampler",
        "Choose vimeo_unet.pth as the authors publish it.",
        nearest="vimeo",
    )


def _rows(weights: Mapping[str, Tensor], name: str) -> int:
    return weights[name].shape[0] if weights[name].ndim else 0
