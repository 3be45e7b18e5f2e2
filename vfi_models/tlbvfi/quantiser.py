"""The codebook: replaces every position of a latent by its nearest entry."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder import LATENT

# Positions that are compared with the codebook in one product, for the memory of the distances.
_AT_ONCE = 4096


class Quantiser(nn.Module):
    """A codebook of entries (codes, 3)."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, LATENT)

    def indices(self, latent: Tensor) -> Tensor:
        """Find the nearest entry of each position, the first where several are as near.

        Args:
            latent: (N, 3, ...) float32.

        Returns:
            (N, ...) int64. The choice is discrete: where two entries are about as near, rounding decides, so
            distances are computed the way the authors compute them.
        """
        entries = self.embedding.weight.float()
        lengths = entries.square().sum(1)
        # (N, ..., 3): a position is one vector of its three channels.
        vectors = latent.movedim(1, -1)
        flat = vectors.reshape(-1, LATENT)
        nearest = []
        for start in range(0, len(flat), _AT_ONCE):
            part = flat[start : start + _AT_ONCE]
            # |x|^2 + |e|^2 - 2 x e, as the authors write it: rounding decides between entries that are about
            # as near.
            nearest.append((part.square().sum(1, keepdim=True) + lengths - 2 * part @ entries.T).argmin(1))
        return torch.cat(nearest).view(vectors.shape[:-1])

    def forward(self, latent: Tensor) -> Tensor:
        """Replace every position of ``latent`` by its entry."""
        return F.embedding(self.indices(latent), self.embedding.weight.float()).movedim(-1, 1)
