"""Simulates the memory of a CUDA device under torch's own allocator, without a device.

Segments come from the driver and are cut into blocks; a freed block is cached and given out again, whole or
in part; a segment goes back to the driver only when all of it is free. So one small block in use keeps a
large segment, and free pieces that would fit together may be of no use one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..memory.budget import Room

# Bytes from which an allocation gets a segment of its own; smaller ones share segments of twice that.
_LARGE = 10 * 2**20
# Segments are multiples of this, and so are blocks here: nothing that matters is smaller.
_ROUND = 2 * 2**20


# Equal by identity alone: `free` and `allocate` look for this very block among others of its size.
@dataclass(eq=False)
class Block:
    """Some bytes of a segment."""

    size: int
    segment: list[Block] = field(repr=False)
    used: bool = False


class Card:
    """A simulated device with torch's allocator.

    Args:
        total: bytes of the device.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.others = 0
        """Bytes that other programs hold."""
        self.refused = 0
        """Number of times that the driver had no memory for a new segment: torch then waits for the device,
        gives back every segment that is free, and asks again."""
        self.failed = 0
        """Number of times that the second request failed too."""
        self.peak = 0
        """The most bytes in use since it was last set."""
        self._segments: list[list[Block]] = []

    @property
    def reserved(self) -> int:
        """Return the bytes of all segments."""
        return sum(block.size for segment in self._segments for block in segment)

    @property
    def allocated(self) -> int:
        """Return the bytes of all blocks in use."""
        return sum(block.size for segment in self._segments for block in segment if block.used)

    @property
    def driver(self) -> int:
        """Return the bytes that no program holds."""
        return self.total - self.others - self.reserved

    def room(self) -> Room:
        """Return the figures that a real device reports."""
        return Room(self.driver, self.reserved - self.allocated)

    def allocate(self, size: int) -> Block:
        """Return a block of ``size`` bytes: the smallest free one that holds it, cut to size, or a new one.

        Raises:
            torch.OutOfMemoryError: there is no free block, and the driver has no memory.
        """
        size = -(-size // _ROUND) * _ROUND
        block = self._smallest(size) or self._new(size)
        # What is left over becomes a block of its own, right behind: the order of a segment's list is that of
        # its addresses.
        rest, block.used = block.size - size, True
        if rest:
            block.size = size
            place = block.segment.index(block) + 1
            block.segment.insert(place, Block(rest, block.segment))
        self.peak = max(self.peak, self.allocated)
        return block

    def free(self, block: Block) -> None:
        """Take a block back, and merge it with free neighbours."""
        block.used = False
        # Neighbours in the list are neighbours in memory, so adjacent free blocks are one piece. Never across
        # segments, which is what fragments.
        merged: list[Block] = []
        for piece in block.segment:
            if merged and not piece.used and not merged[-1].used:
                merged[-1].size += piece.size
            else:
                merged.append(piece)
        block.segment[:] = merged

    def empty_cache(self) -> None:
        """Give every segment that is entirely free back to the driver."""
        self._segments = [segment for segment in self._segments if any(block.used for block in segment)]

    def _smallest(self, size: int) -> Block | None:
        # Best fit, as torch searches its free blocks by size.
        fits = (b for segment in self._segments for b in segment if not b.used and b.size >= size)
        return min(fits, key=lambda block: block.size, default=None)

    def _new(self, size: int) -> Block:
        # As torch: small allocations share a segment of 20 MB, a large one gets its own.
        whole = max(size, 2 * _LARGE) if size < _LARGE else size
        if whole > self.driver:
            self.refused += 1
            self.empty_cache()
        if whole > self.driver:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. (A card that is not one.)")
        segment: list[Block] = []
        segment.append(Block(whole, segment))
        self._segments.append(segment)
        return segment[0]
