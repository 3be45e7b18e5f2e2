"""The RIFE node."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..inputs.frames import require_clip
from ..inputs.numbers import number
from ..vfi_utils import EndLaw, Settings, StatesLike
from . import _widgets
from ._interpolation import InterpolationNode
from ._meta_batch import Manager, Prompt
from ._models import AfterRun, Weights
from ._plan import plan, unlike_default
from ._run import Run
from ._weights import chosen, model_widget
from ._widgets import SCALES, InputTypes, scale_of

_DEFAULT_OPTIONS = {"flow_scale": 1.0, "ensemble": False}

_ENSEMBLE_TOOLTIP = (
    "Also computes the motion backwards in time and averages both: twice the work, sometimes steadier. "
    "For default, RIFE 4.0 to 4.20 and 4.24; RIFE HD 3.6 always does; not defined for the others."
)
_MODEL_TOOLTIP = (
    "default comes with Midframe. RIFE 4.25 suits most clips. Downloads go to models/frame_interpolation; "
    "other files in there are listed too."
)


class MidframeRIFE(InterpolationNode):
    """Makes the frames in between with RIFE."""

    DESCRIPTION = (
        "More frames from a clip: a higher frame rate, or slow motion. RIFE computes the motion between two "
        "frames and makes the frames in between, at any moment. Transparency moves along with the picture."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = ["rife", "rife vfi", "slow motion", "fps", *_widgets.SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Inputs and widgets. Saved workflows hold widget values by position: new ones go to the end."""
        return {
            "required": {
                "frames": _widgets.frames(),
                "model": model_widget(_MODEL_TOOLTIP, ("rife", "rife_hd")),
                "multiplier": _widgets.multiplier(),
            },
            "optional": {
                "source_fps": _widgets.source_fps(),
                "target_fps": _widgets.target_fps(),
                "scale": _widgets.scale(),
                "ensemble": ("BOOLEAN", {"default": False, "tooltip": _ENSEMBLE_TOOLTIP, "advanced": True}),
                "dtype": _widgets.dtype(),
                "batch": _widgets.batch(),
                "clear_cache_after_n_frames": _widgets.clear_cache(),
                "last_frame": _widgets.last_frame(),
                "device": _widgets.device(),
                "after_run": _widgets.after_run(),
                "allow_changed_picture": _widgets.allow_changed_picture(),
                "states": _widgets.states(),
                "model_override": _widgets.model_override("model, dtype and device"),
                "storage": _widgets.storage(),
                "meta_batch": _widgets.meta_batch(),
            },
            "hidden": {"node_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    @classmethod
    def VALIDATE_INPUTS(  # noqa: N802 - ComfyUI's name
        cls, model: str | None = None, scale: str | float | None = None
    ) -> bool | str:
        """Also a scale that is not in the menu, in whatever form it was saved."""
        if scale is not None and number(scale) not in map(number, SCALES):
            return f"scale is {scale}; use one of {', '.join(SCALES)}"
        return super().VALIDATE_INPUTS(model)

    def interpolate(  # noqa: PLR0913 - one parameter for each widget
        self,
        frames: Tensor,
        model: str,
        *,
        multiplier: Any = 2,
        source_fps: Any = 0.0,
        target_fps: Any = 0.0,
        scale: str | float = "1",
        ensemble: bool = False,
        dtype: str = "auto",
        batch: int = 0,
        clear_cache_after_n_frames: int = 0,
        last_frame: EndLaw = "end_on_last",
        device: str = "auto",
        after_run: AfterRun = "keep loaded",
        allow_changed_picture: bool = False,
        states: StatesLike | None = None,
        model_override: Weights | None = None,
        storage: str = "auto",
        meta_batch: Manager | None = None,
        node_id: str | None = None,
        prompt: Prompt | None = None,
    ) -> tuple[Tensor, float, int]:
        """Runs the node; see the tooltips."""
        timeline, fps = plan(
            multiplier,
            (source_fps, target_fps),
            states=states,
            end=last_frame,
            in_batches=meta_batch is not None,
            frames=len(require_clip(frames)),
        )
        settings = Settings(
            options=unlike_default({"flow_scale": scale_of(scale), "ensemble": ensemble}, _DEFAULT_OPTIONS),
            batch=batch,
            clear_every=clear_cache_after_n_frames,
            allow_changed_picture=allow_changed_picture,
        )
        weights = chosen(model_override, (model, device, dtype), node_id)
        run = Run(weights, timeline, settings, after_run, node_id, _widgets.storage_named(storage))
        made = self._made(run, frames, meta_batch, prompt)
        return made, fps, len(made)
