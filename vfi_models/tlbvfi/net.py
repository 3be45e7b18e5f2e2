"""The whole network, with the names of the published checkpoints."""

from __future__ import annotations

from torch import Tensor, nn

from .config import Family
from .decoder import Decoder
from .encoder import LATENT, Encoder
from .layers import frame_by_frame
from .quantiser import Quantiser
from .unet import UNet


class Autoencoder(nn.Module):
    """Encodes frames to a latent video, and decodes that with the frames' features to the frame between
    them.
    """

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.encoder = Encoder(family.width)
        self.decoder = Decoder(family.width, family.flow)
        self.quantize = Quantiser(family.codes)
        self.quant_conv = nn.Conv2d(LATENT, LATENT, 1)
        self.post_quant_conv = nn.Conv2d(LATENT, LATENT, 1)

    def latent(self, pictures: Tensor, deepest: Tensor) -> Tensor:
        """Compute the latent video after ``quant_conv``, not quantised; see :meth:`Encoder.latent`."""
        return frame_by_frame(self.quant_conv, self.encoder.latent(pictures, deepest))

    def quantised(self, latent: Tensor) -> Tensor:
        """Quantise a latent video (N, 3, 3, h, w) for the decoder."""
        return frame_by_frame(self.post_quant_conv, self.quantize(latent))


class TlbvfiNet(nn.Module):
    """The autoencoder and the sampler's network; a file of the autoencoder alone has None in its place."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        self.vqgan = Autoencoder(family)
        self.denoise_fn = UNet() if family.samples else None
