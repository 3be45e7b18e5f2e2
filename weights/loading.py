"""Load a model: the one policy, from a name or a path to a network that is kept in the cache.

A name becomes a file (:func:`locate`), file, device and dtype a :class:`ModelSource`, and a source a network
(:func:`load_cached`). Python callers get it on its device; a host that moves models itself, as ComfyUI does,
says how it holds them (:class:`CachedModel`) and which dtype it prefers, and nothing else.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from ..errors import BadInputError, UnsupportedWeightsError, WeightsNotFoundError
from ..memory.cache import MODELS, file_identity
from ..vfi_models import build, detect
from ..vfi_models.interface import Interpolator
from ..vfi_models.precision import dtype_named, suited
from .checkpoint import read_checkpoint
from .download import Progress
from .find import CKPTS, check, fetch, find
from .paths import ADVICE, as_text

_LOG = logging.getLogger(__name__)

# Characters: of a device that it was not built for, torch names every one that it was built for.
_LONGEST_REASON = 200

ModelLike = Interpolator | str | os.PathLike[str]
"""A model, or what :func:`load_model` finds it by."""

C = TypeVar("C", bound="CachedModel")


@dataclass(frozen=True)
class ModelSource:
    """A file of weights and how its network shall run; what a ``MIDFRAME_MODEL`` link carries.

    It holds no weights: these are in the cache, from where a host can have them back at any time. Everything
    in it is of this machine; what another process is given is a name, see ``chunks.job.ModelChoice``.
    """

    path: Path
    device: torch.device
    dtype: torch.dtype | None = None
    """None: what the device is good at, where the network keeps its picture in it."""
    averaged: bool = True
    """Whether moving averages of parameters are taken where the file keeps them."""


class CachedModel(Protocol):
    """How the cache keeps a network for one kind of caller."""

    @classmethod
    def hold(cls: type[C], model: Interpolator, source: ModelSource, key: Hashable) -> C:
        """Keep a network that was just read.

        Args:
            model: on the CPU, in the dtype that it shall run in.
            source: where it comes from.
            key: under which the cache keeps it.
        """
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What the network ran in when it was kept."""
        ...

    @property
    def weight_bytes(self) -> int:
        """Bytes that its weights take; 0 once it is released."""
        ...

    def intact(self) -> bool:
        """Tell whether the network is still as it was kept: nobody released, moved or converted it."""
        ...


@dataclass(frozen=True)
class _OnDevice:
    """A network for Python callers: on its device from the beginning."""

    model: Interpolator
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def hold(cls, model: Interpolator, source: ModelSource, key: Hashable) -> _OnDevice:
        """Move the network to its device."""
        return cls(model.to(source.device), source.device, model.dtype)

    @property
    def weight_bytes(self) -> int:
        """Bytes that its weights take."""
        return self.model.weight_bytes

    def intact(self) -> bool:
        """Tell whether the network is still on its device and in its dtype."""
        return (self.model.device, self.model.dtype) == (self.device, self.dtype)


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
    source = ModelSource(locate(name_or_path, folders), place, asked, averaged)
    return load_cached(source, _OnDevice, suited(place)).model


def load_cached(source: ModelSource, kind: type[C], preferred: torch.dtype) -> C:
    """Return the network of a source as the cache keeps it for a kind of caller, read where that is needed.

    It is read anew where the file has changed, and where somebody released, moved or converted it.

    Args:
        source: the file, and how its network shall run.
        kind: how this caller holds networks. Each kind has entries of its own.
        preferred: what it runs in where the source names no dtype and the network keeps its picture in it.

    Raises:
        CorruptWeightsError, UnsupportedWeightsError: a file that cannot be used.
        BadInputError: a dtype that the network cannot run in, or in which its weights are no numbers.
        OSError: there is no such file.
    """
    identity = file_identity(source.path)

    def key(dtype: torch.dtype | None) -> Hashable:
        return kind, identity, source.device, dtype, source.averaged

    def load() -> C:
        return kind.hold(_read(source, preferred), source, key(source.dtype))

    def get() -> C:
        cached: C = MODELS.get(key(source.dtype), load, _weight_bytes)
        return cached

    cached = get()
    if not cached.intact():  # a host took it back, or a caller moved what all of them share
        MODELS.drop(key(source.dtype))
        cached = get()
    if source.dtype is None:  # the same entry for whoever names the dtype that this turned out to be
        name = key(cached.dtype)
        if name in MODELS and not MODELS.get(name, load, _weight_bytes).intact():
            MODELS.drop(name)
        # Asked once more: where somebody has named that dtype before, their network stays and this one goes.
        MODELS.rename(key(None), name)
        cached = get()
    return cached


