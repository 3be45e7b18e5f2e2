"""``midframe analyse``: note the cuts, held frames and more of a clip."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from ..analysis.notes import Analysis
from ..engine.remarks import Remarks
from ..errors import BadInputError
from ..video import open_clip
from ..video.stream.looking import analysis_of
from .progress import ProgressHost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe analyse``."""
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="video file, animated image, or folder of images")
    add(
        "target",
        type=Path,
        nargs="?",
        metavar="OUT",
        help="JSON to correct and give to `interpolate --analysis` (default: what is found is only said)",
    )
    add("--overwrite", action="store_true", help="replace OUT if it is there")


@Remarks()
def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Look at a clip, say what was found, and write it if that is asked for."""
    target: Path | None = arguments.target
    if target is not None and target.exists() and not arguments.overwrite:
        raise BadInputError(
            "The output is there already.", str(target), "Choose another name, or add --overwrite."
        )
    host = ProgressHost(quiet=arguments.quiet)
    try:
        with open_clip(arguments.source) as clip:
            analysis, rate = analysis_of(clip, host), clip.info.rate
    finally:
        host.close()
    if target is not None:
        analysis.save(target)
    for line in _lines(analysis, rate):
        say(line)
    return 0


def _lines(analysis: Analysis, rate: Fraction) -> list[str]:
    """Return what was found, for a person."""
    cuts = [note.index + 1 for note in analysis.pairs if note.cut]
    held = sum(bool(note.held) for note in analysis.pairs)
    at = ", ".join(f"{number} ({float(number / rate):.2f} s)" for number in cuts)
    return [
        f"{len(analysis.pairs) + 1} frames",
        f"cuts before frames: {at or 'none'}",
        f"frames that repeat the one before: {held}",
        f"flashes: {sum(note.flash for note in analysis.pairs)}",
        f"plays as a loop: {'yes' if analysis.loop else 'no'}",
    ]
