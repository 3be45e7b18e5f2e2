"""Makes a frame in overlapping tiles, for frames whose activations do not fit.

To the network each tile is a picture of its own: its normalisations, its attention and its quantised latent
depend on nothing outside it. So colours and fine detail may differ a little from one tile to the next; the
cross-fade hides the step, not the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil

import torch
from torch import Tensor

from .encoder import STRIDE
from .noise import Fingerprint
from .session import TlbvfiSession


def places(length: int, side: int, overlap: int) -> list[int]:
    """Return where tiles of ``side`` begin along ``length`` pixels: evenly spread, sharing ``overlap`` or
    more.
    """
    if length <= side:
        return [0]
    count = ceil((length - overlap) / (side - overlap))
    # The first at 0 and the last at the end: no tile reaches outside of the picture.
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def ramps(starts: list[int], side: int) -> list[Tensor]:
    """Return the weight of each tile along a side: 1, falling evenly where it meets another tile, never to
    0.
    """
    weights = [torch.ones(side, dtype=torch.float32, device="cpu") for _ in starts]
    for i, (here, following) in enumerate(pairwise(starts)):
        shared = here + side - following
        rising = torch.arange(1, shared + 1, dtype=torch.float32, device="cpu") / (shared + 1)
        weights[i][side - shared :] *= rising.flip(0)
        weights[i + 1][:shared] *= rising
    return weights


@dataclass(frozen=True)
class TiledFrame:
    """One source frame. A tile of it is encoded when its turn comes: all at once they would not fit."""

    identity: Fingerprint
    picture: Tensor
    """(1, C, height, width)."""


class TiledSession:
    """TLBVFI at one picture size, tile by tile; see :class:`~..interface.Session`.

    Args:
        size: height and width of the picture.
        tile: a session for one tile.
        overlap: least number of pixels that neighbours share.
    """

    def __init__(self, size: tuple[int, int], tile: TlbvfiSession, overlap: int) -> None:
        self._size = size
        self._tile = tile
        self._sides = tile.geometry.size
        self._starts = [places(n, side, overlap) for n, side in zip(size, self._sides, strict=True)]
        self._ramps = [ramps(starts, side) for starts, side in zip(self._starts, self._sides, strict=True)]

    def encode(self, frames: Tensor) -> tuple[TiledFrame, ...]:
        """Keep source frames (copies) and their fingerprints; see :class:`TiledFrame`."""
        return tuple(TiledFrame(Fingerprint(frame[:3]), frame.unsqueeze(0).clone()) for frame in frames)

    def between(
        self, left: tuple[TiledFrame, ...], right: tuple[TiledFrame, ...], timestep: Tensor
    ) -> Tensor:
        """Make the frame in the middle of each pair: every timestep is taken for 1/2."""
        count = max(len(left), len(right))
        frames = [self._middle(left[i % len(left)], right[i % len(right)]) for i in range(count)]
        return torch.cat(frames if count >= len(timestep) else frames * len(timestep))

    def close(self) -> None:
        """Close the session of the tiles."""
        self._tile.close()

    def _middle(self, left: TiledFrame, right: TiledFrame) -> Tensor:
        """Make the frame in the middle of a pair, (1, C, height, width)."""
        field = self._field(left, right)
        weighted = torch.zeros_like(left.picture)
        total = weighted.new_zeros(self._size)
        rows, columns = (
            list(zip(*axis, strict=True)) for axis in zip(self._starts, self._ramps, strict=True)
        )
        for (top, falling), (start, sinking) in product(rows, columns):
            # Tile by tile, each encoded and dropped again: features of one tile are all that is in memory.
            place = (..., slice(top, top + self._sides[0]), slice(start, start + self._sides[1]))
            ((before,), (after,)) = (self._tile.encode(frame.picture[place]) for frame in (left, right))
            weight = torch.outer(falling, sinking).to(weighted.device)
            weighted[place] += weight * self._tile.middle(before, after, self._noise(field, top, start))
            total[place] += weight
        # Never by 0, for no ramp reaches it.
        return weighted / total

    def _field(self, left: TiledFrame, right: TiledFrame) -> Tensor | None:
        """Draw the noise of the whole picture, so that tiles share it where they overlap."""
        height, width = (
            starts[-1] // STRIDE + latent
            for starts, latent in zip(self._starts, self._tile.geometry.latent, strict=True)
        )
        return self._tile.draws(left.identity, right.identity, (height, width))

    def _noise(self, field: Tensor | None, top: int, start: int) -> Tensor | None:
        if field is None:
            return None
        height, width = self._tile.geometry.latent
        # Tiles begin at any pixel, noise lies on the latent: up to 31 pixels are dropped.
        top, start = top // STRIDE, start // STRIDE
        return field[..., top : top + height, start : start + width]
