"""The node that says which model suits a clip."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInputError
from ..inputs.frames import require_clip
from ..report.make import Report, make
from ..report.page import findings, page
from ..video.read.clip import TimedClip
from ..video.read.tensor import TensorClip
from . import _host, _progress
from ._errors import said_plainly
from ._lending import ModelLender
from ._timeline import ASSUMED_FPS
from ._video_host import source_of
from ._weights import choose, on_this_computer
from ._widgets import CATEGORY, SEARCH_WORDS, InputTypes

_DEVICE = _DTYPE = "auto"


class MidframeReport:
    """Measures the models on this computer on a clip, and shows what is in it."""

    CATEGORY = CATEGORY
    FUNCTION = "report"
    RETURN_TYPES = ("IMAGE", "STRING", "STRING")
    RETURN_NAMES = ("sheet", "summary", "json")
    OUTPUT_TOOLTIPS = (
        "Frames of the clip, with their times.",
        "Which model comes nearest, and what was found.",
        "All numbers.",
    )
    # It runs with nothing behind it: its page and its sheet are what it is for.
    OUTPUT_NODE = True
    DESCRIPTION = (
        "Leaves frames of a clip out, makes them with every model on this computer, and compares: which one "
        "suits this clip, and how long a frame takes. Also cuts, repeated frames and motion. Writes a page "
        "(HTML) into the output folder; nothing is downloaded."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = ["compare models", "which model", "benchmark", *SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs: one of the two clips is linked."""
        count = {
            "default": 12,
            "min": 1,
            "max": 1000,
            "tooltip": "Frames that are left out and made by each model, spread over the clip.",
        }
        return {
            "required": {"measured_frames": ("INT", count)},
            "optional": {
                "frames": ("IMAGE", {"tooltip": "The clip, or link a video."}),
                "video": ("VIDEO", {"tooltip": "The clip, or link frames."}),
            },
        }

    @said_plainly()
    def report(
        self, measured_frames: int = 12, frames: Tensor | None = None, video: Any = None
    ) -> dict[str, Any]:
        """Return the sheet, the summary and the numbers, and show the first two on the node."""
        if (frames is None) == (video is None):
            raise BadInputError(
                "One clip is measured.",
                "none is linked" if frames is None else "both are linked",
                "Link frames or a video.",
            )
        name, opens = ("frames", _opens(frames)) if frames is not None else _opened(video)
        models = [(name, partial(_lent, name)) for name in on_this_computer()]
        found = make(name, opens, models, _progress.watch(measured_frames), most=measured_frames)
        summary = "\n".join((found.advice, *findings(found), f"Page: {_written(found)}"))
        sheet = torch.from_numpy(np.asarray(found.sheet).astype(np.float32) / 255)[None]
        shown = {"images": [_preview(found.sheet)], "text": [summary]}
        return {"ui": shown, "result": (sheet, summary, found.to_json())}


def _opens(frames: Tensor) -> Callable[[], TimedClip]:
    clip = require_clip(frames)
    return lambda: TensorClip(clip, Fraction(ASSUMED_FPS), alpha=False)


def _opened(video: Any) -> tuple[str, Callable[[], TimedClip]]:
    opens = partial(source_of(video), False)
    with opens() as clip:
        return clip.info.path.name, opens


def _lent(name: str, height: int, width: int) -> Any:
    return ModelLender(choose(name, _DEVICE, _DTYPE), {})(height, width)


def _written(report: Report) -> str:
    """Write the page into the output folder under a name that is free, and return its path."""
    folder = _host.output_folder()
    stem, number = f"midframe_report_{report.name}", 1
    while (path := folder / f"{stem}_{number:05}.html").exists():
        number += 1
    path.write_text(page(report), encoding="utf-8")
    return str(path)


def _preview(sheet: Any) -> dict[str, str]:
    file = f"midframe_report_{uuid.uuid4().hex}.png"
    sheet.save(_host.temp_folder() / file)
    return {"filename": file, "subfolder": "", "type": "temp"}
