"""Measures adaptive clearing where CUDA memory is short: how often it clears, and the time that this costs.

    python -m midframe.benchmarks.pressure --json OUT.json

The same clip is interpolated twice: with all of the memory, and with little more than the first run took.
Passes are recorded in neither: a recording keeps the memory of a pass, for which the second has no room.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..api import interpolate
from ..engine.host import QuietHost
from ..errors import BadInputError
from ..vfi_models.interface import Interpolator
from ..vfi_utils import Settings
from .machine import machine
from .work import Work

_GIB = 2**30


class CountingHost(QuietHost):
    """A host that counts how often cached memory is given back."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.cleared = 0

    def clear_cache(self) -> None:
        """Count, and give cached memory back."""
        self.cleared += 1
        super().clear_cache()


def measured(work: Work, slack: float) -> dict[str, Any]:
    """Measure both runs, each after one that is not timed.

    Args:
        work: on CUDA.
        slack: how much more memory than it took the first time a run may have the second time.
    """
    device = torch.device(work.device)
    model = work.build()
    _run(work, model)
    torch.cuda.reset_peak_memory_stats(device)
    ample = _run(work, model)
    took = torch.cuda.max_memory_allocated(device)
    # The cap is on all that torch's allocator holds, and its cache would be over it already.
    torch.cuda.empty_cache()
    there = torch.cuda.get_device_properties(device).total_memory
    # Capped by torch: the device itself cannot be made smaller, and other programs would not hold still.
    torch.cuda.set_per_process_memory_fraction(min(1.0, slack * took / there), device.index)
    _run(work, model)
    tight = _run(work, model)
    return {
        "machine": machine(work.device),
        "model": work.model,
        "size": f"{work.size[0]}x{work.size[1]}",
        "multiplier": work.multiplier,
        "frames": work.frames,
        "dtype": work.dtype,
        "took_gib": took / _GIB,
        "allowed_gib": slack * took / _GIB,
        "ample": ample,
        "tight": tight,
        "cost": tight["seconds"] / ample["seconds"] - 1,
    }


def unrecorded(work: Work, model: Interpolator) -> dict[str, Any]:
    """Return the work's options, with recording off where the model has that."""
    return work.options | ({"graphs": False} if "graphs" in model.spec.options else {})


def _run(work: Work, model: Interpolator) -> dict[str, Any]:
    host = CountingHost(torch.device(work.device))
    clip = work.clip()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    interpolate(clip, model, work.multiplier, settings=Settings(unrecorded(work, model)), host=host)
    torch.cuda.synchronize()
    return {"seconds": time.perf_counter() - begun, "pairs": work.frames - 1, "cleared": host.cleared}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="midframe.benchmarks.pressure", description=__doc__)
    parser.add_argument("--model", default="rife-4.25")
    parser.add_argument("--height", type=int, default=2160)
    parser.add_argument("--width", type=int, default=3840)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--slack", type=float, default=1.2)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    args = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        raise BadInputError(
            "Only CUDA's memory can be capped.", "no CUDA device", "Run it where there is one."
        )
    work = Work(args.model, (args.height, args.width), 2, args.frames, "float16", "cuda")
    found = measured(work, args.slack)
    args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    line = (
        f"cleared {found['tight']['cleared']} times in {found['tight']['pairs']} pairs of {found['size']} in "
    )
    sys.stdout.write(line + f"{found['allowed_gib']:.1f} GiB, {100 * found['cost']:.0f}% slower\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
