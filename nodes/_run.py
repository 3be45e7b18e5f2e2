"""A run of a model over a batch of frames, whole or one of several."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from torch import Tensor

from ..analysis.parts import PartTimesteps
from ..api import interpolate_part
from ..engine.playing import Playing
from ..errors import OutOfMemoryError
from ..inputs.frames import require_clip
from ..memory.sinks import BatchSink, Storage
from ..vfi_utils import FrameLoop, Settings, Timeline
from . import _host, _progress
from ._inputs import FrameInputs
from ._lending import ModelLender
from ._meta_batch import Batches
from ._rescue import rescue
from ._timeline import nothing_to_make, say_assumed_rate
from ._timing import ClipTiming
from ._widgets import storage_named

_LOG = logging.getLogger(__name__)

_PAIR = 2


def run_model(frames: Tensor, inputs: FrameInputs, batches: Batches) -> tuple[Tensor, float, int]:
    """Interpolate a clip, or the batch of it that is here now.

    Args:
        frames: (N, H, W, C) float on the host, as ComfyUI's IMAGE.
        inputs: of the node.
        batches: what the node carries from batch to batch.

    Returns:
        All frames, (M, H, W, C) on the host; their rate; their number.

    Raises:
        MidframeError: see :func:`~..api.interpolate`. Where memory ran out, the finished frames have been
            written to ComfyUI's output folder, which the error names.
    """
    timeline, fps = inputs.timeline_and_fps(len(require_clip(frames)))
    say_assumed_rate(inputs.source_fps, inputs.target_fps)
    storage = storage_named(inputs.run.storage)
    run = Run(
        timeline,
        inputs.lender(),
        inputs.settings,
        storage,
        inputs.node_id,
        inputs.clip_timing,
        inputs.rate_note,
    )
    if inputs.meta_batch is None:
        output = run.whole(frames)
    else:
        with batches.loop(inputs.meta_batch, inputs.prompt, run.loop) as (loop, last):
            if isinstance(loop.timeline, PartTimesteps):
                loop.timeline.look(frames, _host.check_cancelled)
            output = run.part(frames, loop, last=last)
    return output, fps, len(output)


@dataclass(frozen=True)
class Run:
    """How a node runs a model over frames."""

    timeline: Timeline
    lender: ModelLender
    settings: Settings = field(default_factory=Settings)
    storage: Storage = field(default_factory=Storage)
    node_id: str | None = None
    timing: ClipTiming = field(default_factory=ClipTiming)
    note: str = ""
    """Shown under the node when the run is done."""

    def loop(self) -> FrameLoop:
        """Return a frame loop for a clip in parts."""
        return FrameLoop(self.timing.in_parts(self.timeline), settings=self.settings)

    def whole(self, frames: Tensor) -> Tensor:
        """Interpolate a whole clip; see :func:`run_model`. ``frames`` itself where there is nothing to do."""
        playing = self.timing.playing(self.timeline, len(frames))
        seen, count = playing.visited(frames), playing.count(len(frames))
        reason = nothing_to_make(playing.timesteps, len(seen))
        if reason is not None:
            _host.warn(reason, self.node_id)
        # Under hold_last even one frame is shown several times: then it is a run like any other.
        if count == len(frames) < _PAIR:
            return frames
        # Before anything is spent on it: an output that fits nowhere must be refused.
        sink = self._sink(count, frames)
        timesteps = self.timing.whole(playing, frames, _host.check_cancelled)
        with FrameLoop(timesteps, settings=self.settings) as loop:
            return self._made(frames, loop, sink, last=True, playing=playing)

    def part(self, frames: Tensor, loop: FrameLoop, *, last: bool) -> Tensor:
        """Return the frames that a part of a clip adds.

        See :func:`run_model` and :meth:`~..vfi_utils.FrameLoop.feed`.
        """
        sink = self._sink(loop.count(len(frames), last=last), frames)
        return self._made(frames, loop, sink, last=last)

    def _sink(self, count: int, frames: Tensor) -> BatchSink:
        _, height, width, channels = frames.shape
        return self.storage.sink(count, (height, width, channels))

    def _made(
        self,
        frames: Tensor,
        loop: FrameLoop,
        sink: BatchSink,
        *,
        last: bool,
        playing: Playing | None = None,
    ) -> Tensor:
        """Return the frames of the sink once they are made."""
        height, width, _ = sink.frames.shape[1:]
        try:
            with self.lender(height, width, loop) as model:
                began = time.perf_counter()
                host = _progress.watch(len(sink.frames), self.node_id, note=self.note)
                output = interpolate_part(
                    frames, loop, model, last=last, sink=sink, host=host, playing=playing
                )
        except OutOfMemoryError as error:
            raise rescue(error) from error
        _LOG.info("%d frames from %d in %.1f s", len(output), len(frames), time.perf_counter() - began)
        return output
