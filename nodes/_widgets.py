"""Widgets and sockets that several nodes have, and what the values of menus mean.

Each function returns an entry of ComfyUI's ``INPUT_TYPES``: (type, options). Names, order, defaults and
values of widgets must stay as they are, because workflows are saved with them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import torch

from ..inputs.numbers import real
from ..inputs.objects import require_one_of
from ..memory.sinks import Storage
from ..vfi_utils import EndLaw
from . import _host
from ._models import AFTER_RUN
from ._types import FLOAT_OR_INT, INT_OR_FLOAT, MODEL, RATE, NumberMenu

InputTypes = dict[str, dict[str, Any]]
"""What ComfyUI's ``INPUT_TYPES`` returns."""
Widget = tuple[Any, dict[str, Any]]
"""An entry of it."""

CATEGORY = "video/Midframe"
AUTO = "auto"
"""Value of a menu that leaves the choice to the pack."""
UNSET: Any = object()
"""Value of an input that a graph does not give; None is one that it may give, refused like others."""
SEARCH_WORDS = ("vfi", "video frame interpolation", "frame interpolation", "interpolate frames", "midframe")
MAIN_WORDS = (
    *("interpolation", "smooth", "tween", "slow motion", "60 fps", "frame rate", "fps"),
    *("补帧", "插帧", "帧插值", "补间", "流畅", "慢动作", "補幀", "插幀", "慢動作"),
    *("フレーム補間", "補間", "中割り", "滑らか", "スローモーション", "フレームレート"),
    *("프레임 보간", "보간", "부드럽게", "슬로 모션", "슬로우 모션", "프레임 레이트"),
)
"""Search words, in any language, of somebody who wants smoother video."""

MODEL_TOOLTIP = (
    "default comes with Midframe; every other network is offered too. Downloads go to "
    "models/frame_interpolation; other files in there are listed too."
)
"""Of a model widget that offers all networks."""


def frames() -> Widget:
    """Return the socket of a clip."""
    # Lazy: what is wrong with everything else is said before these are made.
    return "IMAGE", {"tooltip": "The clip: at least two frames, RGB, RGBA or grey.", "lazy": True}


def video(tooltip: str) -> Widget:
    """Return the socket of a video."""
    return "VIDEO", {"tooltip": tooltip, "lazy": True}


def model_override() -> Widget:
    """Return the socket of a loaded model."""
    tooltip = (
        "A model from Load Model, or from ComfyUI's own loader, in place of the one in the menu. That loader "
        "also chooses dtype and device; those of Run Settings are not used then."
    )
    return MODEL, {"tooltip": tooltip}


def multiplier(more: str = "") -> Widget:
    """Return the widget of output frames for each source frame.

    Args:
        more: what the tooltip says of numbers that are not whole.
    """
    tooltip = (
        "Output frames for each source frame: 2 doubles the frame rate, 4 makes four times slower motion. "
        f"By link also numbers such as 2.5{more}, and a list that sets each pair by itself (0 and 1 make "
        "nothing; pairs past its end get 2)."
    )
    return INT_OR_FLOAT, {"default": 2, "min": 1, "max": 1000, "tooltip": tooltip}


def states() -> Widget:
    """Return the socket of the pairs in which nothing is made."""
    # The type's name is the older packs': their nodes fit this socket, and ours theirs.
    return "INTERPOLATION_STATES", {"tooltip": "Pairs of frames to leave alone, from Choose Pairs."}


def timing() -> Widget:
    """Return the socket of what is done about cuts and held frames."""
    tooltip = (
        "From Clip Timing: what is done about cuts and held frames. Nothing linked: cuts are found, and the "
        "nearer frame is held there; held frames stay."
    )
    return "MIDFRAME_TIMING", {"tooltip": tooltip}


def source_fps() -> Widget:
    """Return the widget of the frame rate of the input."""
    tooltip = (
        "Frame rate of the input. Link what knows it: fps of Get Video Components, the VIDEO itself, or "
        "video_info of VideoHelperSuite. Only needed for target_fps and for the fps output. 0: not known; "
        "then the fps output assumes 24, and the node says so. 23.976, 29.97 and the like stand for "
        "24000/1001, 30000/1001 exactly."
    )
    return RATE, {**_rate(tooltip)[1], "widgetType": "FLOAT"}


def target_fps() -> Widget:
    """Return the widget of the output's frame rate, where the input's is another widget."""
    return _rate(
        "Frame rate of the output, any rate: 24 to 60 for example. 0: off, the multiplier counts. Needs "
        "source_fps; then the multiplier is not used. Every output frame shows its exact moment; where a "
        "source frame falls on it, that comes through untouched."
    )


def target_fps_of_video() -> Widget:
    """Return the widget of the output's frame rate, where the input is a video and knows its own."""
    return _rate(
        "Frame rate of the output, any rate: 60 for example. 0: off, the multiplier counts. 23.976, 59.94 "
        "and the like stand for 24000/1001, 60000/1001 exactly. Every output frame shows its exact moment."
    )


def last_frame() -> Widget:
    """Return the menu of what follows the last source frame."""
    tooltip = (
        "auto: a video keeps its length, as its sound needs it (hold_last); a batch of frames ends on its "
        "last one (end_on_last). end_on_last: (N - 1) x multiplier + 1 frames. hold_last: the last frame is "
        "held as long as any other, N x multiplier frames; the clip lasts exactly as long as before. "
        "close_loop: in between the last and the first frame, for a clip that plays in a loop."
    )
    return [AUTO, *get_args(EndLaw)], {"default": AUTO, "tooltip": tooltip, "advanced": True}


