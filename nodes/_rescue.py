"""Saves the finished frames of a run that ran out of memory: hours of work, which ComfyUI would drop."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from ..errors import OutOfMemoryError
from ..memory.staging import as_dtype
from . import _host


def rescue(error: OutOfMemoryError) -> OutOfMemoryError:
    """Write the finished frames of a failed run into ComfyUI's output folder.

    Args:
        error: what ended the run; its frames in ``partial`` are given up.

    Returns:
        The same error, which says where the frames are, or why they could not be saved.
    """
    found = error.found
    if error.partial is not None and len(error.partial):
        try:
            folder = save_pictures(error.partial, _host.output_folder())
            found += f". The {len(error.partial)} finished frames are in {folder}"
        except (OSError, ValueError, TypeError) as failure:
            found += f". The {len(error.partial)} finished frames could not be saved: {failure}"
    # Whoever keeps the traceback would keep the frames with it.
    error.partial = None
    rescued = OutOfMemoryError(error.wrong, found, error.advice, tried=error.tried)
    rescued.finished = error.finished
    return rescued


def save_pictures(frames: Tensor, parent: Path) -> Path:
    """Write frames as PNG files into a new folder.

    Args:
        frames: (N, H, W, C) on the host; of more than four channels the first four are written.
        parent: the folder of the new folder, made where it is missing.

    Returns:
        The new folder.
    """
    from PIL import Image  # noqa: PLC0415 - ComfyUI has it, the pack alone need not

    parent.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("midframe_rescued_%Y%m%d_%H%M%S_")
    folder = Path(tempfile.mkdtemp(prefix=stamp, dir=parent))
    for index, frame in enumerate(frames):
        levels = as_dtype(frame[..., :4], torch.uint8)
        picture = Image.fromarray(levels.squeeze(-1).numpy())
        # Level 1: memory is short, and the user waits for an error message.
        picture.save(folder / f"frame_{index:06d}.png", compress_level=1)
    return folder
