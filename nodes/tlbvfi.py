"""The TLBVFI node."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..vfi_models.tlbvfi.session import TlbvfiOptions
from ..vfi_utils import StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import FrameInputs, changed_options
from ._interpolation import FrameNode, FrameOutputs
from ._meta_batch import Manager, Prompt
from ._models import AfterRun
from ._settings import RunSettings, SamplerSettings, moved
from ._timing import ClipTiming
from ._types import OpenMenu
from ._weights import model_widget
from ._widgets import AUTO, UNSET, InputTypes

_MODEL_TOOLTIP = (
    "vimeo_unet.pth as its authors publish it, with their terms on huggingface.co/ucfzl/TLBVFI, in "
    "models/frame_interpolation or models/interpolation. Other files in there are listed too. It is large: "
    "size and free disk are said before it is downloaded, and a download that ends early goes on later."
)
_SEED_TOOLTIP = (
    "Seed of the sampler's noise. The same clip and seed give the same frames, however the clip is cut into "
    "chunks; each pair of frames has noise of its own."
)
_SETTINGS_TOOLTIP = (
    "From TLBVFI Settings: its sampler and tiles. Nothing linked: as published, without tiles."
)

_MOVED = (
    *("flow_scale", "device", "after_run", "allow_changed_picture", "memory_lines", "storage"),
    *("eta", "sample_steps", "ema", "tile", "tile_overlap", "published_range"),
)


class MidframeTLBVFI(FrameNode):
    """Makes the frames in between with TLBVFI."""

    DESCRIPTION = (
        "More frames from a clip with TLBVFI, a diffusion model: slow, and good where motion is large. It "
        "knows the middle of two frames only; other moments are reached by halving."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "tlbvfi",
        "tlb-vfi",
        "brownian bridge",
        "diffusion interpolation",
        *_widgets.SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        # Without control_after_generate=False the browser changes a "seed" after every run: nothing would be
        # found in ComfyUI's cache again.
        seed = {"default": TlbvfiOptions.seed, "min": 0, "max": 2**64 - 1, "control_after_generate": False}
        menu, resolution = _widgets.motion_resolution()
        return {
            "required": {
                "frames": _widgets.frames(),
                "model": model_widget(_MODEL_TOOLTIP, ("tlbvfi",), first="tlbvfi"),
                "multiplier": _widgets.multiplier(),
            },
            "optional": {
                "source_fps": _widgets.source_fps(),
                "target_fps": _widgets.target_fps(),
                "clear_cache_after_n_frames": _widgets.clear_cache(),
                "last_frame": _widgets.last_frame(),
                "seed": ("INT", {**seed, "tooltip": _SEED_TOOLTIP}),
                "motion_resolution": (OpenMenu(menu), resolution),
                "states": _widgets.states(),
                "model_override": _widgets.model_override(),
                "meta_batch": _widgets.meta_batch(),
                "timing": _widgets.timing(),
                "run_settings": _widgets.run_settings(),
                "mask": _widgets.mask(),
                "tlbvfi_settings": ("MIDFRAME_TLBVFI_SETTINGS", {"tooltip": _SETTINGS_TOOLTIP}),
            },
            "hidden": {"node_id": "UNIQUE_ID", "prompt": "PROMPT", **moved(*_MOVED)},
        }

    @said_plainly()
    def interpolate(  # noqa: PLR0913 - one parameter for each widget
        self,
        frames: Tensor,
        model: str,
        *,
        multiplier: Any = 2,
        source_fps: Any = 0.0,
        target_fps: Any = 0.0,
        clear_cache_after_n_frames: int = 0,
        last_frame: str = AUTO,
        seed: int = TlbvfiOptions.seed,
        motion_resolution: str | float = AUTO,
        states: StatesLike | None = None,
        model_override: ModelSource | None = None,
        meta_batch: Manager | None = None,
        timing: ClipTiming | None = None,
        run_settings: RunSettings | None = None,
        mask: Tensor | None = None,
        tlbvfi_settings: SamplerSettings | None = None,
        flow_scale: float = UNSET,
        device: str = UNSET,
        after_run: AfterRun = UNSET,
        allow_changed_picture: bool = UNSET,
        memory_lines: bool = UNSET,
        storage: str = UNSET,
        eta: float = UNSET,
        sample_steps: int = UNSET,
        ema: bool = UNSET,
        tile: str = UNSET,
        tile_overlap: int = UNSET,
        published_range: bool = UNSET,
        node_id: str | None = None,
        prompt: Prompt | None = None,
    ) -> FrameOutputs:
        """Interpolate a clip; the tooltips say what each input does."""
        given = {"device": device, "after_run": after_run, "memory_lines": memory_lines, "storage": storage}
        given |= {"allow_changed_picture": allow_changed_picture, "eta": eta, "sample_steps": sample_steps}
        given |= {"ema": ema, "tile": tile, "tile_overlap": tile_overlap, "published_range": published_range}
        run, sampler = RunSettings.of(run_settings, given), SamplerSettings.of(tlbvfi_settings, given)
        resolution = _widgets.flow_scale(motion_resolution, flow_scale, TlbvfiOptions.flow_scale)
        options = sampler.options(seed, resolution)
        inputs = FrameInputs(
            model=model,
            run=run,
            averaged=sampler.ema,
            model_override=model_override,
            multiplier=multiplier,
            source_fps=source_fps,
            target_fps=target_fps,
            states=states,
            timing=timing,
            last_frame=last_frame,
            settings=run.loop_settings(changed_options(options), clear_every=clear_cache_after_n_frames),
            meta_batch=meta_batch,
            node_id=node_id,
            prompt=prompt,
        )
        return self.run_model(frames, inputs, mask)
