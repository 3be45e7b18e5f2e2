"""Profiles the time of a made frame by kind of operation: ``python -m midframe.benchmarks.profile``.

On one thread of the CPU, so that operations run one after the other and add up. Of each kind the least over
some rounds is taken, which is its cost when nobody else uses the machine.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ..api import interpolate
from .work import Work

KINDS: dict[str, tuple[str, ...]] = {
    "convolutions": ("convolution", "_slow_conv2d_forward", "thnn_conv2d"),
    "sampling": ("grid_sampler", "embedding_bag"),
    "resizing and pooling": ("upsample", "avg_pool", "pixel_shuffle", "pixel_unshuffle"),
    "joins and copies": ("cat", "copy_", "stack", "index_select", "constant_pad", "fill_", "clone", "flip"),
}
"""Kinds by parts of the operators' names; the first that fits counts, and all others are arithmetic."""
_ARITHMETIC = "arithmetic"
# Time between the operators: Python, dispatch, allocation.
_UNCOUNTED = "loop"


def kind_of(operator: str) -> str:
    """Return the kind of an operator such as ``aten::cat``."""
    name = operator.rpartition("::")[2]
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), _ARITHMETIC)


def spent(work: Work, rounds: int) -> dict[str, float]:
    """Return the milliseconds of a made frame by kind, the least of ``rounds`` for each."""
    clip, model = work.clip(), work.build()
    least: dict[str, float] = {}

    def run() -> None:
        interpolate(clip, model, work.multiplier)

    run()
    for _ in range(rounds):
        # A range around the whole round: its own time, in no operator, is that of the loop.
        with profile(activities=[ProfilerActivity.CPU]) as profiled, torch.profiler.record_function("round"):
            run()
        found: dict[str, float] = defaultdict(float)
        for row in profiled.key_averages():
            kind = _UNCOUNTED if row.key == "round" else kind_of(row.key)
            # The profiler counts in microseconds, and for all made frames together.
            found[kind] += row.self_cpu_time_total / 1e3 / work.made_frames
        for kind, milliseconds in found.items():
            least[kind] = min(milliseconds, least.get(kind, milliseconds))
    return least


def as_table(columns: dict[str, dict[str, float]]) -> str:
    """Format as Markdown: a row for each kind, a column for each work, and their sums."""
    kinds = [*KINDS, _ARITHMETIC, _UNCOUNTED]
    lines = ["| ms a made frame | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for kind in kinds:
        lines.append(f"| {kind} | " + " | ".join(f"{c.get(kind, 0.0):.1f}" for c in columns.values()) + " |")
    lines.append("| all | " + " | ".join(f"{sum(c.values()):.1f}" for c in columns.values()) + " |")
    return "\n".join(lines)


def _size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="midframe.benchmarks.profile", description=__doc__)
    parser.add_argument("--model", nargs="+", default=["rife-4.6", "rife-4.25", "default"])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--size", type=_size, default=(480, 832), metavar="HxW")
    parser.add_argument("--multiplier", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="a Markdown file to write besides")
    options = parser.parse_args(arguments)
    # On one thread operators do not overlap, so that their times add up.
    torch.set_num_threads(1)
    columns = {}
    for model in options.model:
        for dtype in options.dtype:
            work = Work(model, options.size, options.multiplier, 3, dtype, "cpu")
            columns[f"{model} {dtype}"] = spent(work, options.rounds)
    table = as_table(columns)
    sys.stdout.write(table + "\n")
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
