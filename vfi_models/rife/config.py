"""The families of RIFE 4.x, and how a state dict is recognised as one of them.

Versions with one network share a row. Three things cannot be deduced from shapes and stand only here: the
divisors, whether a block's mask is added to the mask before or replaces it, and the skip connection over the
eight inner convolutions of 4.0.
Source of the rows: the published networks, as HolyWu/vs-rife 2a7f2c8 and hzwer/Practical-RIFE keep them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ...errors import UnsupportedWeightsError
from ..interface import Detection, StateDict

Inner = Literal["plain", "plain_skip", "residual"]
HeadKind = Literal["pair", "sequential", "named"]


@dataclass(frozen=True)
class Head:
    """The encoder of one picture: its layout, its inner width and the channels that it returns."""

    kind: HeadKind
    width: int
    channels: int


@dataclass(frozen=True)
class Family:
    """Everything that tells one 4.x network from another."""

    name: str
    versions: tuple[str, ...]
    widths: tuple[int, ...]
    """Channels of each block, coarse to fine."""
    inner: Inner = "residual"
    groups: int = 1
    head: Head | None = None
    outputs: int = 6
    """Channels that a block returns: flow 4, mask 1, then one unused (6) or eight for the next block (13)."""
    divisors: tuple[int, ...] = (8, 4, 2, 1)
    ensemble: bool = True

    @property
    def carry(self) -> int:
        """Return the channels passed from block to block besides flow and mask."""
        return self.outputs - 5 if self.outputs > 6 else 0  # noqa: PLR2004 - the sixth channel is never used

    @property
    def mask_summed(self) -> bool:
        """Tell whether mask logits add up over the blocks; in families with a head a block's mask replaces
        the last.
        """
        return self.head is None

    @property
    def shuffled(self) -> bool:
        """Tell whether a block ends in a pixel shuffle at its own resolution, and not at half of it."""
        return self.inner == "residual"

    @property
    def modulo(self) -> int:
        """Return the number that both padded sides are multiples of at flow scale 1."""
        return 4 * self.divisors[0]

    @property
    def first_inputs(self) -> int:
        """Return the input channels of block 0: two pictures, two features, the timestep."""
        return 2 * self.picture_channels + 1

    @property
    def later_inputs(self) -> int:
        """Return the input channels of the other blocks: the same warped, and mask, carry and flow."""
        return self.first_inputs + 1 + self.carry + 4

    @property
    def picture_channels(self) -> int:
        """Return the channels of one picture and its features."""
        return 3 + (self.head.channels if self.head else 0)


_WIDE = (192, 128, 96, 64)
_LITE = (128, 96, 64, 48)
_FIVE = (192, 128, 96, 64, 32)
_FIVE_DIVISORS = (16, 8, 4, 2, 1)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("4.0", ("4.0", "4.1"), _WIDE, inner="plain_skip", outputs=5),
        Family("4.2", ("4.2", "4.3", "4.4"), _WIDE, inner="plain", outputs=5),
        Family("4.5", ("4.5",), _WIDE, outputs=5),
        Family("4.6", ("4.6",), _WIDE),
        Family("4.7", ("4.7", "4.8", "4.9"), _WIDE, head=Head("pair", 16, 4)),
        # The same function as 4.13 under other names of parameters.
        Family("4.10", ("4.10", "4.11", "4.12"), _WIDE, head=Head("sequential", 32, 8)),
        Family(
            "4.13",
            ("4.13", "4.14", "4.15", "4.17", "4.18", "4.19", "4.24"),
            _WIDE,
            head=Head("named", 32, 8),
        ),
        Family("4.12.lite", ("4.12.lite", "4.13.lite"), _LITE, head=Head("sequential", 32, 4)),
        Family("4.14.lite", ("4.14.lite",), _WIDE, groups=2, head=Head("named", 32, 8)),
        Family("4.15.lite", ("4.15.lite", "4.16.lite", "4.17.lite"), _LITE, head=Head("named", 16, 4)),
        Family("4.20", ("4.20",), (384, 192, 96, 48), head=Head("named", 32, 8)),
        Family(
            "4.21",
            ("4.21", "4.22", "4.23"),
            (256, 192, 96, 48),
            head=Head("named", 32, 8),
            outputs=13,
            ensemble=False,
        ),
        Family(
            "4.22.lite",
            ("4.22.lite",),
            (192, 128, 64, 32),
            head=Head("named", 16, 4),
            outputs=13,
            ensemble=False,
        ),
        Family(
            "4.25",
            ("4.25", "4.26"),
            _FIVE,
            head=Head("named", 16, 4),
            outputs=13,
            divisors=_FIVE_DIVISORS,
            ensemble=False,
        ),
        Family(
            "4.25.lite",
            ("4.25.lite",),
            (192, 128, 96, 64, 24),
            head=Head("named", 16, 4),
            outputs=13,
            # Not those of 4.25, with which no shape disagrees and the picture is off by up to 0.59.
            divisors=(32, 16, 8, 4, 1),
            ensemble=False,
        ),
        Family(
            "4.25.heavy",
            ("4.25.heavy",),
            (384, 256, 192, 128, 64),
            head=Head("named", 16, 4),
            outputs=13,
            divisors=_FIVE_DIVISORS,
            ensemble=False,
        ),
        Family(
            "4.26.heavy",
            ("4.26.heavy",),
            _FIVE,
            head=Head("named", 16, 16),
            outputs=13,
            divisors=_FIVE_DIVISORS,
            ensemble=False,
        ),
    )
}

_FIRST = re.compile(r"^(.*?)(?:blocks\.0|block0)\.conv0\.0\.0\.weight$")
_OLD_FIRST = re.compile(r"^(.*?)block0\.convblock0\.0\.0\.weight$")
# ComfyUI's own files call the blocks blocks.0, blocks.1; the published ones block0, block1.
_CORE_BLOCK = re.compile(r"^blocks\.(\d+)\.")
# Networks that only training runs, which hzwer's packages carry.
_TRAINING_ONLY = ("teacher.", "caltime.", "block_tea.")


def clean(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the parameters under the network's own names, without prefixes and what only training needs.

    The prefix is whatever stands before the first block's first weight (``module.``, ``flownet.``,
    ``_orig_mod.`` ...); names without it belong to something else in the file. Empty where no name
    looks like RIFE's.
    """
    # A file may hold several networks (a teacher, an average); the shortest prefix is the network's own.
    found = (pattern.match(name) for name in sorted(state_dict) for pattern in (_FIRST, _OLD_FIRST))
    prefixes = [match[1] for match in found if match and not match[1].startswith(_TRAINING_ONLY)]
    if not prefixes:
        return {}
    prefix = min(prefixes, key=len)
    own = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
    renamed = {_CORE_BLOCK.sub(r"block\1.", name): value for name, value in own.items()}
    return {name: value for name, value in renamed.items() if not name.startswith(_TRAINING_ONLY)}


