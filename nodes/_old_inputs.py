"""Inputs of older packs' nodes, as rows of the table in :mod:`.old_ids` spell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._types import INT_OR_FLOAT, RAW_FLOAT, RAW_INT
from ._widgets import InputTypes, Widget

CLIP: Widget = ("IMAGE", {"lazy": True})
STATES: Widget = ("INTERPOLATION_STATES", {})


def whole(default: int, least: int = 0, most: int = 1000) -> Widget:
    """Return a widget for a whole number."""
    return RAW_INT, {"default": default, "min": least, "max": most}


def real(default: float, least: float = 0.0, most: float = 1.0, step: float = 0.1) -> Widget:
    """Return a widget for a number."""
    return RAW_FLOAT, {"default": default, "min": least, "max": most, "step": step}


def switch(default: bool) -> Widget:
    """Return a widget for yes and no."""
    return "BOOLEAN", {"default": default}


def menu(*values: Any, default: Any = None) -> Widget:
    """Return a menu, with its first value as the usual one where no other is named."""
    return list(values), {"default": values[0] if default is None else default}


def text(default: str = "", *, multiline: bool = False) -> Widget:
    """Return a widget for text."""
    return "STRING", {"default": default, "multiline": multiline}


def multiplier(least: int) -> Widget:
    """Return a widget for a multiplier, which takes a link of FLOAT too."""
    return INT_OR_FLOAT, {"default": 2, "min": least, "max": 1000}


def older_vfi(files: Widget, factor: Widget, later: Mapping[str, Widget] | None = None) -> InputTypes:
    """Return the inputs that most nodes of ComfyUI-Frame-Interpolation have, and ``later`` ones behind them.

    Those may be missing: ComfyUI fills nothing in where a graph in its API's format was saved before them.
    """
    required = {"ckpt_name": files, "frames": CLIP, "clear_cache_after_n_frames": whole(10, 1)}
    return {
        "required": {**required, "multiplier": factor},
        "optional": {"optional_interpolation_states": STATES, **(later or {})},
    }
