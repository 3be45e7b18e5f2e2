"""A run of a model over a batch of frames, as every interpolation node makes it."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..api import interpolate
from ..errors import OutOfMemoryError
from ..memory.staging import as_unit_float
from ..vfi_utils import Settings, Timeline
from . import _host
from ._models import AfterRun, Weights, obtain

_LOG = logging.getLogger(__name__)

_FLOAT_BYTES = 4
_PAIR = 2


@dataclass(frozen=True)
class Run:
    """How a node runs a model."""

    weights: Weights
    timeline: Timeline
    settings: Settings = field(default_factory=Settings)
    after_run: AfterRun = "keep loaded"
    node_id: str | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """The frames of the timeline.

        Args:
            frames: (N, H, W, C) float on the host, as ComfyUI's IMAGE.

        Returns:
            (M, H, W, C) float32 on the host. Where there is nothing to do, ``frames`` itself.

        Raises:
            MidframeError: see :func:`~..api.interpolate`. Where memory ran out, the finished frames have
                been written to ComfyUI's output folder, which the error names.
        """
        count = self.timeline.count(len(frames))
        if count == len(frames) and len(frames) < _PAIR:
            return frames
        _require_memory(count, frames)
        loaded = obtain(self.weights)
        try:
            model = loaded.ready(frames.shape[1], frames.shape[2], self.settings.options)
            began = time.perf_counter()
            host = _host.watch(count, self.node_id)
            made = interpolate(frames, model, timeline=self.timeline, settings=self.settings, host=host)
        except OutOfMemoryError as error:
            _host.make_room()
            raise _rescued(error) from error
        finally:
            loaded.done(self.after_run)
        _LOG.info("%d frames from %d in %.1f s", len(made), len(frames), time.perf_counter() - began)
        return made


def _require_memory(count: int, frames: Tensor) -> None:
    """Refuses an output that main memory cannot hold, before anything is spent on it: the system would
    grant it, and later end ComfyUI instead of the run.
    """
    needed = count * frames[0].numel() * _FLOAT_BYTES
    free = _host.free_main_memory()
    if needed > free:
        raise OutOfMemoryError(
            "The output does not fit into main memory.",
            f"{count} frames of {frames.shape[2]}x{frames.shape[1]} take {needed / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free",
            "Use a lower multiplier or target fps, smaller frames, or a part of the clip.",
        )


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
        levels = (as_unit_float(frame[..., :4]).clamp(0, 1) * 255).round().to(torch.uint8)
        picture = Image.fromarray(levels.squeeze(-1).numpy())
        picture.save(folder / f"frame_{index:06d}.png", compress_level=1)
    return folder
