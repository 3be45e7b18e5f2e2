"""The RIFE HD 3.x network: parameters under their published names, and the pass through one block.

Source: Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation" (ECCV 2022) and
the HD networks of hzwer/ECCV2022-RIFE, of which this is 3.6.
"""

from __future__ import annotations

from torch import Tensor, nn

from .._ops.convolution import LeakyConv2d, memory_format

DIVISORS = (4, 2, 1)
"""How far each block reduces its input, coarse to fine. This cannot be deduced from shapes."""
# Both warped pictures (6), the mask logit (1), the flow (4).
_INPUTS = 11
_WIDTH = 90


def _step(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(LeakyConv2d(inputs, outputs, stride=stride), nn.PReLU(outputs))


def _exit(outputs: int) -> nn.Sequential:
    """Return the layers from a quarter of the block's resolution back to it."""
    return nn.Sequential(
        nn.ConvTranspose2d(_WIDTH, _WIDTH // 2, 4, 2, 1),
        nn.PReLU(_WIDTH // 2),
        nn.ConvTranspose2d(_WIDTH // 2, outputs, 4, 2, 1),
    )


class HDBlock(nn.Module):
    """One level of the pyramid: an update of the flow and the mask of the levels before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_step(_INPUTS, _WIDTH // 2, 2), _step(_WIDTH // 2, _WIDTH, 2))
        for i in range(4):
            self.add_module(f"convblock{i}", nn.Sequential(_step(_WIDTH, _WIDTH), _step(_WIDTH, _WIDTH)))
        self.conv1 = _exit(4)
        self.conv2 = _exit(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict an update of flow and mask.

        Args:
            x: (N, 11, h, w) in the network's dtype, sides divisible by 4: both pictures, the mask logit, and
                the flow in pixels of this resolution.

        Returns:
            Flow in the same pixels (N, 4, h, w) and mask logit (N, 1, h, w), float32.
        """
        x = self.conv0(x.contiguous(memory_format=memory_format(x.device)))
        for i in range(4):
            # A skip for each pair of convolutions: 4.5 and later have one for each of them, 4.0 one over all
            # eight.
            x = self.get_submodule(f"convblock{i}")(x) + x
        return self.conv1(x).float(), self.conv2(x).float()


class HDNet(nn.Module):
    """Three blocks of one shape. The published files hold a fourth, a teacher that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        for i in range(len(DIVISORS)):
            self.add_module(f"block{i}", HDBlock())

    def blocks(self) -> list[HDBlock]:
        """Return the blocks, coarse to fine, as they are now: a host may replace parameters."""
        modules = (self.get_submodule(f"block{i}") for i in range(len(DIVISORS)))
        return [module for module in modules if isinstance(module, HDBlock)]
