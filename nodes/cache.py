"""The node that clears the model cache."""

from __future__ import annotations

from typing import Any, ClassVar

from ..memory.cache import MODELS
from . import _widgets
from ._models import clear
from ._types import ANY
from ._widgets import InputTypes


class MidframeClearCache:
    """Clears the cache of loaded models."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "clear"
    RETURN_TYPES = (ANY,)
    RETURN_NAMES = ("passthrough",)
    OUTPUT_TOOLTIPS = ("What came in, unchanged.",)
    OUTPUT_NODE = True
    DESCRIPTION = (
        "Frees the models that Midframe keeps loaded between runs, and their memory. "
        "Wire it behind an interpolation node to clear after that node. The next run reads its model again."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = ["free memory", "unload model", "vram", *_widgets.SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the input."""
        # Optional, so that the node also works by itself. Only a link says what it runs after.
        tooltip = "Anything; it comes out unchanged. The cache is cleared when it arrives."
        return {"required": {}, "optional": {"passthrough": (ANY, {"tooltip": tooltip})}}

    @classmethod
    def IS_CHANGED(cls, passthrough: Any = None) -> int:  # noqa: N802 - ComfyUI's name
        """Return another value once a model has been loaded since: only then is there something to clear.

        ComfyUI runs the node again where the value differs from that of the last run.
        """
        return MODELS.loads

    def clear(self, passthrough: Any = None) -> dict[str, Any]:
        """Clear the cache, show how much that freed, and pass the input on."""
        freed = clear()
        return {"ui": {"text": [f"{freed / 2**20:.1f} MiB freed"]}, "result": (passthrough,)}
