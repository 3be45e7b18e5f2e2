"""Convert any accepted checkpoint to a clean safetensors file, which loads faster.

The result holds the parameters of the network and nothing else, under the network's own names: no
wrapper, no leftover of training, no pickle and no program.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import BadInputError
from ..vfi_models import build, detect
from ..vfi_models.interface import Detection
from ..vfi_models.precision import dtype_named
from .checkpoint import read_checkpoint
from .paths import resolve


def convert(
    source: Path,
    target: Path,
    *,
    dtype: torch.dtype | str | None = None,
    averaged: bool = True,
    overwrite: bool = False,
) -> Detection:
    """Write the weights of ``source`` to ``target``; whole, or not at all.

    Args:
        source: any checkpoint that a network of the pack can be loaded from, or a folder with one in it;
            also a file with other objects beside the weights or around them, which are left there.
        target: ends in ``.safetensors``.
        dtype: of the parameters in the file; None leaves them as they are.
        averaged: where ``source`` keeps moving averages of parameters (EMA), which networks are evaluated
            with, they are written; False writes the weights that they are averages of.
        overwrite: replace a file that is there.

    Returns:
        Architecture, family and parameters of what was written.

    Raises:
        WeightsNotFoundError, CorruptWeightsError, UnsupportedWeightsError: ``source`` cannot be used.
        BadInputError: ``target`` may not or cannot be written, or a value is too large for ``dtype``.
    """
    source = resolve(source) or source
    number_type = dtype_named(dtype)
    _refuse(source, target, overwrite)
    detection = detect(read_checkpoint(source, averaged=averaged, leave_objects=True))
    build(detection)  # loads strictly: every parameter, none left over, each of its shape
    weights = {name: _converted(name, value, number_type) for name, value in detection.state_dict.items()}
    about = {"format": "pt", "architecture": detection.architecture, "family": detection.family}
    _write(weights, about, target)
    return detection


def _write(weights: dict[str, Tensor], about: dict[str, str], target: Path) -> None:
    """Write a safetensors file to a temporary name, read it back, and rename it if it is the same.

    Args:
        weights: parameters by name.
        about: metadata of the file.
        target: its name.

    Raises:
        BadInputError: it cannot be written.
    """
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        save_file(weights, part, about)
        written = read_checkpoint(part)  # a full disk or a bad one shows here, not when the model is used
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
        with contextlib.suppress(OSError):
            part.unlink()


def _refuse(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise BadInputError(
            "The result is a safetensors file.", str(target), "Give a name that ends in .safetensors."
        )
    exists = os.path.exists(target)  # Path.exists raises on names that are too long
    if exists and source.exists() and target.samefile(source):
        raise BadInputError("A file cannot be converted into itself.", str(target), "Give another name.")
    if exists and not overwrite:
        raise BadInputError("There is a file already.", str(target), "Give another name, or --overwrite.")


def _converted(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a parameter in a floating dtype; counters stay whole numbers.

    Raises:
        BadInputError: a value that overflows.
    """
    if dtype is None or not value.is_floating_point():
        return value.contiguous()
    # Before converting: torch would make infinities, and the file would be refused as damaged when it is
    # read back.
    largest, limit = float(value.abs().max()) if value.numel() else 0.0, torch.finfo(dtype).max
    if largest > limit:
        raise BadInputError(
            f"These weights do not fit into {dtype}.",
            f"{name} has values up to {largest:.3g}; {limit:.3g} is the largest",
            "Use --dtype bfloat16 or float32, or leave --dtype out.",
        )
    return value.to(dtype).contiguous()
