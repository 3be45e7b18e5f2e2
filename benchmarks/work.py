"""The work of a benchmark: a model, a size, a clip."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..api import load_model
from ..errors import BadInputError
from ..vfi_models import architectures, build, detect
from ..vfi_models.interface import Interpolator
from ..vfi_models.precision import suited
from ..weights.checkpoint import read_checkpoint
from ..weights.find import find
from ..weights.synthetic import synthetic_state_dict

BUILT_IN = "default"
"""Our own network, which no peer has, with its own weights."""


@dataclass(frozen=True)
class Work:
    """The work of one row."""

    model: str
    """``rife-4.25``, ``film``, ``default`` ..."""
    size: tuple[int, int]
    multiplier: int
    frames: int
    dtype: str
    """Of ours; ``auto`` is the dtype that a model is loaded in by default."""
    device: str
    options: dict[str, Any] = field(default_factory=dict)
    """Of the model's session."""
    file: str = ""
    """Weights to load instead of synthetic ones."""
    peer_dtype: str = "float32"

    @property
    def made_frames(self) -> int:
        """Return how many frames are made."""
        return (self.frames - 1) * (self.multiplier - 1)

    def clip(self) -> Tensor:
        """Generate a smooth texture that drifts and turns: (N, H, W, 3) float32, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        height, width = self.size
        shape = 1, 3, height // 8 + 2, width // 8 + 2
        # Noise at an eighth of the size, enlarged: with motion that a network can follow.
        texture = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
        frames = []
        for i in range(self.frames):
            angle = texture.new_tensor(0.01 * i)
            turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos())).view(2, 2)
            # In half sides of the picture, as affine_grid has it; the turn is 0.01 radians a frame.
            shift = texture.new_tensor([[0.02 * i], [0.01 * i]])
            grid = F.affine_grid(
                torch.cat((turn, shift), 1).unsqueeze(0), [1, 3, height, width], align_corners=False
            )
            frames.append(F.grid_sample(texture, grid, padding_mode="reflection", align_corners=False))
        return torch.cat(frames).permute(0, 2, 3, 1).contiguous()

    def build(self, dtype: str | None = None, device: str | None = None) -> Interpolator:
        """Build the model, not shared with other users of it."""
        model = build(detect(self.weights()))
        requested = getattr(torch, dtype or self.dtype)
        if requested not in model.spec.dtypes:
            names = ", ".join(str(each).removeprefix("torch.") for each in model.spec.dtypes)
            raise BadInputError(f"{self.model} does not run in this dtype.", str(requested), f"Use {names}.")
        return model.to(torch.device(device or self.device), requested)

    def weights(self) -> dict[str, Tensor]:
        """Return the built-in model's own weights, those of the file, or synthetic ones, under the network's
        own names.

        A file may hold more, a teacher for training or prefixes; that is left out, for no peer knows it.
        """
        if self.model == BUILT_IN or self.file:
            path = Path(self.file) if self.file else find(BUILT_IN)
            if path is None or not path.is_file():
                raise BadInputError("There is no such file of weights.", str(path), "Give another one.")
            return dict(detect(read_checkpoint(path)).state_dict)
        return synthetic(self.model)

    def resolved(self) -> Work:
        """Return the work with a dtype in place of ``auto``."""
        if self.dtype != "auto":
            return self
        if self.model == BUILT_IN or self.file:
            model = load_model(self.file or BUILT_IN, self.device)
            dtype = model.dtype
        else:
            suits = suited(torch.device(self.device))
            safe = build(detect(self.weights())).spec.safe_dtypes
            dtype = suits if suits in safe else safe[0]
        return replace(self, dtype=str(dtype).removeprefix("torch."))


@cache
def synthetic(model: str) -> dict[str, Tensor]:
    """Return synthetic weights of a network, scaled so that its flows are a few pixels; not to be written to.

    Raises:
        BadInputError: there is no such network.
    """
    name, _, family = model.partition("-")
    # `film` alone names an architecture and its family.
    family = family or name
    owner = next((a for a in architectures() if a.name == name and family in a.families), None)
    if owner is None:
        names = [f"{a.name}-{f}" for a in architectures() for f in a.families]
        raise BadInputError(
            "There is no such model to measure.", model, f"Use {BUILT_IN} or {', '.join(names)}."
        )
    return synthetic_state_dict(owner.shapes(family), 0, 1.0)
