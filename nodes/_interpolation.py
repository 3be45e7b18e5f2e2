"""The bases of the interpolation nodes: what ComfyUI reads off each of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ..errors import MidframeError
from . import _widgets
from ._errors import said_plainly
from ._inputs import PENDING, FrameInputs
from ._links import check_links
from ._meta_batch import Batches
from ._run import run_model
from ._timeline import timeline_and_fps
from ._weights import check_available

Links = Mapping[str, Any]
"""The types of what is linked to a node's inputs, by the names of these."""


class InterpolationNode:
    """A node with a model widget that makes frames in between."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "interpolate"
    CLIP: ClassVar[str]
    """Name of the lazy input: everything else is checked before what comes there is made."""

    @classmethod
    def VALIDATE_INPUTS(  # noqa: N802 - ComfyUI's name
        cls, model: str | None = None, input_types: Links | None = None
    ) -> bool | str:
        """Report what is wrong before anything runs.

        Args:
            model: value of the widget; None where it comes by a link.
            input_types: types of all links, which ComfyUI leaves unchecked then; None outside ComfyUI.

        Returns:
            True, or outside ComfyUI what is wrong.

        Raises:
            MidframeError: what is wrong. ComfyUI says an error once, and an answer for each parameter.
        """
        return cls._validate(model, None, input_types)

    @classmethod
    def _validate(cls, model: str | None, rates: tuple[Any, Any] | None, links: Links | None) -> bool | str:
        with said_plainly():
            try:
                check_links(cls.INPUT_TYPES(), links or {})
                if "model_override" not in (links or {}):
                    check_available(model)
                if rates is not None:
                    # The number of frames does not matter here.
                    timeline_and_fps(2, rates, states=None, end="end_on_last", frames=2)
            except MidframeError as error:
                if links is None:
                    return str(error)
                raise
        return True

    @classmethod
    def INPUT_TYPES(cls) -> _widgets.InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs."""
        raise NotImplementedError

    @said_plainly()
    def check_lazy_status(self, **inputs: Any) -> list[str]:
        """Check and fetch what a run needs besides its clip, and say whether the clip is needed.

        ComfyUI asks before it runs what the clip comes from, which may be hours of sampling.

        Args:
            inputs: as for the node's function; the clip is None while nobody has made it.

        Returns:
            The inputs that are to be made now.

        Raises:
            MidframeError: what would end the run.
        """
        if inputs.get(self.CLIP) is not None:
            return []
        getattr(self, self.FUNCTION)(**{**inputs, self.CLIP: PENDING})
        return [self.CLIP]


class FrameNode(InterpolationNode):
    """An interpolation node that takes and gives batches of frames (IMAGE)."""

    CLIP = "frames"
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

    @classmethod
    def VALIDATE_INPUTS(  # noqa: N802 - ComfyUI's name
        cls,
        model: str | None = None,
        input_types: Links | None = None,
        source_fps: Any = None,
        target_fps: Any = None,
    ) -> bool | str:
        """Report what is wrong before anything runs; see :class:`InterpolationNode`.

        Args:
            model: value of the widget; None where it comes by a link.
            source_fps, target_fps: likewise; also None where a workflow leaves them out.
            input_types: the types of all links.
        """
        linked = {"source_fps", "target_fps"} & set(input_types or {})
        rates = None if linked else (source_fps or 0, target_fps or 0)
        return cls._validate(model, rates, input_types)

    def run_model(self, frames: Tensor, inputs: FrameInputs) -> tuple[Tensor, float, int]:
        """Return all frames, their rate and their number; see :func:`._run.run_model`.

        Where the frames are still to be made the inputs are checked, and nothing that counts comes back.
        """
        if frames is PENDING:
            inputs.check()
            return frames, 0.0, 0
        inputs.warn_unused()
        return run_model(frames, inputs, self._batches)
