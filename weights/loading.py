"""Load a model: from a name or a path to its file, from the file to a network on its device."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from ..errors import BadInputError, UnsupportedWeightsError, WeightsNotFoundError
from ..memory.cache import MODELS, file_identity
from ..vfi_models import build, detect
from ..vfi_models.interface import Interpolator
from ..vfi_models.precision import dtype_named, suited
from .checkpoint import Hashes, read_checkpoint
from .find import (
    CKPTS,
    check,
    fetch,
    find,
)
from .places import NAMES, as_text

_LONGEST_REASON = 200
"""Characters: of a device that it was not built for, torch names every one that it was built for."""

ModelLike = Interpolator | str | os.PathLike[str]
"""A model, or what :func:`load_model` finds it by."""


def load_model(
    name_or_path: str | os.PathLike[str] = "default",
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    *,
    folders: Iterable[str | os.PathLike[str]] = (),
    averaged: bool = True,
) -> Interpolator:
    """Load a model, ready to run; the same object again while its file stays the same.

    Args:
        name_or_path: ``"default"`` is the built-in one; a file, or a folder with one file of weights in it
            or in the folders right below it; or the name of a known checkpoint such as ``"rife-4.25"``, which
            is looked for in ``folders`` and in the pack's own ``ckpts``.
        device: where it runs; None or ``"auto"`` is CUDA, XPU or MPS where there is one, else the CPU.
        dtype: what its convolutions run in, also by name (``"float16"``, ``"half"``, ``"fp16"``); None or
            ``"auto"`` is, where the network keeps its picture in it, float16 on CUDA (not before Volta, nor
            on the GTX 16 series) and bfloat16 on a CPU with instructions for it; else float32. Flow and
            coordinates are float32 always. Where the first frame of a run in 16 bits is not a number
            everywhere, that run goes on in float32.
        folders: where to look first.
        averaged: take the moving averages of parameters (EMA) where the file keeps them; False takes what
            was averaged.

    Raises:
        WeightsNotFoundError: no such file, and it may not be or cannot be downloaded.
        CorruptWeightsError, UnsupportedWeightsError: a file that cannot be used.
        BadInputError: what is neither a name nor a path; a folder with several files of weights; a device
            that is not here; a dtype that the model cannot run in, or in which its weights are no numbers any
            more.

    The object is shared with every other caller that asks for the same: do not change it.
    """
    place, asked = usable_device(device), dtype_named(dtype)
    suits = suited(place)
    path = locate(name_or_path, folders)
    key = (file_identity(path), place, asked, averaged)

    def load() -> Interpolator:
        model = open_weights(path, averaged=averaged)
        return convert_weights(model, path, runnable_dtype(model, path, asked, suits), place)

    model: Interpolator = MODELS.get(key, load, _weight_bytes)
    dtype = runnable_dtype(model, path, asked, suits)
    if (model.device, model.dtype) != (place, dtype):  # somebody moved or converted what they were given
        MODELS.drop(key)
        model = MODELS.get(key, load, _weight_bytes)
    if asked is None:  # the same to whoever names what that turned out to be
        MODELS.rename(key, (file_identity(path), place, dtype, averaged))
        model = MODELS.get(key, load, _weight_bytes)
    return model


def _weight_bytes(model: Interpolator) -> int:
    return model.weight_bytes


def runnable_dtype(
    model: Interpolator, path: Path, asked: torch.dtype | None, suits: torch.dtype
) -> torch.dtype:
    """Return what a model runs in.

    Args:
        model: that shall run.
        path: its file, for the error.
        asked: by the user, if anything.
        suits: what the device is good at, where nothing is asked and the model keeps its picture in it.

    Raises:
        BadInputError: it cannot run in what is asked.
    """
    dtypes = model.spec.dtypes
    if asked is not None and asked not in dtypes:
        runs_in = ", ".join(map(str, dtypes))
        raise BadInputError(
            f"{path.name} cannot run in {asked}.", f"it runs in {runs_in}", "Choose one of these, or auto."
        )
    safe = model.spec.safe_dtypes
    return asked or (suits if suits in safe else safe[0])


def as_model(model: ModelLike) -> Interpolator:
    """Load the model that a name or a path means, as :func:`load_model` does; return any other as it is."""
    return load_model(model) if isinstance(model, (str, os.PathLike)) else model


def locate(name_or_path: str | os.PathLike[str], folders: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """Return the file of a model, fetched where only its name is known. Arguments are those of load_model.

    Raises:
        WeightsNotFoundError: a path without a file, or a name that cannot be fetched.
        BadInputError: see :func:`load_model`.
    """
    places = [Path(folder) for folder in ([folders] if isinstance(folders, (str, os.PathLike)) else folders)]
    text = as_text(name_or_path)
    found = find(name_or_path, places)
    if found is not None:
        return found
    if isinstance(name_or_path, os.PathLike) or "/" in text or "\\" in text:
        raise WeightsNotFoundError("There is no such file of weights.", repr(text), NAMES)
    return fetch(text, places[0] if places else CKPTS)


def usable_device(device: torch.device | str | None = None) -> torch.device:
    """Return a device as torch names it itself (``cuda`` is ``cuda:0``); None or "auto" is the default one.

    Raises:
        BadInputError: there is no such device here, or it holds no numbers (``meta``).
    """
    wanted = default_device() if device is None or device == "auto" else device
    try:
        if not isinstance(wanted, (str, int, torch.device)):
            raise TypeError(f"{type(wanted).__name__} is the name of no device")
        # There and back: "meta" takes numbers and returns none.
        return torch.zeros(1, dtype=torch.float32, device=wanted).cpu().to(wanted).device
    except (RuntimeError, AssertionError, TypeError, ValueError, OverflowError, ImportError) as error:
        reason = str(error).partition("\n")[0][:_LONGEST_REASON]
        raise BadInputError(
            "There is no such device here.", f"{wanted!s:.80}: {reason}", "Use cpu, or leave it out."
        ) from error


def convert_weights(
    model: Interpolator, path: Path, dtype: torch.dtype, device: torch.device | None = None
) -> Interpolator:
    """Return a model in another dtype, and on another device where one is given.

    Args:
        model: changed in place.
        path: its file, for the error.
        dtype: what it shall run in.
        device: where; None leaves it where it is.

    Raises:
        BadInputError: weights that overflow in that dtype.
    """
    try:
        return model.to(device, dtype)
    except BadInputError as error:
        error.wrong = f"{path.name} cannot run in {dtype}."
        raise


def open_weights(path: Path, *, averaged: bool = True) -> Interpolator:
    """Build the interpolator of a checkpoint file, on the CPU in float32, not cached.

    Args:
        path: the file.
        averaged: see :func:`load_model`.

    Raises:
        CorruptWeightsError, UnsupportedWeightsError: see :func:`load_model`; the file is named.
    """
    check(path, Hashes())
    state_dict = read_checkpoint(path, averaged=averaged)
    try:
        return build(detect(state_dict))
    except UnsupportedWeightsError as error:
        error.found = f"{path}: {error.found}"
        raise


def default_device() -> torch.device:
    """Return CUDA (which is also what ROCm calls itself), XPU or MPS where there is one, else the CPU."""
    available = {
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    return torch.device(next((name for name, there in available.items() if there), "cpu"))
