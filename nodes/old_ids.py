"""The ids of older packs' nodes, so that their workflows open and run: one table, and no class for each.

Registered only where the other pack is absent. Inputs, their order and defaults are those packs': saved
workflows hold widgets by position, some with fewer values than the newest version has. Sources: the node
definitions of ComfyUI-Frame-Interpolation 1.0.11, ComfyUI-TLBVFI-TF32, ComfyUI-TLBVFI and ComfyUI-GIMM-VFI;
those of RIFE by TensorRT are in :mod:`._old_rife`. ``docs/old_workflows.md`` says what each stands for.
"""

from __future__ import annotations

from collections.abc import Collection

from ..analysis.timing import Timing
from . import _old_rife
from . import _old_values as _values
from ._host import Replacement
from ._old_inputs import CLIP, menu, multiplier, older_vfi, real, switch, text, whole
from ._stand_ins import Missing, OldNode, OldTool, stand_in
from ._timing import ClipTiming
from ._types import ANY, RAW_INT, NumberMenu
from ._weights import OLDER_FILM, OLDER_RIFE
from ._widgets import Widget
from .film import MidframeFILM
from .rife import MidframeRIFE
from .tlbvfi import MidframeTLBVFI

_TLBVFI_FILE = menu("vimeo_unet.pth")

# --- the table

_SHARED = {"model": "ckpt_name", "clear_cache_after_n_frames": "clear_cache_after_n_frames"}
_SHARED |= {"multiplier": "multiplier", "states": "optional_interpolation_states"}
_SHARED_VALUES = {"multiplier": _values.factor, "clear_cache_after_n_frames": _values.clear_every}
_TLBVFI = {"model": "model_name", "multiplier": "times_to_interpolate"}
_SAMPLER = {**_TLBVFI, "sample_steps": "sample_steps", "motion_resolution": "flow_scale"}
_TLBVFI_VALUES = {
    "multiplier": _values.halvings,
    "sample_steps": _values.steps,
    "motion_resolution": _values.flow_scale,
}
# Two frames that somebody chose are no shot with a cut in it.
_NO_CUTS = {"timing": ClipTiming(Timing(cuts="interpolate"))}
_TIMES, _GPU = whole(1, 1, 4), whole(0, 0, 100)
_STEPS_10 = whole(10, 1, 50)
_HALF_SCALE = real(0.5)

RUN: dict[str, OldNode] = {
    **_old_rife.RUN,
    "RIFE VFI": OldNode(
        name="RIFE VFI",
        inputs=older_vfi(
            menu(*OLDER_RIFE, default="rife49.pth"),
            multiplier(1),
            {
                "fast_mode": switch(True),
                "ensemble": switch(True),
                "scale_factor": (NumberMenu((0.25, 0.5, 1.0, 2.0, 4.0)), {"default": 1.0}),
                "dtype": menu("float32", "float16", "bfloat16"),
                "torch_compile": switch(False),
                "batch_size": whole(1, 1, 64),
            },
        ),
        runs=MidframeRIFE,
        # Not ensemble and fast_mode: in that pack neither changes anything, for its call swaps the arguments.
        widgets={**_SHARED, "motion_resolution": "scale_factor", "dtype": "dtype"},
        convert=_SHARED_VALUES,
    ),
    "FILM VFI": OldNode(
        name="FILM VFI",
        inputs=older_vfi(menu(*OLDER_FILM), multiplier(2)),
        runs=MidframeFILM,
        widgets=_SHARED,
        fixed={"schedule": "bisect"},
        convert=_SHARED_VALUES,
    ),
    "TLBVFI_VFI": OldNode(
        name="TLBVFI Frame Interpolation",
        inputs={
            "required": {
                "images": CLIP,
                "model_name": _TLBVFI_FILE,
                "times_to_interpolate": _TIMES,
                "diffusion_steps": whole(10, 1, 100),
                "batch_size": whole(2, 1, 64),
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
                "images": CLIP,
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
                "frame_pair": CLIP,
                "model_name": _TLBVFI_FILE,
                "times_to_interpolate": _TIMES,
                "gpu_id": _GPU,
            },
            "optional": {"is_last_pair": switch(False), "save_images": switch(False)},
        },
        runs=MidframeTLBVFI,
        widgets=_TLBVFI,
        fixed=_NO_CUTS,
        convert=_TLBVFI_VALUES,
        clip=("frame_pair",),
        finish=_values.pair,
    ),
    "TLBVFI_Interpolator_V2": OldNode(
        name="TLBVFI Interpolator V2",
        inputs={
            "required": {"prev_frame": CLIP, "next_frame": CLIP, "model_name": _TLBVFI_FILE},
            "optional": {
                "times_to_interpolate": whole(0, 0, 4),
                "enable_tf32": switch(True),
                "sample_steps": _STEPS_10,
                "flow_scale": _HALF_SCALE,
                "tile_size": (RAW_INT, {"default": 0, "min": 0, "max": 2048, "step": 128}),
                "cpu_offload": switch(True),
                "gpu_id": whole(0, 0, 7),
            },
        },
        runs=MidframeTLBVFI,
        widgets=_SAMPLER,
        fixed=_NO_CUTS,
        convert={**_TLBVFI_VALUES, "multiplier": _values.halvings_of_pair},
        clip=("prev_frame", "next_frame"),
        finish=_values.middle_or_all,
    ),
    "TLBVFI_BatchInterpolator_V2": OldNode(
        name="TLBVFI Batch Interpolator V2",
        inputs={
            "required": {"images": CLIP, "model_name": _TLBVFI_FILE},
            "optional": {
                "times_to_interpolate": whole(1, 0, 4),
                "enable_tf32": switch(True),
                "sample_steps": menu(10, 20, 50),
                "flow_scale": _HALF_SCALE,
                "cpu_offload": switch(True),
                "gpu_id": whole(0, 0, 7),
                "include_source_frames": switch(True),
            },
        },
        runs=MidframeTLBVFI,
        widgets=_SAMPLER,
        convert=_TLBVFI_VALUES,
        clip=("images",),
        outputs=("IMAGE", "INT"),
        finish=_values.with_count,
    ),
}
"""Nodes whose frames we make."""

