"""Loaded models of the nodes: kept between runs, and handed back when ComfyUI wants the memory."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from ..api import (
    convert_weights,
    open_weights,
    runnable_dtype,
)
from ..errors import WeightsNotFoundError
from ..inputs.objects import require_one_of
from ..memory.cache import MODELS, file_identity
from ..vfi_models.interface import Interpolator, Options
from ..vfi_models.torch_interpolator import TorchInterpolator
from ..vfi_utils import FrameLoop
from . import _host

_LOG = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Weights:
    """A checkpoint and how it shall run; what a ``MIDFRAME_MODEL`` link carries.

    It holds no weights: these are in the cache, from where ComfyUI can have them back at any time.
    """

    path: Path
    device: torch.device
    dtype: torch.dtype | None
    """None: what the device is good at, where the network can run in it."""
    averaged: bool = True
    """Whether moving averages of parameters are taken where the file keeps them."""


class MidframeModel(nn.Module):
    """What ComfyUI's model management gets hold of: a shell that can let go of its network.

    ComfyUI looks at a model once more right after it unloaded it, so the shell must outlive the unloading.
    The weights must not.
    """

    def __init__(self, interpolator: Interpolator) -> None:
        super().__init__()
        self.interpolator: Interpolator | None = interpolator
        # What is no torch module moves itself, and ComfyUI counts it as nothing.
        self.network = interpolator.module if isinstance(interpolator, TorchInterpolator) else nn.Identity()
        self.loops: weakref.WeakSet[FrameLoop] = weakref.WeakSet()
        """Those that may carry features from one batch of frames to the next."""

    def release_frames(self) -> None:
        """Drops what loops still know of frames; their next batch encodes those again."""
        for loop in tuple(self.loops):
            loop.release()

    def release(self) -> None:
        """Drops the weights and everything made with them."""
        self.release_frames()
        self.interpolator = None
        self.network = nn.Identity()


@dataclass(frozen=True)
class Loaded:
    """A model in the cache."""

    key: Hashable
    device: torch.device
    shell: MidframeModel
    patcher: Any
    """ComfyUI's ModelPatcher of the shell; None outside ComfyUI."""

    def ready(self, height: int, width: int, options: Options) -> Interpolator:
        """The interpolator, on its device, with room made for what it needs at ``height`` x ``width``."""
        interpolator = self.shell.interpolator
        if interpolator is None:
            raise RuntimeError("a model was used after it had been handed back")
        _host.bring(self.patcher, interpolator.activation_bytes(height, width, options))
        interpolator.to(self.device)  # where ComfyUI streams weights, it moves leaf layers only
        return interpolator

    def done(self, then: AfterRun) -> None:
        """After a run. A model on a device that ComfyUI never unloads is not kept in any case."""
        if then == "unload" or self.device not in _host.managed_devices():
            MODELS.drop(self.key)
            self.shell.release()
            _host.clear_cache()
            _host.trim_heap()
        elif then == "offload to CPU":
            self.shell.release_frames()
            _host.offload(self.patcher, self.shell)


def obtain(weights: Weights) -> Loaded:
    """The model of ``weights``: the cached one, or loaded from its file.

    Raises:
        WeightsNotFoundError, CorruptWeightsError, UnsupportedWeightsError: a file that cannot be used.
        BadInputError: a dtype that the model cannot run in.
    """
    if not weights.path.is_file():
        raise WeightsNotFoundError(
            f"The weights {weights.path.name} are gone.", f"no file {weights.path}", "Choose the model again."
        )
    key = ("nodes", file_identity(weights.path), weights.device, weights.dtype, weights.averaged)
    get = partial(MODELS.get, key, partial(_load, weights, key), _bytes)
    loaded: Loaded = get()
    if loaded.shell.interpolator is None:  # ComfyUI has unloaded it since
        MODELS.drop(key)
        loaded = get()
    return loaded


def clear() -> int:
    """Lets go of every cached model, the Python API's too. Returns how many bytes these took."""
    freed = MODELS.bytes
    for model in MODELS.models():
        if isinstance(model, Loaded):
            model.shell.release()
    MODELS.clear()
    _host.clear_cache()
    _host.trim_heap()
    return freed


def _load(weights: Weights, key: Hashable) -> Loaded:
    began = time.perf_counter()
    interpolator = open_weights(weights.path, averaged=weights.averaged)
    suits = _host.default_dtype(weights.device)
    dtype = runnable_dtype(interpolator, weights.path, weights.dtype, suits)
    convert_weights(interpolator, weights.path, dtype)
    shell = MidframeModel(interpolator)
    what = f"{interpolator.spec.architecture} {interpolator.spec.family}, {dtype}"
    _LOG.info("loaded %s (%s) in %.2f s", weights.path.name, what, time.perf_counter() - began)
    return Loaded(key, weights.device, shell, _host.manage(shell, weights.device))


def _bytes(loaded: Loaded) -> int:
    interpolator = loaded.shell.interpolator
    return 0 if interpolator is None else interpolator.weight_bytes
