"""``midframe chunks``: interpolate a long clip in chunks, on this machine or on many."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ..chunks import Farm, Inline, Job, ModelChoice, process
from ..chunks.job import PAIRS
from ..chunks.watch import Watch
from ..errors import BadInputError
from ..weights.loading import locate, usable_device
from .options import add_clip_options, plan_of, settings_of, target_of
from .pipes import is_output, is_pipe
from .progress import ProgressHost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe chunks``."""
    add_clip_options(parser)
    add = parser.add_argument
    add(
        "--pairs-per-chunk",
        type=int,
        default=PAIRS,
        metavar="N",
        help=f"what a power cut can cost: source pairs of a chunk (default: {PAIRS})",
    )
    add(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="where finished chunks are until the output is whole (default: OUT.chunks, beside it)",
    )
    add("--keep-chunks", action="store_true", help="do not remove them when the output is whole")
    add(
        "--clear-cache-after-n-pairs",
        type=int,
        default=0,
        metavar="N",
        help="(default: 0, only when memory gets short)",
    )
    add(
        "--executor",
        choices=("inline", "ray"),
        default="inline",
        help="who makes the chunks: this process, or the workers of a Ray cluster (default: inline)",
    )
    add("--ray-address", metavar="ADDRESS", help="of the cluster (default: one on this machine)")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="of Ray, at once (default: one for each GPU, or for two cores)",
    )


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Run a job to its end, from the chunks that are finished already, and say where the output is."""
    target: Path = target_of(arguments)
    if is_pipe(arguments.source) or is_output(target):
        raise BadInputError(
            "A pipe cannot go on where it was.",
            f"{arguments.source} to {target}",
            "Give files, or use midframe interpolate.",
        )
    workers = _ray_executor(arguments)
    # With Ray no model runs in this process, whatever device the workers are told to use.
    device = usable_device(arguments.device) if workers is None else torch.device("cpu")
    job = Job(
        arguments.source,
        target,
        arguments.workdir or target.with_name(f"{target.name}.chunks"),
        ModelChoice(
            arguments.model,
            arguments.device,
            arguments.dtype,
            tuple(str(folder) for folder in arguments.models_folder),
        ),
        plan=plan_of(arguments),
        settings=settings_of(arguments, arguments.clear_cache_after_n_pairs),
        pairs=arguments.pairs_per_chunk,
    )
    host = ProgressHost(device, quiet=arguments.quiet)
    watch = Watch(device, host.say)
    began = time.monotonic()
    try:
        # Before the clip is looked at, which may take long.
        locate(job.model.name, job.model.folders, progress=host.downloaded)
        written = process(
            job, workers or Inline(job.model.load), host=host, report=watch, keep_chunks=arguments.keep_chunks
        )
    finally:
        host.close()
    if not arguments.quiet:
        say(f"{written.path}: {written.frames} frames, {time.monotonic() - began:.1f} s in this run")
    return 0


def _ray_executor(arguments: argparse.Namespace) -> Farm | None:
    """Return the executor with Ray's workers; None where this process makes the chunks.

    Raises:
        BadInputError: there are options of workers without Ray.
        MidframeError: Ray is not installed.
    """
    if arguments.executor == "ray":
        return Farm(address=arguments.ray_address, workers=arguments.workers)
    if arguments.ray_address is not None or arguments.workers is not None:
        raise BadInputError(
            "There are no workers without Ray.", "the executor is inline", "Add --executor ray."
        )
    return None
