"""The public Python API: load a model, interpolate frames, tell what a state dict is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .errors import BadInputError, MidframeError, UnsupportedWeightsError
from .memory.cache import MODELS, file_identity
from .memory.sinks import TensorSink
from .vfi_models import build, detect
from .vfi_models._core.checkpoint import Hashes, read_checkpoint
from .vfi_models._core.seam import Interpolator
from .vfi_models._core.store import CKPTS, check, fetch, find
from .vfi_utils import Host, Settings, Timeline, by_multiplier, run_timeline

__all__ = ["detect", "interpolate", "load_model", "parameter_bytes"]

_NHWC = 4


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
        device: where it runs; None is CUDA where there is one, else the CPU.
        dtype: what its convolutions run in; None is float16 on CUDA, where the network can, and float32
            elsewhere. Flow and coordinates are float32 always.
        folders: where to look first.
        averaged: take the moving averages of parameters (EMA) where the file keeps them; False takes what
            was averaged.

    Raises:
        WeightsNotFoundError: no such file, and it may not be or cannot be downloaded.
        CorruptWeightsError, UnsupportedWeightsError: a file that cannot be used.
        BadInputError: a dtype that the model cannot run in.
    """
    place = torch.device(device) if device is not None else default_device()
    chosen = dtype or default_dtype(place)
    searched = list(folders)
    path = find(name_or_path, searched) or fetch(str(name_or_path), searched[0] if searched else CKPTS)
    key = (file_identity(path), place, chosen, averaged)

    def load() -> Interpolator:
        model = open_weights(path, averaged=averaged)
        model.module.to(device=place, dtype=chosen if chosen in model.spec.dtypes else model.spec.dtypes[0])
        return model

    model: Interpolator = MODELS.get(key, load, parameter_bytes)
    if dtype is not None and dtype not in model.spec.dtypes:
        raise BadInputError(
            f"{path.name} cannot run in {dtype}.", f"it runs in {model.spec.dtypes}", "Choose one of these."
        )
    return model


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


def default_dtype(device: torch.device) -> torch.dtype:
    """float16 on CUDA, where it is twice as fast and flow stays float32; float32 elsewhere."""
    return torch.float16 if device.type == "cuda" else torch.float32


def interpolate(
    frames: Tensor,
    model: Interpolator,
    multiplier: int | Sequence[int] = 2,
    *,
    timeline: Timeline | None = None,
    settings: Settings | None = None,
    host: Host | None = None,
) -> Tensor:
    """More frames out of a clip that is in memory.

    Args:
        frames: (N, H, W, C) on the host, float in 0..1 (or uint8, uint16), C of 1, 3 or more; any
            strides; never written to. Source frames come out as they are, also where they leave 0..1;
            the network sees them clamped.
        model: from :func:`load_model`.
        multiplier: output frames for each source frame, or one for each pair.
        timeline: which frames come out, instead of ``multiplier``; see :func:`by_fps`.
        settings: options of the model, batch, clearing.
        host: told of progress, asked for cancelling.

    Returns:
        (M, H, W, C) float32 on the host; M = (N - 1) * multiplier + 1 (law ``end_on_last``). Fewer than
        two frames come back as they are (a copy).

    Raises:
        BadInputError: not a batch of pictures, or options that the model does not have.
        OutOfMemoryError: with the finished frames in ``partial``.
    """
    if frames.ndim != _NHWC:
        raise BadInputError(
            "Frames must be one tensor (frames, height, width, channels).",
            f"shape {tuple(frames.shape)}",
            "Stack the frames; for channels first use frames.permute(0, 2, 3, 1).",
        )
    timeline = timeline or by_multiplier(multiplier)
    height, width, channels = frames.shape[1:]
    sink = TensorSink(timeline.count(len(frames)), (height, width, channels))
    try:
        run_timeline(frames, timeline, model, sink, settings=settings, host=host)
    except MidframeError as error:
        error.partial = sink.frames[: error.finished]
        raise
    return sink.frames
