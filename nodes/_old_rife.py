"""Rows of the table in :mod:`.old_ids` for packs that run RIFE by TensorRT or to a frame rate.

Sources: the node definitions of ComfyUI-Rife-Tensorrt, ComfyUI-RIFE-TensorRT-Auto and ComfyUI-VFI. The
engines of the first two are networks that are known here by other names; nothing of TensorRT is needed.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import _old_values as _values
from ._old_inputs import CLIP, STATES, menu, multiplier, real, switch, text, whole
from ._stand_ins import OldNode, OldTool
from ._widgets import InputTypes, Widget
from .rife import MidframeRIFE

_ENGINES = tuple(f"rife{version}_ensemble_True_scale_1_sim" for version in (49, 48, 47))
_MODEL: Widget = ("RIFE_TRT_MODEL", {})
_COMMON: dict[str, Widget] = {
    "clear_cache_after_n_frames": whole(100, 1),
    "multiplier": multiplier(1),
}
_NAMES = {name: name for name in _COMMON}
_CONVERT = {
    "model": _values.engine,
    "multiplier": _values.factor,
    "clear_cache_after_n_frames": _values.clear_every,
}
_SIDE = whole(384, 64, 4096)


def _loader(later: Mapping[str, Widget]) -> InputTypes:
    required = {"model": menu(*_ENGINES), "precision": menu("fp16", "fp32")}
    return {"required": required, "optional": dict(later)}


RUN: dict[str, OldNode] = {
    # Graphs of its first versions have an engine as their first value, newer ones a link from a loader. Here
    # it stands last, where no newer graph has a value; web/old_layout.js moves a first value there. It is a
    # text, for everybody names such files as they like.
    "RifeTensorrt": OldNode(
        name="Rife Tensorrt",
        inputs={
            "required": {"frames": CLIP, **_COMMON},
            "optional": {
                "rife_trt_model": _MODEL,
                "use_cuda_graph": switch(True),
                "keep_model_loaded": switch(False),
                "engine": text(f"{_ENGINES[0]}.engine"),
            },
        },
        runs=MidframeRIFE,
        widgets={**_NAMES, "model": "engine"},
        model_link="rife_trt_model",
        convert=_CONVERT,
    ),
    "AutoRifeTensorrt": OldNode(
        name="Auto RIFE TensorRT",
        inputs={
            "required": {"frames": CLIP, "rife_trt_model": _MODEL, **_COMMON},
            "optional": {
                "keep_model_loaded": switch(False),
                "batch_size": whole(1, 1, 16),
                "multiplier_list": text(multiline=True),
                "interpolation_states": STATES,
            },
        },
        runs=MidframeRIFE,
        widgets={**_NAMES, "model": "rife_trt_model", "states": "interpolation_states"},
        read=_values.listed_multipliers,
        convert=_CONVERT,
    ),
    "RIFEInterpolation": OldNode(
        name="RIFE Frame Interpolation",
        inputs={
            "required": {
                "images": CLIP,
                "source_fps": real(30.0, 1.0, 120.0),
                "target_fps": real(60.0, 1.0, 240.0),
                "scale": real(1.0, 0.25, 4.0, 0.25),
            },
            "optional": {
                "model_name": menu("flownet.pkl"),
                "batch_size": whole(8, 1, 32),
                "use_fp16": switch(False),
            },
        },
        runs=MidframeRIFE,
        widgets={
            "model": "model_name",
            "source_fps": "source_fps",
            "target_fps": "target_fps",
            "motion_resolution": "scale",
        },
        convert={"model": _values.bundled, "motion_resolution": _values.power_of_two},
        clip=("images",),
    ),
}
"""Nodes whose frames we make."""

TOOLS: dict[str, OldTool] = {
    "LoadRifeTensorrtModel": OldTool(
        name="Load Rife Tensorrt Model",
        inputs=_loader({}),
        outputs=("RIFE_TRT_MODEL",),
        run=_values.loaded_engine,
    ),
    "AutoLoadRifeTensorrtModel": OldTool(
        name="(Down)load RIFE TensorRT Model",
        inputs=_loader(
            {
                "resolution_profile": menu("small", "medium", "large", "custom"),
                "batch_size": whole(1, 1, 16),
                "custom_config": ("RIFE_RESOLUTION_CONFIG", {}),
            }
        ),
        outputs=("RIFE_TRT_MODEL",),
        run=_values.loaded_engine,
    ),
    # Sizes that an engine is built for: a network here takes any.
    "CustomResolutionConfig": OldTool(
        name="RIFE Custom Resolution Config",
        inputs={
            "required": {"min_dim": _SIDE, "opt_dim": whole(720, 64, 4096), "max_dim": whole(1312, 64, 4096)}
        },
        outputs=("RIFE_RESOLUTION_CONFIG",),
        run=_values.sizes,
    ),
    "MakeInterpolationStateList": OldTool(
        name="RIFE Interpolation State List",
        inputs={"required": {"frame_indices": text("1,2,3", multiline=True), "is_skip_list": switch(True)}},
        outputs=("INTERPOLATION_STATES",),
        run=_values.states,
    ),
    "CalculateLoadedFPS": OldTool(
        name="Calculate Loaded FPS",
        inputs={"required": {"source_fps": real(24.0, 0.1, 160.0), "select_every_nth": whole(1, 1, 100)}},
        outputs=("FLOAT",),
        run=_values.rate_of_every_nth,
    ),
}
"""Small nodes around them."""
