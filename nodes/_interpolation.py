"""What the nodes that make frames have in common; each adds its network's widgets."""

from __future__ import annotations

from . import _widgets
from ._weights import complaint


class InterpolationNode:
    """Frames in, more frames out."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "interpolate"
    RETURN_TYPES = ("IMAGE", "FLOAT", "INT")
    RETURN_NAMES = ("frames", "fps", "count")
    OUTPUT_TOOLTIPS = (
        "All frames, made ones and source frames, in order.",
        "Frame rate at which the frames play at the original speed, for Create Video. 0 without source fps.",
        "Number of frames.",
    )

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Weights that cannot be had are reported before anything runs. None where they come by a link."""
        return complaint(model) or True
