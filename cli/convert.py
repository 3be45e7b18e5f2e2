"""``midframe convert``: write any accepted checkpoint as a clean safetensors file, which loads faster."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..weights.convert import convert

_DTYPES = ("float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe convert``."""
    parser.add_argument("source", type=Path, metavar="IN", help="checkpoint, archive or pickle")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors", help="what to write")
    parser.add_argument("--dtype", choices=_DTYPES, default=None, help="(default: as in IN)")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="where IN keeps moving averages (EMA) too: the last weights instead",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Convert one file and print its architecture, parameters and size."""
    detection = convert(
        args.source, args.target, dtype=args.dtype, averaged=not args.raw, overwrite=args.overwrite
    )
    say(
        f"{args.target}: {detection.architecture} {detection.family}, "
        f"{len(detection.state_dict)} parameters, {args.target.stat().st_size:,} bytes"
    )
    return 0
