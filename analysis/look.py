"""Thumbnails of frames, and what two of them have in common.

Thumbnails are averages over square areas, of the mean of red, green and blue, in grey levels 0..255: a fine
one with a shorter side of 160 pixels and more, and a coarse one a quarter as large. Everything is measured on
these two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SHORT_SIDE = 160
COARSE = 4
"""Fine pixels by coarse pixel, along a side."""
# Bytes of a picture that are averaged at a time: they stay in the cache, and more strips cost more calls.
_STRIP_BYTES = 2**20
_FULL_SCALE = {torch.uint8: 1.0, torch.uint16: 255.0 / 65535.0}
_COLOURS = 3
_ROWS_OF_16_BITS = 257
# Coarse pixels: windows that are matched, their spacing, and how far they are looked for.
_WINDOW, _SPACING, _REACH = 8, 4, 6
# Standard deviation in grey levels, below which a window has nothing to be matched by.
_FLAT = 2.0
# Lost correlation by coarse pixel of shift.
_FAR_COSTS = 0.03
# More than this missing, the whole picture may have moved far.
_FOUND_ALL = 0.15
# A step of brightness by less than this share is none.
_LEAST_STEP = 0.015
_MEDIAN_OF_NORMAL = 0.6745
# Grey levels that areas of a repeated frame may change by, and how many standard deviations of the noise.
_LEAST_CHANGE, _SIGMAS = 3.0, 6.0
# Fine pixels: parts of the picture that a drift is looked for in, the least drift, and how sure of it.
_PART, _LEAST_DRIFT, _SURE = 32, 0.03, 6.0
# A codec that spends a few bits on one block of a repeated frame moves it by less than this; more of the
# picture than this share is not touched so.
_DRIFT_OF_A_BLOCK, _TOUCHED = 0.1, 0.03
# The step beside the last one of a fade, by the last one: 1 in a linear fade, 0.36 in one of eight steps in
# linear light, and next to nothing at a cut to black.
_STEP_OF_A_FADE = 0.25
# A window is found where its correlation is at least this.
_FOUND = 0.8


@dataclass(frozen=True)
class Thumbnail:
    """A frame at two small sizes."""

    fine: Tensor
    """(h, w) float32 in 0..255."""
    coarse: Tensor
    """(h / 4, w / 4) float32 in 0..255."""
    contrast: float
    """Standard deviation of the coarse one."""
    step: int
    """Pixels of the source by fine pixel, along a side."""

    @property
    def flat(self) -> bool:
        """Tell whether the frame is of one colour."""
        return self.contrast < _FLAT


@dataclass(frozen=True)
class Match:
    """Result of looking for the windows of one coarse thumbnail in another."""

    mismatch: float
    """0 where all that has structure is found at some place, up to 1 where nothing is."""
    motion: float
    """95th percentile of the shifts, in coarse pixels."""
    gain: float
    """Median brightness of windows there over that here, 1 where too few are found or they do not agree."""


@dataclass(frozen=True)
class _Windows:
    """Mean and standard deviation of N windows, in grey levels."""

    mean: Tensor
    """(N, 1), or (N, K) at K shifts."""
    deviation: Tensor


@dataclass(frozen=True)
class _Search:
    """A search for N windows at K shifts, and its best places."""

    mismatch: float
    """See :class:`Match`."""
    correlation: Tensor
    """(N, K), -1..1."""
    which: Tensor
    """(N, 1) int64, the best shift of each."""
    offsets: Tensor
    """(K, 2), the shifts (y, x) in coarse pixels."""
    here: _Windows
    there: _Windows


def thumbnail(frame: Tensor) -> Thumbnail:
    """Return the thumbnails of a frame.

    Args:
        frame: (H, W, C) float in 0..1, uint8 or uint16, on any device; of more than 3
            channels the first three.
    """
    height, width = frame.shape[:2]
    step = max(1, min(height, width) // _SHORT_SIDE)
    fine = _averaged(frame[: height // step * step, : width // step * step, :_COLOURS], step)
    pooled = min(COARSE, *fine.shape)
    coarse = F.avg_pool2d(fine[None, None], pooled)[0, 0]
    return Thumbnail(fine, coarse, float(coarse.std(correction=0)), step)


def _averaged(pixels: Tensor, step: int) -> Tensor:
    """Return the mean of squares of ``step`` pixels and of channels, scaled to 0..255."""
    height, width, channels = pixels.shape
    scale = _FULL_SCALE.get(pixels.dtype, 255.0) / (step * step * channels)
    ones = torch.full((step * channels,), scale, dtype=torch.float32, device=pixels.device)
    rows = max(1, _STRIP_BYTES // (step * width * channels * pixels.element_size())) * step
    # In strips, without a float copy of the whole picture.
    strips = (_summed(pixels[top : top + rows], step) for top in range(0, height, rows))
    return (
        torch.cat([torch.mv(x.view(-1, step * channels), ones) for x in strips]).view(-1, width // step).cpu()
    )


def _summed(pixels: Tensor, step: int) -> Tensor:
    """Return the sums of ``step`` rows (h, W, C), each (h / step, W * C) float32."""
    _, width, channels = pixels.shape
    if pixels.dtype == torch.uint8 and pixels.device.type == "cpu":
        # Whole numbers, a row at a time: half the work of floats. Up to 257 rows of 255 fit into 16 bits.
        lines = pixels.numpy().reshape(-1, step, width * channels)
        total = lines[:, 0].astype(np.uint16 if step <= _ROWS_OF_16_BITS else np.uint32)
        for row in range(1, step):
            np.add(total, lines[:, row], out=total)
        return torch.from_numpy(total).float()
    values = pixels.to(torch.float32)
    if pixels.dtype.is_floating_point:
        values = values.nan_to_num(0.0).clamp(0.0, 1.0)
    return values.reshape(-1, step, width * channels).sum(1)


def match(left: Tensor, right: Tensor) -> Match:
    """Look for the windows of ``left`` in ``right``, by normalised correlation.

    Args:
        left, right: coarse thumbnails of one size.
    """
    found = _search(left, right)
    which, here, there = found.which, found.here, found.there
    sure = ((found.correlation.gather(1, which) > _FOUND) & (here.deviation > _FLAT))[:, 0]
    if not bool(sure.any()):
        return Match(found.mismatch, 0.0, 1.0)
    length = (found.offsets[which[:, 0]] + _between(found.correlation, which)).norm(dim=1)[sure]
    ratio = (there.mean.gather(1, which) + 1.0) / (here.mean + 1.0)
    return Match(found.mismatch, float(torch.quantile(length, 0.95)), _agreed(ratio[sure, 0], which.numel()))


def mismatch(left: Tensor, right: Tensor) -> float:
    """Return the mismatch that :func:`match` finds, for less work."""
    return _search(left, right).mismatch


def _search(left: Tensor, right: Tensor) -> _Search:
    found = _search_around(left, right, (0, 0))
    if found.mismatch > _FOUND_ALL:
        # Beyond the reach of windows: the whole picture may have moved, as in a fast pan.
        shift = _common_shift(left, right)
        if max(map(abs, shift)) > 1:
            found = min(found, _search_around(left, right, shift), key=lambda search: search.mismatch)
    return found


def _search_around(left: Tensor, right: Tensor, around: tuple[int, int]) -> _Search:
    """Search with shifts of up to ``_REACH`` around one that the whole picture has (y, x)."""
    window = min(_WINDOW, *left.shape)
    correlation, here, there = _correlations(left, _moved(right, around), window)
    line = torch.arange(-_REACH, _REACH + 1, dtype=torch.float32, device="cpu")
    shifts = torch.cartesian_prod(line, line)
    # Unrelated windows fit somewhere by chance, and far away as often as near; motion is near.
    best, which = (correlation - _FAR_COSTS * shifts.norm(dim=1)).max(1, keepdim=True)
    weight = here.deviation + there.deviation.gather(1, which)
    weight = weight * (weight > _FLAT)
    total = float(weight.sum())
    missing = float((weight * (1.0 - best.clamp(min=0.0))).sum()) / total if total > 0 else 0.0
    offsets = shifts + torch.tensor(around, dtype=torch.float32, device="cpu")
    return _Search(missing, correlation, which, offsets, here, there)


def _between(correlation: Tensor, which: Tensor) -> Tensor:
    """Return by how much of a pixel (N, 2) the best shifts (N, 1) are missed: the tops of parabolas."""
    side = 2 * _REACH + 1
    top = correlation.gather(1, which)
    offsets = []
    for place, stride in ((which // side, side), (which % side, 1)):
        inside = (place > 0) & (place < side - 1)
        before = correlation.gather(1, which - stride * inside)
        after = correlation.gather(1, which + stride * inside)
        bend = (2 * top - before - after).clamp(min=1e-4)
        offsets.append(((after - before) / (2 * bend)).clamp(-0.5, 0.5) * inside)
    return torch.cat(offsets, 1)


def _moved(right: Tensor, around: tuple[int, int]) -> Tensor:
    """Return ``right`` with a border of ``_REACH``, so that what has moved by ``around`` is where it was."""
    places = [
        (torch.arange(-_REACH, size + _REACH, dtype=torch.int64, device="cpu") + shift).clamp(0, size - 1)
        for size, shift in zip(right.shape, around, strict=True)
    ]
    return right[places[0]][:, places[1]]


def _correlations(left: Tensor, padded: Tensor, window: int) -> tuple[Tensor, _Windows, _Windows]:
    """Return correlations (N, K) by window and shift, and what the windows hold here and there."""
    side = 2 * _REACH + 1
    one = _patches(left, window, _SPACING)
    count = len(one)
    # A convolution of what lies around each window by the window itself.
    around = _patches(padded, window + side - 1, _SPACING)
    products = F.conv2d(around[None], one[:, None], groups=count)[0].flatten(1) / window**2

    def pooled(values: Tensor) -> Tensor:
        # Means over windows at every place once, instead of once for each shift.
        return _patches(F.avg_pool2d(values[None], window, 1)[0], side, _SPACING).flatten(1)

    here = _Windows(one.mean((1, 2))[:, None], one.flatten(1).std(1, correction=0, keepdim=True))
    mean = pooled(padded)
    there = _Windows(mean, (pooled(padded.square()) - mean.square()).clamp_(min=0.0).sqrt_())
    covariance = products - here.mean * there.mean
    return covariance / (here.deviation * there.deviation + _FLAT**2), here, there


def _patches(picture: Tensor, side: int, spacing: int) -> Tensor:
    """Return the squares (N, side, side) of a picture whose corners are so far apart."""
    return picture.unfold(0, side, spacing).unfold(1, side, spacing).flatten(0, 1)


def _agreed(ratios: Tensor, windows: int) -> float:
    """Return the median ratio if a third of the windows are found and they agree, else 1."""
    if ratios.numel() * 3 < windows:
        return 1.0
    quarters = torch.tensor([0.25, 0.5, 0.75], dtype=ratios.dtype, device=ratios.device)
    low, middle, high = torch.quantile(ratios, quarters).tolist()
    step = abs(middle - 1.0)
    return middle if step > _LEAST_STEP and high - low < step else 1.0


def _common_shift(left: Tensor, right: Tensor) -> tuple[int, int]:
    """Return the shift (y, x) of the whole picture in whole coarse pixels, by phase correlation."""
    height, width = left.shape
    taper = torch.outer(
        torch.hann_window(height, periodic=False, dtype=torch.float32, device="cpu"),
        torch.hann_window(width, periodic=False, dtype=torch.float32, device="cpu"),
    )
    spectra = torch.fft.rfft2(torch.stack((left - left.mean(), right - right.mean())) * taper)
    cross = spectra[1] * spectra[0].conj()
    surface = torch.fft.irfft2(cross / (cross.abs() + 1e-6), s=(height, width))
    y, x = divmod(int(surface.argmax()), width)
    return (y - height if y > height // 2 else y), (x - width if x > width // 2 else x)


@dataclass(frozen=True)
class Change:
    """The change between two frames, part by part."""

    areas: float
    """99th percentile over areas, grey levels: the few that a codec has spent its bits on do not count."""
    most: float
    """The largest change of an area, grey levels: a small thing that moves has it too."""
    drift: float
    """90th percentile of the parts' shifts, fine pixels."""


