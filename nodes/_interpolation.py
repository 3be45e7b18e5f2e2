"""What the nodes that make frames have in common; each adds its network's widgets."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from . import _widgets
from ._meta_batch import Batches, Manager, Prompt
from ._run import Run
from ._weights import complaint


class InterpolationNode:
    """Frames in, more frames out."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "interpolate"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE", "FLOAT", "INT")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("frames", "fps", "count")
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]] = (
        "All frames, made ones and source frames, in order.",
        "Frame rate at which the frames play at the original speed, for Create Video or Video Combine. Where "
        "source fps is not set, that of a source of 24 frames a second.",
        "Number of frames.",
    )

    def __init__(self) -> None:
        self._batches = Batches()

    def _made(self, run: Run, frames: Tensor, meta_batch: Manager | None, prompt: Prompt | None) -> Tensor:
        """The frames of a whole clip, or of the batch of it that is here now."""
        if meta_batch is None:
            return run(frames)
        with self._batches.loop(meta_batch, prompt, run.loop) as (loop, last):
            return run.part(frames, loop, last=last)

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Report what is wrong before anything runs, once for each parameter: so ComfyUI shows it.

        Args:
            model: value of the widget; None where it comes by a link.
        """
        return complaint(model) or True
