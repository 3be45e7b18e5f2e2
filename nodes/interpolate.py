"""The node that interpolates frames with any model."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..vfi_utils import StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import FrameInputs, options_of_any
from ._interpolation import FrameNode, FrameOutputs
from ._meta_batch import Manager, Prompt
from ._settings import RunSettings
from ._timing import ClipTiming
from ._weights import model_widget
from ._widgets import AUTO, InputTypes


class MidframeInterpolate(FrameNode):
    """Makes the frames in between with any model."""

    DESCRIPTION = (
        "More frames from a clip: a higher frame rate, or slow motion, at any moment between two frames. The "
        "built-in model needs no download; RIFE, FILM and others are a choice in the menu. Transparency "
        "moves along with the picture."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "interpolate frames",
        "rife",
        "film",
        "smooth video",
        *_widgets.MAIN_WORDS,
        *_widgets.SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        return {
            "required": {
                "frames": _widgets.frames(),
                "model": model_widget(_widgets.MODEL_TOOLTIP),
                "multiplier": _widgets.multiplier(),
            },
            "optional": {
                "source_fps": _widgets.source_fps(),
                "target_fps": _widgets.target_fps(),
                "motion_resolution": _widgets.motion_resolution(),
                "last_frame": _widgets.last_frame(),
                "states": _widgets.states(),
                "model_override": _widgets.model_override(),
                "meta_batch": _widgets.meta_batch(),
                "timing": _widgets.timing(),
                "run_settings": _widgets.run_settings(),
                "mask": _widgets.mask(),
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
        motion_resolution: str | float = AUTO,
        last_frame: str = AUTO,
        states: StatesLike | None = None,
        model_override: ModelSource | None = None,
        meta_batch: Manager | None = None,
        timing: ClipTiming | None = None,
        run_settings: RunSettings | None = None,
        mask: Tensor | None = None,
        node_id: str | None = None,
        prompt: Prompt | None = None,
    ) -> FrameOutputs:
        """Interpolate a clip; the tooltips say what each input does."""
        run = RunSettings.of(run_settings, {})
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
            settings=run.loop_settings(options_of_any(motion_resolution)),
            meta_batch=meta_batch,
            node_id=node_id,
            prompt=prompt,
        )
        return self.run_model(frames, inputs, mask)
