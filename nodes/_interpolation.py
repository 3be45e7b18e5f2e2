"""The bases of the interpolation nodes: what ComfyUI reads off each of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ..errors import MidframeError
from ..inputs.numbers import multipliers
from . import _widgets
from ._errors import said_plainly
from ._inputs import PENDING, FrameInputs, run_or_check
from ._links import check_links
from ._masks import no_mask, with_mask, without_mask
from ._meta_batch import Batches
from ._run import run_model
from ._settings import check_given
from ._timeline import timeline_and_fps
from ._weights import check_available

FrameOutputs = tuple[Tensor, float, int, Tensor]
"""Frames, their rate and number, and their masks: one for all where the clip has none."""
Links = Mapping[str, Any]
"""The types of what is linked to a node's inputs, by the names of these."""


class InterpolationNode:
    """A node with a model widget that makes frames in between."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "interpolate"
    CLIP: ClassVar[str]
    """Name of the lazy input: everything else is checked before what comes there is made."""

    @classmethod
    def VALIDATE_INPUTS(  # noqa: N802, PLR0913, PLR0917 - ComfyUI reads off this which values we ask for
        cls,
        model: str | None = None,
        multiplier: Any = None,
        input_types: Links | None = None,
        source_fps: Any = None,
        target_fps: Any = None,
        scale: Any = None,
        flow_scale: Any = None,
        device: Any = None,
        dtype: Any = None,
        batch: Any = None,
        clear_cache_after_n_pairs: Any = None,
        after_run: Any = None,
        storage: Any = None,
        pairs_per_chunk: Any = None,
        executor: Any = None,
        eta: Any = None,
        sample_steps: Any = None,
        tile: Any = None,
        tile_overlap: Any = None,
        filename_prefix: Any = None,
    ) -> bool | str:
        """Report what is wrong before anything runs.

        Args:
            model, multiplier: values of the widgets; None where they come by a link.
            input_types: types of all links, which ComfyUI leaves unchecked then; None outside ComfyUI.
            source_fps, target_fps, filename_prefix: None where they come by a link, or a workflow or the node
                has none.

        The others were widgets once; ComfyUI checks none of them: see :func:`._settings.moved`.

        Returns:
            True, or outside ComfyUI what is wrong.

        Raises:
            MidframeError: what is wrong. ComfyUI says an error once, and an answer for each parameter.
        """
        given = {
            "scale": scale,
            "flow_scale": flow_scale,
            "device": device,
            "dtype": dtype,
            "batch": batch,
            "clear_cache_after_n_pairs": clear_cache_after_n_pairs,
            "after_run": after_run,
            "storage": storage,
            "pairs_per_chunk": pairs_per_chunk,
            "executor": executor,
            "eta": eta,
            "sample_steps": sample_steps,
            "tile": tile,
            "tile_overlap": tile_overlap,
            "filename_prefix": filename_prefix,
        }
        return cls._validate((model, multiplier), (source_fps, target_fps), input_types, given)

    @classmethod
    def _validate(
        cls,
        chosen: tuple[str | None, Any],
        rates: tuple[Any, Any] | None,
        links: Links | None,
        given: Links,
    ) -> bool | str:
        model, multiplier = chosen
        with said_plainly():
            try:
                inputs = cls.INPUT_TYPES()
                check_links(inputs, links or {})
                check_given(inputs["hidden"], given)
                cls._check_names(given)
                if "model_override" not in (links or {}):
                    check_available(model)
                if multiplier is not None:
                    multipliers(multiplier)
                if rates is not None:
                    cls._check_rates(rates, links or {})
            except MidframeError as error:
                if links is None:
                    return str(error)
                raise
        return True

    @classmethod
    def _check_rates(cls, rates: tuple[Any, Any], _links: Links) -> None:
        """Check the rates of the source and of the target, see :meth:`VALIDATE_INPUTS`."""
        check_given(cls.INPUT_TYPES()["optional"], {"target_fps": rates[1]})

    @classmethod
    def _check_names(cls, given: Links) -> None:
        """Check names of files that the node writes."""

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
        # What is not linked at all is not among the inputs, and needs nothing.
        needed = [name for name in (self.CLIP, "mask") if inputs.get(name, PENDING) is None]
        if needed:
            getattr(self, self.FUNCTION)(**{**inputs, self.CLIP: PENDING})
        return needed


class FrameNode(InterpolationNode):
    """An interpolation node that takes and gives batches of frames (IMAGE)."""

    CLIP = "frames"
    RETURN_TYPES = ("IMAGE", "FLOAT", "INT", "MASK")
    RETURN_NAMES = ("frames", "fps", "count", "mask")
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]] = (
        "All frames, made ones and source frames, in order.",
        "Frame rate at which the frames play at the original speed, for Create Video or Video Combine. Where "
        "source_fps is not set, the source is taken to have 24 frames a second.",
        "Number of frames.",
        "The mask of each frame; an empty one where none is linked to mask.",
    )

    def __init__(self) -> None:
        # ComfyUI keeps the object of a node from one run of a workflow to the next.
        self._batches = Batches()

    @classmethod
    def _check_rates(cls, rates: tuple[Any, Any], links: Links) -> None:
        if not {"source_fps", "target_fps"} & set(links):
            source, target = (0 if rate is None else rate for rate in rates)
            # The number of frames does not matter here.
            timeline_and_fps(2, (source, target), states=None, end="end_on_last", frames=2)

    def run_model(self, frames: Tensor, inputs: FrameInputs, mask: Tensor | None = None) -> FrameOutputs:
        """Return all frames, their rate, their number, and their masks.

        Args:
            frames, inputs: see :func:`._run.run_model` and :func:`._inputs.run_or_check`.
            mask: (N, H, W) or (1, H, W); None for none.
        """

        def run() -> FrameOutputs:
            if mask is None:
                # Something may be linked to the fourth output all the same.
                output, fps, count = run_model(frames, inputs, self._batches)
                return output, fps, count, no_mask(output)
            output, fps, count = run_model(with_mask(frames, mask), inputs, self._batches)
            pictures, masks = without_mask(output)
            return pictures, fps, count, masks

        return run_or_check(frames, inputs, run)
