"""Models between our nodes and ComfyUI's own: the ``INTERP_MODEL`` of its loader here, and ours in its node.

ComfyUI's loader gives a patcher of a module with ``extract_features``, ``forward`` and
``memory_used_forward``, and its node asks for these (``comfy_extras/nodes_frame_interpolation.py``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import BadInputError
from ..vfi_models.interface import Interpolator, Session
from ..weights.loading import ModelSource
from . import _host
from ._models import obtain

_DIGITS = 16


def is_core_model(value: Any) -> bool:
    """Tell whether ``value`` is a model of ComfyUI's own loader."""
    return hasattr(value, "load_device") and hasattr(getattr(value, "model", None), "extract_features")


def source_of_core_model(patcher: Any) -> ModelSource:
    """Return the source of a model of ComfyUI's own loader; of one of ours that went there, its own.

    Its weights, which nothing says the file of, are written to a file in ComfyUI's temp folder: from there on
    they are weights like any other, for this process and for workers.
    """
    if isinstance(patcher.model, CoreModel):
        return patcher.model.source
    weights = {name: value.detach().cpu().clone() for name, value in patcher.model.state_dict().items()}
    content = save(weights)
    path = _host.temp_folder() / f"interp_model_{hashlib.sha256(content).hexdigest()[:_DIGITS]}.safetensors"
    if not path.is_file():
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(path)
    return ModelSource(path, torch.device(patcher.load_device))


def as_core_model(source: ModelSource) -> Any:
    """Return a model of ours as ComfyUI's own node takes it; None outside ComfyUI."""
    return _host.manage(CoreModel(source), source.device)


class CoreModel(nn.Module):
    """A model of ours with the methods that ComfyUI's own interpolation node calls.

    It holds no weights: these stay in the cache, where ComfyUI manages them, and are brought to the device
    when a run begins.
    """

    pad_align = 1
    """Sessions pad by themselves."""

    def __init__(self, source: ModelSource) -> None:
        super().__init__()
        self.source = source
        self._model: Interpolator | None = None
        self._session: Session[Any] | None = None

    def get_dtype(self) -> torch.dtype:
        """Return the dtype of the frames, which is not that of the convolutions."""
        return torch.float32

    def memory_used_forward(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Begin a run over frames of ``shape`` (N, H, W, C): bring the model to its device.

        Returns:
            0: the room that a pass needs is made already.
        """
        self.release()
        loaded = obtain(self.source)
        self._model = loaded.ready(shape[1], shape[2], {})
        # ComfyUI may unload the model at any time, and then this must let go of it too.
        loaded.shell.loops.add(self)
        return 0

    def extract_features(self, img: Tensor) -> Any:
        """Return the features of frames, (N, 3, H, W) in 0..1."""
        return self._opened(img).encode(img[:, :3].float().clamp(0, 1))

    def forward(self, img0: Tensor, img1: Tensor, timestep: Tensor, cache: Mapping[str, Any]) -> Tensor:
        """Return the frames at ``timestep`` (K, 1, H, W), constant in each, between two of ``cache``.

        Raises:
            BadInputError: a network that knows the middle alone, and another moment.
        """
        times = timestep[:, 0, 0, 0].float()
        if self._model is not None and not self._model.spec.any_timestep and bool((times != 0.5).any()):  # noqa: PLR2004
            raise BadInputError(
                f"{self._model.spec.architecture} makes only the middle of two frames in this node.",
                f"moments {times.tolist()}",
                "Use multiplier 2, or a node of Midframe, which halves as often as it takes.",
            )
        return self._opened(img0).between(cache["img0"], cache["img1"], times)

    def release(self) -> None:
        """Close the session and let go of the model."""
        if self._session is not None:
            self._session.close()
        self._session = self._model = None

    def _opened(self, frames: Tensor) -> Session[Any]:
        if self._model is None:  # unloaded in the middle of a run
            self.memory_used_forward((1, *frames.shape[2:], 3), frames.dtype)
        if self._session is None and self._model is not None:
            self._session = self._model.open(*frames.shape[2:])
        if self._session is None:
            raise RuntimeError("a model is gone that was just loaded")
        return self._session