TOOLS: dict[str, OldTool] = {
    **_old_rife.TOOLS,
    "Make Interpolation State List": OldTool(
        name="Make Interpolation State List",
        inputs={"required": {"frame_indices": text("1,2,3", multiline=True), "is_skip_list": switch(True)}},
        outputs=("INTERPOLATION_STATES",),
        run=_values.states,
    ),
    "VFI FloatToInt": OldTool(
        name="VFI FloatToInt",
        inputs={"required": {"float": real(0.0, 0.0, 2.0**31, 0.01)}},
        outputs=("INT",),
        run=_values.floats_to_ints,
    ),
    "TLBVFI_FramePairSlicer": OldTool(
        name="TLBVFI Frame Pair Slicer",
        inputs={"required": {"images": ("IMAGE", {})}, "optional": {"pair_index": whole(0, 0, 999999)}},
        outputs=("IMAGE", "INT", "INT", "BOOLEAN"),
        run=_values.one_pair,
    ),
    "TLBVFI_FrameFromBatch": OldTool(
        name="TLBVFI Frame From Batch",
        inputs={
            "required": {"images": ("IMAGE", {})},
            "optional": {"index": whole(0, 0, 999999), "clamp_index": switch(True)},
        },
        outputs=("IMAGE",),
        run=_values.one_frame,
    ),
    "TLBVFI_ClearModelCache": OldTool(
        name="TLBVFI Clear Model Cache",
        inputs={"required": {}, "optional": {"trigger": (ANY, {})}},
        outputs=(),
        run=_values.clear,
    ),
}
"""Small nodes around them."""

_USE_RIFE = "Use RIFE (Midframe), or put back the pack that it came from."
_USE_FILM = (
    "Use FILM (Midframe) for large motion, else RIFE (Midframe), or put back the pack that it came from."
)
_USE_LONG = "Use Interpolate Long Video (Midframe): it goes from file to file, with sound, and resumes."
_NO_LOADER = (
    "FILM (Midframe) and RIFE (Midframe) load their models by themselves: use one in place of the next node."
)
_KSAMPLER = (
    "It samples and makes no frames in between: use ComfyUI's KSampler, and Interpolate Frames (Midframe) "
    "behind VAE Decode."
)
_KSAMPLER_ID = "KSampler Gradually Adding More Denoise (efficient)"
_OF_CHUNKS = ("TLBVFI_ChunkProcessor", "TLBVFI_ChunkVideoSaver", "TLBVFI_VideoConcatenator")
_INSTEAD = {
    **dict.fromkeys(
        ("GMFSS Fortuna VFI", "IFRNet VFI", "IFUnet VFI", "M2M VFI", "Sepconv VFI", "AMT VFI"), _USE_RIFE
    ),
    **dict.fromkeys(("CAIN VFI", "STMFNet VFI", "FLAVR VFI", "ATM VFI"), _USE_RIFE),
    **dict.fromkeys(("MOMO VFI", "GIMMVFI_interpolate"), _USE_FILM),
    "DownloadAndLoadGIMMVFIModel": _NO_LOADER,
    _KSAMPLER_ID: _KSAMPLER,
    **dict.fromkeys(_OF_CHUNKS, _USE_LONG),
}
_SAMPLED = {
    "model": "MODEL",
    "positive": "CONDITIONING",
    "negative": "CONDITIONING",
    "latent_image": "LATENT",
}
_LINKS: dict[str, dict[str, Widget]] = {
    "GIMMVFI_interpolate": {"gimmvfi_model": ("GIMMVIF_MODEL", {}), "images": CLIP},
    "DownloadAndLoadGIMMVFIModel": {},
    _KSAMPLER_ID: {name: (kind, {}) for name, kind in {**_SAMPLED, "optional_vae": "VAE"}.items()},
    **{key: {"images": CLIP} for key in _OF_CHUNKS},
}
_OUTPUTS = {
    "GIMMVFI_interpolate": ("IMAGE", "IMAGE"),
    "DownloadAndLoadGIMMVFIModel": ("GIMMVIF_MODEL",),
    _KSAMPLER_ID: ("MODEL", "CONDITIONING", "CONDITIONING", "LATENT", "VAE"),
    "TLBVFI_ChunkProcessor": ("STRING",),
    "TLBVFI_ChunkVideoSaver": ("STRING", "STRING", "INT", "STRING"),
    "TLBVFI_VideoConcatenator": (),
}

# Their widgets are left out: nothing runs, and what a workflow has saved for them is of no use.
MISSING: dict[str, Missing] = {
    key: Missing(
        name=key,
        inputs={"required": {}, "optional": _LINKS.get(key, {"frames": CLIP})},
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
        inputs={**_SHARED_BY_ALL, "motion_resolution": "scale_factor"},
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
