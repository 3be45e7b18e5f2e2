"""Video files in and out: decoding, encoding, and interpolating from file to file in flat memory."""

from __future__ import annotations

from .clip import Clip, ClipInfo, Frame
from .decode import open_clip
from .formats import Coding, holds_alpha
from .streaming import Plan, Written, interpolate_video

__all__ = [
    "Clip",
    "ClipInfo",
    "Coding",
    "Frame",
    "Plan",
    "Written",
    "holds_alpha",
    "interpolate_video",
    "open_clip",
]
