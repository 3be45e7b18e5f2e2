"""The losses of the RIFE paper's training code.

Source: Huang et al., ECCV 2022, and the modules ``laplacian`` and ``loss`` of hzwer/ECCV2022-RIFE, whose
values these are (``goldens/rife/losses.npz``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInputError

# Bands of the Laplacian pyramid.
_LEVELS = 5
_BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
# Of the two exits of a level, the teacher's must be nearer by this to be followed.
_MARGIN = 0.01
# Luma of red, green and blue.
_LUMA = (0.2989, 0.5870, 0.1140)
# Side of the patch of the census transform, and the constants of its two soft steps.
_PATCH, _SOFT_SIGN, _SOFT_DISTANCE = 7, 0.81, 0.1
# The root of an end point error has no gradient at 0.
_EPE_FLOOR = 1e-6


def laplacian_loss(frames: Tensor, expected: Tensor, levels: int = _LEVELS) -> Tensor:
    """Return the L1 distance of two Laplacian pyramids, summed over their bands.

    The low-pass picture that remains is not compared, as published: a constant offset costs nothing.

    Args:
        frames, expected: (N, C, H, W); both sides divisible by 2 to the power of ``levels``, and at least
            twice as large as that.
        levels: bands.

    Raises:
        BadInputError: another size.
    """
    height, width = frames.shape[-2:]
    multiple = 2**levels
    if height % multiple or width % multiple or min(height, width) < 2 * multiple:
        raise BadInputError(
            "The Laplacian pyramid cannot be built at this size.",
            f"{height} x {width}",
            f"Use crops whose sides are multiples of {multiple}, {2 * multiple} and up.",
        )
    loss = frames.new_zeros(())
    for _ in range(levels):
        smaller = [_blurred(picture)[..., ::2, ::2] for picture in (frames, expected)]
        loss = loss + F.l1_loss(frames - _enlarged(smaller[0]), expected - _enlarged(smaller[1]))
        frames, expected = smaller
    return loss


def _blurred(picture: Tensor, gain: float = 1.0) -> Tensor:
    """Blur (N, C, H, W) by the 5 x 5 binomial kernel, mirrored at the edges."""
    channels = picture.shape[1]
    row = picture.new_tensor(_BINOMIAL)
    kernel = (torch.outer(row, row) * (gain / row.sum().square())).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(picture, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def _enlarged(picture: Tensor) -> Tensor:
    """Enlarge (N, C, H, W) by two: zeros between the pixels, blurred."""
    count, channels, height, width = picture.shape
    large = picture.new_zeros(count, channels, 2 * height, 2 * width)
    large[..., ::2, ::2] = picture
    return _blurred(large, 4.0)


def end_point_error(flow: Tensor, expected: Tensor, mask: Tensor) -> Tensor:
    """Return the length of the flow's error, (N, 1, H, W) in pixels.

    Args:
        flow, expected: (N, C, H, W) pixels; all channels make one length.
        mask: (N, 1, H, W), multiplied onto it.
    """
    return ((flow - expected).square().sum(1, keepdim=True) + _EPE_FLOOR).sqrt() * mask


def sobel_difference(frames: Tensor, expected: Tensor) -> Tensor:
    """Return how far the slopes of two pictures are apart: (N * C, 1, H, W), |dx| and |dy| added."""
    across = frames.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernel = torch.stack((across, across.t())).unsqueeze(1)
    slopes = [
        F.conv2d(picture.reshape(-1, 1, *picture.shape[-2:]), kernel, padding=1)
        for picture in (frames, expected)
    ]
    return (slopes[0] - slopes[1]).abs().sum(1, keepdim=True)


def ternary_distance(frames: Tensor, expected: Tensor) -> Tensor:
    """Return how far the soft census transforms of two RGB pictures are apart.

    A census transform says of each pixel around another whether it is brighter, so it hardly changes with
    the light.

    Args:
        frames, expected: (N, 3, H, W).

    Returns:
        (N, 1, H, W), 0 to 1, the mean over the patch; 0 in a border of one pixel.
    """
    squares = (_census(frames) - _census(expected)).square()
    distance = (squares / (_SOFT_DISTANCE + squares)).mean(1, keepdim=True)
    inside = torch.ones_like(distance[..., 1:-1, 1:-1])
    return distance * F.pad(inside, (1, 1, 1, 1))


def _census(picture: Tensor) -> Tensor:
    """Return for every pixel of a 7 x 7 patch its soft sign against the centre, (N, 49, H, W)."""
    grey = (picture * picture.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    around = F.unfold(grey, _PATCH, padding=_PATCH // 2).view(len(grey), -1, *grey.shape[-2:])
    difference = around - grey
    signs: Tensor = difference / (_SOFT_SIGN + difference.square()).sqrt()
    return signs


def distillation_loss(
    flows: list[Tensor], blends: list[Tensor], teacher: tuple[Tensor, Tensor], expected: Tensor
) -> Tensor:
    """Return how far the flow of each level is from the teacher's, where that makes the better picture.

    Args:
        flows, blends: of each level, (N, 4, H, W) pixels and (N, 3, H, W).
        teacher: its flow and its blend.
        expected: (N, 3, H, W), the true frame.
    """
    flow, blend = teacher[0].detach(), teacher[1]
    away = (blend - expected).abs().mean(1, keepdim=True) + _MARGIN
    loss = expected.new_zeros(())
    for level_flow, level_blend in zip(flows, blends, strict=True):
        worse = ((level_blend - expected).abs().mean(1, keepdim=True) > away).to(flow.dtype).detach()
        # The root of 0 has no gradient, and a flow equals its teacher's at the start of some trainings.
        length = (flow - level_flow).square().mean(1, keepdim=True).clamp_min(1e-12).sqrt()
        loss = loss + (length * worse).mean()
    return loss
