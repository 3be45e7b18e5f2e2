"""The sampler's network: a small U-Net over the latent video."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder import LATENT

_WIDTH = 32
_TIME = 4 * _WIDTH
_GROUPS = 32
_SLOWEST = 10_000.0

Resize = Literal["keep", "halve", "double"]


def embed_time(time: Tensor) -> Tensor:
    """Embed times (N,) as (N, 32): cosines, then sines, of 16 frequencies."""
    half = _WIDTH // 2
    frequencies = torch.exp(
        -math.log(_SLOWEST) / half * torch.arange(half, dtype=torch.float32, device=time.device)
    )
    angles = time.float().unsqueeze(1) * frequencies
    return torch.cat((angles.cos(), angles.sin()), 1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)


def _conv(inputs: int, outputs: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, padding=1)


def _resized(x: Tensor, resize: Resize) -> Tensor:
    """Halve or double height and width; time stays."""
    if resize == "halve":
        return F.avg_pool3d(x, (1, 2, 2))
    if resize == "double":
        return F.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest")
    return x


class Residual(nn.Module):
    """A residual block; the time scales and shifts the input of the second convolution."""

    def __init__(self, inputs: int = _WIDTH, resize: Resize = "keep") -> None:
        super().__init__()
        self._resize = resize
        self.in_layers = nn.Sequential(_norm(inputs), nn.SiLU(), _conv(inputs, _WIDTH))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(_TIME, 2 * _WIDTH))
        # 2 was dropout.
        self.out_layers = nn.Sequential(_norm(_WIDTH), nn.SiLU(), nn.Identity(), _conv(_WIDTH, _WIDTH))
        self.skip_connection = nn.Conv3d(inputs, _WIDTH, 1) if inputs != _WIDTH else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Apply the block to ``x`` (N, inputs, 3, h, w) at ``time`` (1, 128), embedded."""
        # As published, between activation and convolution; the skip below alike.
        inner = _resized(self.in_layers[:2](x), self._resize)
        inner = self.in_layers[2](inner)
        scale, shift = self.emb_layers(time)[..., None, None, None].chunk(2, 1)
        inner = self.out_layers[0](inner) * (1.0 + scale) + shift
        out: Tensor = self.skip_connection(_resized(x, self._resize)) + self.out_layers[1:](inner)
        return out


class Attention(nn.Module):
    """Attention of one head over all positions of all frames."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = _norm(_WIDTH)
        self.qkv = nn.Conv1d(_WIDTH, 3 * _WIDTH, 1)
        self.proj_out = nn.Conv1d(_WIDTH, _WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over a video (N, 32, 3, h, w)."""
        flat = x.flatten(2)
        # (N, 96, 3 h w) to (N, 1, 3 h w, 96), and that to query, key and value of 32 channels.
        q, k, v = self.qkv(self.norm(flat)).transpose(1, 2).unsqueeze(1).chunk(3, -1)
        attended = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        out: Tensor = flat + self.proj_out(attended)
        return out.view(x.shape)


class Stage(nn.Sequential):
    """Layers in sequence, of which residual blocks also get the time."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        """Apply the layers to ``x`` (N, C, 3, h, w) at ``time`` (1, 128), embedded."""
        for layer in self:
            x = layer(x, time) if isinstance(layer, Residual) else layer(x)
        return x


class UNet(nn.Module):
    """Predicts the difference between a state of the bridge and its unknown end."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(_WIDTH, _TIME), nn.SiLU(), nn.Linear(_TIME, _TIME))
        # Sizes of the latent: 1 (blocks 0 and 1), 1/2 (2 and 3), 1/4 (4 and 5). Frames are never halved.
        self.input_blocks = nn.ModuleList(
            (
                Stage(_conv(2 * LATENT, _WIDTH)),
                Stage(Residual()),
                Stage(Residual(resize="halve")),
                Stage(Residual(), Attention()),
                Stage(Residual(resize="halve")),
                Stage(Residual(), Attention()),
            )
        )
        self.middle_block = Stage(Residual(), Attention(), Residual())
        both = 2 * _WIDTH
        # Each reads the state and the skip of its size: 5 and 4 at 1/4, 3 and 2 at 1/2, 1 and 0 at 1.
        self.output_blocks = nn.ModuleList(
            (
                Stage(Residual(both), Attention()),
                Stage(Residual(both), Attention(), Residual(resize="double")),
                Stage(Residual(both), Attention()),
                Stage(Residual(both), Attention(), Residual(resize="double")),
                Stage(Residual(both)),
                Stage(Residual(both)),
            )
        )
        self.out = nn.Sequential(_norm(_WIDTH), nn.SiLU(), _conv(_WIDTH, LATENT))

    def forward(self, state: Tensor, known: Tensor, time: int) -> Tensor:
        """Predict the difference.

        Args:
            state: (N, 3, 3, h, w) float32, h and w a multiple of 4.
            known: Y, the known end, of the same shape.
            time: 0 to 999.
        """
        embedded = self.time_embed(embed_time(state.new_full((1,), time)))
        # (N, 6, 3, h, w).
        x = torch.cat((state, known), 1)
        skips = []
        for block in self.input_blocks:
            x = block(x, embedded)
            skips.append(x)
        x = self.middle_block(x, embedded)
        for block in self.output_blocks:
            x = block(torch.cat((x, skips.pop()), 1), embedded)
        out: Tensor = self.out(x)
        return out
