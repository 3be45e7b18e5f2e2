"""The bases of the interpolation nodes: what ComfyUI reads off each of their classes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from . import _widgets
from ._inputs import FrameInputs
from ._meta_batch import Batches
from ._run import run_model
from ._weights import complaint


class InterpolationNode:
    """A node with a model widget that makes frames in between."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "interpolate"

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Report what is wrong before anything runs.

        ComfyUI repeats the answer for each parameter that this method has, so there is only one.

        Args:
            model: value of the widget; None where it comes by a link.
        """
        return complaint(model) or True


class FrameNode(InterpolationNode):
    """An interpolation node that takes and gives batches of frames (IMAGE)."""

    RETURN_TYPES = ("IMAGE", "FLOAT", "INT")
    RETURN_NAMES = ("frames", "fps", "count")
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]] = (
        "All frames, made ones and source frames, in order.",
        "Frame rate at which the frames play at the original speed, for Create Video or Video Combine. Where "
        "source fps is not set, that of a source of 24 frames a second.",
        "Number of frames.",
    )

    def __init__(self) -> None:
        # ComfyUI keeps the object of a node from one run of a workflow to the next.
        self._batches = Batches()

    def run_model(self, frames: Tensor, inputs: FrameInputs) -> tuple[Tensor, float, int]:
        """Return all frames, their rate and their number; see :func:`._run.run_model`."""
        return run_model(frames, inputs, self._batches)