def change_between(left: Thumbnail, right: Thumbnail) -> Change:
    """Measure how much two frames differ."""
    difference = right.fine - left.fine
    areas = F.avg_pool2d(difference[None, None], min(COARSE, *difference.shape)).abs().flatten()
    drift = _drift(left.fine, right.fine, difference)
    return Change(_at_share(areas, 0.99), float(areas.max()), 0.0 if drift is None else _at_share(drift, 0.9))


def _at_share(values: Tensor, share: float) -> float:
    """Return the value that so large a share of all is not above: without sorting, as a quantile does."""
    return float(values.kthvalue(max(1, round(share * values.numel()))).values)


def resembles_itself(left: Thumbnail, right: Thumbnail) -> bool:
    """Tell whether the right frame is the left one but for compression or grain."""
    difference = right.fine - left.fine
    pooled = F.avg_pool2d(difference[None, None], min(COARSE, *difference.shape))[0, 0].abs()
    # Grain is independent from pixel to pixel, so that means over areas hardly change; its size there is
    # taken from the median, which a small moving thing does not reach.
    noise = float(pooled.median()) / _MEDIAN_OF_NORMAL
    if float(pooled.max()) > max(_LEAST_CHANGE, _SIGMAS * noise):
        return False
    drift = _drift(left.fine, right.fine, difference)
    if drift is None:
        return True
    moves = (drift > _DRIFT_OF_A_BLOCK).any() or (drift > _LEAST_DRIFT).float().mean() > _TOUCHED
    return not bool(moves)


