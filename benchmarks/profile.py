"""Profiles the time of a made frame by kind of operation: ``python -m midframe.benchmarks.profile``.

On a CPU of one thread, so that operations run one after the other and add up; on CUDA it is the time of
kernels. Of each kind the least over some rounds is taken, which is its cost when nobody else uses the
machine. ``--layout planes channels_last`` puts both ways of storing activations side by side.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ..api import interpolate
from ..vfi_models import activations_stored
from .work import Work

KINDS: dict[str, tuple[str, ...]] = {
    # cuDNN's kernels around a convolution of the other layout.
    "changes of layout": ("nchwtonhwc", "nhwctonchw", "transpose"),
    "convolutions": ("conv", "xmma", "gemm", "cudnn", "cutlass", "winograd"),
    "sampling": ("grid_sampler", "embedding_bag", "_warp", "_correlation"),
    "resizing and pooling": ("upsample", "avg_pool", "pixel_shuffle", "pixel_unshuffle"),
    "joins and copies": (
        *("cat", "copy", "memcpy", "memset", "stack", "index_select"),
        *("constant_pad", "fill_", "clone", "flip"),
    ),
}
"""Kinds by parts of the names of operators and kernels, in lower case; the first that fits counts, and all
others are arithmetic.
"""
_ARITHMETIC = "arithmetic"
# Time between the operators: Python, dispatch, allocation.
_UNCOUNTED = "loop"
LAYOUTS = {"planes": torch.contiguous_format, "channels_last": torch.channels_last}


def kind_of(name: str) -> str:
    """Return the kind of an operator such as ``aten::cat``, or of a kernel."""
    name = name.rpartition("aten::")[2].lower()
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), _ARITHMETIC)


def spent(work: Work, rounds: int, layout: str | None = None) -> dict[str, float]:
    """Return the milliseconds of a made frame by kind, the least of ``rounds`` for each.

    Args:
        work: what is done.
        rounds: how often.
        layout: of activations, of :data:`LAYOUTS`; None is what the pack chooses.
    """
    least: dict[str, float] = {}
    activities = [ProfilerActivity.CPU]
    if work.device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    with activations_stored(LAYOUTS[layout]) if layout else nullcontext():
        clip, model = work.clip(), work.build()
        interpolate(clip, model, work.multiplier)
        for _ in range(rounds):
            # A range around the whole round: its own time, in no operator, is that of the loop.
            with profile(activities=activities) as profiled, torch.profiler.record_function("round"):
                interpolate(clip, model, work.multiplier)
            found: dict[str, float] = defaultdict(float)
            for kind, microseconds in _times(profiled, on_device=len(activities) > 1):
                # For all made frames together.
                found[kind] += microseconds / 1e3 / work.made_frames
            for kind, milliseconds in found.items():
                least[kind] = min(milliseconds, least.get(kind, milliseconds))
    return least


def _times(profiled: profile, *, on_device: bool) -> Iterator[tuple[str, float]]:
    """Yield the kind and the microseconds of each operator, or of each kernel of the device."""
    for row in profiled.key_averages():
        if not on_device:
            yield (_UNCOUNTED if row.key == "round" else kind_of(row.key)), row.self_cpu_time_total
        elif row.device_type.name == "CUDA" and row.key != "round":
            # Kernels and copies; the operators that launched them are rows of the CPU.
            yield kind_of(row.key), row.self_device_time_total


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
    parser.add_argument("--device", default="cpu")
    layouts = "how activations are stored, side by side; default: what the pack chooses"
    parser.add_argument("--layout", nargs="+", choices=list(LAYOUTS), default=[None], help=layouts)
    parser.add_argument("--out", type=Path, help="a Markdown file to write besides")
    options = parser.parse_args(arguments)
    # On one thread operators do not overlap, so that their times add up.
    torch.set_num_threads(1)
    columns = {}
    for model, dtype, layout in product(options.model, options.dtype, options.layout):
        work = Work(model, options.size, options.multiplier, 3, dtype, options.device)
        name = " ".join(filter(None, (model, dtype, layout)))
        columns[name] = spent(work, options.rounds, layout)
    table = as_table(columns)
    sys.stdout.write(table + "\n")
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
