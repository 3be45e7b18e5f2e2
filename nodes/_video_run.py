"""A run of a model over a VIDEO, which begins when somebody saves the result."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..video.stream.lazy import LazyVideo
from ._inputs import CommonInputs
from ._video_host import MadeVideo, source_of


def run_on_save(video: Any, inputs: CommonInputs) -> tuple[MadeVideo, float]:
    """Return the interpolated video and its frame rate.

    Its frames are made while it is saved, read or previewed. The source is opened and the model loaded here
    already, so that what is wrong is said on this node, and not on the one that saves.

    Args:
        video: ComfyUI's VIDEO.
        inputs: of the node.

    Raises:
        MidframeError: a source, model or setting that cannot be used.
    """
    plan = inputs.plan()
    lender = inputs.lender()
    source = source_of(video)
    lazy = LazyVideo(lambda alpha: plan.at_speed(partial(source, alpha)), plan, lender, inputs.settings)
    lender.check(lazy.info.height, lazy.info.width)
    return MadeVideo(lazy), float(lazy.info.rate)
