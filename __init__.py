"""Midframe: video frame interpolation, as ComfyUI nodes and as the Python package ``midframe``."""

from .api import detect, interpolate, load_model
from .errors import MidframeError
from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

WEB_DIRECTORY = "./web"

__all__ = [
    "NODE_CLASS_MAPPINGS",
    "NODE_DISPLAY_NAME_MAPPINGS",
    "WEB_DIRECTORY",
    "MidframeError",
    "detect",
    "interpolate",
    "load_model",
]
