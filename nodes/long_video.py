"""The node that interpolates a long video in chunks, and goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..vfi_utils import StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._chunk_run import FORMATS, ChunkInputs, place_of, run_in_chunks
from ._errors import said_plainly
from ._inputs import options_of_any, run_or_check
from ._interpolation import InterpolationNode, Links
from ._models import AfterRun
from ._settings import RunSettings, moved
from ._timing import ClipTiming
from ._video_host import preview_of, video_of_file
from ._weights import model_widget
from ._widgets import AUTO, UNSET, InputTypes

_PREFIX_TOOLTIP = (
    "Folder and beginning of the name in ComfyUI's output folder. The rest of the name says which video and "
    "which settings it is of: running the same again goes on where it was, or gives what is there already. "
    "%date:yyyy-MM-dd% is the date, each of which is a job of its own."
)

_MOVED = (
    *("pairs_per_chunk", "scale", "dtype", "batch", "clear_cache_after_n_pairs", "device", "after_run"),
    *("executor", "ray_address"),
)


class MidframeChunks(InterpolationNode):
    """Makes the frames in between of a long video, chunk by chunk."""

    CLIP = "video"
    RETURN_TYPES = ("VIDEO", "STRING", "FLOAT")
    RETURN_NAMES = ("video", "path", "fps")
    OUTPUT_TOOLTIPS = (
        "The finished video.",
        "Where it is.",
        "Frame rate of the video, on average where it varies.",
    )
    # It runs with nothing behind it: the file is its result.
    OUTPUT_NODE = True
    DESCRIPTION = (
        "A higher frame rate for a film of any length. It is made in chunks: after a crash, a power cut or "
        "Cancel, running it again goes on with what is missing. It writes the file itself."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "chunk processor",
        "long video",
        "resume",
        "film",
        "ray",
        *_widgets.SEARCH_WORDS,
    ]

    # By the node's id: IS_CHANGED knows no more of the run before.
    _written: ClassVar[dict[str | None, Path]] = {}
    _lost: ClassVar[int] = 0

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        prefix = {"default": "midframe/long", "tooltip": _PREFIX_TOOLTIP}
        return {
            "required": {
                "video": _widgets.video("From Load Video: a whole file."),
                "model": model_widget(_widgets.MODEL_TOOLTIP),
                "multiplier": _widgets.multiplier(", which make a variable frame rate constant"),
                "filename_prefix": ("STRING", prefix),
            },
            "optional": {
                "target_fps": _widgets.target_fps_of_video(),
                "format": (list(FORMATS), {"default": "mp4", "tooltip": "Type of the file."}),
                "motion_resolution": _widgets.motion_resolution(),
                "last_frame": _widgets.last_frame(),
                "model_override": _widgets.model_override(),
                "states": _widgets.states(),
                "timing": _widgets.timing(),
                "run_settings": _widgets.run_settings(),
            },
            "hidden": {"node_id": "UNIQUE_ID", **moved(*_MOVED)},
        }

    @classmethod
    def _check_names(cls, given: Links) -> None:
        if given.get("filename_prefix") is not None:
            place_of(given["filename_prefix"])

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> int:  # noqa: N802 - ComfyUI's name
        """Return another value once the file that this node has written is gone: then it is made again.

        ComfyUI takes the result of the last run where the value is the same.
        """
        path = cls._written.get(inputs.get("node_id"))
        if path is not None and not path.is_file():
            del cls._written[inputs.get("node_id")]
            cls._lost += 1
        return cls._lost

    @said_plainly()
    def interpolate(  # noqa: PLR0913 - one parameter for each widget
        self,
        video: Any,
        model: str,
        *,
        multiplier: Any = 2,
        filename_prefix: str = "midframe/long",
        target_fps: Any = 0.0,
        format: str = "mp4",
        motion_resolution: str | float = AUTO,
        last_frame: str = AUTO,
        model_override: ModelSource | None = None,
        states: StatesLike | None = None,
        timing: ClipTiming | None = None,
        run_settings: RunSettings | None = None,
        pairs_per_chunk: int = UNSET,
        scale: str | float = UNSET,
        dtype: str = UNSET,
        batch: int = UNSET,
        clear_cache_after_n_pairs: int = UNSET,
        device: str = UNSET,
        after_run: AfterRun = UNSET,
        executor: str = UNSET,
        ray_address: str = UNSET,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        """Interpolate the file into another one; the tooltips say what each input does."""
        run = RunSettings.of(
            run_settings,
            {
                "pairs_per_chunk": pairs_per_chunk,
                "dtype": dtype,
                "batch": batch,
                "clear_cache_after_n_frames": clear_cache_after_n_pairs,
                "device": device,
                "after_run": after_run,
                "executor": executor,
                "ray_address": ray_address,
            },
        )
        inputs = ChunkInputs(
            model=model,
            run=run,
            model_override=model_override,
            multiplier=multiplier,
            target_fps=target_fps,
            states=states,
            timing=timing,
            last_frame=last_frame,
            settings=run.loop_settings(options_of_any(motion_resolution, scale)),
            filename_prefix=filename_prefix,
            format=format,
            node_id=node_id,
        )
        return run_or_check(video, inputs, lambda: self._run(video, inputs))

    def _run(self, video: Any, inputs: ChunkInputs) -> dict[str, Any]:
        path, fps = run_in_chunks(video, inputs)
        type(self)._written[inputs.node_id] = path
        return {"ui": preview_of(path), "result": (video_of_file(path), str(path), fps)}
