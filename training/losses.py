"""The losses of a training step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..vfi_models.compact.flow import FlowState, blend

# Bands of the pictures' loss, the low-pass remainder among them.
_PYRAMID_LEVELS = 5
# Weights beside the loss of the finished picture, which counts once. Flow errors are in pixels, pictures are
# 0..1.
_FLOW_WEIGHT = 0.015
# Weight of the flow for networks without a correlation, which only the loss makes look for motion.
_FLOW_FIRST = 0.1
_MASK_WEIGHT = 0.02
_COARSE_WEIGHT = 0.3
_HIDDEN_SHARE = 0.25


def laplacian_pyramid(picture: Tensor, levels: int = _PYRAMID_LEVELS) -> list[Tensor]:
    """Split pictures (N, C, H, W) into bands, fine to coarse, and the low-pass picture that remains."""
    bands = []
    for _ in range(levels - 1):
        if min(picture.shape[-2:]) < 4:  # noqa: PLR2004 - nothing left to halve
            break
        small = F.avg_pool2d(picture, 2)
        bands.append(picture - F.interpolate(small, picture.shape[-2:], mode="bilinear", align_corners=False))
        picture = small
    return [*bands, picture]


def laplacian_loss(frames: Tensor, expected: Tensor) -> Tensor:
    """Return the L1 loss over the bands; a band counts by its amplitude, not by its number of pixels."""
    pairs = zip(laplacian_pyramid(frames), laplacian_pyramid(expected), strict=True)
    return torch.stack([(a - b).abs().mean() for a, b in pairs]).sum()


def flow_loss(flow: Tensor, expected: Tensor, visible: Tensor, hidden_share: float = _HIDDEN_SHARE) -> Tensor:
    """Return the mean end point error in pixels.

    Args:
        flow, expected: (N, 4, H, W) pixels.
        visible: (N, 2, H, W) in 0..1.
        hidden_share: weight of pixels that are hidden in that frame.
    """
    squares = (flow - expected).square()
    # The root has no gradient at 0, hence the small constant.
    # (N, 2, H, W): length of the error to the left frame, then to the right.
    error = (torch.stack((squares[:, :2].sum(1), squares[:, 2:].sum(1)), 1) + 1e-4).sqrt()
    return (error * (hidden_share + (1.0 - hidden_share) * visible)).mean()


def mask_loss(mask: Tensor, visible: Tensor) -> Tensor:
    """Return the cross entropy of the left frame's share where exactly one frame shows the pixel.

    Args:
        mask: (N, 1, H, W) logit.
        visible: (N, 2, H, W) in 0..1.
    """
    # Only where one frame alone shows the pixel is its right share known.
    only_left = visible[:, :1] * (1.0 - visible[:, 1:])
    only_right = visible[:, 1:] * (1.0 - visible[:, :1])
    # softplus(-m) is -log of the left frame's share sigmoid(m), and softplus(m) that of the right one's.
    return (only_left * F.softplus(-mask) + only_right * F.softplus(mask)).mean()


def _level_loss(motion: FlowState, batch: dict[str, Tensor], factor: int) -> Tensor:
    """Return the loss of a level whose pixels are ``factor`` x ``factor`` pixels of the picture."""
    left, right, middle, flow, visible = (
        F.avg_pool2d(batch[name], factor) for name in ("left", "right", "middle", "flow", "visible")
    )
    frames = blend(motion, left, right)
    return (
        (frames - middle).abs().mean()
        # A level's flow is in its own pixels, the truth in pixels of the picture.
        + _FLOW_WEIGHT * flow_loss(motion.flow * factor, flow, visible, _hidden_share(batch))
        + _MASK_WEIGHT * mask_loss(motion.mask, visible)
    )


def _hidden_share(batch: dict[str, Tensor]) -> float:
    """Return the weight of a flow where ``visible`` is 0: none for a teacher's."""
    return float(batch.get("hidden_share", _HIDDEN_SHARE))


def passes_loss(passes: list[FlowState], batch: dict[str, Tensor]) -> Tensor:
    """Return :func:`total_loss` for a network that returns its motion at full size after every pass.

    Args:
        passes: coarse to fine; the last makes the picture.
        batch: a collated :class:`~.motion.Sample`.
    """
    *before, final = passes
    loss = laplacian_loss(blend(final, batch["left"], batch["right"]), batch["middle"])
    share = _hidden_share(batch)
    loss = loss + _FLOW_FIRST * flow_loss(final.flow, batch["flow"], batch["visible"], share)
    loss = loss + _MASK_WEIGHT * mask_loss(final.mask, batch["visible"])
    for motion in before:
        loss = loss + _COARSE_WEIGHT * _level_loss(motion, batch, 1)
    return loss


def total_loss(
    frames: Tensor, final: FlowState, levels: list[FlowState], batch: dict[str, Tensor], *, stride: int
) -> Tensor:
    """Return the loss that training minimises.

    Args:
        frames: (N, 3, H, W) the finished pictures.
        final: motion at full size.
        levels: motion after each level, coarse to fine; the last at 1/stride.
        batch: a collated :class:`~.motion.Sample`.
        stride: picture pixels to a pixel of the finest level.
    """
    loss = laplacian_loss(frames, batch["middle"])
    loss = loss + _FLOW_WEIGHT * flow_loss(final.flow, batch["flow"], batch["visible"], _hidden_share(batch))
    loss = loss + _MASK_WEIGHT * mask_loss(final.mask, batch["visible"])
    # Finest first: each level further is of pixels twice as large.
    for height, motion in enumerate(reversed(levels)):
        loss = loss + _COARSE_WEIGHT * _level_loss(motion, batch, stride * 2**height)
    return loss
