"""Measures the most memory that a whole process needs to load a model and to make frames with it.

    python -m midframe.benchmarks.peak --model tlbvfi-vimeo --size 512x512 --option flow_scale=0.5

Weights are synthetic and go through a file. Loading them and making the frames happens in a process of its
own, and the report is the most that this process held at once, torch itself included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..api import interpolate, load_model
from ..errors import BadInputError
from ..memory.peak import peak_resident_bytes
from ..vfi_models import architectures
from ..vfi_utils import Settings
from ..weights.synthetic import synthetic_state_dict

_GAIN = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--model", default="tlbvfi-vimeo", help="tlbvfi-vimeo, rife-4.25 ...")
    parser.add_argument("--size", default="512x512", metavar="HxW", help="frame size")
    parser.add_argument("--frames", type=int, default=3, help="source frames")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the model")
    parser.add_argument("--threads", type=int, default=1, help="of torch; peak memory depends on them")
    parser.add_argument("--weights", type=Path, default=None, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measure in another process, and say a line of JSON."""
    if args.weights is not None:
        say(json.dumps(_measured(args)))
        return 0
    name, _, family = args.model.partition("-")
    owner = next((a for a in architectures() if a.name == name and family in a.families), None)
    if owner is None:
        names = ", ".join(f"{a.name}-{f}" for a in architectures() for f in a.families)
        raise BadInputError("There is no such model to measure.", args.model, f"Use one of {names}.")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        # Through a file, for loading may well be the peak.
        save_file(synthetic_state_dict(owner.shapes(family), 0, _GAIN), weights)
        command = [sys.executable, "-m", str(__spec__.name), "--weights", str(weights)]
        command += ["--model", args.model, "--size", args.size, "--frames", str(args.frames)]
        command += ["--threads", str(args.threads), *(f"--option={option}" for option in args.option)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    say(done.stdout.splitlines()[-1])
    return 0


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    height, _, width = args.size.partition("x")
    options = {
        name: json.loads(value) for name, _, value in (option.partition("=") for option in args.option)
    }
    torch.set_num_threads(args.threads)
    model = load_model(args.weights, "cpu", torch.float32)
    shape = args.frames, int(height), int(width), 3
    clip = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    began = time.perf_counter()
    interpolate(clip, model, settings=Settings(options=options))
    return {
        "model": args.model,
        "size": args.size,
        "options": options,
        "process_peak_mb": round(peak_resident_bytes() / 1e6),
        "seconds_per_made_frame": round((time.perf_counter() - began) / (args.frames - 1), 2),
        "threads": args.threads,
        "torch": torch.__version__,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")

    return run(parser.parse_args(argv), say)


if __name__ == "__main__":
    sys.exit(main())
