"""Custom nodes for tests/servers/test_comfyui_video.py: a network of a fixed small cost in place of a real one."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch


class Blend:
    """Blends two frames; the rest of the seam, as cheap as can be."""

    def __init__(self, seconds: float) -> None:
        self.device, self.dtype, self.weight_bytes = torch.device("cpu"), torch.float32, 0
        self.spec = SimpleNamespace(any_timestep=True, follows_extra=True)
        self.seconds = seconds

    def open(self, height: int, width: int, options: Any = None) -> SimpleNamespace:
        return SimpleNamespace(encode=torch.clone, between=self.between, close=lambda: None)

    def between(self, left: torch.Tensor, right: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds * len(timestep))
        return torch.lerp(left, right, timestep.view(-1, 1, 1, 1))

    def activation_bytes(self, height: int, width: int, options: Any = None) -> int:
        return height * width * 12

    def low_memory(self, options: Any) -> None:
        return None


class StandIn:
    """The same video, made by that network."""

    CATEGORY, FUNCTION, RETURN_TYPES = "testing", "swap", ("VIDEO",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"video": ("VIDEO",), "seconds": ("FLOAT", {"default": 0.0})}}

    def swap(self, video: Any, seconds: float) -> tuple[Any]:
        borrow = video.lazy.borrow

        @contextlib.contextmanager
        def lend(height: int, width: int) -> Iterator[Blend]:
            with borrow(height, width):  # for what happens around a run
                yield Blend(seconds)

        return (type(video)(dataclasses.replace(video.lazy, borrow=lend)),)


class NumberList:
    """A list of numbers by one link, as nodes of other packs hand them on."""

    CATEGORY, FUNCTION, RETURN_TYPES = "testing", "read", ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"numbers": ("STRING", {"default": ""})}}

    def read(self, numbers: str) -> tuple[list[int]]:
        return ([int(number) for number in numbers.split(",")],)


NODE_CLASS_MAPPINGS = {"MidframeTestStandIn": StandIn, "MidframeTestList": NumberList}
