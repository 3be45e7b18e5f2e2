"""A mask beside a clip: it moves along with the pictures, as one more channel of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import BadInputError
from ..inputs.frames import require_clip
from ..inputs.objects import described

_MASKS = 3


def with_mask(frames: Tensor, mask: Any) -> Tensor:
    """Return a clip with a mask as its last channel.

    Args:
        frames: (N, H, W, C), as ComfyUI's IMAGE.
        mask: (N, H, W), or (1, H, W) for all frames, as ComfyUI's MASK.

    Raises:
        BadInputError: the mask is of other pictures, or none.
    """
    count, height, width, _ = require_clip(frames).shape
    found = tuple(mask.shape) if isinstance(mask, Tensor) and mask.ndim == _MASKS else None
    if found not in ((count, height, width), (1, height, width)):
        raise BadInputError(
            "The mask does not belong to these frames.",
            described(mask),
            f"Give one mask, or {count} masks, of {width} x {height}, the size of the frames.",
        )
    return torch.cat((frames, mask.to(frames).expand(count, -1, -1).unsqueeze(-1)), dim=-1)


def without_mask(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pictures and the masks of what came out, without a copy of them."""
    return frames[..., :-1], frames[..., -1]


def no_mask(frames: Tensor) -> Tensor:
    """Return one mask for all frames, of nothing, as ComfyUI gives for a picture without transparency."""
    return torch.zeros((1, *frames.shape[1:3]), dtype=torch.float32, device=frames.device)
