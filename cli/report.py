"""``midframe report``: which model suits a clip, and what is in it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from ..api import load_model
from ..engine.remarks import Remarks
from ..errors import BadInputError
from ..report.make import make
from ..report.page import findings, page
from ..vfi_models.interface import Interpolator
from ..video import open_clip
from ..weights.find import available
from ..weights.loading import usable_device
from .options import add_models_folder
from .progress import ProgressHost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe report``."""
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="video file, animated image, or folder of images")
    add("target", type=Path, nargs="?", metavar="OUT", help="page to write (default: IN.html beside it)")
    add("--json", type=Path, metavar="FILE", help="the numbers, too")
    add("--model", nargs="+", metavar="MODEL", help="names or files (default: every one that is here)")
    add("--frames", type=int, default=24, help="frames to leave out and make at most (default: 24)")
    add("--device", help="cpu, cuda, cuda:1, mps ... (default: the best there is)")
    add("--overwrite", action="store_true", help="replace files that are there")
    add_models_folder(parser)


@Remarks()
def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measure, write the page, and say what matters."""
    source: Path = arguments.source
    target: Path = arguments.target or source.with_name(source.name + ".html")
    for path in filter(None, (target, arguments.json)):
        if path.exists() and not arguments.overwrite:
            raise BadInputError(
                "The output is there already.", str(path), "Choose another name, or add --overwrite."
            )
    device = usable_device(arguments.device)
    here = [choice.name for choice in available(arguments.models_folder) if choice.path is not None]

    def lend(name: str, height: int, width: int) -> AbstractContextManager[Interpolator]:
        return nullcontext(load_model(name, device, folders=arguments.models_folder))

    models = [(name, partial(lend, name)) for name in arguments.model or here]
    host = ProgressHost(device, quiet=arguments.quiet)
    try:
        report = make(source.name, partial(open_clip, source), models, host, most=arguments.frames)
    finally:
        host.close()
    target.write_text(page(report), encoding="utf-8")
    if arguments.json is not None:
        arguments.json.write_text(report.to_json(), encoding="utf-8")
    for line in (report.advice, *findings(report), str(target)):
        say(line)
    return 0
