"""The node that interpolates a long video in chunks, and goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..chunks.job import PAIRS
from ..vfi_models.compact.session import CompactOptions
from ..vfi_utils import EndLaw, Settings, StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._chunk_run import EXECUTORS, FORMATS, THIS_PROCESS, ChunkInputs, run_in_chunks
from ._errors import said_plainly
from ._inputs import PENDING, changed_options
from ._interpolation import InterpolationNode
from ._models import AfterRun
from ._timing import ClipTiming
from ._video_host import preview_of, video_of_file
from ._weights import model_widget
from ._widgets import InputTypes, scale_of

_PREFIX_TOOLTIP = (
    "Folder and beginning of the name in ComfyUI's output folder. The rest of the name says which video and "
    "which settings it is of: running the same again goes on where it was, or gives what is there already. "
    "%date:yyyy-MM-dd% is the date, each of which is a job of its own."
)
_PAIRS_TOOLTIP = (
    "Pairs of source frames in a chunk, which is what a power cut can cost. Each finished chunk is a file of "
    "its own beside the output until that is whole."
)
_EXECUTOR_TOOLTIP = (
    "Who makes the chunks: this process, or the workers of a Ray cluster (pip install ray): one for each GPU "
    "of this machine, or of many machines that share the output folder."
)
_ADDRESS_TOOLTIP = "Of a Ray cluster; empty: workers on this machine."


class MidframeChunks(InterpolationNode):
    """Makes the frames in between of a long video, chunk by chunk."""

    CLIP = "video"
    RETURN_TYPES = ("VIDEO", "STRING")
    RETURN_NAMES = ("video", "path")
    OUTPUT_TOOLTIPS = ("The finished video.", "Where it is.")
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
        pairs = {"default": PAIRS, "min": 1, "max": 100000, "tooltip": _PAIRS_TOOLTIP}
        executor = {"default": THIS_PROCESS, "tooltip": _EXECUTOR_TOOLTIP, "advanced": True}
        address = {"default": "", "tooltip": _ADDRESS_TOOLTIP, "advanced": True}
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
                "pairs_per_chunk": ("INT", pairs),
                "scale": _widgets.scale(),
                "dtype": _widgets.dtype(),
                "batch": _widgets.batch(),
                "clear_cache_after_n_pairs": _widgets.clear_cache(),
                "last_frame": _widgets.last_frame("hold_last"),
                "device": _widgets.device(),
                "after_run": _widgets.after_run(),
                "executor": (list(EXECUTORS), executor),
                "ray_address": ("STRING", address),
                "model_override": _widgets.model_override("model, dtype and device"),
                "states": _widgets.states(),
                "timing": _widgets.timing(),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

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
        pairs_per_chunk: int = PAIRS,
        scale: str | float = "1",
        dtype: str = "auto",
        batch: int = 0,
        clear_cache_after_n_pairs: int = 0,
        last_frame: EndLaw = "hold_last",
        device: str = "auto",
        after_run: AfterRun = "keep loaded",
        executor: str = THIS_PROCESS,
        ray_address: str = "",
        model_override: ModelSource | None = None,
        states: StatesLike | None = None,
        timing: ClipTiming | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        """Interpolate the file into another one; the tooltips say what each input does."""
        settings = Settings(
            options=changed_options(CompactOptions(flow_scale=scale_of(scale))),
            batch=batch,
            clear_every=clear_cache_after_n_pairs,
        )
        inputs = ChunkInputs(
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
            filename_prefix=filename_prefix,
            format=format,
            pairs_per_chunk=pairs_per_chunk,
            executor=executor,
            ray_address=ray_address,
            node_id=node_id,
        )
        path = run_in_chunks(video, inputs)
        if video is PENDING:
            return {}
        type(self)._written[node_id] = path
        return {"ui": preview_of(path), "result": (video_of_file(path), str(path))}
