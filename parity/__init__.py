"""Golden outputs of reference implementations against our networks: the self-test of a machine.

A golden file holds inputs, outputs and the recipe of the weights (see :mod:`..vfi_models._core.synthetic`).
Each network has a format of its own, described in ``tests/goldens``, and a module here that reads it.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..api import default_device
from ..errors import BadInputError
from . import rife, tlbvfi
from .outcome import Outcome, Place

BUNDLED = Path(__file__).parents[1] / "tests" / "goldens"


class _Reader(Protocol):
    """A module that reads the goldens of one network."""

    def reads(self, file: Path, arrays: Mapping[str, Any], /) -> bool:
        """Whether it knows this file; ``arrays`` is empty where that is no .npz."""
        ...

    def run(self, file: Path, arrays: Mapping[str, Any], place: Place, /) -> Iterator[Outcome]:
        """The outcome of every case of the file."""
        ...


_READERS: tuple[_Reader, ...] = (rife, tlbvfi)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``midframe parity``."""
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="golden folders or files (default: those of the pack)",
    )
    parser.add_argument(
        "--device", type=torch.device, default=None, help="cpu, cuda, mps ... (default: the best)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the convolutions"
    )


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Runs the cases, says a line for each and a last one; 1 where one failed or none was found."""
    device = args.device or default_device()
    outcomes = []
    for outcome in compare(args.paths or [BUNDLED], device, getattr(torch, args.dtype)):
        say(str(outcome))
        outcomes.append(outcome)
    failed = sum(o.failed for o in outcomes)
    skipped = sum(bool(o.skipped) for o in outcomes)
    worst = max((o.error for o in outcomes if o.error is not None), default=0.0)
    say(f"{len(outcomes)} cases, {failed} failed, {skipped} skipped, worst {worst:.1e}")
    return 1 if failed or not outcomes else 0


def compare(paths: Iterable[Path], device: torch.device, dtype: torch.dtype) -> Iterator[Outcome]:
    """The outcome of every case in the golden files under ``paths``.

    Raises:
        BadInputError: a path that does not exist or holds no golden file, or a file that cannot be read.
    """
    # TensorFloat-32, on by default for convolutions, is 1e-3 off; only while this runs.
    exact = torch.backends.cudnn.flags(allow_tf32=False) if device.type == "cuda" else nullcontext()
    place = Place(device, dtype)
    with exact, torch.inference_mode():
        for path in paths:
            files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
            found = [outcomes for file in files if (outcomes := _outcomes(file, place)) is not None]
            if not found:
                raise BadInputError(
                    "There are no goldens here.",
                    str(path),
                    "Give a folder of golden files, or leave PATH out.",
                )
            for outcomes in found:
                yield from outcomes


def _outcomes(file: Path, place: Place) -> Iterator[Outcome] | None:
    """The outcomes of a file, computed as they are asked for; None where it is no golden file."""
    arrays = _arrays(file)
    for reader in _READERS:
        if reader.reads(file, arrays):
            return reader.run(file, arrays, place)
    if not arrays:
        return None
    reason = f"the pack does not have the network of {file.parent.name}"
    return iter([Outcome(f"{file.parent.name}/{file.stem}", skipped=reason)])


def _arrays(file: Path) -> Mapping[str, Any]:
    if file.suffix != ".npz":
        return {}
    try:
        arrays: Mapping[str, Any] = np.load(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadInputError(
            "This golden file cannot be read.", f"{file}: {error}", "Copy it again."
        ) from error
    return arrays
