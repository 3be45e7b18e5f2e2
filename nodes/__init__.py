"""What a user drops on the canvas: widgets, tooltips, frames in and out. No maths."""

from __future__ import annotations

from ._host import register_model_folder
from .cache import MidframeClearCache
from .film import MidframeFILM
from .loader import MidframeModelLoader
from .long_video import MidframeChunks
from .rife import MidframeRIFE
from .states import MidframeStates
from .tlbvfi import MidframeTLBVFI
from .video import MidframeVideo

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

NODE_CLASS_MAPPINGS = {
    "MidframeRIFE": MidframeRIFE,
    "MidframeFILM": MidframeFILM,
    "MidframeTLBVFI": MidframeTLBVFI,
    "MidframeVideo": MidframeVideo,
    "MidframeChunks": MidframeChunks,
    "MidframeModelLoader": MidframeModelLoader,
    "MidframeStates": MidframeStates,
    "MidframeClearCache": MidframeClearCache,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "MidframeRIFE": "RIFE (Midframe)",
    "MidframeFILM": "FILM (Midframe)",
    "MidframeTLBVFI": "TLBVFI (Midframe)",
    "MidframeVideo": "Interpolate Video (Midframe)",
    "MidframeChunks": "Interpolate Long Video (Midframe)",
    "MidframeModelLoader": "Load Model (Midframe)",
    "MidframeStates": "Interpolation States (Midframe)",
    "MidframeClearCache": "Clear Model Cache (Midframe)",
}

register_model_folder()
