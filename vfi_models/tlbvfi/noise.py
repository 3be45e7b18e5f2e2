"""The sampler's noise: it follows from the seed and the two frames, and from nothing else.

A pair has no number that would survive cutting a clip into chunks, resuming half-way or bisecting a pair, so
it is identified by its content: each frame has a fingerprint, and a pair's noise is seeded with both, left
before right.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
from torch import Tensor

# A product of two numbers below it, and a sum of 65,536 products with a level, stay below 2**63.
_PRIME = 2**31 - 1
_ROW, _COLUMN, _MIX = 1_664_525, 1_013_904_223, 13
_LEVELS = 65_535


class Noise(Protocol):
    """A source of noise."""

    def __call__(self, left: int, right: int, shape: tuple[int, ...]) -> Tensor:
        """Return float32 noise of ``shape`` on the host, for the pair of frames with these fingerprints."""
        ...


class SeededNoise:
    """Normal noise: the same for the same pair, at every call and for every device."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, left: int, right: int, shape: tuple[int, ...]) -> Tensor:
        """Draw the noise of a pair; see :class:`Noise`."""
        # A hash and no arithmetic on the numbers: neighbouring seeds must not give related noise.
        digest = hashlib.blake2b(f"{self._seed} {left} {right}".encode(), digest_size=8).digest()
        # On the CPU, for CUDA draws other numbers from the same seed.
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def fingerprint(frame: Tensor) -> int:
    """Compute the :class:`Fingerprint` of a frame, and wait for it."""
    return int(Fingerprint(frame))


class Fingerprint:
    """A number below 2**31 that identifies a frame by its content; ``int()`` waits for it to leave the
    device.

    Values are rounded to 16 bits first, so that a device that is off by the last bit of a float gets the
    same number for frames of 8 to 16 bits. All sums are exact, whatever their order.

    Args:
        frame: (C, H, W), values 0..1; may be written to afterwards.
    """

    def __init__(self, frame: Tensor) -> None:
        height, width = frame.shape[-2:]
        rows, columns = (
            _weights(n, factor, frame.device) for n, factor in ((height, _ROW), (width, _COLUMN))
        )
        sums = []
        for channel in frame:
            # Channel by channel, for the int64 values take eight bytes a pixel.
            # NaN to 0 first: it passes a clamp, and which integer it becomes depends on the device.
            levels = channel.nan_to_num().clamp(0.0, 1.0).mul(_LEVELS).round_().long()
            of_rows = levels.mul_(columns).sum(-1).remainder_(_PRIME)
            sums.append(of_rows.mul_(rows).remainder_(_PRIME).sum().remainder_(_PRIME))
        self._sums = torch.stack(sums)
        self._arrived: torch.cuda.Event | None = None
        if frame.device.type == "cuda":
            # Only this event is waited for: the encoder, which is queued after it, keeps the device busy.
            self._sums = self._sums.to("cpu", non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(frame.device))

    def __int__(self) -> int:
        if self._arrived is not None:
            self._arrived.synchronize()
        total = 0
        for number in self._sums.tolist():
            total = (31 * total + int(number)) % _PRIME
        return total


def _weights(count: int, factor: int, device: torch.device) -> Tensor:
    """Return numbers below the prime, in an order that no picture has."""
    spread = torch.arange(1, count + 1, dtype=torch.int64, device=device).mul_(factor).remainder_(_PRIME)
    return torch.bitwise_xor(spread, spread >> _MIX).mul_(factor).remainder_(_PRIME)
