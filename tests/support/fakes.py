"""Models and hosts for tests of the loop: exact, tiny, and able to fail on demand."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from midframe.errors import BadInputError
from midframe.vfi_models import backward_warp
from midframe.vfi_models.interface import ModelSpec, Options
from midframe.vfi_utils import QuietHost
from torch import Tensor

QUICK = {"tlbvfi": {"sample_steps": 3, "flow_scale": 0.25}}
"""Options with which a model runs the same code in less time, by architecture."""


def spec(**changes: Any) -> ModelSpec:
    values = {
        "architecture": "fake",
        "family": "lerp",
        "any_timestep": True,
        "follows_extra": True,
        "dtypes": (torch.float32,),
        "safe_dtypes": (torch.float32,),
        "options": {},
        "licence": "MIT",
        "source": "test",
    }
    return ModelSpec(**{**values, **changes})


class LerpModel:
    """Makes ``left + t * (right - left)``; ``before(step)`` is called at the start of every step."""

    def __init__(self, before: Callable[[str], None] = lambda step: None, **changes: Any) -> None:
        self.spec = spec(**changes)
        self.device, self.dtype, self.weight_bytes = torch.device("cpu"), torch.float32, 8
        self.before = before
        self.calls = Counter()
        self.batches = []
        self.opened = []
        self.live = 0

    def step(self, name: str) -> None:
        self.calls[name] += 1
        self.before(name)

    def open(self, height: int, width: int, options: Options | None = None) -> SimpleNamespace:
        self.step("open")
        if set(options or {}) - {"flow_scale"}:
            raise BadInputError("unknown option", "", "")
        self.opened.append(dict(options or {}))
        self.live += 1
        return SimpleNamespace(encode=self.encode, between=self.between, close=self.close)

    def encode(self, frames: Tensor) -> Tensor:
        self.step("encode")
        return frames.clone()

    def between(self, left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
        self.step("between")
        if not self.spec.any_timestep:
            assert timestep.tolist() == [0.5]
        self.batches.append(len(timestep))
        return torch.lerp(left, right, timestep.view(-1, 1, 1, 1))

    def close(self) -> None:
        self.live -= 1

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        return 1

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> "LerpModel":
        self.device, self.dtype = device or self.device, dtype or self.dtype
        return self

    def low_memory(self, options: Options) -> Options | None:
        scale = options.get("flow_scale", 1.0) / 2
        return {**options, "flow_scale": scale} if scale >= 0.25 else None


class PanModel(LerpModel):
    """Moves all of the picture to the right, by ten pixels for each step of 1 in mean brightness."""

    def between(self, left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
        self.step("between")
        self.batches.append(len(timestep))
        t = timestep.view(-1, 1, 1, 1)
        shift = 10.0 * (right[:, :1].mean((1, 2, 3)) - left[:, :1].mean((1, 2, 3))).view(-1, 1, 1, 1)
        flow = torch.cat((shift, torch.zeros_like(shift)), 1).expand(len(t), 2, *left.shape[-2:])
        return torch.lerp(backward_warp(left, -t * flow), backward_warp(right, (1 - t) * flow), t)


class RecordingHost(QuietHost):
    def __init__(self, cancel_at: int | None = None) -> None:
        super().__init__()
        self.seen = []
        self.cleared = 0
        self.checks = 0
        self.cancel_at = cancel_at
        self.free = 2**40
        self.cached = 0
        """Part of ``free``."""

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor]) -> None:
        self.seen.append((done, total, preview().clone()))

    def check_cancelled(self) -> None:
        self.checks += 1
        if self.checks == self.cancel_at:
            raise KeyboardInterrupt

    def clear_cache(self) -> None:
        self.cleared += 1

    def free_bytes(self, device: torch.device) -> int:
        return self.free

    def cached_bytes(self, device: torch.device) -> int:
        return self.cached


class ListSink:
    """Keeps copies; checks that indices come in order."""

    def __init__(self, before: Callable[[str], None] = lambda step: None) -> None:
        self.frames = []
        self.before = before

    def put(self, index: int, frames: Tensor) -> None:
        self.before("put")
        assert index == len(self.frames)
        self.frames.extend(frame.clone() for frame in frames)
