"""Attention over 64 positions: of 8 x 8 neighbourhoods, then of a grid spread over the whole picture.

A picture (N, C, H, W), sides a multiple of 8, is cut into windows (n, 64, C). In the *block* part a window
is 8 x 8 neighbours; in the *grid* part its positions lie H/8 and W/8 apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SIDE = 8
_POSITIONS = _SIDE * _SIDE
_REACH = 2 * _SIDE - 1
# Values of the widest tensor at a time. Windows are independent of each other: fewer take less memory.
_MOST_VALUES = 2**23


def split(picture: Tensor, *, grid: bool) -> Tensor:
    """Cut a picture into its windows, (N H W / 64, 64, C)."""
    count, channels, height, width = picture.shape
    rows, columns = height // _SIDE, width // _SIDE
    if grid:
        # (N, C, 8, H/8, 8, W/8) to (N, H/8, W/8, 8, 8, C): a window holds one position of
        # each stretch of H/8 x W/8.
        cut = picture.view(count, channels, _SIDE, rows, _SIDE, columns).permute(0, 3, 5, 2, 4, 1)
    else:
        # (N, C, H/8, 8, W/8, 8) to (N, H/8, W/8, 8, 8, C).
        cut = picture.view(count, channels, rows, _SIDE, columns, _SIDE).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(-1, _POSITIONS, channels)


def join(windows: Tensor, shape: torch.Size, *, grid: bool) -> Tensor:
    """Join windows to the picture of ``shape`` (N, C, H, W)."""
    count, channels, height, width = shape
    rows, columns = height // _SIDE, width // _SIDE
    cut = windows.view(count, rows, columns, _SIDE, _SIDE, channels)
    back = cut.permute(0, 5, 3, 1, 4, 2) if grid else cut.permute(0, 5, 1, 3, 2, 4)
    return back.reshape(shape)


class WindowAttention(nn.Module):
    """Attention of one head over the positions of a window, with a learned bias for each displacement."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels, bias=False))
        self.rel_pos_bias = nn.Embedding(_REACH * _REACH, 1)

    def bias(self) -> Tensor:
        """Return the bias of the logits, (64, 64): query, key."""
        table = self.rel_pos_bias.weight.view(_REACH, _REACH)
        place = torch.arange(_SIDE, dtype=torch.int64, device=table.device)
        # Query minus key, -7..7, counted from 0.
        displacement = place.unsqueeze(1) - place + _SIDE - 1
        rows, columns = displacement.view(_SIDE, 1, _SIDE, 1), displacement.view(1, _SIDE, 1, _SIDE)
        return table[rows, columns].reshape(_POSITIONS, _POSITIONS)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Attend from ``x`` to ``context``, both (n, 64, C); keys and values come from the context."""
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        out: Tensor = self.to_out(F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias()))
        return out


class _Normed(nn.Module):
    """A layer behind a layer norm; the residual is the caller's."""

    def __init__(self, channels: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fn = layer


class _Perceptron(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        # 2 was dropout.
        self.net = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class WindowBlock(nn.Module):
    """Attention and perceptron in neighbourhoods, then the same on the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn_block = _Normed(channels, WindowAttention(channels))
        self.ff_block = _Normed(channels, _Perceptron(channels))
        self.attn_grid = _Normed(channels, WindowAttention(channels))
        self.ff_grid = _Normed(channels, _Perceptron(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Attend within a picture (N, C, H, W), sides a multiple of 8."""
        return self.attend(x, None)

    def attend(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Run both parts on a picture; keys and values from ``context`` of the same shape, or from x
        itself.
        """
        x = _part(self.attn_block, self.ff_block, x, context, grid=False)
        return _part(self.attn_grid, self.ff_grid, x, context, grid=True)


def _part(
    attention: _Normed, perceptron: _Normed, x: Tensor, context: Tensor | None, *, grid: bool
) -> Tensor:
    windows = split(x, grid=grid)
    others = split(context, grid=grid) if context is not None else None
    out = torch.empty_like(windows)
    # The perceptron's hidden layer is the widest: four times the channels at 64 positions a window.
    step = max(1, _MOST_VALUES // (4 * _POSITIONS * x.shape[1]))
    for start in range(0, len(windows), step):
        part = slice(start, start + step)
        y = attention.norm(windows[part])
        # As published, the same norm serves queries and keys.
        keys = attention.norm(others[part]) if others is not None else y
        y = attention.fn(y, keys).add_(windows[part])
        out[part] = perceptron.fn(perceptron.norm(y)).add_(y)
    return join(out, x.shape, grid=grid)


class BatchNorm(nn.Module):
    """Batch norm with the statistics of the training."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        unknown = torch.empty(channels, dtype=torch.float32, device="meta")  # until a file is loaded
        self.weight = nn.Parameter(unknown)
        self.bias = nn.Parameter(unknown)
        self.register_buffer("running_mean", unknown)
        self.register_buffer("running_var", unknown)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


class Gate(nn.Module):
    """Scales each channel by a gate that a small network computes from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # 0 took the means, 2 and 4 are activations; the numbers are the checkpoint's.
        self.gate = nn.Sequential(
            nn.Identity(),
            nn.Linear(channels, channels // 4, bias=False),
            nn.SiLU(),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale (N, C, H, W) in place."""
        return x.mul_(self.gate(x.mean((2, 3)))[..., None, None])


class CrossBlock(WindowBlock):
    """A window block whose keys and values come from features of the two source frames.

    Args:
        channels: of the picture.
        context: channels of the features.
    """

    def __init__(self, channels: int, context: int) -> None:
        super().__init__(channels)
        wide = 4 * channels
        # Pointwise, depthwise, gate, pointwise. No residual: the context is only read.
        self.proj_in = nn.Sequential(
            nn.Conv2d(context, wide, 1),
            BatchNorm(wide),
            nn.GELU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            BatchNorm(wide),
            nn.GELU(),
            Gate(wide),
            nn.Conv2d(wide, channels, 1),
            BatchNorm(channels),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Attend from a picture to features.

        Args:
            x: (N, C, H, W).
            context: (N, context, H, W). Always given: it has a default because the base class has one
            argument.
        """
        if context is None:
            raise TypeError("a cross block needs a context")
        return self.attend(x, self.proj_in(context))
