"""The inputs that all interpolation nodes share, and what the rest of the pack makes of them.

Nodes spell their parameters out, because ComfyUI reads them off the class and saved workflows hold widgets by
position. What they have in common goes on from there as one value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from ..inputs.rates import rate_or_zero
from ..vfi_models.compact.session import CompactOptions
from ..vfi_models.interface import Options
from ..vfi_utils import EndLaw, Settings, StatesLike, Timeline
from ..video import Plan
from ..weights.loading import ModelSource
from . import _host
from ._lending import ModelLender
from ._meta_batch import Manager, Prompt
from ._models import require_after_run
from ._rates import rate_of
from ._settings import RunSettings
from ._timeline import UNKNOWN_RATE, timeline_and_fps
from ._timing import ClipTiming
from ._weights import chosen
from ._widgets import UNSET, end_law, flow_scale, storage_named

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


PENDING: Any = object()
"""Stands for a clip that is still to be made: see :func:`run_or_check`."""

_Outputs = TypeVar("_Outputs")

FRAMES_ONLY = ("storage",)
"""Run settings of nodes that give a batch of frames."""
_CHUNKS_ONLY = ("pairs_per_chunk", "executor", "ray_address")
"""Run settings of the node that works in chunks."""

# Sides of a picture that every network takes, for asking a model about its options.
_ANY_SIDE = 256


@dataclass(frozen=True, kw_only=True)
class CommonInputs:
    """Widgets and links that every interpolation node has, as ComfyUI hands them over.

    Nothing is downloaded, loaded or computed before a method is called.

    Raises:
        BadInputError: no way for a model after a run.
    """

    AUTO_END: ClassVar[EndLaw] = "hold_last"
    """End law where the widget says "auto": a video keeps its length."""

    model: str
    """Value of the model widget."""
    run: RunSettings
    """Settings of the run."""
    averaged: bool = True
    """Whether moving averages of parameters are taken where the file keeps them."""
    model_override: ModelSource | None
    """A model that came by a link; then the three above say nothing of what it is and where it runs."""
    multiplier: Any
    """A number, or a list with one for each pair of frames."""
    target_fps: Any
    """Frames a second to come out; 0 where the multiplier counts."""
    states: StatesLike | None
    """Pairs of frames in which nothing is made."""
    timing: ClipTiming | None
    """What is done about cuts and held frames; None: cuts are held."""
    last_frame: str
    """Value of the widget; an end law from here on."""
    settings: Settings
    """Of the frame loop, with the options of the model."""
    node_id: str | None
    """The node in the workflow, for progress; None outside ComfyUI."""

    def __post_init__(self) -> None:
        # Here, and not after the run that it is about: weights may have to be downloaded for that.
        require_after_run(self.run.after_run)
        settings = replace(self.settings, record=_host.records_passes())
        object.__setattr__(self, "settings", self.clip_timing.settings(settings))
        object.__setattr__(self, "last_frame", end_law(self.last_frame, self.AUTO_END))

    def weights(self) -> ModelSource:
        """Return the weights to run, downloaded if they are not on this computer.

        Raises:
            BadInputError, WeightsNotFoundError: see :func:`._weights.chosen`.
        """
        weights = chosen(self.model_override, (self.model, self.run.device, self.run.dtype), self.node_id)
        return weights if self.model_override is not None else replace(weights, averaged=self.averaged)

    def lender(self) -> ModelLender:
        """Return what lends the model of :meth:`weights` for a run."""
        return ModelLender(self.weights(), self.settings.options, self.run.after_run)

    def check(self) -> None:
        """Fetch and load the model, and check whatever can be checked before the clip is made.

        Raises:
            MidframeError: what would end the run.
        """
        self.check_times()
        self.lender().check(_ANY_SIDE, _ANY_SIDE)

    def warn_unused(self) -> None:
        """Say which run settings were changed that this kind of node has no use for."""
        self.run.warn_unused(_CHUNKS_ONLY + FRAMES_ONLY, self.node_id)

    def check_times(self) -> None:
        """Check which frames shall come out.

        Raises:
            BadInputError: a multiplier, frame rate, states or end law that cannot be used.
        """
        self.plan()

    def plan(self) -> Plan:
        """Return what is made of a video.

        Raises:
            BadInputError: a multiplier, frame rate, states or end law that cannot be used.
        """
        return Plan(
            self.multiplier,
            states=self.states,
            fps=rate_or_zero(self.target_fps) or None,
            end=self.end,
            timing=self.clip_timing.timing,
            analysis=self.clip_timing.analysis,
            speed=self.clip_timing.speed.curve,
            sound_speed=self.clip_timing.speed.sound,
            shutter=self.clip_timing.speed.shutter,
        )

    @property
    def end(self) -> EndLaw:
        """Return what follows the last source frame; another value is refused where it is used."""
        return cast("EndLaw", self.last_frame)

    @property
    def clip_timing(self) -> ClipTiming:
        """Return what is done about cuts and held frames, also where nothing is linked."""
        return ClipTiming.of(self.timing)


@dataclass(frozen=True, kw_only=True)
class FrameInputs(CommonInputs):
    """The inputs of a node that takes a batch of frames, which knows no frame rate of its own."""

    AUTO_END: ClassVar[EndLaw] = "end_on_last"

    source_fps: Any
    """Frames a second of the source, or something that knows them; 0 where nobody does."""
    meta_batch: Manager | None
    """VideoHelperSuite's manager, where the clip comes in batches."""
    prompt: Prompt | None
    """The workflow that runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "source_fps", rate_of(self.source_fps))

    def check_times(self) -> None:
        """Check which frames shall come out, and where they are to lie; see :class:`CommonInputs`."""
        timeline, _ = self.timeline_and_fps(frames=2)
        if self.meta_batch is not None:
            self.clip_timing.in_parts(timeline)
        storage_named(self.run.storage)

    def warn_unused(self) -> None:
        """Say which run settings were changed that this kind of node has no use for."""
        self.run.warn_unused(_CHUNKS_ONLY, self.node_id)

    @property
    def rate_note(self) -> str:
        """Return what to say of the fps output; empty where the rate of the source is known or not needed."""
        known = rate_or_zero(self.source_fps) or rate_or_zero(self.target_fps)
        return "" if known else UNKNOWN_RATE

    def timeline_and_fps(self, frames: int) -> tuple[Timeline, float]:
        """Return which frames come out of a clip or batch of so many frames, and their rate.

        Raises:
            BadInputError: see :func:`._timeline.timeline_and_fps`.
        """
        timeline, fps = timeline_and_fps(
            self.multiplier,
            (self.source_fps, self.target_fps),
            states=self.states,
            end=self.end,
            # Of a clip in batches only this one is here, and all must say the same rate.
            frames=None if self.meta_batch is not None else frames,
        )
        self.clip_timing.require_usable(timeline, rate_or_zero(self.source_fps))
        return timeline, fps


def run_or_check(clip: Any, inputs: CommonInputs, run: Callable[[], _Outputs]) -> _Outputs:
    """Run a node; where its clip is still to be made, check its inputs alone.

    ComfyUI asks a node which of its lazy inputs it needs before it makes them, which may take hours of
    sampling. The node is called with :data:`PENDING` for its clip then.

    Args:
        clip: of the node.
        inputs: of the node.
        run: makes the node's outputs of the clip.

    Returns:
        The outputs; None where the inputs were checked, of which nobody asks for any.

    Raises:
        MidframeError: what ends the run, or would end it.
    """
    if clip is PENDING:
        inputs.check()
        return cast("_Outputs", None)
    inputs.warn_unused()
    return run()


def changed_options(options: DataclassInstance) -> Options:
    """Return the options that differ from their defaults, which are those of the network's ``spec.options``.

    Only these are passed on: another network, chosen by a link or from the whole menu, need not know the
    others and may have defaults of its own.

    Args:
        options: of the network that the node is about, such as ``RifeOptions``.
    """
    values = ((field, getattr(options, field.name)) for field in fields(options))
    return {field.name: value for field, value in values if value != field.default}


def options_of_any(motion_resolution: Any, scale: Any = UNSET) -> Options:
    """Return the options of a node that takes any network: its flow scale, where it is not the usual one.

    Args:
        motion_resolution, scale: see :func:`._widgets.flow_scale`.

    Raises:
        BadInputError: no number.
    """
    usual = CompactOptions.flow_scale
    return changed_options(CompactOptions(flow_scale=flow_scale(motion_resolution, scale, usual)))
