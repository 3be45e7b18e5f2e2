"""Keeps overlays whole: what stands on the picture while the picture under it moves comes from the source.

A network takes the letters of a subtitle for a part of what moves behind them, and drags them along. Where an
overlay is, both source frames hold the same values; but so they do in a wall that a ball flies past, and the
ball may be where it is in neither frame. What tells an overlay is its edge: it stands in both frames, and on
its other side something moves. At the edge of a thing that moves over a wall, one of the frames has no edge.
So the inside of an overlay is reached from edges that stand, and never across a border without one. What
rolls past as one is :mod:`.rolling`'s.

All of it is decided on the two frames of a pair, on their device and without waiting for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial, reduce
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import BadInputError
from .cpu_workers import Once
from .rolling import Rolling, rolling

# Between them a pixel goes from one that stands to one that moves: more than what codecs change in a subtitle
# that stands, and less than what motion changes.
_STANDS, _MOVES = 4 / 255, 10 / 255
# Contrast of an edge of an area, and of a line that may be a pixel thin: fur that moves agrees so far by
# chance, pixel by pixel.
_EDGE, _LINE = 0.12, 0.3
# Of an edge to what moves: a picture that is as dark as the overlay hides it in one frame.
_BORDER, _ALIKE = 0.04, 0.5
_ENOUGH_OF_ALL = (0.65, 0.75)
"""Share of an area's border that has to have an edge: from where on it counts, and counts fully."""
_ENOUGH_EDGE = (0.02, 0.05)
"""Share of the window that has to be such an edge: what agrees by chance lies alone."""
_FINE_SIDE = 360
"""Shorter side of a picture, in pixels, up to which distances are those below; they grow with larger ones."""
_WINDOW, _REACH, _LEAK = 6, 24, 8
"""Pixels: around a border, how much of it has an edge; from an edge into the inside; from what moves."""
_STRIDE = 2


@dataclass(frozen=True)
class Overlay:
    """The part of a pair that comes from its source frames."""

    left: Tensor
    """(1, C, H, W) float32 in 0..1."""
    right: Tensor
    weight: Tensor
    """(1, 1, H, W) float32: 1 where the sources are shown, 0 where what was made stays."""
    rolling: tuple[Rolling, ...] = ()
    """Rows and columns that move as one over the picture, such as a ticker."""

    def put_over(self, frames: Tensor, times: Sequence[Fraction]) -> Tensor:
        """Put the overlay over frames (K, H, W, C) in 0..1 between the two at K times, in place.

        Where the weight is 0 and nothing rolls, every bit stays.
        """
        weight = self.weight[0].permute(1, 2, 0)
        for frame, time in zip(frames, times, strict=True):
            source = torch.lerp(self.left[0], self.right[0], float(time))
            frame.lerp_(source.permute(1, 2, 0), weight)
            for rows in self.rolling:
                rows.put_over(frame, float(time))
        return frames


class OverlayGuard:
    """Finds the overlay of pairs.

    Args:
        mask: where it is, (1, 1, H, W) in 0..1 of any size; None: it is looked for in each pair.
    """

    def __init__(self, mask: Tensor | None = None) -> None:
        self._mask = mask
        # Once: a copy to the device waits for it. All frames of a run are of one size.
        self._fitted: Once[Tensor] = Once()

    @classmethod
    def of(cls, law: str) -> OverlayGuard | None:
        """Return the guard that a setting means: ``off``, ``auto``, or the file of a mask.

        Raises:
            BadInputError: a file that is no picture.
        """
        return None if law == "off" else cls() if law == "auto" else cls(read_mask(law))

    def between(self, left: Tensor, right: Tensor) -> Overlay:
        """Return the overlay of a pair of frames (1, C, H, W) float32 in 0..1 on one device."""
        if self._mask is None:
            return Overlay(left, right, overlay_weight(left, right), tuple(rolling(left, right)))
        return Overlay(left, right, self._fitted.get(partial(fitted, self._mask, left)))