def _drift(left: Tensor, right: Tensor, difference: Tensor) -> Tensor | None:
    """Return by how much each part of the picture moves, by Lucas and Kanade's equations.

    0 where that is not sure; None of a picture that is smaller than a part.
    """
    if min(left.shape) < _PART:
        return None
    mean = (left + right) / 2
    inner = (slice(1, -1), slice(1, -1))
    along = (mean[1:-1, 2:] - mean[1:-1, :-2]) / 2
    down = (mean[2:, 1:-1] - mean[:-2, 1:-1]) / 2
    d = difference[inner]
    products = torch.stack((along * along, along * down, down * down, along * d, down * d, d * d))
    xx, xy, yy, xd, yd, dd = F.avg_pool2d(products[:, None], min(_PART, *d.shape)).flatten(1)
    # A little is added to the squares: without texture there is no drift to be seen.
    determinant = (xx + 1.0) * (yy + 1.0) - xy * xy
    x = ((yy + 1.0) * xd - xy * yd) / determinant
    y = ((xx + 1.0) * yd - xy * xd) / determinant
    explained = (x * xd + y * yd).clamp(min=0.0) * _PART * _PART
    surprise = explained / (dd - explained / (_PART * _PART)).clamp(min=0.05)
    drift: Tensor = torch.hypot(x, y) * (surprise > _SURE * _SURE)
    return drift


