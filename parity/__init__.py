"""Compares our networks with golden outputs of reference implementations: the self-test of a machine.

A golden file holds inputs, outputs, and seed and gain of the weights (see :mod:`..weights.synthetic`).
Each network has a format of its own, described in ``parity/goldens``, and a module here that reads it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..errors import BadInputError, MidframeError
from ..vfi_models.surroundings import exact_convolutions, undisturbed
from . import film, rife, tlbvfi
from .outcome import Outcome, Place

BUNDLED = Path(__file__).parent / "goldens"


class _Reader(Protocol):
    """A module that reads the goldens of one network."""

    def reads(self, file: Path, arrays: Mapping[str, Any], /) -> bool:
        """Tell whether a file is of this format; ``arrays`` is empty where that is no .npz."""
        ...

    def run(self, file: Path, arrays: Mapping[str, Any], place: Place, /) -> Iterator[Outcome]:
        """Yield the outcome of every case of the file."""
        ...


_BROKEN = (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile)
_READERS: tuple[_Reader, ...] = (rife, film, tlbvfi)


def compare(paths: Iterable[Path], device: torch.device, dtype: torch.dtype) -> Iterator[Outcome]:
    """Yield the outcome of every case in the golden files under ``paths``.

    A file that is broken, or that no module here reads, is a failed case; the others run.

    Raises:
        BadInputError: a path that does not exist or holds no golden file.
    """
    place = Place(device, dtype)
    for path in paths:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        found = [(file, outcomes) for file in files if (outcomes := _outcomes(file, place)) is not None]
        if not found:
            raise BadInputError(
                "There are no goldens here.", str(path), "Give a folder of golden files, or leave PATH out."
            )
        for file, outcomes in found:
            yield from _guarded(f"{file.parent.name}/{file.stem}", outcomes, device)


def _guarded(label: str, outcomes: Iterator[Outcome], device: torch.device) -> Iterator[Outcome]:
    """Yield ``outcomes``, each computed in inference mode and without TF32; an error is the last outcome of
    its file.
    """
    count = 0
    # Not a `for` loop: the context is open while an outcome is computed, and closed while the caller has it.
    while True:
        try:
            with _exactly(device):
                outcome = next(outcomes, None)
        except (*_BROKEN, MidframeError, RuntimeError) as error:
            yield Outcome(label, broken=f"{type(error).__name__}: {error}".partition("\n")[0])
            return
        if outcome is None:
            break
        count += 1
        yield outcome
    if not count:
        yield Outcome(label, broken="no cases")


@contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    """Run without gradients, autocast and TensorFloat-32, which convolutions use by default and which is 1e-3
    off.
    """
    with undisturbed(device), exact_convolutions(device):
        yield


def _outcomes(file: Path, place: Place) -> Iterator[Outcome] | None:
    """Return the outcomes of a file, computed as they are iterated over; None where it is no golden file."""
    label = f"{file.parent.name}/{file.stem}"
    try:
        # np.load reads lazily and without pickles: a golden file cannot run code.
        arrays: Mapping[str, Any] = np.load(file) if file.suffix == ".npz" else {}
        reader = next((reader for reader in _READERS if reader.reads(file, arrays)), None)
    except _BROKEN as error:
        return iter([Outcome(label, broken=f"not a golden file: {error}")])
    if reader is not None:
        return reader.run(file, arrays, place)
    # Readmes and tables lie beside the goldens; an .npz that nobody reads is a fault.
    return iter([Outcome(label, broken="not a golden file")]) if file.suffix == ".npz" else None
