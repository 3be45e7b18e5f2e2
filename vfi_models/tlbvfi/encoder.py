"""The encoder: a tower for each frame by itself, then layers that join the three frames of a video.

The frame in the middle is not known; an empty picture stands in its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import Downsample, ResidualBlock, VideoMiddle, frame_by_frame, norm, swish
from .wavelet import FrequencyExtractor, bands
from .windows import WindowBlock

LEVELS = (1, 2, 2, 2, 4)
"""Width of each level of tower and decoder, in units of the first; each level halves the size."""
LATENT = 3
"""Channels of the latent video."""
STRIDE = 2 ** len(LEVELS)
"""Pixels to one position of the latent, along a side."""


class _Level(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, attends: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList([ResidualBlock(inputs, outputs)])
        self.attn = nn.ModuleList([WindowBlock(outputs)] if attends else [])
        self.downsample = Downsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block[0](x)
        for attention in self.attn:
            x = attention(x)
        out: Tensor = self.downsample(x)
        return out


class Encoder(nn.Module):
    """Encodes pictures to features and to the latent video.

    Args:
        width: channels at full size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * factor for factor in LEVELS]
        self.conv_in = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            # Each level reads what the one before returns, so the first list is one longer. The authors'
            # configuration says attention at 16, which is the deepest level.
            _Level(inputs, outputs, attends=i == len(widths) - 1)
            for i, (inputs, outputs) in enumerate(zip([width, *widths], widths, strict=False))
        )
        self.mid = VideoMiddle(widths[-1], merges=False)
        self.frequency_extractor = FrequencyExtractor(width, widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv3d(widths[-1], LATENT, 3, padding=1)

    def tower(self, picture: Tensor, levels: int = len(LEVELS)) -> list[Tensor]:
        """Compute the features of one frame at 1, 1/2, 1/4, ... of its size, ``levels + 1`` of them.

        Args:
            picture: (N, 3, H, W), values 0..1; sides a multiple of 2 ** levels, of 256 for all levels.
            levels: how many to go down.
        """
        features = [self.conv_in(picture)]
        for level in self.down[:levels]:
            features.append(level(features[-1]))
        return features

    def latent(self, pictures: Tensor, deepest: Tensor) -> Tensor:
        """Compute the latent video, before ``quant_conv``.

        Args:
            pictures: (N, 3, 3, H, W), the video, values 0..1.
            deepest: (N, C, 3, H/32, W/32), the last features of the tower of each of its frames.

        Returns:
            (N, 3, 3, H/32, W/32).
        """
        # What changes along time scales each channel of the deepest features, alike in all three frames.
        gate = torch.sigmoid(self.frequency_extractor(bands(pictures))).unsqueeze(2)
        video = self.mid(deepest + gate * deepest)
        latent: Tensor = self.conv_out(swish(frame_by_frame(self.norm_out, video)))
        return latent
