"""The public Python API: load a model, interpolate frames, tell what a state dict is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .errors import (
    BadInputError,
    MidframeError,
    UnsupportedWeightsError,
    WeightsNotFoundError,
)
from .inputs.frames import require_clip
from .inputs.numbers import Number
from .memory.cache import MODELS, file_identity
from .memory.sinks import BatchSink, Storage
from .vfi_models import build, detect
from .vfi_models._core.checkpoint import Hashes, read_checkpoint
from .vfi_models._core.precision import suited
from .vfi_models._core.seam import Interpolator
from .vfi_models._core.store import CKPTS, check, fetch, find
from .vfi_utils import FrameLoop, Host, Settings, Timeline, by_multiplier

__all__ = ["detect", "interpolate", "load_model", "parameter_bytes"]

_NAMES = "Give an existing file, or a name such as default or rife-4.25."


def parameter_bytes(model: Interpolator) -> int:
    """Bytes that the parameters and buffers of a model take."""
    state = model.module.state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in state)


def load_model(
    name_or_path: str | Path = "default",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    *,
    folders: Iterable[Path] = (),
    averaged: bool = True,
) -> Interpolator:
    """A model, ready to run; the same object again while its file stays the same.

    Args:
        name_or_path: ``"default"`` is the built-in one; a file; or the name of a known checkpoint such
            as ``"rife-4.25"``, which is looked for in ``folders`` and in the pack's own ``ckpts``.
        device: where it runs; None is CUDA, XPU or MPS where there is one, else the CPU.
        dtype: what its convolutions run in; None is, where the network keeps its picture in it, float16 on
            CUDA and bfloat16 on a CPU with instructions for it; else float32. Flow and coordinates are
            float32 always.
        folders: where to look first.
        averaged: take the moving averages of parameters (EMA) where the file keeps them; False takes what
            was averaged.

    Raises:
        WeightsNotFoundError: no such file, and it may not be or cannot be downloaded.
        CorruptWeightsError, UnsupportedWeightsError: a file that cannot be used.
        BadInputError: a device that is not here, or a dtype that the model cannot run in, or in which its
            weights are no numbers any more.

    The object is shared with every other caller that asks for the same: do not change it.
    """
    place = usable_device(device)
    suits = suited(place)
    path = locate(name_or_path, folders)
    key = (file_identity(path), place, dtype, averaged)

    def load() -> Interpolator:
        model = open_weights(path, averaged=averaged)
        model.module.to(device=place, dtype=runnable_dtype(model, path, dtype, suits))
        require_numbers(model, path)
        return model

    model: Interpolator = MODELS.get(key, load, parameter_bytes)
    first = next(model.module.parameters())
    wanted = runnable_dtype(model, path, dtype, suits)
    if (first.device, first.dtype) != (place, wanted):  # somebody moved or converted what they were given
        MODELS.drop(key)
        model = MODELS.get(key, load, parameter_bytes)
    if dtype is None:  # the same to whoever names what that turned out to be
        MODELS.rename(key, (file_identity(path), place, wanted, averaged))
        model = MODELS.get(key, load, parameter_bytes)
    return model


def runnable_dtype(
    model: Interpolator, path: Path, asked: torch.dtype | None, suits: torch.dtype
) -> torch.dtype:
    """What a model runs in.

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


def locate(name_or_path: str | Path, folders: Iterable[Path] = ()) -> Path:
    """The file of a model, fetched where only its name is known. Arguments are those of :func:`load_model`.

    Raises:
        WeightsNotFoundError: a path without a file, or a name that cannot be fetched.
    """
    folders = [Path(folder) for folder in folders]
    try:
        found = find(name_or_path, folders)
    except OSError as error:
        raise WeightsNotFoundError(
            "This cannot be the name of a file.", f"{str(name_or_path)[:80]!r}: {error.strerror}", _NAMES
        ) from error
    if found is not None:
        return found
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or "\\" in text:
        raise WeightsNotFoundError("There is no such file of weights.", text, _NAMES)
    return fetch(text, folders[0] if folders else CKPTS)


