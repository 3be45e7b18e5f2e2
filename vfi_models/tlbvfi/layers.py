"""The layers of the autoencoder: residual blocks of pictures and of videos, attention over a video.

Pictures are (N, C, H, W). A video is (N, C, 3, H, W): the left frame, the one in the middle, the right frame.
For inference only: intermediate results are overwritten where nothing reads them any more.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 4
_EPSILON = 1e-6


def norm(channels: int, groups: int = _GROUPS) -> nn.GroupNorm:
    """Return the normalisation of the whole autoencoder. On a video its statistics join all frames."""
    return nn.GroupNorm(groups, channels, eps=_EPSILON)


def swish(x: Tensor) -> Tensor:
    """Compute ``x * sigmoid(x)`` in place."""
    return F.silu(x, inplace=True)


def frame_by_frame(layer: nn.Module, video: Tensor) -> Tensor:
    """Apply a layer of pictures to each frame of a video: (N, C, F, H, W) to (N, C', F, H', W')."""
    # Frames take the place of the batch; contiguous again, for 3-D convolutions follow.
    frames: Tensor = layer(video.transpose(1, 2).flatten(0, 1))
    return frames.view(len(video), -1, *frames.shape[1:]).transpose(1, 2).contiguous()


class ResidualBlock(nn.Module):
    """A residual block of pictures. The shortcut is a convolution only where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: (N, inputs, H, W) to (N, outputs, H, W)."""
        inner = self.conv1(swish(self.norm1(x)))
        out: Tensor = self.conv2(swish(self.norm2(inner)))
        return out.add_(self.nin_shortcut(x))


class Downsample(nn.Module):
    """Halves the size; one zero column and row are added at the right and at the bottom before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce (N, C, H, W) to (N, C, H // 2, W // 2)."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Doubles the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge (N, C, H, W) to (N, C, 2 H, 2 W)."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class VideoBlock(nn.Module):
    """A residual block of a video. The shortcut is always a convolution.

    Args:
        channels: in and out.
        merges: the last convolution and the shortcut make one frame of three.
    """

    def __init__(self, channels: int, *, merges: bool = False) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm2 = norm(channels)
        # Without padding along time a kernel of three frames makes one frame of three.
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=(0, 1, 1) if merges else 1)
        self.nin_shortcut = nn.Conv3d(channels, channels, (3, 1, 1) if merges else 1)

    def forward(self, video: Tensor) -> Tensor:
        """Apply the block: (N, C, 3, H, W) to the same shape, or to (N, C, 1, H, W)."""
        inner = self.conv1(swish(self.norm1(video)))
        # As published: the first norm joins the frames of the video, the second takes each by itself.
        out: Tensor = self.conv2(swish(frame_by_frame(self.norm2, inner)))
        return out.add_(self.nin_shortcut(video))


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
        """Attend over a video (N, C, 3, H, W)."""
        x = self.norm(video)
        # (N, C, 3, H, W) to (N, 1, 3 H W, C): one head, whose tokens are all positions of all frames.
        q, k, v = (layer(x).flatten(2).transpose(1, 2).unsqueeze(1) for layer in (self.q, self.k, self.v))
        # Not written out: the weights between the 30,720 positions of a video at 2160p would take 3.8 GB.
        attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj_out(attended.squeeze(1).transpose(1, 2).reshape(video.shape))
        return out.add_(video)


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
        """Apply the layers: (N, C, 3, H, W) to the same shape, or to (N, C, 1, H, W)."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(video)))
        return out
