"""``midframe probe``: say what a clip is, and what would become of everything in it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..engine.remarks import Remarks
from ..video.account import describe_output
from .options import add_clip_options, plan_of, target_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe probe``: those of ``midframe interpolate``, for they decide."""
    add_clip_options(parser)


@Remarks()
def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Print a line for each thing in the source; make nothing."""
    target = target_of(arguments)
    entries = describe_output(arguments.source, target, plan_of(arguments))
    say(f"{arguments.source} -> {target}")
    width = max(len(entry.what) for entry in entries)
    for entry in entries:
        say(f"  {entry.what:{width}}  {entry.fate:13} {entry.why}".rstrip())
    return 0
