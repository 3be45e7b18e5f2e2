"""Loaded models of the nodes: kept between runs, and given back when ComfyUI wants the memory.

How a model is found, read, converted and cached is :mod:`..weights.loading`'s. What is here is what ComfyUI
needs besides: a shell that outlives its network, a patcher of it, and the dtype that ComfyUI prefers.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import nn

from ..errors import WeightsNotFoundError
from ..inputs.objects import require_one_of
from ..memory.cache import MODELS
from ..vfi_models.interface import Interpolator, Options
from ..vfi_models.torch_interpolator import TorchInterpolator
from ..weights.loading import ModelSource, load_cached
from . import _host

AfterRun = Literal["keep loaded", "offload to CPU", "unload"]
AFTER_RUN: tuple[AfterRun, ...] = get_args(AfterRun)
"""What becomes of a model after a run: it stays on its device until ComfyUI needs the memory; its weights
go to main memory; nothing of it is kept."""


def require_after_run(value: str) -> None:
    """Check that ``value`` says what becomes of a model after a run.

    Raises:
        BadInputError: it does not.
    """
    require_one_of(value, AFTER_RUN, "way for a model after a run")


class Releasing(Protocol):
    """What may hold features of a model after a run: a :class:`~..vfi_utils.FrameLoop`, for example."""

    def release(self) -> None:
        """Drop them."""
        ...


class MidframeModel(nn.Module):
    """What ComfyUI's model management gets: a shell that can release its network.

    ComfyUI looks at a model once more right after it unloaded it, so the shell must outlive the unloading.
    The weights must not.
    """

    def __init__(self, interpolator: Interpolator) -> None:
        super().__init__()
        self.interpolator: Interpolator | None = interpolator
        # What is no torch module moves itself, and ComfyUI counts it as nothing.
        self.network = interpolator.module if isinstance(interpolator, TorchInterpolator) else nn.Identity()
        self.loops: weakref.WeakSet[Releasing] = weakref.WeakSet()
        """Those that may carry features from one batch of frames to the next."""

    def release_frames(self) -> None:
        """Drop what loops carry of frames; their next batch encodes those again."""
        for loop in tuple(self.loops):
            loop.release()

    def release(self) -> None:
        """Drop the weights and everything made with them."""
        self.release_frames()
        self.interpolator = None
        self.network = nn.Identity()


@dataclass(frozen=True)
class Loaded:
    """A model in the cache, see :class:`~..weights.loading.CachedModel`."""

    key: Hashable
    device: torch.device
    dtype: torch.dtype
    shell: MidframeModel
    patcher: Any
    """ComfyUI's ModelPatcher of the shell; None outside ComfyUI."""

    @classmethod
    def hold(cls, model: Interpolator, source: ModelSource, key: Hashable) -> Loaded:
        """Put a network that was just read under ComfyUI's model management, which moves it when it runs."""
        shell = MidframeModel(model)
        return cls(key, source.device, model.dtype, shell, _host.manage(shell, source.device))

    @property
    def weight_bytes(self) -> int:
        """Bytes that the weights take; 0 once they are released."""
        interpolator = self.shell.interpolator
        return 0 if interpolator is None else interpolator.weight_bytes

    def intact(self) -> bool:
        """Tell whether ComfyUI has not unloaded it since. Where it lies does not matter: ComfyUI moves it."""
        return self.shell.interpolator is not None

    def ready(self, height: int, width: int, options: Options) -> Interpolator:
        """Return the interpolator on its device, with room made for frames of ``height`` x ``width``."""
        interpolator = self.shell.interpolator
        if interpolator is None:
            raise RuntimeError("a model was used after it had been handed back")
        _host.bring(self.patcher, interpolator.activation_bytes(height, width, options))
        interpolator.to(self.device)  # where ComfyUI streams weights, it moves leaf layers only
        return interpolator

    def done(self, then: AfterRun) -> None:
        """Keep, move or drop the model after a run.

        A model on a device that ComfyUI never unloads is dropped in any case: nobody would ask for it back.
        """
        if then == "unload" or self.device not in _host.managed_devices():
            MODELS.drop(self.key)
            self.shell.release()  # ComfyUI's own list may hold the shell on
            _host.clear_cache()
            _host.trim_heap()
        elif then == "offload to CPU":
            self.shell.release_frames()
            _host.offload(self.patcher, self.shell)


def obtain(source: ModelSource) -> Loaded:
    """Return the model of a source: the cached one, or loaded from its file.

    Raises:
        WeightsNotFoundError, CorruptWeightsError, UnsupportedWeightsError: a file that cannot be used.
        BadInputError: a dtype that the model cannot run in.
    """
    # A link may be older than this run: it holds the name of the file alone.
    if not source.path.is_file():
        raise WeightsNotFoundError(
            f"The weights {source.path.name} are gone.", f"no file {source.path}", "Choose the model again."
        )
    return load_cached(source, Loaded, _host.default_dtype(source.device))


def clear() -> int:
    """Drop every cached model, the Python API's too, and return how many bytes these took."""
    freed = MODELS.bytes
    for model in MODELS.models():
        if isinstance(model, Loaded):
            model.shell.release()
    MODELS.clear()
    _host.clear_cache()
    _host.trim_heap()
    return freed
