"""The FILM node."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from torch import Tensor

from ..vfi_models.film.session import FilmOptions
from ..vfi_utils import Schedule, StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import FrameInputs, changed_options
from ._interpolation import FrameNode, FrameOutputs
from ._meta_batch import Manager, Prompt
from ._models import AfterRun
from ._settings import RunSettings, moved
from ._timing import ClipTiming
from ._weights import OLDER_FILM, model_widget
from ._widgets import AUTO, UNSET, InputTypes

_MODEL_TOOLTIP = (
    "FILM, as safetensors or as the TorchScript file of older packs, in float32 or float16: all are one "
    "network. Downloads go to models/frame_interpolation; other files in there are listed too."
)
_SCHEDULE_TOOLTIP = (
    "any_t: every frame is made from the two source frames, at its own moment: fastest, and evenly spaced "
    "at every multiplier. bisect: frames are made from frames made before, as the older FILM nodes do; FILM "
    "has learnt only the middle, but blur and errors add up, and each frame takes a whole run. At "
    "multiplier 2 both are the same. peel: from the outside in. direct: another name of any_t."
)
_ALIGN_TOOLTIP = (
    "Pads the picture to multiples of 64, as FILM was trained. Off: the picture as it is, as other FILM "
    "nodes run it. Sides below 64 are padded in any case."
)

_MOVED = ("dtype", "batch", "device", "after_run", "storage")


class MidframeFILM(FrameNode):
    """Makes the frames in between with FILM."""

    DESCRIPTION = (
        "More frames from a clip, also from photos that lie far apart. FILM is made for large motion; it is "
        "slower than RIFE and needs more memory. Transparency moves along with the picture."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "film",
        "film vfi",
        "large motion",
        "near duplicate photos",
        "slow motion",
        *_widgets.SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        # "bisect" is in saved workflows, and is what the older FILM nodes do: both values stay.
        schedule = {"default": "any_t", "tooltip": _SCHEDULE_TOOLTIP}
        align = {"default": FilmOptions.align, "tooltip": _ALIGN_TOOLTIP, "advanced": True}
        return {
            "required": {
                "frames": _widgets.frames(),
                "model": model_widget(_MODEL_TOOLTIP, ("film",), "film", older=OLDER_FILM),
                "multiplier": _widgets.multiplier(),
            },
            "optional": {
                "source_fps": _widgets.source_fps(),
                "target_fps": _widgets.target_fps(),
                "schedule": (list(get_args(Schedule)), schedule),
                "align": ("BOOLEAN", align),
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
        schedule: Schedule = "any_t",
        align: bool = FilmOptions.align,
        last_frame: str = AUTO,
        clear_cache_after_n_frames: int = 0,
        states: StatesLike | None = None,
        model_override: ModelSource | None = None,
        meta_batch: Manager | None = None,
        timing: ClipTiming | None = None,
        run_settings: RunSettings | None = None,
        mask: Tensor | None = None,
        dtype: str = UNSET,
        batch: int = UNSET,
        device: str = UNSET,
        after_run: AfterRun = UNSET,
        storage: str = UNSET,
        node_id: str | None = None,
        prompt: Prompt | None = None,
    ) -> FrameOutputs:
        """Interpolate a clip; the tooltips say what each input does."""
        run = RunSettings.of(
            run_settings,
            {"dtype": dtype, "batch": batch, "device": device, "after_run": after_run, "storage": storage},
        )
        options = changed_options(FilmOptions(align=align))
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
            settings=run.loop_settings(options, clear_every=clear_cache_after_n_frames, schedule=schedule),
            meta_batch=meta_batch,
            node_id=node_id,
            prompt=prompt,
        )
        return self.run_model(frames, inputs, mask)
