"""What a user sees of a run while it goes on: a line of text and a small picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..memory.staging import as_unit_float

_LARGEST_SIDE = 512


def progress_line(done: int, total: int | None, seconds: float) -> str:
    """Return one line on a run.

    Args:
        done: finished output frames.
        total: output frames that there will be; None where that is not known.
        seconds: since the run began.
    """
    rate = done / seconds if seconds > 0 else 0.0  # two calls within one tick of the clock
    if done == total:
        return f"{done} frames in {seconds:.1f} s, {rate:.1f} frames/s"
    if total is None or rate == 0:
        return f"{done} frames, {rate:.1f} frames/s"
    left = round((total - done) / rate)
    return f"{done} of {total} frames, {rate:.1f} frames/s, {left // 60}:{left % 60:02d} left"


def download_line(name: str, done: int, total: int | None) -> str:
    """Return one line on a download of which ``done`` of ``total`` bytes have arrived; None: nobody says."""
    of_all = f" of {total / 2**20:.1f}" if total else ""
    return f"downloading {name}: {done / 2**20:.1f}{of_all} MiB"


def thumbnail(frame: Tensor) -> Any:
    """Return a small RGB picture (PIL) of a frame.

    Args:
        frame: (H, W, C) on the host, float in 0..1, uint8 or uint16; C of 1, or 3 and up.
    """
    from PIL import Image  # noqa: PLC0415 - ComfyUI has it, the pack alone need not

    # Every n-th pixel, without averaging: a preview must not cost the run anything.
    step = -(-max(frame.shape[:2]) // _LARGEST_SIDE)
    small = as_unit_float(frame[::step, ::step, :3])
    small = small.expand(-1, -1, 3) if small.shape[-1] == 1 else small
    return Image.fromarray((small.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
