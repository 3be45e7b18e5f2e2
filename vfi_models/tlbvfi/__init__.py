"""TLBVFI: the frame in the middle, sampled on a Brownian bridge between latents of videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import torch

from ...errors import BadInputError
from ..interface import Architecture, Detection, ModelSpec, Options
from ..options import chosen
from ..torch_interpolator import TorchInterpolator, build_strict, shapes_of
from .bridge import FEWEST_STEPS, MOST_STEPS
from .config import FAMILIES, detect
from .net import TlbvfiNet
from .session import LEAST_SCALE, Geometry, TlbvfiOptions, TlbvfiSession
from .tiles import TiledSession

__all__ = ["ARCHITECTURE", "Tlbvfi"]

# Sides that the network can run at: 256, or multiples of 512.
_SMALL_TILE, _TILE_UNIT, _LARGE_TILE = 256, 512, 1024
_LIGHT_SCALE = 0.5
_LARGEST_SEED = 2**64 - 1


class Tlbvfi(TorchInterpolator[TlbvfiNet]):
    """A TLBVFI network. See :class:`~..interface.Interpolator`."""

    def __init__(self, net: TlbvfiNet) -> None:
        spec = ModelSpec(
            architecture="tlbvfi",
            family=net.family.name,
            any_timestep=False,
            follows_extra=True,
            # In 16 bits latents round to other entries of the codebook than the published ones do.
            dtypes=(torch.float32,),
            safe_dtypes=(torch.float32,),
            options=asdict(TlbvfiOptions()),
            licence="none stated by its authors",
            source="ICCV 2025, arXiv 2507.04984; ZonglinL/TLBVFI",
        )
        super().__init__(net, spec)

    def open(self, height: int, width: int, options: Options | None = None) -> TlbvfiSession | TiledSession:
        """Open a session for frames of this size, in tiles where that is asked for.

        Raises:
            BadInputError: an unknown option, or a value out of range.
        """
        checked = _checked(options)
        size = (height, width)
        if checked.tile and max(size) > checked.tile:
            height, width = min(height, checked.tile), min(width, checked.tile)
        session = TlbvfiSession(self.module, Geometry.of(height, width, checked.flow_scale), checked)
        return session if session.geometry.size == size else TiledSession(size, session, checked.overlap)

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes that one timestep takes.

        In tensors of the tower's width at padded size they are about ten in the decoder, and fifteen on top
        of three in the refinement, whose size the flow scale sets.
        """
        checked = _checked(options)
        if checked.tile:
            height, width = min(height, checked.tile), min(width, checked.tile)
        rows, columns = Geometry.of(height, width, checked.flow_scale).padded
        # The two peaks do not coincide: motion is computed before the decoder runs.
        tensors = max(10.5, 3.0 + 15.5 * checked.flow_scale**2)
        return int(4 * self.module.family.width * tensors * rows * columns)

    def low_memory(self, options: Options) -> Options | None:
        """Return options with motion at half the size, then with ever smaller tiles; None below 256."""
        checked = _checked(options)
        if checked.flow_scale > _LIGHT_SCALE:
            return {**options, "flow_scale": _LIGHT_SCALE}
        if checked.tile == _SMALL_TILE:
            return None
        tile = {_TILE_UNIT: _SMALL_TILE, _LARGE_TILE: _TILE_UNIT}.get(checked.tile, _LARGE_TILE)
        return {**options, "tile": tile, "overlap": min(checked.overlap, tile // 2)}


def _checked(options: Options | None) -> TlbvfiOptions:
    checked = chosen(options, TlbvfiOptions(), "TLBVFI")
    problem = next(_problems(checked), None)
    if problem is not None:
        raise BadInputError(*problem)
    return checked


def _problems(options: TlbvfiOptions) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the values of some options: wrong, found, advice."""
    if not FEWEST_STEPS <= options.sample_steps <= MOST_STEPS:
        reason = "the last two steps are always at times 1 and 0, and one must come before"
        yield (
            f"The sampler needs {FEWEST_STEPS} to {MOST_STEPS} steps.",
            f"{options.sample_steps}; {reason}",
            "Use 10, as published, or 3 to be quick.",
        )
    if not LEAST_SCALE <= options.flow_scale <= 1.0:
        yield "The flow scale is out of range.", f"{options.flow_scale}", "Use 0.05 to 1."
    if not 0.0 <= options.eta <= 1.0:
        yield "The sampler's noise (eta) is out of range.", f"{options.eta}", "Use 0 to 1; 1 is published."
    if not 0 <= options.seed <= _LARGEST_SEED:
        yield "The seed is out of range.", f"{options.seed}", "Use a whole number of 0 to 2^64 - 1."
    if options.tile != _SMALL_TILE and (options.tile < 0 or options.tile % _TILE_UNIT):
        yield (
            "Tiles cannot have this side.",
            f"{options.tile}; the network works on multiples of 512, or on 256",
            "Use 0 (no tiles), 256, 512, 1024 ...",
        )
    elif options.tile and not 0 <= options.overlap <= options.tile // 2:
        yield (
            "Tiles cannot overlap by this much.",
            f"{options.overlap} pixels of {options.tile}",
            "Use 0 to half the tile; 64 hides the seams.",
        )


def build(detection: Detection) -> Tlbvfi:
    """Build the network of a detected state dict, loaded strictly.

    Raises:
        UnsupportedWeightsError: parameters missing, left over, or of another shape.
    """
    family = FAMILIES[detection.family]
    net = build_strict(
        partial(TlbvfiNet, family),
        detection.state_dict,
        convert=torch.Tensor.float,  # no copy: the published weights are 3.6 GB
        what=f"TLBVFI ({family.name})",
        family=family.name,
        advice="Download the checkpoint again, or save it with the authors' code.",
    )
    return Tlbvfi(net)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters of a family."""
    return shapes_of(partial(TlbvfiNet, FAMILIES[family]))


ARCHITECTURE = Architecture(
    name="tlbvfi", families=tuple(FAMILIES), shapes=shapes, detect=detect, build=build
)