def standing(left: Thumbnail, right: Thumbnail) -> float:
    """Return the share of what has texture that does not change, 0..1."""
    height, width = left.fine.shape
    side = min(_WINDOW, height, width)
    pair = torch.stack((left.fine, right.fine))[:, None]
    change = F.avg_pool2d((pair[1:] - pair[:1]).abs(), side).flatten()
    mean = F.avg_pool2d(pair[:1], side)
    texture = (F.avg_pool2d(pair[:1].square(), side) - mean.square()).flatten() > 4 * _FLAT**2
    if not bool(texture.any()):
        return 0.0
    noise = float(torch.quantile(change, 0.1))
    return float((change[texture] < max(1.0, 2.0 * noise)).float().mean())


def ends_a_fade(before: Thumbnail | None, left: Thumbnail, right: Thumbnail, after: Thumbnail | None) -> bool:
    """Tell whether a pair is the last step of a fade to one colour, or the first step of a fade from it.

    Args:
        before: of the frame before the pair; None where there is none.
        left, right: of the pair.
        after: of the frame after the pair.
    """
    first, second = (before, left) if right.flat else (right, after)
    if first is None or second is None or not (left.flat or right.flat):
        return False
    here, beside = (float(b.coarse.mean() - a.coarse.mean()) for a, b in ((left, right), (first, second)))
    return beside * here > _STEP_OF_A_FADE * here * here
