"""A run of a model over a batch of frames, as every interpolation node makes it."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..api import interpolate_part
from ..errors import OutOfMemoryError
from ..memory.sinks import Storage
from ..memory.staging import as_dtype
from ..vfi_utils import FrameLoop, Settings, Timeline
from . import _host
from ._models import (
    AfterRun,
    Weights,
    obtain,
    require_after_run,
)

_LOG = logging.getLogger(__name__)

_PAIR = 2


@dataclass(frozen=True)
class Run:
    """How a node runs a model."""

    weights: Weights
    timeline: Timeline
    settings: Settings = field(default_factory=Settings)
    after_run: AfterRun = "keep loaded"
    node_id: str | None = None
    storage: Storage = field(default_factory=Storage)

    def __post_init__(self) -> None:
        require_after_run(self.after_run)

    def loop(self) -> FrameLoop:
        """A frame loop for a clip, whole or in parts."""
        return FrameLoop(self.timeline, settings=self.settings)

    def __call__(self, frames: Tensor) -> Tensor:
        """The frames of the timeline of a whole clip.

        Args:
            frames: (N, H, W, C) float on the host, as ComfyUI's IMAGE.

        Returns:
            (M, H, W, C) on the host, as the storage says. Where there is nothing to do, ``frames`` itself.

        Raises:
            MidframeError: see :func:`~..api.interpolate`. Where memory ran out, the finished frames have
                been written to ComfyUI's output folder, which the error names.
        """
        reason = nothing_to_make(self.timeline, len(frames))
        if reason is not None:
            _host.tell(reason, self.node_id)
        if self.timeline.count(len(frames)) == len(frames) < _PAIR:
            return frames
        with self.loop() as loop:
            return self.part(frames, loop, last=True)

    def part(self, frames: Tensor, loop: FrameLoop, *, last: bool) -> Tensor:
        """The frames that a part of a clip adds; see above and :meth:`.FrameLoop.feed`."""
        count = loop.count(len(frames), last=last)
        _, height, width, channels = frames.shape
        sink = self.storage.sink(count, (height, width, channels))  # refused before anything is spent on it
        loaded = obtain(self.weights)
        loaded.shell.loops.add(loop)
        try:
            model = loaded.ready(height, width, self.settings.options)
            began = time.perf_counter()
            host = _host.watch(count, self.node_id)
            made = interpolate_part(frames, loop, model, last=last, sink=sink, host=host)
        except OutOfMemoryError as error:
            _host.make_room()
            raise _rescued(error) from error
        finally:
            loaded.done(self.after_run)
        _LOG.info("%d frames from %d in %.1f s", len(made), len(frames), time.perf_counter() - began)
        return made


def nothing_to_make(timeline: Timeline, frames: int) -> str | None:
    """Return why no frame is made of a clip of so many frames, for its user; None where some are."""
    if frames < _PAIR:
        came = "one frame" if frames else "no frame"
        return (
            f"Nothing was made: {came} came in, and frames are made between two. Where a list hands them on "
            "one by one, join them first, with Rebatch Images for example."
        )
    if any(any(timeline.shown(index, last=False)) for index in range(frames - 1)):
        return None
    return "Nothing was made: multiplier, frame rates and states leave no moment between two source frames."


def _rescued(error: OutOfMemoryError) -> OutOfMemoryError:
    """The error, saying where the finished frames have been written."""
    found = error.found
    if error.partial is not None and len(error.partial):
        try:
            folder = save_pictures(error.partial, _host.output_folder())
            found += f". The {len(error.partial)} finished frames are in {folder}"
        except (OSError, ValueError, TypeError) as failure:
            found += f". The {len(error.partial)} finished frames could not be saved: {failure}"
    error.partial = None  # the traceback may be kept for long
    rescued = OutOfMemoryError(error.wrong, found, error.advice, tried=error.tried)
    rescued.finished = error.finished
    return rescued


def save_pictures(frames: Tensor, parent: Path) -> Path:
    """Writes frames (N, H, W, C), their first four channels, as PNG files into a new folder of ``parent``."""
    from PIL import Image  # noqa: PLC0415 - ComfyUI has it, the pack alone need not

    parent.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("midframe_rescued_%Y%m%d_%H%M%S_")
    folder = Path(tempfile.mkdtemp(prefix=stamp, dir=parent))
    for index, frame in enumerate(frames):
        levels = as_dtype(frame[..., :4], torch.uint8)
        picture = Image.fromarray(levels.squeeze(-1).numpy())
        picture.save(folder / f"frame_{index:06d}.png", compress_level=1)
    return folder
