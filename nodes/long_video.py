"""The node that interpolates a long video in chunks, and goes on where it was."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ..chunks import (
    Executor,
    Farm,
    Inline,
    Job,
    ModelChoice,
    process,
)
from ..chunks.documents import digest_of
from ..chunks.job import PAIRS
from ..chunks.watch import Watch
from ..errors import BadInputError
from ..inputs.numbers import one_multiplier
from ..inputs.objects import described, require_one_of
from ..inputs.rates import rate_or_zero
from ..vfi_models.interface import Interpolator
from ..vfi_utils import EndLaw, Settings
from ..video import Plan
from . import _host, _widgets
from ._interpolation import InterpolationNode
from ._models import (
    AfterRun,
    Loaded,
    Weights,
    obtain,
    require_after_run,
)
from ._plan import unlike_default
from ._video_host import preview_of, video_of_file, whole_file_of
from ._weights import chosen, model_widget
from ._widgets import InputTypes

_LOG = logging.getLogger(__name__)

_DEFAULT_OPTIONS = {"flow_scale": 1.0}
_FORMATS = ["mp4", "mkv", "mov", "webm"]
_HERE, _RAY = "this process", "ray"

_MODEL_TOOLTIP = (
    "default comes with Midframe; every other network is offered too. Downloads go to "
    "models/frame_interpolation; other files in there are listed too."
)
_FPS_TOOLTIP = (
    "Frame rate of the output, any rate: 60 for example. 0: off, the multiplier counts. 23.976, 59.94 and "
    "the like stand for 24000/1001, 60000/1001 exactly."
)
_PREFIX_TOOLTIP = (
    "Folder and beginning of the name in ComfyUI's output folder. The rest of the name says which video and "
    "which settings it is of: running the same again goes on where it was, or gives what is there already."
)
_PAIRS_TOOLTIP = (
    "Pairs of source frames in a chunk, which is what a power cut can cost. Each finished chunk is a file of "
    "its own beside the output until that is whole."
)
_EXECUTOR_TOOLTIP = (
    "Who makes the chunks: this process, or the workers of a Ray cluster (pip install ray): one for each GPU "
    "of this machine, or of many machines that share the output folder."
)


class MidframeChunks(InterpolationNode):
    """Makes the frames in between of a long video, chunk by chunk."""

    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("VIDEO", "STRING")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("video", "path")
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]] = ("The finished video.", "Where it is.")
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

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Inputs and widgets. Saved workflows hold widget values by position: new ones go to the end."""
        kind, last_frame = _widgets.last_frame()
        rate, target_fps = _widgets.target_fps()
        whole, multiplier = _widgets.multiplier()
        tooltip = "Output frames for each source frame: 2 doubles the frame rate."
        return {
            "required": {
                "video": ("VIDEO", {"tooltip": "From Load Video: a whole file."}),
                "model": model_widget(_MODEL_TOOLTIP),
                "multiplier": (whole, {**multiplier, "tooltip": tooltip}),
                "filename_prefix": ("STRING", {"default": "midframe/long", "tooltip": _PREFIX_TOOLTIP}),
            },
            "optional": {
                "target_fps": (rate, {**target_fps, "tooltip": _FPS_TOOLTIP}),
                "format": (_FORMATS, {"default": "mp4", "tooltip": "Type of the file."}),
                "pairs_per_chunk": (
                    "INT",
                    {"default": PAIRS, "min": 1, "max": 100000, "tooltip": _PAIRS_TOOLTIP},
                ),
                "scale": _widgets.scale(),
                "dtype": _widgets.dtype(),
                "batch": _widgets.batch(),
                "clear_cache_after_n_pairs": _widgets.clear_cache(),
                "last_frame": (kind, {**last_frame, "default": "hold_last"}),
                "device": _widgets.device(),
                "after_run": _widgets.after_run(),
                "executor": (
                    [_HERE, _RAY],
                    {"default": _HERE, "tooltip": _EXECUTOR_TOOLTIP, "advanced": True},
                ),
                "ray_address": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Of a Ray cluster; empty: workers on this machine.",
                        "advanced": True,
                    },
                ),
                "model_override": _widgets.model_override("model, dtype and device"),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

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
        executor: str = _HERE,
        ray_address: str = "",
        model_override: Weights | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        """Runs the node; see the tooltips."""
        require_one_of(format, _FORMATS, "format")
        require_one_of(executor, (_HERE, _RAY), "executor")
        weights = chosen(model_override, (model, device, dtype), node_id)
        options = unlike_default({"flow_scale": _widgets.scale_of(scale)}, _DEFAULT_OPTIONS)
        place = _place(filename_prefix)
        job = _named(
            Job(
                whole_file_of(video),
                place.with_name(f"{place.name}.{format}"),
                place,
                _choice(weights),
                plan=Plan(one_multiplier(multiplier), fps=rate_or_zero(target_fps) or None, end=last_frame),
                settings=Settings(options=options, batch=batch, clear_every=clear_cache_after_n_pairs),
                pairs=pairs_per_chunk,
            )
        )
        lender = _Lender(weights, job, after_run)
        watch = Watch(weights.device, _LOG.info)
        try:
            made = _executor(executor, ray_address, lender)
            written = process(job, made, host=_host.watch(1, node_id), report=watch)
        finally:
            lender.done()
        return {"ui": preview_of(written.path), "result": (video_of_file(written.path), str(written.path))}


class _Lender:
    """Lends a model of the cache to a job, if that needs one."""

    def __init__(self, weights: Weights, job: Job, after_run: AfterRun) -> None:
        require_after_run(after_run)
        self._weights = weights
        self._job = job
        self._after_run = after_run
        self._loaded: Loaded | None = None

    def __call__(self) -> Interpolator:
        info = self._job.describe()
        self._loaded = obtain(self._weights)
        return self._loaded.ready(info.height, info.width, self._job.settings.options)

    def done(self) -> None:
        """The job is over."""
        if self._loaded is not None:
            self._loaded.done(self._after_run)


def _executor(name: str, address: str, load: _Lender) -> Executor:
    return Farm(address=(address or "").strip() or None) if name == _RAY else Inline(load)


def _named(job: Job) -> Job:
    """The job with a target and a work folder that no other job has."""
    mark = digest_of(job.identity())[:8]
    target = job.target.with_name(f"{job.target.stem}_{mark}{job.target.suffix}")
    return replace(job, target=target, workdir=target.with_name(f"{target.name}.chunks"))


def _choice(weights: Weights) -> ModelChoice:
    """The same model as data."""
    asked = None if weights.dtype is None else str(weights.dtype).removeprefix("torch.")
    return ModelChoice(str(weights.path), str(weights.device), asked, averaged=weights.averaged)


def _place(prefix: str) -> Path:
    """Folder and beginning of the output's name.

    Raises:
        BadInputError: outside ComfyUI's output folder.
    """
    output = _host.output_folder().resolve()
    name = prefix.strip() if isinstance(prefix, str) and "\0" not in prefix else ""
    place = (output / name).resolve()
    if not name or output not in place.parents:
        raise BadInputError(
            "The file would not be in ComfyUI's output folder.",
            described(prefix),
            "Give a name such as midframe/long.",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    return place
