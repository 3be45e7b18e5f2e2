"""``midframe convert``: any accepted checkpoint as a clean safetensors file, which loads faster.

What comes out holds the parameters of the network and nothing else, under the network's own names: no
wrapper, no leftover of training, no pickle and no program.
"""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .errors import BadInputError
from .vfi_models import build, detect
from .vfi_models._core.checkpoint import read_checkpoint
from .vfi_models._core.seam import Detection

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``midframe convert``."""
    parser.add_argument("source", type=Path, metavar="IN", help="checkpoint, archive or pickle")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors", help="what to write")
    parser.add_argument("--dtype", choices=_DTYPES, default=None, help="(default: as in IN)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Converts one file and says what it was."""
    dtype = _DTYPES[args.dtype] if args.dtype else None
    detection = convert(args.source, args.target, dtype=dtype, overwrite=args.overwrite)
    before, after = args.source.stat().st_size, args.target.stat().st_size
    say(
        f"{args.target}: {detection.architecture} {detection.family}, "
        f"{len(detection.state_dict)} parameters, {after:,} bytes (from {before:,})"
    )
    return 0


def convert(
    source: Path, target: Path, *, dtype: torch.dtype | None = None, overwrite: bool = False
) -> Detection:
    """Writes the weights of ``source`` to ``target``; whole, or not at all.

    Args:
        source: any checkpoint that a network of the pack can be loaded from.
        target: ends in ``.safetensors``.
        dtype: of the parameters in the file; None leaves them as they are.
        overwrite: replace a file that is there.

    Returns:
        What the file holds.

    Raises:
        WeightsNotFoundError, CorruptWeightsError, UnsupportedWeightsError: ``source`` cannot be used.
        BadInputError: ``target`` may not or cannot be written.
    """
    _refuse(source, target, overwrite)
    detection = detect(read_checkpoint(source))
    build(detection)  # every parameter, none left over, each of its shape
    weights = {name: _as(value, dtype) for name, value in detection.state_dict.items()}
    about = {"format": "pt", "architecture": detection.architecture, "family": detection.family}
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        save_file(weights, part, about)
        written = read_checkpoint(part)
        if written.keys() != weights.keys() or any(not torch.equal(written[n], weights[n]) for n in weights):
            raise OSError("what was written does not read back the same")
        os.replace(part, target)
    except (OSError, SafetensorError) as error:
        raise BadInputError(
            "The file cannot be written.",
            f"{target}: {error}",
            "Check the folder, its permissions and the disk.",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return detection


def _refuse(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise BadInputError(
            "The result is a safetensors file.", str(target), "Give a name that ends in .safetensors."
        )
    if target.exists() and source.exists() and target.samefile(source):
        raise BadInputError("A file cannot be converted into itself.", str(target), "Give another name.")
    if target.exists() and not overwrite:
        raise BadInputError("There is a file already.", str(target), "Give another name, or --overwrite.")


def _as(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A parameter in a floating dtype; counters stay whole numbers."""
    converted = value.to(dtype) if dtype is not None and value.is_floating_point() else value
    return converted.contiguous()
