"""``midframe interpolate``: interpolate one clip."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from ..api import load_model
from ..errors import BadInputError
from ..video import interpolate_video
from ..video.stream.files import check_paths
from ..weights.loading import usable_device
from . import probe
from .options import add_clip_options, plan_of, settings_of, target_of
from .pipes import as_files, is_output, is_pipe
from .progress import ProgressHost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe interpolate``."""
    add_clip_options(parser)
    parser.add_argument(
        "--pipe-format",
        choices=("mkv", "nut", "y4m"),
        default="mkv",
        help="what is written to standard output, which is the OUT of - (default: mkv)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would become of everything in IN")


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Interpolate one clip and say where the output is."""
    piped = is_output(arguments.target)
    if is_pipe(arguments.source) and arguments.target is None:
        raise BadInputError(
            "What comes from a pipe has no name.", str(arguments.source), "Name OUT, or give -."
        )
    with as_files(arguments.source, arguments.target, arguments.pipe_format) as (source, target):
        arguments.source, arguments.target = source, target
        # Standard output is that of the clip.
        return _run(arguments, (lambda line: None) if piped else say)


def _run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    if arguments.dry_run:
        return probe.run(arguments, say)
    target, plan = target_of(arguments), plan_of(arguments)
    device = usable_device(arguments.device)
    check_paths(arguments.source, target, plan)  # before a model is loaded or fetched
    model = load_model(arguments.model, device, arguments.dtype, folders=arguments.models_folder)
    host = ProgressHost(device, quiet=arguments.quiet)
    began = time.monotonic()
    try:
        settings = settings_of(arguments)
        written = interpolate_video(arguments.source, target, model, plan, settings=settings, host=host)
    finally:
        host.close()
    if not arguments.quiet:
        seconds = time.monotonic() - began
        say(f"{written.path}: {written.frames} frames from {written.source_frames} in {seconds:.1f} s")
    return 0
