"""The RIFE node."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..vfi_models.rife.session import RifeOptions
from ..vfi_utils import StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import FrameInputs, changed_options
from ._interpolation import FrameNode, FrameOutputs
from ._meta_batch import Manager, Prompt
from ._models import AfterRun
from ._settings import RunSettings, moved
from ._timing import ClipTiming
from ._weights import OLDER_RIFE, model_widget
from ._widgets import AUTO, UNSET, InputTypes, flow_scale

_MODEL_TOOLTIP = (
    "default comes with Midframe. RIFE 4.25 suits most clips. Downloads go to models/frame_interpolation; "
    "other files in there are listed too."
)
_ENSEMBLE_TOOLTIP = (
    "Also computes the motion backwards in time and averages both: twice the work, sometimes steadier. "
    "For default, RIFE 4.0 to 4.20 and 4.24; RIFE HD 3.6 always does; not defined for the others."
)

_MOVED = ("scale", "dtype", "batch", "device", "after_run", "allow_changed_picture", "storage")


class MidframeRIFE(FrameNode):
    """Makes the frames in between with RIFE."""

    DESCRIPTION = (
        "More frames from a clip: a higher frame rate, or slow motion. RIFE computes the motion between two "
        "frames and makes the frames in between, at any moment. Transparency moves along with the picture."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = ["rife", "rife vfi", *_widgets.MAIN_WORDS, *_widgets.SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        ensemble = {"default": RifeOptions.ensemble, "tooltip": _ENSEMBLE_TOOLTIP, "advanced": True}
        return {
            "required": {
                "frames": _widgets.frames(),
                "model": model_widget(_MODEL_TOOLTIP, ("rife", "rife_hd"), older=OLDER_RIFE),
                "multiplier": _widgets.multiplier(),
            },
            "optional": {
                "source_fps": _widgets.source_fps(),
                "target_fps": _widgets.target_fps(),
                "motion_resolution": _widgets.motion_resolution(),
                "ensemble": ("BOOLEAN", ensemble),
                # Where "dtype" and "batch" were, whose usual values, auto and 0, mean the usual here too.
                "last_frame": _widgets.last_frame(),
                "clear_cache_after_n_frames": _widgets.clear_cache(),
                "states": _widgets.states(),
                "model_override": _widgets.model_override(),
                "meta_batch": _widgets.meta_batch(),
                "timing": _widgets.timing(),
                "run_settings": _widgets.run_settings(),
                "mask": _widgets.mask(),
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
        motion_resolution: str | float = AUTO,
        ensemble: bool = RifeOptions.ensemble,
        last_frame: str = AUTO,
        clear_cache_after_n_frames: int = 0,
        states: StatesLike | None = None,
        model_override: ModelSource | None = None,
        meta_batch: Manager | None = None,
        timing: ClipTiming | None = None,
        run_settings: RunSettings | None = None,
        mask: Tensor | None = None,
        scale: str | float = UNSET,
        dtype: str = UNSET,
        batch: int = UNSET,
        device: str = UNSET,
        after_run: AfterRun = UNSET,
        allow_changed_picture: bool = UNSET,
        storage: str = UNSET,
        node_id: str | None = None,
        prompt: Prompt | None = None,
    ) -> FrameOutputs:
        """Interpolate a clip; the tooltips say what each input does."""
        run = RunSettings.of(
            run_settings,
            {
                "dtype": dtype,
                "batch": batch,
                "device": device,
                "after_run": after_run,
                "allow_changed_picture": allow_changed_picture,
                "storage": storage,
            },
        )
        options = RifeOptions(
            flow_scale=flow_scale(motion_resolution, scale, RifeOptions.flow_scale), ensemble=ensemble
        )
        inputs = FrameInputs(
            model=model,
            run=run,
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
