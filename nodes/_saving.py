"""How a VIDEO is saved: what ComfyUI's nodes ask for, as the :class:`~..video.Coding` of our encoder."""

from __future__ import annotations

from typing import Any

from ..errors import BadInputError
from ..video import ClipInfo, Coding
from ..video.read.clip import Colour

AUTO = "auto"
SRGB = "sRGB"
DEEP = 10
"""Bits of a channel that HDR has at least."""

# ComfyUI's colour spaces and how it tags them: BT.709 with the sRGB curve, BT.2020 with HLG or PQ.
_SPACES = {
    SRGB: Colour(matrix=1, primaries=1, transfer=13),
    "HDR": Colour(matrix=9, primaries=9, transfer=18),
    "HDR PQ": Colour(matrix=9, primaries=9, transfer=16),
}
# By the transfer curve alone, which tells them apart; 1 is BT.709's own.
_SPACE_OF_TRANSFER = {1: SRGB, 13: SRGB, 18: "HDR", 16: "HDR PQ"}
# Codecs that FFmpeg and ComfyUI call otherwise.
_CODECS = {"hevc": "h265"}


def value_of(choice: Any) -> str:
    """Return the text of a choice, which may be one of ComfyUI's enumerations; ``auto`` for None."""
    return AUTO if choice is None else str(getattr(choice, "value", choice))


def space_of(info: ClipInfo) -> str:
    """Return the colour space of a clip by ComfyUI's name; sRGB where nothing says it, as ComfyUI does."""
    return _tagged_space(info) or SRGB


def bits_of(info: ClipInfo, space: str, requested: int | None) -> int:
    """Return the bits of a channel that are written.

    Args:
        info: of the clip.
        space: colour space that is written, by ComfyUI's name. HDR in 8 bits would show bands.
        requested: by the node that saves; None for as many as the clip has.
    """
    bits = requested or info.bits
    return bits if space == SRGB else max(bits, DEEP)


def coding_of(
    info: ClipInfo, *, codec: Any, bit_depth: int | None, crf: float | None, color_space: str | None
) -> Coding:
    """Return how a clip is encoded for a node that saves it.

    Args:
        info: of the clip.
        codec: ``auto`` is what suits the format.
        bit_depth: as many bits as the clip has where it is None.
        crf: constant quality on the codec's own scale; None is our default.
        color_space: see :func:`_colour`.

    Raises:
        BadInputError: a colour space that there is not, or that the clip is not in.
    """
    name, space = value_of(codec).lower(), value_of(color_space)
    colour = _colour(info, space)
    output_space = space_of(info) if space == AUTO else space
    return Coding(
        codec=None if name == AUTO else _CODECS.get(name, name),
        crf=crf,
        bits=bits_of(info, output_space, bit_depth),
        colour=colour,
    )


def _colour(info: ClipInfo, space: str) -> Colour | None:
    """Return how the YUV of the output is meant, None where as the clip's.

    Colours are never converted from one space to another: a clip that says which it is in can be saved in no
    other, and of any other clip the user knows. RGB is sRGB unless the user says otherwise.
    """
    if space != AUTO and space not in _SPACES:
        raise BadInputError(
            "This colour space is not known.", repr(space), f"Use {', '.join((AUTO, *_SPACES))}."
        )
    tagged = _tagged_space(info)
    if tagged is not None and space not in (AUTO, tagged):
        raise BadInputError(
            f"A video in {tagged} cannot be saved as {space}: its colours would have to be converted.",
            f"color_space {space}, {info.path.name} is tagged {tagged}",
            f"Choose {AUTO} or {tagged}.",
        )
    if space == AUTO:
        # Frames in memory carry no tags, and players guess BT.601 or BT.709 by the size of an untagged video.
        return None if info.colour else _SPACES[SRGB]
    return None if tagged else _SPACES[space]


def _tagged_space(info: ClipInfo) -> str | None:
    return None if info.colour is None else _SPACE_OF_TRANSFER.get(info.colour.transfer)
