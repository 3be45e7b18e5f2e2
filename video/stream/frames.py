"""Interpolate frames that are in memory into a file."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from ...inputs.frames import clip_of
from ...inputs.objects import path_of
from ...inputs.rates import frame_rate
from ...vfi_utils import Host, Settings, require_model
from ...weights.loading import ModelLike, as_model
from ..read.tensor import TensorClip
from ..write.target import Target
from .files import Written
from .lazy import LazyVideo
from .plan import Plan


def interpolate_frames(  # noqa: PLR0913 - all but three have a default that most callers keep
    frames: Any,
    fps: Any,
    target: str | Path,
    model: ModelLike = "default",
    *,
    plan: Plan | None = None,
    settings: Settings | None = None,
    host: Host | None = None,
) -> Written:
    """Interpolate frames that are in memory into a video file, in the memory of a few frames more.

    Args:
        frames: what :func:`~...inputs.frames.clip_of` takes: a tensor, an array, or a list of pictures.
        fps: frames a second at which they play.
        target: what to write; the extension says the format.
        model: on the device where it shall run, or what :func:`~...weights.loading.load_model` takes.
        plan: what to make; twice the frames where it is left out.
        settings: of the frame loop.
        host: gets progress, and may cancel.

    Raises:
        BadInputError: frames, rate, target, model or plan cannot be worked with.
        OutOfMemoryError, MidframeError: see :func:`~.files.interpolate_video`.
    """
    plan, path, rate = plan or Plan(), path_of(target, "output"), frame_rate(fps)
    clip = clip_of(frames)
    Target(path, overwrite=plan.overwrite)  # before a model is loaded
    loaded = as_model(model)
    require_model(loaded)

    def source(alpha: bool) -> Any:
        return plan.at_speed(partial(TensorClip, clip, rate, alpha=alpha))

    lazy = LazyVideo(source, plan, lambda height, width: nullcontext(loaded), settings or Settings())
    return lazy.write(path, plan.coding, metadata=plan.metadata, host=host)
