"""What the nodes that make frames have in common; each adds its network's widgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from . import _host, _widgets
from ._meta_batch import Batches, Manager, Prompt
from ._run import Run
from ._weights import complaint
from ._widgets import InputTypes


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
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs and widgets."""
        raise NotImplementedError

    @classmethod
    def VALIDATE_INPUTS(  # noqa: N802 - ComfyUI's name
        cls, model: str | None = None, input_types: Mapping[str, str] | None = None
    ) -> bool | str:
        """Report what is wrong before anything runs.

        Args:
            model: value of the widget; None where it comes by a link.
            input_types: of each link. ComfyUI leaves them to a node that asks for them: a multiplier is an
                INT as a widget, and takes FLOAT too.
        """
        return _misfit(cls.INPUT_TYPES(), input_types or {}) or complaint(model) or True


def _misfit(inputs: InputTypes, linked: Mapping[str, str]) -> str | None:
    """Return what is wrong with the type of a link, None where all fit."""
    rows = {**inputs["required"], **inputs.get("optional", {})}
    for name, received in linked.items():
        expected = rows[name][0]
        if not (_host.link_fits(received, expected) or (name, received) == ("multiplier", "FLOAT")):
            takes = expected if isinstance(expected, str) else "a choice of its menu"
            return f"{name} takes {takes}, and {received} is connected"
    return None