def end_law(last_frame: str, of_auto: EndLaw) -> str:
    """Return what follows the last source frame by the widget's value, whose "auto" means ``of_auto``."""
    return of_auto if last_frame == AUTO else last_frame


def motion_resolution() -> Widget:
    """Return the menu of the flow scale."""
    tooltip = (
        "Size at which motion is computed, relative to the picture. auto: what the model is made for, 1 for "
        "default and RIFE, 0.5 for TLBVFI. Lower for 4K or very large motion, which is faster and needs less "
        "memory; 2 or 4 for small pictures with fine detail. TLBVFI takes at most 1; FILM has no choice."
    )
    # Texts, as workflows have them; NumberMenu takes the numbers that other versions saved.
    menu = NumberMenu((AUTO, "0.25", "0.5", "1", "2", "4"))
    return menu, {"default": AUTO, "tooltip": tooltip}


def flow_scale(motion_resolution: Any, old: Any, of_auto: float) -> float:
    """Return the flow scale of a widget's value.

    Args:
        motion_resolution: the widget's.
        old: what a graph gives by the widget's older name, or :data:`UNSET`.
        of_auto: the network's own.

    Raises:
        BadInputError: no number.
    """
    value = motion_resolution if old is UNSET else old
    return of_auto if value == AUTO else real(value, "the scale")


def batch() -> Widget:
    """Return the widget of how many frames are made at once."""
    tooltip = "Frames of one pair that are made at once. 0: as many as the free memory allows."
    return "INT", {"default": 0, "min": 0, "max": 64, "tooltip": tooltip}


def clear_cache() -> Widget:
    """Return the widget of how often cached memory is given back."""
    tooltip = (
        "Gives cached GPU memory back after every so many pairs of frames. 0: only when memory gets short, "
        "which is faster. It does not change the picture."
    )
    return "INT", {"default": 0, "min": 0, "max": 1000, "tooltip": tooltip, "advanced": True}


def device() -> Widget:
    """Return the menu of devices."""
    tooltip = "Where the model runs. auto: where ComfyUI runs its models."
    return _host.device_names(), {"default": AUTO, "tooltip": tooltip}


def dtype() -> Widget:
    """Return the menu of dtypes that the model's convolutions may run in."""
    tooltip = (
        "Precision of the network. auto: 16 bits where the device is good at them and the picture stays the "
        "same to the eye, else float32. Motion is always computed in float32, and source frames are never "
        "rounded."
    )
    return list(_host.DTYPES), {"default": AUTO, "tooltip": tooltip}


def after_run() -> Widget:
    """Return the menu of what becomes of the model after the run."""
    tooltip = (
        "The model after the run. keep loaded: it stays on the device until ComfyUI needs the memory. "
        "offload to CPU: it goes to main memory at once. unload: it is dropped; the next run reads it again."
    )
    return list(AFTER_RUN), {"default": AFTER_RUN[0], "tooltip": tooltip}


def allow_changed_picture() -> Widget:
    """Return the switch that lets a run that is short of memory go on at a lower flow scale."""
    tooltip = (
        "When memory runs out in spite of everything: go on with motion computed at half the size, which "
        "changes the picture a little, instead of stopping with an error. If that is not enough, TLBVFI goes "
        "on in tiles; FILM has no lower setting."
    )
    return "BOOLEAN", {"default": False, "tooltip": tooltip}


def mask() -> Widget:
    """Return the socket of a mask beside the clip."""
    tooltip = "A mask for each frame, or one for all: it moves along, and comes out as mask."
    return "MASK", {"tooltip": tooltip, "lazy": True}


def run_settings() -> Widget:
    """Return the socket of how a run is done."""
    tooltip = (
        "From Run Settings: precision, device, memory, where the frames lie. Nothing linked: all of it is "
        "chosen automatically."
    )
    return "MIDFRAME_RUN_SETTINGS", {"tooltip": tooltip}


def meta_batch() -> Widget:
    """Return the socket of VideoHelperSuite's manager of a clip that comes in batches."""
    tooltip = (
        "From VideoHelperSuite's Meta Batch Manager: the last frame of each batch is carried into the next, "
        "so that all batches together are the same as one run over the whole clip."
    )
    # The suite's name of the type.
    return "VHS_BatchManager", {"tooltip": tooltip}


_STORAGES = {
    "auto": Storage("auto"),
    "memory": Storage("memory"),
    "disk": Storage("disk"),
    "disk, half precision": Storage("disk", torch.float16),
}


def storage() -> Widget:
    """Return the menu of places for the output frames."""
    tooltip = (
        "Where the frames of a batch lie. auto: in main memory where they fit, else on the disk. memory: "
        "there, or an error. disk: in a file without a name in ComfyUI's temp folder, for clips of any "
        "length; the nodes that follow get an ordinary batch, which the system reads as they use it. Half "
        "precision: half the file, fine for 8 bit video; most nodes take it, some insist on float32."
    )
    return list(_STORAGES), {"default": AUTO, "tooltip": tooltip}


def storage_named(name: str) -> Storage:
    """Return the storage of a widget's value.

    Raises:
        BadInputError: there is no such value.
    """
    require_one_of(name, list(_STORAGES), "storage")
    storage = _STORAGES[name]
    # What is stored in half precision stays so; everything else is as other nodes hand images on.
    dtype = _host.image_dtype() if storage.dtype == torch.float32 else storage.dtype
    return replace(storage, folder=_host.temp_folder(), dtype=dtype)


def _rate(tooltip: str) -> Widget:
    # Three decimals, so that 23.976 can be typed.
    return FLOAT_OR_INT, {"default": 0.0, "min": 0.0, "max": 1000.0, "step": 0.001, "tooltip": tooltip}