def detect(state_dict: StateDict) -> Detection | None:
    """Recognise the family of a RIFE 4.x state dict; return None where the names are another network's.

    Raises:
        UnsupportedWeightsError: RIFE by its names, but of no 4.x family.
    """
    weights = clean(state_dict)
    if "block0.convblock0.0.0.weight" in weights:  # HD 3.x, which is an architecture of its own
        return None
    if (
        not {"block0.conv0.0.0.weight", "block0.conv0.1.0.weight", "block1.conv0.0.0.weight"}
        <= weights.keys()
    ):
        return None
    # So are the paper's networks, which have three blocks; all of 4.x have four or five.
    if "block2.conv0.0.0.weight" in weights and "block3.conv0.0.0.weight" not in weights:
        return None
    return Detection("rife", _family_name(weights), weights)


def _unsupported(what: str, found: str, nearest: str | None = None) -> UnsupportedWeightsError:
    return UnsupportedWeightsError(
        f"{what} are not among the RIFE 4.x families that this pack runs.",
        found,
        "Choose a checkpoint of RIFE 4.0 to 4.26.",
        nearest=nearest,
    )


def _family_name(weights: dict[str, Tensor]) -> str:
    """Return the name of the family, by the marks that tell the rows of the table apart."""
    count = sum(re.fullmatch(r"block\d+\.conv0\.1\.0\.weight", name) is not None for name in weights)
    widths = tuple(_rows(weights, f"block{i}.conv0.1.0.weight") for i in range(count))
    head = next((kind for kind, mark in _HEAD_MARKS.items() if mark in weights), None)
    marks = (
        widths,
        head,
        _columns(weights, "encode.cnn3.weight") or _columns(weights, "encode.6.weight"),
        # Weights of transposed convolutions are (in, out, rows, columns), so this is what they return.
        _columns(weights, "block0.lastconv.0.weight") or _columns(weights, "block0.lastconv.weight"),
        "block0.convblock.0.1.weight" in weights,
        _columns(weights, "block0.convblock.0.conv.weight"),
    )
    for family in FAMILIES.values():
        if marks == _marks(family):
            return family.name
    raise _unsupported(
        "These RIFE weights",
        f"{count} blocks of {widths} channels, head {head or 'none'}, {marks[3]} output channels a block",
        _nearest(widths, head),
    )


_HEAD_MARKS: dict[HeadKind, str] = {
    "named": "encode.cnn3.weight",
    "sequential": "encode.6.weight",
    "pair": "encode.1.weight",
}


def _marks(family: Family) -> tuple[object, ...]:
    """Return for a family what :func:`_family_name` reads off a state dict."""
    head = family.head
    return (
        family.widths,
        head.kind if head else None,
        head.channels if head and head.kind != "pair" else 0,
        # Before a pixel shuffle by 2 there are four channels for each.
        family.outputs * (4 if family.shuffled else 1),
        family.inner == "plain_skip",
        # Of a grouped convolution each output reads the channels of its group alone.
        family.widths[0] // family.groups if family.shuffled else 0,
    )


def _nearest(widths: tuple[int, ...], head: HeadKind | None) -> str | None:
    """Return the family that shares most marks with a state dict."""
    same_depth = [f for f in FAMILIES.values() if len(f.widths) == len(widths)]
    if not same_depth:
        return None

    def shared(family: Family) -> int:
        same = sum(a == b for a, b in zip(family.widths, widths, strict=True))
        return 2 * same + ((family.head.kind if family.head else None) == head)

    # A block's width says more than the kind of head: it counts twice.
    return max(same_depth, key=shared).name


def _rows(weights: dict[str, Tensor], name: str) -> int:
    tensor = weights.get(name)
    return int(tensor.shape[0]) if tensor is not None and tensor.ndim > 1 else 0


def _columns(weights: dict[str, Tensor], name: str) -> int:
    tensor = weights.get(name)
    return int(tensor.shape[1]) if tensor is not None and tensor.ndim > 1 else 0