def usable_device(device: torch.device | str | None = None) -> torch.device:
    """A device as torch names it itself (``cuda`` is ``cuda:0``); None is :func:`default_device`.

    Raises:
        BadInputError: there is no such device here.
    """
    wanted = default_device() if device is None else device
    try:
        found = torch.empty(0, device=wanted).device
        if found.type == "meta":
            raise RuntimeError("it holds no data")
        return found
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(
            "There is no such device here.", f"{wanted}: {reason}", "Use cpu, or leave it out."
        ) from error


def require_numbers(model: Interpolator, path: Path) -> None:
    """Refuses weights that overflow in the dtype they were converted to.

    Raises:
        BadInputError: some are infinite or not a number.
    """
    bad = [name for name, value in model.module.state_dict().items() if not bool(value.isfinite().all())]
    if bad:
        dtype = next(model.module.parameters()).dtype
        raise BadInputError(
            f"{path.name} cannot run in {dtype}.",
            f"{len(bad)} of its parameters overflow: {', '.join(bad[:3])}",
            "Use float32 or bfloat16.",
        )


def open_weights(path: Path, *, averaged: bool = True) -> Interpolator:
    """The interpolator of a checkpoint file, on the CPU in float32, not cached.

    Args:
        path: the file.
        averaged: see :func:`load_model`.

    Raises:
        CorruptWeightsError, UnsupportedWeightsError: see :func:`load_model`; the file is named.
    """
    check(path, Hashes())
    try:
        return build(detect(read_checkpoint(path, averaged=averaged)))
    except UnsupportedWeightsError as error:
        error.found = f"{path}: {error.found}"
        raise


def default_device() -> torch.device:
    """CUDA (which is also what ROCm calls itself), XPU or MPS where there is one, else the CPU."""
    available = {
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    return torch.device(next((name for name, there in available.items() if there), "cpu"))


def interpolate(  # noqa: PLR0913 - all but two have a default that most callers keep
    frames: Tensor,
    model: Interpolator,
    multiplier: Number | Sequence[int] = 2,
    *,
    timeline: Timeline | None = None,
    settings: Settings | None = None,
    storage: Storage | None = None,
    host: Host | None = None,
) -> Tensor:
    """More frames out of a clip that is in memory.

    Args:
        frames: (N, H, W, C) on the host, float in 0..1 (or uint8, uint16), C of 1, or 3 to 16; any
            strides; never written to. Source frames come out as they are, also where they leave 0..1;
            the network sees them clamped.
        model: from :func:`load_model`.
        multiplier: output frames for each source frame, 2.5 too, or a list with one for each pair; see
            :func:`by_multiplier`.
        timeline: which frames come out, instead of ``multiplier``; see :func:`by_fps`.
        settings: options of the model, batch, clearing.
        storage: where the output lies, and as what; in main memory as float32 where it is left out.
        host: told of progress, asked for cancelling.

    Returns:
        (M, H, W, C) on the host, as ``storage`` says; M = (N - 1) * multiplier + 1, rounded down (law
        ``end_on_last``).
        Fewer than two frames come back as they are (a copy).

    Raises:
        BadInputError: not a batch of pictures, or options that the model does not have.
        OutOfMemoryError: with the finished frames in ``partial``.
        MidframeError: the disk has no room for what shall lie there.
    """
    _, height, width, channels = require_clip(frames).shape
    with FrameLoop(by_multiplier(multiplier) if timeline is None else timeline, settings=settings) as loop:
        sink = (storage or Storage()).sink(loop.count(len(frames), last=True), (height, width, channels))
        return interpolate_part(frames, loop, model, last=True, sink=sink, host=host)


def interpolate_part(
    frames: Tensor,
    loop: FrameLoop,
    model: Interpolator,
    *,
    last: bool,
    sink: BatchSink,
    host: Host | None = None,
) -> Tensor:
    """The frames that a part of a clip adds.

    Args:
        frames: as for :func:`interpolate`; the parts of a clip in order.
        loop: the same for all parts.
        model: to make them with.
        last: nothing follows this part.
        sink: with room for ``loop.count(len(frames), last=last)`` frames.
        host: told of progress, asked for cancelling.

    Returns:
        The frames of the sink.

    Raises:
        MidframeError: as for :func:`interpolate`; ``partial`` is of this part.
    """
    require_clip(frames)
    try:
        loop.feed(frames, model, sink, last=last, host=host)
    except MidframeError as error:
        error.partial = sink.frames[: error.finished]
        raise
    return sink.frames
