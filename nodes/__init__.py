"""The nodes that a user drops on the canvas: widgets, tooltips, frames and videos in and out. No maths.

A node's own file holds its description and its inputs, and ends in one call: frames go to :mod:`._run`, a
video to :mod:`._video_run`, a long one to :mod:`._chunk_run`.
"""

from __future__ import annotations

from . import _host
from .cache import MidframeClearCache
from .film import MidframeFILM
from .interpolate import MidframeInterpolate
from .loader import MidframeModelLoader
from .long_video import MidframeChunks
from .old_ids import REPLACEMENTS, stand_ins
from .report import MidframeReport
from .rife import MidframeRIFE
from .run_settings import MidframeRunSettings, MidframeTLBVFISettings
from .speed import MidframeSpeed
from .states import MidframeStates
from .timing import MidframeAnalyse, MidframeTiming
from .tlbvfi import MidframeTLBVFI
from .video import MidframeVideo

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

# Saved workflows name a node by its key: keys never change, and what is on the canvas is the display name.
NODE_CLASS_MAPPINGS: dict[str, type] = {
    "MidframeInterpolate": MidframeInterpolate,
    "MidframeRIFE": MidframeRIFE,
    "MidframeFILM": MidframeFILM,
    "MidframeTLBVFI": MidframeTLBVFI,
    "MidframeVideo": MidframeVideo,
    "MidframeChunks": MidframeChunks,
    "MidframeModelLoader": MidframeModelLoader,
    "MidframeStates": MidframeStates,
    "MidframeTiming": MidframeTiming,
    "MidframeAnalyse": MidframeAnalyse,
    "MidframeSpeed": MidframeSpeed,
    "MidframeReport": MidframeReport,
    "MidframeRunSettings": MidframeRunSettings,
    "MidframeTLBVFISettings": MidframeTLBVFISettings,
    "MidframeClearCache": MidframeClearCache,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "MidframeInterpolate": "Interpolate Frames (Midframe)",
    "MidframeRIFE": "RIFE (Midframe)",
    "MidframeFILM": "FILM (Midframe)",
    "MidframeTLBVFI": "TLBVFI (Midframe)",
    "MidframeVideo": "Interpolate Video (Midframe)",
    "MidframeChunks": "Interpolate Long Video (Midframe)",
    "MidframeModelLoader": "Load Model (Midframe)",
    "MidframeStates": "Choose Pairs (Midframe)",
    "MidframeTiming": "Clip Timing (Midframe)",
    "MidframeAnalyse": "Look at Clip (Midframe)",
    "MidframeSpeed": "Speed Curve (Midframe)",
    "MidframeReport": "Report on Clip (Midframe)",
    "MidframeRunSettings": "Run Settings (Midframe)",
    "MidframeTLBVFISettings": "TLBVFI Settings (Midframe)",
    "MidframeClearCache": "Clear Model Cache (Midframe)",
}

# At import, before anything asks for the folder's files.
_host.register_model_folder()

_taken = _host.registered_nodes()
if _taken is not None:
    _classes, _names = stand_ins(_taken)
    NODE_CLASS_MAPPINGS |= _classes
    NODE_DISPLAY_NAME_MAPPINGS |= _names
    for _offer in REPLACEMENTS:
        _host.offer_replacement(_offer)
