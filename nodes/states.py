"""Interpolation states: which pairs of frames are interpolated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import BadInputError
from ..inputs.pairs import parse_pairs
from ..vfi_utils import States
from ._errors import said_plainly
from ._widgets import CATEGORY, SEARCH_WORDS, InputTypes


@dataclass(frozen=True)
class NodeStates(States):
    """States as an ``INTERPOLATION_STATES`` link carries them.

    The two properties are those that nodes of older packs read.
    """

    @property
    def frame_indices(self) -> list[int]:
        """Return the listed pairs, ascending."""
        return sorted(self.indices)

    @property
    def is_skip_list(self) -> bool:
        """Tell whether the listed pairs are left alone; else only they are interpolated."""
        return self.skip


class MidframeStates:
    """Lists the pairs of frames that are interpolated, or that are left alone."""

    CATEGORY = CATEGORY
    FUNCTION = "states"
    RETURN_TYPES = ("INTERPOLATION_STATES",)
    RETURN_NAMES = ("states",)
    OUTPUT_TOOLTIPS = ("For the states input of an interpolation node, of this pack or of an older one.",)
    DESCRIPTION = "Chooses the pairs of frames between which no frames are made, such as cuts."
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "make interpolation state list",
        "interpolation states",
        "skip frames",
        *SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the widgets."""
        return {
            "required": {
                "frame_indices": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "placeholder": "1, 2, 5-9",
                        "tooltip": "Pairs of frames, counted from 0: pair 3 is frames 3 and 4. Numbers and "
                        "ranges, such as 1, 2, 5-9. Empty: none is listed.",
                    },
                ),
                "is_skip_list": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "label_on": "leave these alone",
                        "label_off": "only these",
                        "tooltip": "On: nothing is made in the listed pairs; their own frames stay. "
                        "Off: frames are made in the listed pairs only.",
                    },
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, frame_indices: str | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Report a text that cannot be read before anything runs. It is None where it comes by a link."""
        try:
            parse_pairs(frame_indices or "")
        except BadInputError as error:
            return str(error)
        return True

    @said_plainly()
    def states(self, frame_indices: Any, is_skip_list: bool) -> tuple[Any]:
        """Return the states."""
        return (NodeStates(parse_pairs(frame_indices), skip=is_skip_list),)
