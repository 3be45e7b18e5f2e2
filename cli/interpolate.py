"""``midframe interpolate``: interpolate one clip."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from ..api import load_model
from ..errors import BadInputError
from ..video import interpolate_video
from ..video.stream.files import check_paths
from ..weights.loading import locate, usable_device
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
    parser.add_argument(
        "--also",
        type=Path,
        nargs="+",
        default=[],
        metavar="IN",
        help="make the same of these, one after the other; OUT is left out, or a folder that is there",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would become of everything in IN")


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Interpolate one clip, or several, and say where the output is."""
    if not arguments.also:
        return _run_piped(arguments, say)
    folder: Path | None = arguments.target
    if folder is not None and not folder.is_dir():
        raise BadInputError(
            "Several clips do not go into one file.", str(folder), "Give a folder that is there, or no OUT."
        )
    sources = [arguments.source, *arguments.also]
    # All names before the first clip: what cannot be is not found after hours.
    targets = [_among(arguments, source, folder) for source in sources]
    if len(set(targets)) < len(targets):
        raise BadInputError(
            "Two of these clips have the same name.", ", ".join(map(str, sources)), "Rename one of them."
        )
    for source, target in zip(sources, targets, strict=True):
        check_paths(source, target, plan_of(arguments))
    for source, target in zip(sources, targets, strict=True):
        arguments.source, arguments.target = source, target
        _run(arguments, say)
    return 0


def _among(arguments: argparse.Namespace, source: Path, folder: Path | None) -> Path:
    """Return where the output of one of several clips goes."""
    if is_pipe(source):
        raise BadInputError("A pipe is read alone.", str(source), "Leave --also out.")
    arguments.source, arguments.target = source, None
    beside = target_of(arguments)
    return beside if folder is None else folder / beside.name


def _run_piped(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
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
    host = ProgressHost(device, quiet=arguments.quiet)
    try:
        locate(arguments.model, arguments.models_folder, progress=host.downloaded)
        model = load_model(arguments.model, device, arguments.dtype, folders=arguments.models_folder)
        began = time.monotonic()
        settings = settings_of(arguments)
        written = interpolate_video(arguments.source, target, model, plan, settings=settings, host=host)
    finally:
        host.close()
    if not arguments.quiet:
        seconds = time.monotonic() - began
        say(f"{written.path}: {written.frames} frames from {written.source_frames} in {seconds:.1f} s")
    return 0
