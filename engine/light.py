"""Light of stored values, and back: what a mean over time has to be of."""

from __future__ import annotations

import torch
from torch import Tensor

SRGB, PQ, HLG = 13, 16, 18
"""Transfer characteristics, as ITU-T H.273 numbers them; sRGB stands for all but the other two."""

_RGB = 3
# IEC 61966-2-1: where the line ends, its slope, and the curve.
_LINE_STORED, _LINE_LIGHT, _SLOPE, _OFFSET, _GAMMA = 0.04045, 0.0031308, 12.92, 0.055, 2.4
# SMPTE ST 2084.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# ITU-R BT.2100, HLG: light of the scene.
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073


def light_of(frame: Tensor, transfer: int) -> Tensor:
    """Return light of a stored frame, multiplied by alpha where there is one.

    Args:
        frame: (H, W, C) float32 in 0..1, C of 1, 3 or more; of 4 the last is alpha. Others are no colour.
        transfer: :data:`PQ`, :data:`HLG`, or any other for sRGB: files of BT.709 are graded on such displays.
    """
    light = frame.clone()
    colour = {PQ: _pq_light, HLG: _hlg_light}.get(transfer, _srgb_light)(frame[..., :_RGB].clamp(min=0))
    light[..., :_RGB] = colour * frame[..., _RGB:] if frame.shape[-1] == _RGB + 1 else colour
    return light


def stored_of(light: Tensor, transfer: int) -> Tensor:
    """Return the stored frame of light; see :func:`light_of`."""
    stored, colour = light.clone(), light[..., :_RGB]
    if light.shape[-1] == _RGB + 1:
        # Where nothing is seen any colour will do.
        colour = torch.where(light[..., _RGB:] > 0, colour / light[..., _RGB:], 0.0)
    stored[..., :_RGB] = {PQ: _pq_stored, HLG: _hlg_stored}.get(transfer, _srgb_stored)(colour)
    return stored


def _srgb_light(stored: Tensor) -> Tensor:
    curve = ((stored + _OFFSET) / (1 + _OFFSET)) ** _GAMMA
    return torch.where(stored <= _LINE_STORED, stored / _SLOPE, curve)


def _srgb_stored(light: Tensor) -> Tensor:
    curve = (1 + _OFFSET) * light ** (1 / _GAMMA) - _OFFSET
    return torch.where(light <= _LINE_LIGHT, light * _SLOPE, curve)


def _pq_light(stored: Tensor) -> Tensor:
    power = stored ** (1 / _M2)
    return ((power - _C1).clamp(min=0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _pq_stored(light: Tensor) -> Tensor:
    power = light**_M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_light(stored: Tensor) -> Tensor:
    return torch.where(stored <= 1 / 2, stored**2 / 3, (torch.exp((stored - _C) / _A) + _B) / 12)


def _hlg_stored(light: Tensor) -> Tensor:
    bright = _A * torch.log((12 * light - _B).clamp(min=1e-6)) + _C
    return torch.where(light <= 1 / 12, (3 * light).sqrt(), bright)
