"""``midframe parity``: the networks beside reference outputs, on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from ..parity import BUNDLED, compare
from ..weights.loading import usable_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe parity``."""
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="golden folders or files (default: those of the pack)",
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, mps ... (default: the best)")
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the convolutions"
    )


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Run the cases, and say a line for each and a summary; return 1 where one failed or none was run."""
    device = usable_device(args.device)
    outcomes = []
    for outcome in compare(args.paths or [BUNDLED], device, getattr(torch, args.dtype)):
        say(str(outcome))
        outcomes.append(outcome)
    failed = sum(o.failed for o in outcomes)
    skipped = sum(bool(o.skipped) for o in outcomes)
    worst = max((o.error for o in outcomes if o.error is not None), default=0.0)
    say(f"{len(outcomes)} cases, {failed} failed, {skipped} skipped, worst {worst:.1e}")
    # Where every case was skipped nothing has been compared.
    return 1 if failed or skipped == len(outcomes) else 0
