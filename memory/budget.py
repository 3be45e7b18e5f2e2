"""Decide how much to compute at once and when to clear cached memory, from measured bytes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from .available import available_memory

_LOG = logging.getLogger(__name__)

# Part of the free memory that a batch may plan with; the rest is fragmentation and other programs.
_SHARE = 0.8
# Timesteps.
_LARGEST_BATCH = 16
# Source pairs between two clearings that bring nothing.
_LONGEST_WAIT = 1024
# Part of what a timestep takes that a clearing must give back to be worth the wait for the device.
_WORTHWHILE = 0.1


class Room(NamedTuple):
    """The memory that an allocation on a device can still get, in bytes."""

    driver: int
    """Free at the driver."""
    cached: int
    """Kept by torch's allocator in pieces, into which an allocation fits or not."""

    @property
    def free(self) -> int:
        """Both together."""
        return self.driver + self.cached


def free_bytes(device: torch.device) -> int:
    """Return the memory that an allocation on ``device`` can still get, in bytes.

    On CUDA: what the driver has, as far as this process may have it, and what torch's allocator keeps
    cached. Elsewhere: the host's available memory, which is what MPS shares.
    """
    if device.type != "cuda":
        return available_memory() + cached_bytes(device)
    driver, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    # Somebody may have capped what torch's allocator takes of the device.
    share = torch.cuda.get_per_process_memory_fraction(device)
    return _allowed(driver, total, reserved, share) + cached_bytes(device)


def cached_bytes(device: torch.device) -> int:
    """Return the bytes that torch's allocator keeps of ``device`` though nothing uses them; 0 on the CPU.

    The pools of recorded passes are among it.
    """
    if device.type in ("cuda", "xpu"):
        allocator = getattr(torch, device.type)
        return int(allocator.memory_reserved(device) - allocator.memory_allocated(device))
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() - torch.mps.current_allocated_memory()
    return 0


def _allowed(driver: int, total: int, reserved: int, share: float) -> int:
    """Return the bytes that the driver still gives to an allocator that holds ``reserved`` of its share."""
    return max(0, min(driver, int(share * total) - reserved))


def empty_cache(device: torch.device) -> None:
    """Give what torch's allocator only caches back to the driver. Nothing happens on the CPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif device.type == "xpu":
        torch.xpu.empty_cache()


class Budget:
    """The batch: how many timesteps of a pair go through the network at once.

    Args:
        device: where the network runs.
        wish: the user's batch, 0 for automatic.
    """

    def __init__(self, device: torch.device, wish: int = 0) -> None:
        self._device = device
        self._most = wish or (_LARGEST_BATCH if device.type == "cuda" else 1)
        self.wish = wish
        """The user's batch, 0 for automatic."""
        self._last = 1
        self.bytes_each = 1
        """Bytes that one timestep takes: estimated, then measured."""
        self._measured = False

    def estimate(self, bytes_each: int) -> None:
        """Take an estimate of what one timestep needs; the next forward pass on CUDA is measured again."""
        self.bytes_each, self._measured = max(bytes_each, 1), False

    def most(self, timesteps: int) -> int:
        """Return how many of so many timesteps to run at once where memory does not matter.

        Automatic is 1 off CUDA: on a CPU a batch brings no speed and costs memory.
        """
        return min(timesteps, self._most)

    def batch(self, timesteps: int, free: Callable[[], int]) -> int:
        """Return how many timesteps to run at once.

        Args:
            timesteps: that are left of the pair.
            free: returns the free bytes; only asked where the batch is automatic and could be more than 1.

        Returns:
            1 and up; the user's batch whatever is free, as the ladder halves it where that is too much.
        """
        count = self.most(timesteps)
        if not self.wish and count > 1:
            count = max(1, min(count, int(free() * _SHARE) // self.bytes_each))
        self._last = count
        return count

    def shrink(self) -> str | None:
        """Halve the last batch from now on, and say so; None when it was 1. A rung of the ladder."""
        if self._last == 1:
            return None
        self._last = self._most = self._last // 2
        return f"batch of {self._most}"

    @contextlib.contextmanager
    def watch(self, count: int) -> Iterator[None]:
        """Measure what ``count`` timesteps take while entered, the first time and on CUDA."""
        if self._measured or self._device.type != "cuda":
            yield
            return
        # The peak since the process began is of another pass, or another model.
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        yield
        peak = torch.cuda.max_memory_allocated(self._device) - before
        self.bytes_each, self._measured = max(peak // count, 1), True


class Clearing:
    """The decision when to give cached memory back: after every n pairs, or only under pressure.

    Pressure means that the driver has less left than the next timestep may take: cached pieces may not fit,
    then the allocator fails, or waits for the device in the middle of a pass to clear by itself; and other
    programs get nothing.

    Args:
        every: source pairs between two clearings, 0 for adaptive.
        lines: log after every pair how much memory there is.
    """

    def __init__(self, every: int, *, lines: bool = False) -> None:
        self._every = every
        self._lines = lines
        self._done = 0
        self._pairs = 0
        self._wait = 1
        self._stuck = 0
        """Cached bytes that the last clearing could not give back."""

    def pair_done(
        self, need: int, cached: Callable[[], int], room: Callable[[], Room], clear: Callable[[], None]
    ) -> None:
        """Count a source pair that was interpolated, and clear where that is due.

        Args:
            need: bytes that a timestep takes.
            cached: returns the bytes that the allocator keeps. Asked first: asking for all the room takes a
                millisecond on a CPU, where nothing is ever cached and a small pair takes no longer.
            room: returns the room that there is.
            clear: gives cached memory back.
        """
        self._pairs += 1
        self._done += 1
        worth = max(1, int(_WORTHWHILE * need))
        cleared = (self._every or cached() >= worth) and self._clear_when_due(need, worth, room, clear)
        if self._lines:
            _LOG.info(
                "pair %d: %.2f GiB free, %.2f of it cached, a frame takes about %.2f GiB%s",
                self._done,
                room().free / 2**30,
                room().cached / 2**30,
                need / 2**30,
                ", cleared" if cleared else "",
            )

    def _clear_when_due(
        self, need: int, worth: int, room: Callable[[], Room], clear: Callable[[], None]
    ) -> bool:
        before = room()
        if not self._due(before, need, worth):
            return False
        clear()
        self._pairs, self._stuck = 0, room().cached
        # By what is cached: a clearing moves bytes from there to the driver, and their sum stays as it was.
        helped = before.cached - self._stuck >= worth
        # What stays cached shares its pieces with what is in use: try again ever less often.
        self._wait = 1 if helped else min(2 * self._wait, _LONGEST_WAIT)
        return True

    def _due(self, now: Room, need: int, worth: int) -> bool:
        if self._every:
            return self._pairs >= self._every
        if now.driver >= need or now.cached < worth:
            return False
        return self._pairs >= self._wait or now.cached - self._stuck >= worth
