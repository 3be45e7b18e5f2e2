"""Decode, encode and interpolate video files, from file to file in flat memory."""

from __future__ import annotations

from .read.clip import Clip, ClipInfo, Frame
from .read.decode import open_clip
from .stream.files import Written, interpolate_video
from .stream.frames import interpolate_frames
from .stream.plan import Plan
from .write.formats import Coding, holds_alpha

__all__ = [
    "Clip",
    "ClipInfo",
    "Coding",
    "Frame",
    "Plan",
    "Written",
    "holds_alpha",
    "interpolate_frames",
    "interpolate_video",
    "open_clip",
]
