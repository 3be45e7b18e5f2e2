"""Finds rows of a picture that roll past as one, such as a news ticker, and moves them by their own shift.

A network takes the letters of a ticker for each other: they all look alike, and move further than the picture
behind them. But all of the row moves by one shift, and nothing in it changes. Where moving a row of one frame
gives the same row of the other, at every place that both frames show, the row in between is known. Columns
that roll up or down, as credits do, are rows of the transposed picture.

All of it is decided on the two frames of a pair and on their device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# A pixel is the same after the shift, and has changed without it: letters stand out, soft shades do not.
_SAME, _CHANGED = 8 / 255, 0.25
# In a row that rolls, a pixel that differs by more belongs to something else, such as a logo before it.
_AGREES = 0.15
# Of the pixels of a row that both frames show, how many have to be the same; how many to change without the
# shift, so that it says anything; and of the rows near it how many have to do so too: letters are that high.
_ALL, _SOME, _NEAR = 0.97, 0.03, 0.4
# Rows to both sides of a hole in the rows that roll.
_HOLE = 2
# Of the change of a row without the shift, what may be left with it: soft shades are the same within _SAME.
_LEFT = 0.15
# Of the length of a row, how far it may have gone; rows beside each other whose shift is looked for together;
# how far a band reaches from what shows its shift, such as the bar that letters run through. In parts of the
# side across.
_FURTHEST, _TOGETHER, _BAND = 0.25, 1 / 90, 1 / 12
# Taken off for the furthest shift: where a pattern repeats, the shorter one.
_FAR_COSTS = 0.3


@dataclass(frozen=True)
class Rolling:
    """Rows, or columns, that move as one between two frames."""

    left: Tensor
    """(1, C, H, W) float32; transposed, where columns roll."""
    right: Tensor
    shift: Tensor
    """(H, 1) float32, pixels to the right that each row moves by from the left to the right frame."""
    rows: Tensor
    """(H, 1) bool, which of the rows roll."""
    transposed: bool

    def put_over(self, frame: Tensor, time: float) -> None:
        """Put the rows over a frame (H, W, C) at a time between the two, in place; every other bit stays."""
        picture = frame.transpose(0, 1) if self.transposed else frame
        one, one_shown = _moved(self.left, self.shift * time)
        other, other_shown = _moved(self.right, self.shift * (time - 1.0))
        mixed = torch.lerp(one, other, time)
        made = torch.where(one_shown & other_shown, mixed, torch.where(one_shown, one, other))
        agrees = (one - other).abs().amax(1) < _AGREES
        known = self.rows & torch.where(one_shown & other_shown, agrees, one_shown | other_shown)
        picture.copy_(torch.where(known[0, ..., None], made[0].permute(1, 2, 0).clamp(0.0, 1.0), picture))


def rolling(left: Tensor, right: Tensor) -> Iterator[Rolling]:
    """Yield what rolls along and across between two frames (1, C, H, W) float32 in 0..1 on one device."""
    for transposed in (False, True):
        if transposed:
            left, right = left.transpose(2, 3).contiguous(), right.transpose(2, 3).contiguous()
        shift, rows = _rolls(left, right)
        # On a GPU this would wait for the device.
        if rows.device.type != "cpu" or bool(rows.any()):
            yield Rolling(left, right, shift, rows, transposed)


def _rolls(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shift of each row (H, 1) float32, and which of them roll (H, 1) bool."""
    height = left.shape[2]
    shift = _shifts(left, right, max(1, round(height * _TOGETHER)))
    places = torch.arange(left.shape[3], dtype=torch.int64, device=left.device) - shift.to(torch.int64)
    shown = (places >= 0) & (places < left.shape[3])
    back = left.gather(3, places.clamp(0, left.shape[3] - 1).expand_as(left))
    left_over, change = ((x - right).abs().amax(1) * shown for x in (back, left))
    agree = ((left_over < _SAME) & shown).sum(2) >= _ALL * shown.sum(1)
    changed = (change > _CHANGED).float().mean(2) > _SOME
    explained = left_over.sum(2) < _LEFT * change.sum(2)
    reach = max(1, round(height * _BAND))
    seeds = (agree & changed & explained & (shift[:, 0] != 0)).float()
    seeds *= F.avg_pool1d(seeds, 2 * (reach // 4) + 1, 1, reach // 4) >= _NEAR
    # Between such rows one may lie that a codec has changed more.
    near = 2 * _HOLE + 1
    closed = 1.0 - F.max_pool1d(1.0 - F.max_pool1d(seeds, near, 1, _HOLE), near, 1, _HOLE)
    passes = ((left_over < _AGREES) & shown).sum(2) >= _ALL * shown.sum(1)
    rows = torch.maximum(seeds, closed * passes)
    # From there over rows that agree, which may be of one colour: no step passes one that does not.
    agree |= rows > 0
    for _ in range(reach):
        rows = F.max_pool1d(rows, 3, 1, 1) * agree
    return shift, (rows > 0).view(-1, 1)


def _shifts(left: Tensor, right: Tensor, together: int) -> Tensor:
    """Return the likeliest shift of each row in whole pixels, (H, 1) float32, by phase correlation."""
    width = left.shape[3]
    grey = torch.stack((left[0].mean(0), right[0].mean(0)))
    spectra = torch.fft.rfft(grey - grey.mean(2, keepdim=True))
    cross = torch.view_as_real(spectra[1] * spectra[0].conj())
    # Rows beside each other roll together.
    cross = F.avg_pool2d(cross.permute(2, 0, 1), (2 * together + 1, 1), 1, (together, 0))
    size = torch.hypot(cross[0], cross[1])
    cross = cross / (size + 1e-2 * size.mean(1, keepdim=True) + 1e-9)
    surface = torch.fft.irfft(torch.complex(cross[0], cross[1]), n=width)
    places = torch.arange(width, dtype=torch.float32, device=left.device)
    shifts = torch.where(places > width // 2, places - width, places)
    part = shifts.abs() / max(1.0, _FURTHEST * width)
    surface = torch.where(part > 1.0, float("-inf"), surface * (1.0 - _FAR_COSTS * part))
    return shifts[surface.argmax(1)].view(-1, 1)


def _moved(picture: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return a picture (1, C, H, W) whose rows have moved to the right by (H, 1) pixels, by the cubic of
    Catmull and Rom, and where it shows them, (1, H, W) bool.
    """
    width = picture.shape[3]
    places = torch.arange(width, dtype=torch.float32, device=picture.device) - shift
    first = places.floor()
    part = places - first
    weights = (
        part * (part * (2.0 - part) - 1.0) / 2,
        (part * part * (3.0 * part - 5.0) + 2.0) / 2,
        part * (part * (4.0 - 3.0 * part) + 1.0) / 2,
        part * part * (part - 1.0) / 2,
    )
    moved = torch.zeros_like(picture)
    for step, weight in enumerate(weights, -1):
        column = (first + step).clamp(0, width - 1).to(torch.int64).expand_as(picture)
        moved.addcmul_(picture.gather(3, column), weight)
    return moved, ((places >= 0) & (places <= width - 1))[None]