def _weight_bytes(cached: CachedModel) -> int:
    return cached.weight_bytes


def _read(source: ModelSource, preferred: torch.dtype) -> Interpolator:
    """Return a network from its file: on the CPU, in the dtype that it shall run in.

    Raises:
        BadInputError: a dtype that it cannot run in, or in which its weights overflow.
    """
    began = time.perf_counter()
    # In float32 first: weights that overflow in 16 bits are found by converting them, before any frame.
    model = open_weights(source.path, averaged=source.averaged)
    dtype = runnable_dtype(model, source.path, source.dtype, preferred)
    try:
        model.to(dtype=dtype)
    except BadInputError as error:
        error.wrong = f"{source.path.name} cannot run in {dtype}."
        raise
    what = f"{model.spec.architecture} {model.spec.family}, {dtype}"
    _LOG.info("loaded %s (%s) in %.2f s", source.path.name, what, time.perf_counter() - began)
    return model


def runnable_dtype(
    model: Interpolator, path: Path, asked: torch.dtype | None, preferred: torch.dtype
) -> torch.dtype:
    """Return the dtype that a model runs in.

    Args:
        model: that shall run.
        path: its file, for the error.
        asked: by the user, if anything.
        preferred: what the device is good at, where nothing is asked and the model keeps its picture in it.

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
    return asked or (preferred if preferred in safe else safe[0])


def as_model(model: ModelLike) -> Interpolator:
    """Load the model that a name or a path means, as :func:`load_model` does; return any other as it is."""
    return load_model(model) if isinstance(model, (str, os.PathLike)) else model


def locate(
    name_or_path: str | os.PathLike[str],
    folders: Iterable[str | os.PathLike[str]] = (),
    *,
    progress: Progress | None = None,
) -> Path:
    """Return the file of a model, fetched where only its name is known.

    Args:
        name_or_path, folders: see :func:`load_model`.
        progress: told of a download, see :func:`~.download.fetch`.

    Raises:
        WeightsNotFoundError: a path without a file, or a name that cannot be fetched.
        BadInputError: see :func:`load_model`.
    """
    # One folder may be given by itself: a text would otherwise be taken apart into characters.
    searched = [
        Path(folder) for folder in ([folders] if isinstance(folders, (str, os.PathLike)) else folders)
    ]
    text = as_text(name_or_path)
    found = find(name_or_path, searched)
    if found is not None:
        return found
    if isinstance(name_or_path, os.PathLike) or "/" in text or "\\" in text:
        raise WeightsNotFoundError("There is no such file of weights.", repr(text), ADVICE)
    return fetch(text, searched[0] if searched else CKPTS, progress=progress)


def open_weights(path: Path, *, averaged: bool = True) -> Interpolator:
    """Build the interpolator of a checkpoint file, on the CPU in float32, not cached.

    Args:
        path: the file.
        averaged: see :func:`load_model`.

    Raises:
        CorruptWeightsError, UnsupportedWeightsError: see :func:`load_model`; the file is named.
    """
    # First: another file of a known name is called that here, and something more puzzling when it is opened.
    check(path)
    state_dict = read_checkpoint(path, averaged=averaged)
    try:
        return build(detect(state_dict))
    except UnsupportedWeightsError as error:
        error.found = f"{path}: {error.found}"
        raise


def usable_device(device: torch.device | str | None = None) -> torch.device:
    """Return a device as torch names it itself (``cuda`` is ``cuda:0``); None or "auto" is the default one.

    Raises:
        BadInputError: there is no such device here, or it holds no numbers (``meta``).
    """
    asked = default_device() if device is None or device == "auto" else device
    try:
        if not isinstance(asked, (str, int, torch.device)):
            raise TypeError(f"{type(asked).__name__} is the name of no device")
        # There and back: "meta" takes numbers and returns none.
        return torch.zeros(1, dtype=torch.float32, device=asked).cpu().to(asked).device
    except (RuntimeError, AssertionError, TypeError, ValueError, OverflowError, ImportError) as error:
        # torch has no error of its own for this: AssertionError comes from a build without CUDA, ImportError
        # from a backend whose package is missing, ValueError from a number past 64 bits.
        reason = str(error).partition("\n")[0][:_LONGEST_REASON]
        raise BadInputError(
            "There is no such device here.", f"{asked!s:.80}: {reason}", "Use cpu, or leave it out."
        ) from error


def default_device() -> torch.device:
    """Return CUDA (which is also what ROCm calls itself), XPU or MPS where there is one, else the CPU.

    Asks only whether there is one: a process that gives its work to others must not take memory on it.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    return torch.device(next((name for name, there in available.items() if there), "cpu"))
