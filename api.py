"""The public Python API: load a model, interpolate frames, tell what a state dict is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .analysis.notes import Analysis
from .analysis.routed import routed_notes
from .analysis.timing import Timing
from .analysis.watch import analyse
from .engine.playing import Playing, speed_of
from .engine.shutter import Shutter, fed
from .errors import MidframeError
from .inputs.frames import require_clip
from .inputs.numbers import Number
from .memory.sinks import BatchSink, Storage
from .vfi_models import detect
from .vfi_utils import FrameLoop, Host, Settings, Timeline, by_multiplier
from .weights import loading
from .weights.loading import ModelLike, as_model, load_model

_MOVED = ("default_device", "locate", "open_weights", "runnable_dtype", "usable_device")

__all__ = ["detect", "interpolate", "interpolate_part", "load_model"]


def interpolate(  # noqa: PLR0913 - all but two have a default that most callers keep
    frames: Tensor,
    model: ModelLike,
    multiplier: Number | Sequence[int] = 2,
    *,
    timeline: Timeline | None = None,
    timing: Timing | None = None,
    analysis: Analysis | None = None,
    speed: Any = None,
    shutter: Shutter | None = None,
    settings: Settings | None = None,
    storage: Storage | None = None,
    host: Host | None = None,
) -> Tensor:
    """Interpolate a clip that is in memory.

    Args:
        frames: (N, H, W, C) on the host, float in 0..1 (or uint8, uint16), C of 1, or 3 to 16; any
            strides; never written to. Source frames come out as they are, also where they leave 0..1,
            and so do frames between two that are equal bit for bit; the network sees them clamped.
        model: from :func:`load_model`, or a name or path for it.
        multiplier: output frames for each source frame, 2.5 too, or a list with one for each pair; see
            :func:`by_multiplier`.
        timeline: which frames come out, instead of ``multiplier``; see :func:`~.engine.timeline.by_fps`.
        timing: what is done about cuts and held frames; left out, the nearer frame is held at a cut.
        analysis: what is known of the clip's pairs; left out, it is looked at where ``timing`` needs that.
        speed: at which it plays, such as ``0.5`` or ``0:1, 48:0.25``, see :meth:`.engine.curve.Curve.of`;
            at a constant rate, that of ``timeline`` or ``multiplier`` times the source's.
        shutter: makes each output frame the mean of several moments, likewise.
        settings: options of the model, batch, clearing.
        storage: where the output lies, and as what; in main memory as float32 by default.
        host: gets the progress, and may cancel.
        playing: of a clip in one part, where it plays along a curve or with a shutter.

    Returns:
        (M, H, W, C) on the host, as ``storage`` says; M = (N - 1) * multiplier + 1, rounded down.
        Fewer than two frames come back as they are (a copy).

    Raises:
        BadInputError: not a batch of pictures, or options that the model does not have.
        OutOfMemoryError: with the finished frames in ``partial``.
        MidframeError: the disk has no room for what shall lie there.
    """
    _, height, width, channels = require_clip(frames).shape
    model = as_model(model)
    plain = by_multiplier(multiplier) if timeline is None else timeline
    timing, poll = timing or Timing(), (lambda: None) if host is None else host.check_cancelled
    curve = speed_of(speed, rate_known=timeline is not None)
    playing = Playing.of(plain, len(frames), speed=curve, shutter=shutter)

    def look() -> Analysis:
        notes = analysis or analyse(frames, only_cuts=timing.only_cuts, poll=poll)
        notes.warn_past(len(frames))
        return notes if playing.route is None else routed_notes(notes, playing.route)

    # What fits nowhere is refused before anything is spent on it.
    sink = (storage or Storage()).sink(playing.count(len(frames)), (height, width, channels))
    with FrameLoop(timing.timesteps(playing.timesteps, look), settings=settings) as loop:
        return interpolate_part(frames, loop, model, last=True, sink=sink, host=host, playing=playing)


def interpolate_part(  # noqa: PLR0913 - what one part of a run consists of
    frames: Tensor,
    loop: FrameLoop,
    model: ModelLike,
    *,
    last: bool,
    sink: BatchSink,
    host: Host | None = None,
    playing: Playing | None = None,
) -> Tensor:
    """Interpolate a part of a clip and return the frames that it adds.

    Args:
        frames: as for :func:`interpolate`; the parts of a clip in order.
        loop: the same for all parts.
        model: as for :func:`interpolate`.
        last: nothing follows this part.
        sink: with room for ``loop.count(len(frames), last=last)`` frames.
        host: gets the progress, and may cancel.

    Returns:
        The frames of the sink.

    Raises:
        MidframeError: as for :func:`interpolate`; ``partial`` is of this part.
    """
    require_clip(frames)
    visited, samples = (frames, 1) if playing is None else (playing.visited(frames), playing.samples)
    try:
        fed(loop, visited, as_model(model), sink, samples=samples, last=last, host=host)
    except MidframeError as error:
        # A view: nothing is copied, for memory may have run out.
        error.partial = sink.frames[: error.finished]
        raise
    return sink.frames


def __getattr__(name: str) -> Any:
    """Return a name that this module had before ``weights/loading.py`` was a room of its own."""
    if name in _MOVED:
        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
