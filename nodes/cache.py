"""The node that clears the model cache."""

from __future__ import annotations

from typing import Any, ClassVar

from ..memory.cache import MODELS
from . import _widgets
from ._models import clear
from ._widgets import InputTypes


class _AnyType(str):
    """A socket type that fits every other: "not unequal" to anything is how an older ComfyUI asks."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False


_ANY = _AnyType("*")


class MidframeClearCache:
    """Lets go of every model that Midframe keeps."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "clear"
    RETURN_TYPES = (_ANY,)
    RETURN_NAMES = ("passthrough",)
    OUTPUT_TOOLTIPS = ("What came in, unchanged.",)
    OUTPUT_NODE = True
    DESCRIPTION = (
        "Lets go of the models that Midframe keeps loaded between runs, and gives the memory back. "
        "Wire it behind an interpolation node to clear after that node. The next run reads its model again."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = ["free memory", "unload model", "vram", *_widgets.SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """The input."""
        tooltip = "Anything; it comes out unchanged. The cache is cleared when it arrives."
        return {"required": {}, "optional": {"passthrough": (_ANY, {"tooltip": tooltip})}}

    @classmethod
    def IS_CHANGED(cls, passthrough: Any = None) -> int:  # noqa: N802 - ComfyUI's name
        """Another value once a model has been loaded since; only then is there something to clear."""
        return MODELS.loads

    def clear(self, passthrough: Any = None) -> dict[str, Any]:
        """Clears, and says how much."""
        freed = clear()
        return {"ui": {"text": [f"{freed / 2**20:.1f} MiB freed"]}, "result": (passthrough,)}
