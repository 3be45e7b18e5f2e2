"""Pads a picture to the size that a network needs, at the right and at the bottom."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PaddingMode = Literal["zeros", "reflect"]

_RGB = 3


def round_up(size: int, multiple: int) -> int:
    """Return the smallest multiple of ``multiple`` that is not below ``size``."""
    return -(-size // multiple) * multiple


def pad_to(image: Tensor, height: int, width: int, mode: PaddingMode = "zeros") -> Tensor:
    """Enlarge ``image`` (N, C, H, W) to ``height`` x ``width`` at the right and at the bottom.

    ``reflect`` mirrors without repeating the edge pixel, again and again where the side is smaller
    than its padding, and repeats the only pixel of a side of 1. An image of that size already is returned
    itself.
    """
    rows, columns = image.shape[-2:]
    if (rows, columns) == (height, width):
        return image
    if mode == "zeros":
        return F.pad(image, (0, width - columns, 0, height - rows))
    # torch refuses to reflect by as much as the side itself, and integers.
    if height < 2 * rows and width < 2 * columns and image.is_floating_point():
        return F.pad(image, (0, width - columns, 0, height - rows), mode="reflect")
    image = image.index_select(-2, _mirror(rows, height, image.device))
    return image.index_select(-1, _mirror(columns, width, image.device))


def pad_frames(
    frames: Tensor, height: int, width: int, mode: PaddingMode = "zeros"
) -> tuple[Tensor, Tensor | None]:
    """Pad source frames: the picture as its network expects it, other channels by repeating their edge.

    No network sees the other channels; they are only warped. Black beside an opaque alpha would show along
    the edges of the picture wherever flow points out of it.

    Args:
        frames: (N, C, H, W) floating, C >= 3, RGB first.
        height, width: to pad to, at the right and at the bottom.
        mode: of the picture, see :func:`pad_to`.

    Returns:
        The picture (N, 3, height, width) and the channels past RGB (N, C - 3, height, width), None where
        there are none. Where nothing is to be padded, both are views of ``frames``.
    """
    return pad_to(frames[:, :_RGB], height, width, mode), _padded_extra(frames, height, width)


def _padded_extra(frames: Tensor, height: int, width: int) -> Tensor | None:
    if frames.shape[1] == _RGB:
        return None
    extra = frames[:, _RGB:]
    rows, columns = extra.shape[-2:]
    if (rows, columns) != (height, width):
        # Zeros would be a transparent or black edge, see pad_frames.
        extra = F.pad(extra, (0, width - columns, 0, height - rows), mode="replicate")
    return extra


def clamp_padded(frames: Tensor, out: Tensor, mode: PaddingMode = "zeros") -> tuple[Tensor, Tensor | None]:
    """Pad source frames as :func:`pad_frames` does, and write the picture, clamped to 0..1, into ``out``.

    Args:
        frames: (N, C, H, W) floating, C >= 3, RGB first.
        out: (N, 3, height, width), of the size to pad to.
        mode: of the picture, see :func:`pad_to`.

    Returns:
        ``out``, and the channels past RGB as :func:`pad_frames` pads them.
    """
    rows, columns = frames.shape[-2:]
    height, width = out.shape[-2:]
    if mode == "zeros":  # a padded copy in between would be written and read once more
        torch.clamp(frames[:, :_RGB], 0.0, 1.0, out=out[..., :rows, :columns])
        # Below the picture over the whole width, then to its right.
        for border in (out[..., rows:, :], out[..., :rows, columns:]):
            if border.numel():
                border.zero_()
    else:
        torch.clamp(pad_to(frames[:, :_RGB], height, width, mode), 0.0, 1.0, out=out)
    return out, _padded_extra(frames, height, width)


def _mirror(size: int, padded: int, device: torch.device) -> Tensor:
    """Return the source index of each of ``padded`` positions along a side of ``size``."""
    if size == 1:
        return torch.zeros(padded, dtype=torch.int64, device=device)
    # A mirrored side repeats after 2 * size - 2: there and back, without either end a second time.
    position = torch.arange(padded, dtype=torch.int64, device=device) % (2 * size - 2)
    return torch.where(position < size, position, 2 * size - 2 - position)
