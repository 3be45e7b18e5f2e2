"""``midframe bench``: ours beside peers, with the same weights and frames, interleaved in one process.

Times are medians over rounds in which each contender runs once; only their ratio means anything on a
shared machine. Peak memory is measured in a process of its own for each contender.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import BadInputError
from ..weights.loading import default_device
from . import footprint
from .contest import Limits, row
from .launches import launches
from .loading import load_times, loads
from .machine import machine, rates
from .peers import Against, parse
from .report import as_table, line, write
from .work import BUILT_IN, Work

_DTYPES = ("float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe bench``."""
    add = parser.add_argument
    add("--model", nargs="+", default=["rife-4.25"], help="rife-4.25, rife-4.6, film, default ...")
    add("--weights", default="", metavar="FILE", help="of the model, instead of synthetic ones")
    add("--size", nargs="+", default=["480x832"], metavar="HxW", help="frame sizes")
    add("--multiplier", nargs="+", type=int, default=[2, 4])
    add("--frames", type=int, default=9, help="source frames")
    add("--rounds", type=int, default=5, help="timed runs of each contender")
    add("--dtype", nargs="+", choices=("auto", *_DTYPES), default=["float32"], help="of ours")
    add("--peer-dtype", choices=_DTYPES, default="float32", help="of the peers")
    add("--device", default=None, help="cpu, cuda ... (default: the best)")
    add(
        "--against",
        action="append",
        default=[],
        metavar="NAME[:NETWORK]=FOLDER",
        help="a peer's checkout: comfyui=FOLDER, or older:rife-4.6=FOLDER for a network other than --model",
    )
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE[,VALUE]",
        help="of the model's, e.g. flow_scale=0.5,1",
    )
    add("--vram-gib", type=float, default=None, metavar="GIB", help="the most CUDA memory a process may take")
    add("--json", type=Path, default=None, metavar="OUT", help="write rows here, OUT.md and OUT.svg beside")
    add("--launches", action="store_true", help="count what a GPU would launch and move, also where none is")
    add("--loading", action="store_true", help="also how long files of each kind take to load")
    add("--peak-of", default=None, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measure every combination, and say a table; return 1 where pictures do not agree."""
    _check(args)
    device = args.device or str(default_device())
    if args.vram_gib:
        _cap(device, args.vram_gib)
    works = _works(args, device)
    # A child of footprint.in_own_process: one work and one contender, and nothing on standard output but
    # JSON.
    if args.peak_of:
        say(json.dumps(footprint.measured(works[0], args.peak_of, args.against)))
        return 0
    peers: list[Against | None] = [parse(argument) for argument in args.against]
    report: dict[str, Any] = {"machine": machine(device), "rates": {}, "rows": []}
    limits = Limits(args.rounds, args.vram_gib)
    for work, against in itertools.product(works, peers or [None]):
        measured = row(work, against, limits) | load_times(work, args.rounds)
        if args.launches or torch.device(device).type == "cuda":
            measured |= launches(work, work.options).as_row()
        report["rows"].append(measured)
        report["rates"][work.dtype] = vars(rates(device, work.dtype))
        if args.json:  # after each row: an error in a later one must not lose it
            write(report, args.json)
        say(line(report["rows"][-1]))
    if args.loading:
        # Once for each model: how long a file takes to load depends on no size, multiplier or dtype of a row.
        weights = {work.model: work.weights() for work in works if work.model != BUILT_IN}
        report["loading"] = [
            times for model in weights for times in loads(model, weights[model], args.rounds)
        ]
        if args.json:
            write(report, args.json)
    say("")
    say(as_table(report))
    # None is no failure: there was nothing of the same network to compare with.
    return 1 if any(measured["pictures_agree"] is False for measured in report["rows"]) else 0


def _check(args: argparse.Namespace) -> None:
    """Refuse arguments that leave nothing to measure, before anything is measured."""
    if min(args.multiplier) < 2 or args.frames < 2 or args.rounds < 1:  # noqa: PLR2004
        raise BadInputError(
            "There is nothing to measure.",
            f"multiplier {args.multiplier}, {args.frames} frames, {args.rounds} rounds",
            "Use a multiplier and frames of 2 or more, and at least one round.",
        )
    if args.weights and len(args.model) > 1:
        raise BadInputError(
            "One file of weights cannot be several models.", ", ".join(args.model), "Name one --model."
        )
    if args.json and not args.json.parent.is_dir():
        raise BadInputError("The folder for the results does not exist.", str(args.json.parent), "Make it.")


def _cap(device: str, gib: float) -> None:
    """Limit this process's share of a CUDA device's memory, as a smaller device would."""
    if torch.device(device).type != "cuda":
        raise BadInputError("Only CUDA's memory can be capped.", device, "Leave --vram-gib out.")
    there = torch.cuda.get_device_properties(device).total_memory
    if not 0 < gib * 2**30 <= there:
        raise BadInputError(
            "The device does not have this much memory.", f"{gib} of {there / 2**30:.1f} GiB", "Use less."
        )
    # By its index: torch refuses a device without one here; None means the current device.
    torch.cuda.set_per_process_memory_fraction(gib * 2**30 / there, torch.device(device).index)


def _works(args: argparse.Namespace, device: str) -> list[Work]:
    options = [dict(chosen) for chosen in itertools.product(*(_options(text) for text in args.option))]
    combinations = itertools.product(args.model, map(_size, args.size), args.dtype, args.multiplier, options)
    return [
        Work(
            model,
            size,
            multiplier,
            args.frames,
            dtype,
            device,
            options=chosen,
            file=args.weights,
            peer_dtype=args.peer_dtype,
        ).resolved()
        for model, size, dtype, multiplier, chosen in combinations
    ]


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise BadInputError("A size is HEIGHTxWIDTH.", text, "Write it like 480x832.")
    return int(height), int(width)


def _options(text: str) -> list[tuple[str, Any]]:
    """Parse ``name=1,2`` to ``(name, 1), (name, 2)``; a value that is no JSON is a string."""
    name, _, values = text.partition("=")
    options: list[tuple[str, Any]] = []
    for value in values.split(","):
        with contextlib.suppress(json.JSONDecodeError):
            options.append((name, json.loads(value)))
            continue
        options.append((name, value))
    return options
