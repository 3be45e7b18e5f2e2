"""The RIFE node."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..vfi_models.rife.session import RifeOptions
from ..vfi_utils import EndLaw, Settings, StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import FrameInputs, changed_options
from ._interpolation import FrameNode
from ._meta_batch import Manager, Prompt
from ._models import AfterRun
from ._timing import ClipTiming
from ._weights import model_widget
from ._widgets import InputTypes, scale_of

_MODEL_TOOLTIP = (
    "default comes with Midframe. RIFE 4.25 suits most clips. Downloads go to models/frame_interpolation; "
    "other files in there are listed too."
)
_ENSEMBLE_TOOLTIP = (
    "Also computes the motion backwards in time and averages both: twice the work, sometimes steadier. "
    "For default, RIFE 4.0 to 4.20 and 4.24; RIFE HD 3.6 always does; not defined for the others."
)


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
                "model": model_widget(_MODEL_TOOLTIP, ("rife", "rife_hd")),
                "multiplier": _widgets.multiplier(),
            },
            "optional": {
                "source_fps": _widgets.source_fps(),
                "target_fps": _widgets.target_fps(),
                "scale": _widgets.scale(),
                "ensemble": ("BOOLEAN", ensemble),
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
                "timing": _widgets.timing(),
            },
            "hidden": {"node_id": "UNIQUE_ID", "prompt": "PROMPT"},
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
        scale: str | float = "1",
        ensemble: bool = RifeOptions.ensemble,
        dtype: str = "auto",
        batch: int = 0,
        clear_cache_after_n_frames: int = 0,
        last_frame: EndLaw = "end_on_last",
        device: str = "auto",
        after_run: AfterRun = "keep loaded",
        allow_changed_picture: bool = False,
        states: StatesLike | None = None,
        model_override: ModelSource | None = None,
        storage: str = "auto",
        meta_batch: Manager | None = None,
        timing: ClipTiming | None = None,
        node_id: str | None = None,
        prompt: Prompt | None = None,
    ) -> tuple[Tensor, float, int]:
        """Interpolate a clip; the tooltips say what each input does."""
        settings = Settings(
            options=changed_options(RifeOptions(flow_scale=scale_of(scale), ensemble=ensemble)),
            batch=batch,
            clear_every=clear_cache_after_n_frames,
            allow_changed_picture=allow_changed_picture,
        )
        inputs = FrameInputs(
            model=model,
            device=device,
            dtype=dtype,
            model_override=model_override,
            after_run=after_run,
            multiplier=multiplier,
            source_fps=source_fps,
            target_fps=target_fps,
            states=states,
            timing=timing,
            last_frame=last_frame,
            settings=settings,
            storage=storage,
            meta_batch=meta_batch,
            node_id=node_id,
            prompt=prompt,
        )
        return self.run_model(frames, inputs)
