"""The arrays of a golden file of TLBVFI, and how outputs are compared with them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Compared = tuple[str, float]
"""The name of an array, and the largest difference from it."""

# Dimensions of a single frame.
_PICTURE = 3


@dataclass
class Golden:
    """The arrays of a file."""

    arrays: Mapping[str, Any]
    seed: int
    device: torch.device
    steps: int
    """Steps of the sampler, where no noise is stored; stored noise has one array for each."""

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[key])).to(self.device)

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def keys(self, end: str) -> list[str]:
        """Return the parts before ``end`` of the keys that have it."""
        return [key.removesuffix(end) for key in self.arrays if key.endswith(end)]

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of an array or a probe."""
        return tuple(self.arrays[key].shape if key in self.arrays else self.arrays[f"{key}.shape"].tolist())

    def uniform(self, tag: str, shape: tuple[int, ...]) -> Tensor:
        """Return an input that is not stored: float32 in [-1, 1)."""
        # By raw bits and arithmetic written out, so that the numbers do not depend on a library's version.
        raw = np.random.PCG64([self.seed, zlib.crc32(tag.encode())]).random_raw(math.prod(shape))
        # The upper 53 of 64 bits, as many as a float64 holds exactly.
        unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return torch.from_numpy((2.0 * unit - 1.0).reshape(shape).astype(np.float32)).to(self.device)

    def frame(self, key: str) -> Tensor:
        """Return a stored frame (H, W, 3), or several, as (N, 3, H, W), values 0..1."""
        frames = self[key] if self[key].ndim > _PICTURE else self[key].unsqueeze(0)
        return frames.permute(0, 3, 1, 2).float() / 255

    def frames_first(self, video: Tensor, key: str) -> Tensor:
        """Return a video (1, C, F, H, W) in the layout of the file: perhaps with its frames in place of a
        batch.
        """
        stacked = video.ndim > len(self.shape(key))
        return video.squeeze(0).transpose(0, 1) if stacked else video

    def compare(self, key: str, output: Tensor) -> Compared:
        """Compare ``output`` with an array, or with a probe of one."""
        if tuple(output.shape) != self.shape(key):
            return key, math.inf
        if key in self:
            expected = self[key]
        else:
            # A probe: the file has the values at some places of the flattened array.
            output, expected = output.flatten()[self[f"{key}.at"].long()], self[f"{key}.values"]
        return key, float((output.double() - expected.double()).abs().max())

    @contextmanager
    def tapping(
        self, root: nn.Module, prefix: str, called: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[dict[str, list[Tensor]]]:
        """Collect, call by call, the outputs of the modules of ``root`` that the file has under ``prefix``.

        Args:
            root: of the network.
            prefix: of the keys.
            called: the file's names of modules that it has under another name.
        """
        outputs: dict[str, list[Tensor]] = {}

        def keep(name: str, module: nn.Module, args: Any, output: Tensor) -> None:
            outputs.setdefault(name, []).append(output.clone())  # it may be overwritten

        recorded = {key.removeprefix(prefix) for key in self.keys(".shape") if key.startswith(prefix)}
        hooks = [
            module.register_forward_hook(partial(keep, name))
            for name, module in root.named_modules()
            if called.get(name, name) in recorded
        ]
        try:
            yield outputs
        finally:
            for hook in hooks:
                hook.remove()
