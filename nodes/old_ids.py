"""The ids of older packs' nodes, so that their workflows open and run: one table, and no class for each.

Registered only where the other pack is absent. Inputs, their order and defaults are those packs': saved
workflows hold widgets by position, some with fewer values than the newest version has. Sources: the node
definitions of ComfyUI-Frame-Interpolation 1.0.11, ComfyUI-TLBVFI-TF32, ComfyUI-TLBVFI and
ComfyUI-Rife-Tensorrt. ``docs/old_workflows.md`` says what each stands for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ..analysis.timing import Timing
from ..errors import BadInputError
from ..inputs.numbers import number, whole
from ..inputs.pairs import parse_pairs
from . import _models
from ._host import Replacement
from ._stand_ins import Missing, OldNode, OldTool, Values, stand_in
from ._timing import ClipTiming
from ._types import ANY, INT_OR_FLOAT, NumberMenu
from ._widgets import InputTypes, Widget
from .film import MidframeFILM
from .rife import MidframeRIFE
from .states import NodeStates
from .tlbvfi import MidframeTLBVFI

_FEWEST_STEPS = 3
"""Steps that the sampler of TLBVFI takes at least; older nodes offer fewer and fail."""

# --- widgets

_RIFE_FILES = (
    *("rife40.pth", "rife41.pth", "rife42.pth", "rife43.pth", "rife44.pth", "rife45.pth", "rife46.pth"),
    *("rife47.pth", "rife48.pth", "rife49.pth", "rife417.pth", "rife426.pth"),
    "sudo_rife4_269.662_testV1_scale1.pth",
)


def _whole(default: int, least: int = 0, most: int = 1000) -> Widget:
    return "INT", {"default": default, "min": least, "max": most}


def _real(default: float, least: float = 0.0, most: float = 1.0, step: float = 0.1) -> Widget:
    return "FLOAT", {"default": default, "min": least, "max": most, "step": step}


def _switch(default: bool) -> Widget:
    return "BOOLEAN", {"default": default}


def _menu(*values: Any, default: Any = None) -> Widget:
    return list(values), {"default": values[0] if default is None else default}


def _text(default: str = "", *, multiline: bool = False) -> Widget:
    return "STRING", {"default": default, "multiline": multiline}


_CLIP: Widget = ("IMAGE", {"lazy": True})
_STATES: Widget = ("INTERPOLATION_STATES", {})
_TLBVFI_FILE = _menu("vimeo_unet.pth")


def _multiplier(least: int) -> Widget:
    return INT_OR_FLOAT, {"default": 2, "min": least, "max": 1000}


def _older_vfi(files: Widget, multiplier: Widget, more: Mapping[str, Widget] | None = None) -> InputTypes:
    """Return the inputs that most nodes of ComfyUI-Frame-Interpolation have, and ``more`` behind them."""
    required = {"ckpt_name": files, "frames": _CLIP, "clear_cache_after_n_frames": _whole(10, 1)}
    return {
        "required": {**required, "multiplier": multiplier, **(more or {})},
        "optional": {"optional_interpolation_states": _STATES},
    }


# --- what values mean


def _factor(value: Any) -> Any:
    """Return a multiplier; the older nodes take 0 by a link for 1."""
    return 1 if number(value) == 0 else value


def _halvings(value: Any) -> int:
    """Return the multiplier of so many halvings of each pair."""
    return 1 << whole(value, "times_to_interpolate", most=10)


def _halvings_of_pair(value: Any) -> int:
    """Return the multiplier of a node whose 0 means the middle alone."""
    return max(2, _halvings(value))


def _steps(value: Any) -> int:
    return max(_FEWEST_STEPS, whole(value, "the number of steps"))


def _flow_scale(value: Any) -> Any:
    return max(0.05, float(value))


def _engine(name: Any) -> str | None:
    """Return the network of a TensorRT engine by its name, such as rife49_ensemble_True_scale_1_sim."""
    version = re.search(r"rife[_-]?v?(\d)\.?(\d+)", str(name), re.IGNORECASE)
    return None if name is None else f"rife-{version[1]}.{version[2]}" if version else "default"


# --- outputs


def _pair(frames: Tensor, inputs: Values) -> tuple[Any, ...]:
    """Return the frames of one pair of several: all but the last have their end in the next pair."""
    return (frames if inputs.get("is_last_pair") else frames[:-1],)


def _middle_or_all(frames: Tensor, inputs: Values) -> tuple[Any, ...]:
    return (frames if inputs.get("times_to_interpolate") else frames[1:2],)


def _with_count(frames: Tensor, inputs: Values) -> tuple[Any, ...]:
    if not inputs.get("include_source_frames", True):
        step = _halvings(inputs.get("times_to_interpolate", 1))
        made = [index for index in range(len(frames)) if index % step]
        frames = frames[made]
    return frames, len(frames)


def _floats_to_ints(inputs: Values) -> tuple[Any, ...]:
    value = inputs["float"]
    return (list(map(int, value)) if isinstance(value, (list, tuple)) else int(value),)


def _states(inputs: Values) -> tuple[Any, ...]:
    return (NodeStates(parse_pairs(inputs["frame_indices"]), skip=inputs["is_skip_list"]),)


def _slice(inputs: Values) -> tuple[Any, ...]:
    images, index = inputs["images"], whole(inputs.get("pair_index", 0), "pair_index")
    pairs = len(images) - 1
    if index >= pairs:
        raise BadInputError(
            "There is no such pair of frames.", f"pair {index}, {pairs} pairs", "Count pairs from 0."
        )
    return images[index : index + 2], index, pairs, index == pairs - 1


def _one_frame(inputs: Values) -> tuple[Any, ...]:
    images, index = inputs["images"], whole(inputs.get("index", 0), "index")
    if inputs.get("clamp_index", True):
        index = min(index, len(images) - 1)
    if index >= len(images):
        raise BadInputError(
            "There is no such frame.", f"frame {index}, {len(images)} frames", "Count frames from 0."
        )
    return (images[index : index + 1],)


def _clear(_inputs: Values) -> tuple[Any, ...]:
    _models.clear()
    return ()


# --- the table

_SHARED = {"model": "ckpt_name", "clear_cache_after_n_frames": "clear_cache_after_n_frames"}
_SHARED |= {"multiplier": "multiplier", "states": "optional_interpolation_states"}
_TLBVFI = {"model": "model_name", "multiplier": "times_to_interpolate"}
_SAMPLER = {**_TLBVFI, "sample_steps": "sample_steps", "flow_scale": "flow_scale"}
_TLBVFI_VALUES = {"multiplier": _halvings, "sample_steps": _steps, "flow_scale": _flow_scale}
# Two frames that somebody chose are no shot with a cut in it.
_NO_CUTS = {"timing": ClipTiming(Timing(cuts="interpolate"))}
_TIMES, _GPU = _whole(1, 1, 4), _whole(0, 0, 100)
_STEPS_10 = _whole(10, 1, 50)
_HALF_SCALE = _real(0.5)

RUN: dict[str, OldNode] = {
    "RIFE VFI": OldNode(
        name="RIFE VFI",
        inputs=_older_vfi(
            _menu(*_RIFE_FILES, default="rife49.pth"),
            _multiplier(1),
            {
                "fast_mode": _switch(True),
                "ensemble": _switch(True),
                "scale_factor": (NumberMenu((0.25, 0.5, 1.0, 2.0, 4.0)), {"default": 1.0}),
                "dtype": _menu("float32", "float16", "bfloat16"),
                "torch_compile": _switch(False),
                "batch_size": _whole(1, 1, 64),
            },
        ),
        runs=MidframeRIFE,
        # Not ensemble and fast_mode: in that pack neither changes anything, for its call swaps the arguments.
        widgets={**_SHARED, "scale": "scale_factor", "dtype": "dtype"},
        convert={"multiplier": _factor},
    ),
    "FILM VFI": OldNode(
        name="FILM VFI",
        inputs=_older_vfi(_menu("film_net_fp32.pt"), _multiplier(2)),
        runs=MidframeFILM,
        widgets=_SHARED,
        fixed={"schedule": "bisect"},
        convert={"multiplier": _factor},
    ),
    "RifeTensorrt": OldNode(
        name="Rife Tensorrt",
        inputs={
            "required": {
                "frames": _CLIP,
                "engine": _menu("rife49_ensemble_True_scale_1_sim.engine"),
                "clear_cache_after_n_frames": _whole(100, 1),
                "multiplier": _multiplier(1),
                "use_cuda_graph": _switch(True),
                "keep_model_loaded": _switch(False),
            }
        },
        runs=MidframeRIFE,
        widgets={**_SHARED, "model": "engine"},
        convert={"model": _engine, "multiplier": _factor},
    ),
    "TLBVFI_VFI": OldNode(
        name="TLBVFI Frame Interpolation",
        inputs={
            "required": {
                "images": _CLIP,
                "model_name": _TLBVFI_FILE,
                "times_to_interpolate": _TIMES,
                "diffusion_steps": _whole(10, 1, 100),
                "batch_size": _whole(2, 1, 64),
                "flow_scale": _HALF_SCALE,
            }
        },
        runs=MidframeTLBVFI,
        widgets={**_SAMPLER, "sample_steps": "diffusion_steps"},
        convert=_TLBVFI_VALUES,
        clip=("images",),
    ),
    "TLBVFI_VFI_TF32": OldNode(
        name="TLBVFI Frame Interpolation (TF32)",
        inputs={
            "required": {
                "images": _CLIP,
                "model_name": _TLBVFI_FILE,
                "times_to_interpolate": _TIMES,
                "gpu_id": _GPU,
            }
        },
        runs=MidframeTLBVFI,
        widgets=_TLBVFI,
        convert=_TLBVFI_VALUES,
        clip=("images",),
    ),
    "TLBVFI_Interpolator": OldNode(
        name="TLBVFI Interpolator",
        inputs={
            "required": {
                "frame_pair": _CLIP,
                "model_name": _TLBVFI_FILE,
                "times_to_interpolate": _TIMES,
                "gpu_id": _GPU,
            },
            "optional": {"is_last_pair": _switch(False), "save_images": _switch(False)},
        },
        runs=MidframeTLBVFI,
        widgets=_TLBVFI,
        fixed=_NO_CUTS,
        convert=_TLBVFI_VALUES,
        clip=("frame_pair",),
        finish=_pair,
    ),
    "TLBVFI_Interpolator_V2": OldNode(
        name="TLBVFI Interpolator V2",
        inputs={
            "required": {"prev_frame": _CLIP, "next_frame": _CLIP, "model_name": _TLBVFI_FILE},
            "optional": {
                "times_to_interpolate": _whole(0, 0, 4),
                "enable_tf32": _switch(True),
                "sample_steps": _STEPS_10,
                "flow_scale": _HALF_SCALE,
                "tile_size": ("INT", {"default": 0, "min": 0, "max": 2048, "step": 128}),
                "cpu_offload": _switch(True),
                "gpu_id": _whole(0, 0, 7),
            },
        },
        runs=MidframeTLBVFI,
        widgets=_SAMPLER,
        fixed=_NO_CUTS,
        convert={**_TLBVFI_VALUES, "multiplier": _halvings_of_pair},
        clip=("prev_frame", "next_frame"),
        finish=_middle_or_all,
    ),
    "TLBVFI_BatchInterpolator_V2": OldNode(
        name="TLBVFI Batch Interpolator V2",
        inputs={
            "required": {"images": _CLIP, "model_name": _TLBVFI_FILE},
            "optional": {
                "times_to_interpolate": _whole(1, 0, 4),
                "enable_tf32": _switch(True),
                "sample_steps": _menu(10, 20, 50),
                "flow_scale": _HALF_SCALE,
                "cpu_offload": _switch(True),
                "gpu_id": _whole(0, 0, 7),
                "include_source_frames": _switch(True),
            },
        },
        runs=MidframeTLBVFI,
        widgets=_SAMPLER,
        convert=_TLBVFI_VALUES,
        clip=("images",),
        outputs=("IMAGE", "INT"),
        finish=_with_count,
    ),
}
"""Nodes whose frames we make."""

TOOLS: dict[str, OldTool] = {
    "Make Interpolation State List": OldTool(
        name="Make Interpolation State List",
        inputs={"required": {"frame_indices": _text("1,2,3", multiline=True), "is_skip_list": _switch(True)}},
        outputs=("INTERPOLATION_STATES",),
        run=_states,
    ),
    "VFI FloatToInt": OldTool(
        name="VFI FloatToInt",
        inputs={"required": {"float": _real(0.0, 0.0, 2.0**31, 0.01)}},
        outputs=("INT",),
        run=_floats_to_ints,
    ),
    "TLBVFI_FramePairSlicer": OldTool(
        name="TLBVFI Frame Pair Slicer",
        inputs={"required": {"images": ("IMAGE", {})}, "optional": {"pair_index": _whole(0, 0, 999999)}},
        outputs=("IMAGE", "INT", "INT", "BOOLEAN"),
        run=_slice,
    ),
    "TLBVFI_FrameFromBatch": OldTool(
        name="TLBVFI Frame From Batch",
        inputs={
            "required": {"images": ("IMAGE", {})},
            "optional": {"index": _whole(0, 0, 999999), "clamp_index": _switch(True)},
        },
        outputs=("IMAGE",),
        run=_one_frame,
    ),
    "TLBVFI_ClearModelCache": OldTool(
        name="TLBVFI Clear Model Cache",
        inputs={"required": {}, "optional": {"trigger": (ANY, {})}},
        outputs=(),
        run=_clear,
    ),
}
"""Small nodes around them."""

_USE_RIFE = "Use RIFE (Midframe), or put back the pack that it came from."
_USE_FILM = (
    "Use FILM (Midframe) for large motion, else RIFE (Midframe), or put back the pack that it came from."
)
_USE_LONG = "Use Interpolate Long Video (Midframe): it goes from file to file, with sound, and resumes."
_INSTEAD = {
    **dict.fromkeys(
        ("GMFSS Fortuna VFI", "IFRNet VFI", "IFUnet VFI", "M2M VFI", "Sepconv VFI", "AMT VFI"), _USE_RIFE
    ),
    **dict.fromkeys(("CAIN VFI", "STMFNet VFI", "FLAVR VFI", "ATM VFI"), _USE_RIFE),
    **dict.fromkeys(("MOMO VFI", "GIMMVFI_interpolate"), _USE_FILM),
    **dict.fromkeys(
        ("TLBVFI_ChunkProcessor", "TLBVFI_ChunkVideoSaver", "TLBVFI_VideoConcatenator"), _USE_LONG
    ),
}
_OUTPUTS = {
    "TLBVFI_ChunkProcessor": ("STRING",),
    "TLBVFI_ChunkVideoSaver": ("STRING", "STRING", "INT", "STRING"),
    "TLBVFI_VideoConcatenator": (),
}

# Their widgets are left out: nothing runs, and what a workflow has saved for them is of no use.
MISSING: dict[str, Missing] = {
    key: Missing(
        name=key,
        inputs={"required": {}, "optional": {"images" if "TLB" in key or "GIMM" in key else "frames": _CLIP}},
        outputs=_OUTPUTS.get(key, ("IMAGE",)),
        instead=instead,
    )
    for key, instead in _INSTEAD.items()
}
"""Nodes that we have no network for, or whose job another node of ours does in another way."""

OLD_NODES: dict[str, OldNode | OldTool | Missing] = {**RUN, **TOOLS, **MISSING}
"""Every node of the table by its id."""


def _widgets_of(row: OldNode) -> tuple[str, ...]:
    rows = {**row.inputs["required"], **row.inputs.get("optional", {})}
    return tuple(name for name, (_, options) in rows.items() if "default" in options)


_SHARED_BY_ALL = {name: old for name, old in _SHARED.items() if name != "states"} | {"frames": "frames"}
REPLACEMENTS = (
    Replacement(
        old="RIFE VFI",
        new="MidframeRIFE",
        inputs={**_SHARED_BY_ALL, "scale": "scale_factor"},
        widgets=_widgets_of(RUN["RIFE VFI"]),
    ),
    Replacement(
        old="FILM VFI",
        new="MidframeFILM",
        inputs=_SHARED_BY_ALL,
        values=RUN["FILM VFI"].fixed,
        widgets=_widgets_of(RUN["FILM VFI"]),
    ),
    Replacement(
        old="FrameInterpolate",
        new="MidframeRIFE",
        inputs={"model_override": "interp_model", "frames": "images", "multiplier": "multiplier"},
        values={"model": "default"},
        widgets=("multiplier",),
    ),
)
"""What the host may offer for a node that it lacks: its own, or one that is not even stood in for."""


def stand_ins(taken: Collection[str]) -> tuple[dict[str, type], dict[str, str]]:
    """Return classes and names of the nodes whose ids are not ``taken``, both by their ids.

    A pack that is loaded after this one takes its ids back by itself: in ComfyUI the last one counts.
    """
    rows = {key: row for key, row in OLD_NODES.items() if key not in taken}
    return (
        {key: stand_in(key, row) for key, row in rows.items()},
        {key: f"{row.name} (older pack, by Midframe)" for key, row in rows.items()},
    )
