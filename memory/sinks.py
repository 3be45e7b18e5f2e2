"""Where finished frames go."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .staging import as_unit_float


class Sink(Protocol):
    """Takes the output frames, each index once, in order."""

    def put(self, index: int, frames: Tensor) -> None:
        """Takes output frames ``index``, ``index + 1``, ...

        Args:
            index: of the first one.
            frames: (K, H, W, C) on the host: made frames float32 in 0..1, source frames as they came.
                Only valid until the call returns.
        """
        ...


class TensorSink:
    """One tensor for all frames, allocated at once.

    Args:
        count: number of output frames.
        frame_shape: (H, W, C).
        dtype: of the result; float32 is what ComfyUI's IMAGE is.
    """

    def __init__(
        self, count: int, frame_shape: tuple[int, int, int], dtype: torch.dtype = torch.float32
    ) -> None:
        self.frames = torch.empty((count, *frame_shape), dtype=dtype)

    def put(self, index: int, frames: Tensor) -> None:
        """See :class:`Sink`."""
        self.frames[index : index + len(frames)].copy_(as_unit_float(frames))
