"""The node that interpolates a VIDEO."""

from __future__ import annotations

from typing import Any, ClassVar

from ..vfi_models.compact.session import CompactOptions
from ..vfi_utils import EndLaw, Settings, StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import CommonInputs, changed_options
from ._interpolation import InterpolationNode
from ._models import AfterRun
from ._timing import ClipTiming
from ._video_host import MadeVideo
from ._video_run import run_on_save
from ._weights import model_widget
from ._widgets import InputTypes, scale_of


class MidframeVideo(InterpolationNode):
    """Makes the frames in between of a video, while it is saved."""

    CLIP = "video"
    RETURN_TYPES = ("VIDEO",)
    RETURN_NAMES = ("video",)
    OUTPUT_TOOLTIPS = ("For Save Video, or any node that takes a video. It is made when it is saved.",)
    DESCRIPTION = (
        "A higher frame rate for a video of any length, with its sound. It is read, interpolated and written "
        "at the same time when it is saved, so that it never lies in memory as a whole."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "interpolate video",
        "rife",
        "film",
        "long video",
        "smooth video",
        *_widgets.MAIN_WORDS,
        *_widgets.SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        return {
            "required": {
                "video": _widgets.video("From Load Video, or any node that makes a video."),
                "model": model_widget(_widgets.MODEL_TOOLTIP),
                "multiplier": _widgets.multiplier(", which make a variable frame rate constant"),
            },
            "optional": {
                "target_fps": _widgets.target_fps_of_video(),
                "scale": _widgets.scale(),
                "dtype": _widgets.dtype(),
                "batch": _widgets.batch(),
                "clear_cache_after_n_frames": _widgets.clear_cache(),
                "last_frame": _widgets.last_frame("hold_last"),
                "device": _widgets.device(),
                "after_run": _widgets.after_run(),
                "model_override": _widgets.model_override("model, dtype and device"),
                "states": _widgets.states(),
                "timing": _widgets.timing(),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @said_plainly()
    def interpolate(  # noqa: PLR0913 - one parameter for each widget
        self,
        video: Any,
        model: str,
        *,
        multiplier: Any = 2,
        target_fps: Any = 0.0,
        scale: str | float = "1",
        dtype: str = "auto",
        batch: int = 0,
        clear_cache_after_n_frames: int = 0,
        last_frame: EndLaw = "hold_last",
        device: str = "auto",
        after_run: AfterRun = "keep loaded",
        model_override: ModelSource | None = None,
        states: StatesLike | None = None,
        timing: ClipTiming | None = None,
        node_id: str | None = None,
    ) -> tuple[MadeVideo]:
        """Return the interpolated video; the tooltips say what each input does."""
        settings = Settings(
            options=changed_options(CompactOptions(flow_scale=scale_of(scale))),
            batch=batch,
            clear_every=clear_cache_after_n_frames,
        )
        inputs = CommonInputs(
            model=model,
            device=device,
            dtype=dtype,
            model_override=model_override,
            after_run=after_run,
            multiplier=multiplier,
            target_fps=target_fps,
            states=states,
            timing=timing,
            last_frame=last_frame,
            settings=settings,
            node_id=node_id,
        )
        return (run_on_save(video, inputs),)
