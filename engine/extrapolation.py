"""Carries the motion of a pair on past either end of it, as at a cut, with whatever model runs.

No model says how things move, but each moves the channels past RGB by the flow of the picture. Where these
hold the place of each pixel, what comes out in the middle of the pair says from where its pixels came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..vfi_models import backward_warp
from ..vfi_models.interface import Session

_RGB = 3
# Where a pixel comes from has its own motion: looked up once more, five clips of real footage gain 0 to 1 dB,
# and nothing the second time.
_STEPS = 1


def velocity(session: Session[Any], left: Tensor, right: Tensor, check: Callable[[], None]) -> Tensor:
    """Return how far things move from one frame to the next, at where they are half way between the two.

    Args:
        session: of a model that follows extra channels.
        left, right: the frames, (1, C, H, W) float32 in 0..1 on the model's device.
        check: called before every forward pass; raises to cancel.

    Returns:
        (1, 2, H, W) float32 in pixels, x then y.
    """
    height, width = left.shape[-2:]
    places = _places(height, width, left.device)
    ones = torch.ones_like(places[:, :1])
    # A frame's share s of the middle is that of 1, and the sum of s * place comes with it: of both frames in
    # one picture, and within 0..1 as any channel.
    sides = ((left, torch.cat((1.0 - places, 0.0 * ones), 1)), (right, torch.cat((places, ones), 1)))
    features = []
    for frame, extra in sides:
        check()
        features.append(session.encode(torch.cat((_rgb(frame), extra), 1)))
    check()
    half = torch.full((1,), 0.5, dtype=torch.float32, device=left.device)
    found = session.between(features[0], features[1], half)[:, _RGB:]
    from_right = found[:, 2:]
    # s_r * (p + f_r) - s_l * (p + f_l), less what it is without motion.
    moved = found[:, :2] - (1.0 - from_right) - (2.0 * from_right - 1.0) * places
    moved[:, :1].mul_(2.0 * max(width - 1, 1))
    moved[:, 1:].mul_(2.0 * max(height - 1, 1))
    return moved


def carried_on(frame: Tensor, motion: Tensor, time: float) -> Tensor:
    """Return what a frame at an end of a pair becomes where the motion of the pair goes on.

    Args:
        frame: (1, C, H, W) float32: the right one for a time after the pair, the left one for one before.
        motion: of :func:`velocity`.
        time: from the left frame (0) to the right (1); below 0 or above 1.

    Returns:
        (1, C, H, W) float32; what comes in from outside repeats the border.
    """
    found = motion
    for _ in range(_STEPS):
        found = backward_warp(motion, (0.5 - time) * found)
    return backward_warp(frame, (min(max(time, 0.0), 1.0) - time) * found)


def _places(height: int, width: int, device: torch.device) -> Tensor:
    """Return where each pixel is, (1, 2, H, W), 0..1."""
    x, y = (
        torch.arange(side, dtype=torch.float32, device=device) / max(side - 1, 1) for side in (width, height)
    )
    return torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width))).unsqueeze(0)


def _rgb(frame: Tensor) -> Tensor:
    return frame[:, :_RGB] if frame.shape[1] >= _RGB else frame[:, :1].expand(-1, _RGB, -1, -1)
