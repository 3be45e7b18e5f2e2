"""Checks that no frame is read or written over too early on its way to the device and back.

    python -m midframe.benchmarks.transfers --device cuda

The same clip goes through the frame loop, whose copies run on a stream of their own through a few pinned
buffers, and then frame by frame through copies that wait. Every frame has to be the same, bit for bit. A race
shows as a frame that holds part of another, so no two frames are alike at any pixel, and the network does
next to nothing: the time goes into copies.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import torch
from torch import Tensor

from ..memory.staging import as_network_input
from ..vfi_utils import by_multiplier, run_timeline
from ..weights.loading import usable_device
from .long_clips import Blend

SIZES = ((1080, 1920), (2160, 3840))
SMALL = ((24, 32), (37, 45))
DTYPES = (torch.float32, torch.uint8)


def clip(count: int, size: tuple[int, int], dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield ``count`` frames (H, W, 3), no two of them alike at any pixel."""
    height, width = size
    ramp = torch.arange(height * width * 3, dtype=torch.int32, device="cpu").view(height, width, 3)
    for index in range(count):
        # 251 is a prime, so that 37 * index is another remainder for each of 251 frames, at every pixel.
        levels = (ramp + 37 * index) % 251
        yield levels.to(torch.uint8) if dtype == torch.uint8 else levels.float().div_(255.0)


class _Compare:
    """A sink that compares each frame with one that came through copies that wait.

    Args:
        expected: frames (H, W, 3) float32, in order.
    """

    def __init__(self, expected: Iterator[Tensor]) -> None:
        self._expected = expected
        self.frames = 0
        self.wrong: list[int] = []

    def put(self, index: int, frames: Tensor) -> None:
        """Compare (K, H, W, 3) frames on the host."""
        for offset, frame in enumerate(frames):
            self.frames += 1
            if not torch.equal(frame, next(self._expected)):
                self.wrong.append(index + offset)


def waited_for(
    count: int, size: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Iterator[Tensor]:
    """Yield the frames that the loop should make at twice the frames: source frames unchanged, and their
    means.
    """
    half = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float32, device=device)
    right = None
    for left, right in pairwise(clip(count, size, dtype)):
        yield left
        a, b = (as_network_input(frame.to(device)) for frame in (left, right))
        yield torch.lerp(a, b, half).clamp(0.0, 1.0).squeeze(0).permute(1, 2, 0).cpu()
    if right is not None:
        yield right


def check(count: int, size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> _Compare:
    """Run a clip both ways, and return the sink that compared them."""
    sink = _Compare(waited_for(count, size, dtype, device))
    with torch.inference_mode():
        run_timeline(clip(count, size, dtype), by_multiplier(2), Blend(device), sink)
    return sink


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0, or 1 where a frame was wrong."""
    parser = argparse.ArgumentParser(prog="midframe.benchmarks.transfers", description=__doc__)
    parser.add_argument("--device", default=None, help="(default: the best there is)")
    parser.add_argument("--frames", type=int, default=40, metavar="N", help="source frames (default: 40)")
    parser.add_argument("--small", action="store_true", help="small pictures, to see that it runs")
    options = parser.parse_args(arguments)
    device, failed = usable_device(options.device), False
    for size, dtype in product(SMALL if options.small else SIZES, DTYPES):
        found = check(options.frames, size, dtype, device)
        name = f"{size[0]}x{size[1]} {str(dtype).removeprefix('torch.')} on {device}"
        verdict = f"wrong: {found.wrong[:8]}" if found.wrong else "all the same"
        sys.stdout.write(f"{name}: {found.frames} frames, {verdict}\n")
        # Frames that never arrived are no success either.
        failed = failed or bool(found.wrong) or found.frames != 2 * options.frames - 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
