"""What the autoencoder is built of: residual blocks of pictures and of videos, attention over a video.

Pictures are (N, C, H, W). A video is (N, C, 3, H, W): the left frame, the one to be made, the right frame.
Inference only: intermediate results are overwritten where nobody needs them any more.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 4
_EPSILON = 1e-6


def norm(channels: int, groups: int = _GROUPS) -> nn.GroupNorm:
    """The normalisation of the whole autoencoder. On a video its statistics join all frames."""
    return nn.GroupNorm(groups, channels, eps=_EPSILON)


def swish(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``, in place."""
    return F.silu(x, inplace=True)


def frame_by_frame(layer: nn.Module, video: Tensor) -> Tensor:
    """A layer of pictures on each frame of a video: (N, C, F, H, W) to (N, C', F, H', W')."""
    made: Tensor = layer(video.transpose(1, 2).flatten(0, 1))
    return made.view(len(video), -1, *made.shape[1:]).transpose(1, 2).contiguous()


class ResidualBlock(nn.Module):
    """Of pictures. The shortcut is a convolution only where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        inner = self.conv1(swish(self.norm1(x)))
        made: Tensor = self.conv2(swish(self.norm2(inner)))
        return made.add_(self.nin_shortcut(x))


class Downsample(nn.Module):
    """Half the size: the picture is continued by one zero column and row at the right and the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H // 2, W // 2)."""
        made: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return made


class Upsample(nn.Module):
    """Twice the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2 H, 2 W)."""
        made: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return made


class VideoBlock(nn.Module):
    """Residual block of a video. The shortcut is always a convolution.

    Args:
        channels: in and out.
        merges: three frames become one, in the last convolution and in the shortcut.
    """

    def __init__(self, channels: int, *, merges: bool = False) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm2 = norm(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=(0, 1, 1) if merges else 1)
        self.nin_shortcut = nn.Conv3d(channels, channels, (3, 1, 1) if merges else 1)

    def forward(self, video: Tensor) -> Tensor:
        """(N, C, 3, H, W) to the same, or to (N, C, 1, H, W)."""
        inner = self.conv1(swish(self.norm1(video)))
        # The first norm sees the video as one, the second each frame by itself.
        made: Tensor = self.conv2(swish(frame_by_frame(self.norm2, inner)))
        return made.add_(self.nin_shortcut(video))


class VideoAttention(nn.Module):
    """Every position of every frame attends to all of them; one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q = nn.Conv3d(channels, channels, 1)
        self.k = nn.Conv3d(channels, channels, 1)
        self.v = nn.Conv3d(channels, channels, 1)
        self.proj_out = nn.Conv3d(channels, channels, 1)

    def forward(self, video: Tensor) -> Tensor:
        """(N, C, 3, H, W)."""
        x = self.norm(video)
        q, k, v = (layer(x).flatten(2).transpose(1, 2).unsqueeze(1) for layer in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(q, k, v)
        made: Tensor = self.proj_out(seen.squeeze(1).transpose(1, 2).reshape(video.shape))
        return made.add_(video)


class VideoMiddle(nn.Module):
    """Block, attention, block on a video at the latent's size.

    Args:
        channels: in and out.
        merges: the last block makes one frame of three.
    """

    def __init__(self, channels: int, *, merges: bool) -> None:
        super().__init__()
        self.block_1 = VideoBlock(channels)
        self.attn_1 = VideoAttention(channels)
        self.block_2 = VideoBlock(channels, merges=merges)

    def forward(self, video: Tensor) -> Tensor:
        """(N, C, 3, H, W) to the same, or to (N, C, 1, H, W)."""
        made: Tensor = self.block_2(self.attn_1(self.block_1(video)))
        return made
