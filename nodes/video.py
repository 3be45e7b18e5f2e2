"""The node that interpolates a VIDEO."""

from __future__ import annotations

from typing import Any, ClassVar

from ..vfi_utils import StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import CommonInputs, options_of_any, run_or_check
from ._interpolation import InterpolationNode
from ._models import AfterRun
from ._settings import RunSettings, moved
from ._timing import ClipTiming
from ._video_host import MadeVideo
from ._video_run import run_on_save
from ._weights import model_widget
from ._widgets import AUTO, UNSET, InputTypes

_MOVED = ("scale", "dtype", "batch", "clear_cache_after_n_frames", "device", "after_run")


class MidframeVideo(InterpolationNode):
    """Makes the frames in between of a video, while it is saved."""

    CLIP = "video"
    RETURN_TYPES = ("VIDEO", "FLOAT")
    RETURN_NAMES = ("video", "fps")
    OUTPUT_TOOLTIPS = (
        "For Save Video, or any node that takes a video. It is made when it is saved.",
        "Frame rate of the video, on average where it varies.",
    )
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
                "motion_resolution": _widgets.motion_resolution(),
                # Where "dtype" was, whose usual value, auto, means the usual here too.
                "last_frame": _widgets.last_frame(),
                "model_override": _widgets.model_override(),
                "states": _widgets.states(),
                "timing": _widgets.timing(),
                "run_settings": _widgets.run_settings(),
            },
            "hidden": {"node_id": "UNIQUE_ID", **moved(*_MOVED)},
        }

    @said_plainly()
    def interpolate(  # noqa: PLR0913 - one parameter for each widget
        self,
        video: Any,
        model: str,
        *,
        multiplier: Any = 2,
        target_fps: Any = 0.0,
        motion_resolution: str | float = AUTO,
        last_frame: str = AUTO,
        model_override: ModelSource | None = None,
        states: StatesLike | None = None,
        timing: ClipTiming | None = None,
        run_settings: RunSettings | None = None,
        scale: str | float = UNSET,
        dtype: str = UNSET,
        batch: int = UNSET,
        clear_cache_after_n_frames: int = UNSET,
        device: str = UNSET,
        after_run: AfterRun = UNSET,
        node_id: str | None = None,
    ) -> tuple[MadeVideo, float]:
        """Return the interpolated video and its rate; the tooltips say what each input does."""
        run = RunSettings.of(
            run_settings,
            {
                "dtype": dtype,
                "batch": batch,
                "clear_cache_after_n_frames": clear_cache_after_n_frames,
                "device": device,
                "after_run": after_run,
            },
        )
        inputs = CommonInputs(
            model=model,
            run=run,
            model_override=model_override,
            multiplier=multiplier,
            target_fps=target_fps,
            states=states,
            timing=timing,
            last_frame=last_frame,
            settings=run.loop_settings(options_of_any(motion_resolution, scale)),
            node_id=node_id,
        )
        return run_or_check(video, inputs, lambda: run_on_save(video, inputs))