def overlay_weight(left: Tensor, right: Tensor) -> Tensor:
    """Return where an overlay is: (1, 1, H, W) float32 in 0..1, soft where it begins to move.

    Args:
        left, right: the frames of a pair, (1, C, H, W) float32 in 0..1 on one device.
    """
    unit = max(1, min(left.shape[-2:]) // _FINE_SIDE)
    change = (left - right).abs().amax(1, keepdim=True)
    moves, stands = change > _MOVES, change < _STANDS
    contrast, beside = _standing_contrast(torch.cat((left, right)), moves, unit)
    stands = _areas(stands, unit) | (stands & (contrast > _LINE))
    edge = stands & (contrast > _EDGE)
    inside = edge & _grown(moves, 2 * unit)
    reached = inside * _edged(stands & _grown(moves, unit), beside > _BORDER, unit)
    moving = moves.float()
    for _ in range(_LEAK // _STRIDE):
        moving = torch.maximum(moving, _widened(moving, _STRIDE * unit) * ~edge)
    open_to = stands * (1.0 - moving)
    for _ in range(_REACH // _STRIDE):
        reached = torch.maximum(reached, _widened(reached, _STRIDE * unit) * open_to)
    # The rim of a letter is half letter.
    soft = torch.where(contrast > _EDGE, _widened(reached, 1), reached)
    return soft * _ramp(-change, -_MOVES, -_STANDS)


def _standing_contrast(pair: Tensor, moves: Tensor, unit: int) -> tuple[Tensor, Tensor]:
    """Return the largest difference of each pixel to one near it that both frames have, by sign too.

    Returns:
        To any pixel near it, and to any that moves: letters that run past each other may agree by chance,
        but then on both sides of an edge.
    """
    contrast, beside = torch.zeros_like(pair[:1, :1]), torch.zeros_like(pair[:1, :1])
    for near, moving in zip(_shifted(pair, unit), _shifted(moves.float(), unit), strict=True):
        here, there = (near - pair).chunk(2)
        one, other = here.abs(), there.abs()
        least, most = torch.minimum(one, other), torch.maximum(one, other)
        both = least * (here * there > 0)
        alike = both * (least > _ALIKE * most)
        contrast = torch.maximum(contrast, both.amax(1, keepdim=True))
        beside = torch.maximum(beside, alike.amax(1, keepdim=True) * moving)
    return contrast, beside


def _shifted(frames: Tensor, unit: int) -> Iterator[Tensor]:
    """Return frames (N, C, H, W) by one and two units to each side."""
    height, width = frames.shape[-2:]
    far = 2 * unit
    padded = F.pad(frames, (far, far, far, far), mode="replicate")
    for step in (unit, far):
        for y, x in ((0, step), (0, -step), (step, 0), (-step, 0)):
            yield padded[..., far + y : far + y + height, far + x : far + x + width]


def _edged(border: Tensor, edge: Tensor, unit: int) -> Tensor:
    """Return how sure it is that the border around each pixel is one of an overlay, 0..1."""
    radius = _WINDOW * unit
    both = torch.cat((border & edge, border), 1).float()
    sums = _over_squares(F.pad(both, (radius,) * 4), 2 * radius + 1, torch.add)
    edged, all_of_it = (sums / (2 * radius + 1) ** 2).chunk(2, 1)
    share = edged / all_of_it.clamp(min=1e-6)
    return _ramp(share, *_ENOUGH_OF_ALL) * _ramp(edged, *_ENOUGH_EDGE)


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    return ((values - low) / (high - low)).clamp(0.0, 1.0)


def _areas(mask: Tensor, unit: int) -> Tensor:
    """Return what lies in a square of the mask whose side is one pixel more than a unit."""
    side = unit + 1
    outside = F.pad((~mask).float(), (unit,) * 4, value=1.0)
    squares = _over_squares(outside, side, torch.maximum) == 0
    return _over_squares(squares.float(), side, torch.maximum) > 0


def _widened(values: Tensor, radius: int) -> Tensor:
    """Return the largest value, none below 0, in the square around each pixel."""
    return _over_squares(F.pad(values, (radius,) * 4), 2 * radius + 1, torch.maximum)


def _grown(mask: Tensor, radius: int) -> Tensor:
    return _widened(mask.float(), radius) > 0


def _over_squares(values: Tensor, side: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the largest value or the sum of each square, (N, C, H - side + 1, W - side + 1).

    By twos, fours and so on, first down and then across: on a CPU torch's pooling takes ten times as long.

    Args:
        combine: ``torch.maximum`` or ``torch.add``.
    """
    for axis in (2, 3):
        size = values.shape[axis] - side + 1
        doubles, width, start = values, 1, 0
        parts = []
        while width <= side:
            if side & width:
                parts.append(doubles.narrow(axis, start, size))
                start += width
            if 2 * width <= side:
                rest = doubles.shape[axis] - width
                doubles = combine(doubles.narrow(axis, 0, rest), doubles.narrow(axis, width, rest))
            width *= 2
        values = reduce(combine, parts)
    return values


def read_mask(path: str) -> Tensor:
    """Return a picture as a mask (1, 1, H, W) float32 on the host: white is 1.

    Raises:
        BadInputError: no picture that can be read.
    """
    try:
        with Image.open(Path(path)) as picture:
            grey = np.array(picture.convert("L"))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise BadInputError(
            "The mask of the overlay cannot be read.",
            f"{path}: {error}",
            'Give a picture that is white where the overlay is, or "auto" or "off".',
        ) from error
    return torch.from_numpy(grey).to(torch.float32)[None, None] / 255.0


def fitted(mask: Tensor, frame: Tensor) -> Tensor:
    """Return a mask on the device and in the size of a frame (1, C, H, W)."""
    size = frame.shape[-2:]
    moved = mask.to(frame.device)
    return moved if moved.shape[-2:] == size else F.interpolate(moved, size, mode="area")
