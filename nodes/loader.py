"""The model loader node."""

from __future__ import annotations

from typing import Any, ClassVar

from ..weights.loading import ModelSource
from . import _widgets
from ._core_models import as_core_model
from ._errors import said_plainly
from ._models import obtain
from ._weights import choose, complaint, model_widget
from ._widgets import InputTypes

_TOOLTIP = (
    "default comes with Midframe. Downloads go to models/frame_interpolation; other files in there are "
    "listed too."
)


class MidframeModelLoader:
    """Loads a model once, for several nodes."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "load"
    RETURN_TYPES = ("MIDFRAME_MODEL", "INTERP_MODEL")
    RETURN_NAMES = ("model", "interp_model")
    OUTPUT_TOOLTIPS = (
        "For the model_override input of an interpolation node.",
        "For ComfyUI's own Run Frame Interpolation Model.",
    )
    DESCRIPTION = (
        "Loads a frame interpolation model, downloading it if need be. Only needed where several nodes share "
        "a model: an interpolation node loads its own."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = ["load rife", "frame interpolation model", *_widgets.SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the widgets."""
        return {
            "required": {"model": model_widget(_TOOLTIP)},
            "optional": {"dtype": _widgets.dtype(), "device": _widgets.device()},
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Report weights that cannot be had before anything runs."""
        return complaint(model) or True

    @said_plainly()
    def load(
        self, model: str, dtype: str = "auto", device: str = "auto", *, node_id: str | None = None
    ) -> tuple[ModelSource, Any]:
        """Load the model into the cache, so that a file that cannot be used is found out here.

        The link carries only which model it is: where ComfyUI unloaded it in between, it is read again.
        """
        weights = choose(model, device, dtype, node_id)
        obtain(weights)
        return weights, as_core_model(weights)
