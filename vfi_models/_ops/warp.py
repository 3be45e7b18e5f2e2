"""Backward warping.

Convention, everywhere in the pack: images are (N, C, H, W), flow is (N, 2, H, W) in pixels, channel 0
is x (to the right), channel 1 is y (down); pixel centres of the first and last pixel are the ends of
the sampling grid (``align_corners=True``); positions outside take the nearest border pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .constants import constant
from .fused import fused

# Backends whose grid_sample is known to have border padding; elsewhere (MPS lacks it) the grid is clamped,
# which is the same thing when the grid's ends are pixel centres.
_BORDER_BACKENDS = ("cpu", "cuda")


def identity_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the sampling grid of zero flow. Never written to: a session keeps it.

    Returns:
        (1, 2, height, width) float32, x then y, -1 at the first pixel centre and 1 at the last.
    """

    def make() -> Tensor:
        x, y = (_ends_apart(side, device) for side in (width, height))
        return torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width))).unsqueeze(0)

    return constant(("grid", height, width, torch.device(device)), make)


def _ends_apart(count: int, device: torch.device | str) -> Tensor:
    """Return ``count`` float32 numbers from -1 to 1, evenly spaced; a single one is 0."""
    # linspace of one point gives -1, which is the edge; with a single pixel it is the centre.
    if count == 1:
        return torch.zeros(1, dtype=torch.float32, device=device)
    return torch.linspace(-1.0, 1.0, count, dtype=torch.float32, device=device)


def backward_warp(image: Tensor, flow: Tensor, grid: Tensor | None = None) -> Tensor:
    """Compute ``out(p) = image(p + flow(p))``, bilinear.

    Coordinates and sampling are float32 whatever the dtype of the image: a grid rounded to 16 bits
    is off by up to two pixels at common widths.

    Args:
        image: (N, C, H, W), any floating dtype; N may be 1 for a flow of K samples.
        flow: (K, 2, H, W) in pixels, x then y.
        grid: ``identity_grid(H, W)`` on the same device, where the caller keeps one.

    Returns:
        (K, C, H, W) in the image's dtype.
    """
    height, width = flow.shape[-2:]
    if grid is None:
        grid = identity_grid(height, width, flow.device)
    return sample(image, flow, grid, (height, width))


def sample(image: Tensor, flow: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Run :func:`backward_warp` at some of the pixels.

    Args:
        image: (N, C, H, W), any floating dtype; N may be 1 for a flow of K samples.
        flow: (K, 2, h, w) in pixels of the image, at these pixels.
        grid: (1, 2, h, w), the part of ``identity_grid(H, W)`` at these pixels: rows and columns of it.
        size: (H, W).

    Returns:
        (K, C, h, w) in the image's dtype.
    """
    # The samplers write into given memory, through which autograd cannot go.
    if flow.device.type == "cpu" and not torch.is_grad_enabled():
        sampler, image_32, flow = GridSampler(grid, size), image.float(), flow.float()
        if flow.shape[0] == 1:
            # (P, C, h / P, w) to (C, P, h / P, w), which is (C, h, w) in the order of memory.
            sampled = sampler.parts(image_32[0], flow[0]).transpose(0, 1)
            return sampled.reshape(1, -1, *flow.shape[-2:]).to(image.dtype)
        out = image.new_empty(flow.shape[0], image.shape[1], *flow.shape[-2:])
        return sampler(image_32, flow, out=out)
    warp = fused(image, image, _plainly)
    if warp is None:
        return _sampled(image, flow, grid, size)
    out = image.new_empty(flow.shape[0], image.shape[1], *flow.shape[-2:])
    return warp(image, flow, grid, size=size, pooled=False, out=out)


def _sampled(image: Tensor, flow: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Run :func:`sample` by torch's operations, with a gradient."""
    height, width = size
    # By Python numbers, not by a tensor of them: that would be a copy to the device, which waits.
    # The grid spans 2 over side - 1 pixels, so a pixel is 2 / (side - 1) of it; a side of 1 has no step.
    x = grid[:, 0] + flow[:, 0].float() / (max(width - 1, 1) / 2)
    y = grid[:, 1] + flow[:, 1].float() / (max(height - 1, 1) / 2)
    where = torch.stack((x, y), -1)
    # Clamping moves coordinates outside to the centre of the border pixel, where zeros have no weight.
    border = flow.device.type in _BORDER_BACKENDS
    sampled = F.grid_sample(
        image.float().expand(flow.shape[0], -1, -1, -1),
        where if border else where.clamp(-1.0, 1.0),
        mode="bilinear",
        padding_mode="border" if border else "zeros",
        align_corners=True,
    )
    return sampled.to(image.dtype)


def _plainly(
    image: Tensor, flow: Tensor, grid: Tensor, *, size: tuple[int, int], pooled: bool, out: Tensor
) -> Tensor:
    """Warp by torch's operations; see :class:`~.fused.Warp`."""
    sampled = _sampled(image.float(), flow, grid, size)
    return out.copy_(halved(sampled) if pooled else sampled)


class GridSampler:
    """Runs :func:`sample` at the same pixels again and again, into memory of the caller. Without gradient.

    torch's ``grid_sample`` gives each picture of a batch to one processor and allocates its result: on a CPU
    the rows are passed to it in as many parts as there are processors. On CUDA see :mod:`.fused`.

    Args:
        grid: (1, 2, h, w), the part of ``identity_grid(H, W)`` at the pixels: rows and columns of it.
        size: (H, W).
        halved: return the means of 2 x 2 pixels.
    """

    def __init__(self, grid: Tensor, size: tuple[int, int], *, halved: bool = False) -> None:
        self._grid = grid
        self._size = size
        self._halved = halved
        self._where: Tensor | None = None
        if grid.device.type == "cpu":
            # One buffer of coordinates for all calls: new memory costs more time than what is written to it.
            self._where = grid.new_empty(*grid.shape[-2:], 2)

    def __call__(self, image: Tensor, flow: Tensor, *, out: Tensor) -> Tensor:
        """Sample into ``out``, and return it.

        Args:
            image: (N, C, H, W) float32, off the CPU any floating dtype; N may be 1 for a flow of K samples.
            flow: (K, 2, h, w) float32 in pixels of the image.
            out: (K, C, h, w), halved (K, C, h/2, w/2), of any floating dtype.
        """
        if self._where is None:
            warp = fused(image, out, _plainly) or _plainly
            return warp(image, flow, self._grid, size=self._size, pooled=self._halved, out=out)
        image = image.expand(flow.shape[0], -1, -1, -1)
        for source, motion, target in zip(image, flow, out, strict=True):
            parts = self.parts(source, motion)
            # (C, h, w) seen as (C, P, h / P, w): putting the parts together and converting them is one copy.
            target.view(-1, len(parts), *parts.shape[-2:]).copy_(parts.transpose(0, 1))
        return out

    def parts(self, image: Tensor, flow: Tensor) -> Tensor:
        """Sample one picture (C, H, W) by (2, h, w) on a CPU; return its rows in equal parts, (P, C, h / P,
        w).
        """
        where = self._where
        if where is None:
            raise TypeError("parts of a picture that is not on a CPU")
        for axis, side in enumerate(reversed(self._size)):
            # Divided and then added, as published: of very large flows the last bit shows.
            torch.div(flow[axis], max(side - 1, 1) / 2, out=where[..., axis]).add_(self._grid[0, axis])
        height, width = flow.shape[-2:]
        parts = _parts(height // 2 if self._halved else height)
        # As a batch of P, of which torch gives each item to one processor: the picture repeated by a stride
        # of 0, and the rows in P parts.
        sampled = F.grid_sample(
            image.expand(parts, -1, -1, -1),
            where.view(parts, height // parts, width, 2),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )
        return halved(sampled) if self._halved else sampled


def _parts(rows: int) -> int:
    """Return the number of equal parts that rows are divided into: one for each processor, where that is
    possible.
    """
    return next(n for n in range(min(torch.get_num_threads(), rows), 0, -1) if rows % n == 0)


def halved(x: Tensor) -> Tensor:
    """Average 2 x 2 pixels, (N, C, 2h, 2w) to (N, C, h, w)."""
    if x.device.type != "cpu":
        return F.avg_pool2d(x, 2)
    # There pooling takes three times as long.
    total = x[..., ::2, ::2] + x[..., 1::2, ::2]
    return total.add_(x[..., ::2, 1::2]).add_(x[..., 1::2, 1::2]).mul_(0.25)


class Sampler:
    """Samples any number of images where one flow points: :func:`backward_warp` with its weights computed
    once.

    On a CPU each pixel is a weighted sum of four rows of a table, as word embeddings are summed: with all
    channels of a pixel side by side in memory that is 4 to 8 times as fast as ``grid_sample``. Coordinates
    and sums are float32 whatever the dtype of the image.

    Args:
        flow: (K, 2, h, W) float32 in pixels, x then y.
        rows: where these h rows lie in the H of the images; all of them where it is left out.
        height: H, where ``rows`` is given.
    """

    def __init__(self, flow: Tensor, rows: slice | None = None, height: int | None = None) -> None:
        self._flow = flow
        self._size = (height or flow.shape[-2], flow.shape[-1])
        rows = rows or slice(0, self._size[0])
        self._corners: tuple[Tensor, Tensor] | None = None
        if flow.device.type == "cpu":
            self._corners = _corners(flow, rows.start, self._size[0])
        else:
            self._grid = identity_grid(*self._size, flow.device)[..., rows, :]

    def __call__(self, image: Tensor, out: Tensor | None = None) -> Tensor:
        """Return ``image`` (N, C, H, W) where the flow points, (K, C, h, W); N is 1 or K.

        Fastest, and without a copy of the image, where it is in ``torch.channels_last``; so is the result.

        Args:
            image: of any floating dtype, which the result has too.
            out: memory for the result, of any floating dtype and strides.
        """
        if out is not None:
            return self._sample_into(image, out)
        if self._corners is None:
            return sample(image, self._flow, self._grid, self._size)
        pixels, shares = self._corners
        count, _, height, width = self._flow.shape
        frames, channels = image.shape[:2]
        if frames > 1:
            # The table holds the pixels of all frames, one frame after the other.
            first = self._size[0] * width * torch.arange(frames, dtype=pixels.dtype, device=pixels.device)
            pixels = (pixels.view(frames, -1) + first.unsqueeze(1)).view(-1, 4)
        table = image.permute(0, 2, 3, 1).reshape(-1, channels).float()
        sampled = F.embedding_bag(pixels, table, per_sample_weights=shares, mode="sum")
        return sampled.view(count, height, width, channels).permute(0, 3, 1, 2).to(image.dtype)

    def _sample_into(self, image: Tensor, out: Tensor) -> Tensor:
        warp = fused(image, out, _plainly) if self._corners is None else None
        if warp is None:
            return out.copy_(self(image))
        return warp(image, self._flow, self._grid, size=self._size, pooled=False, out=out)


def _corners(flow: Tensor, first: int, height: int) -> tuple[Tensor, Tensor]:
    """Return the four pixels about each position and their shares in it, (K * h * W, 4) int32 and float32.

    Pixels of an image of ``height`` rows are numbered row by row; the flow begins at row ``first``. NaN
    points at the first pixel.
    """
    rows, width = flow.shape[-2:]
    columns = torch.arange(width, dtype=torch.float32, device=flow.device)
    lines = torch.arange(first, first + rows, dtype=torch.float32, device=flow.device).unsqueeze(1)
    # NaN survives a clamp, and as an index it would read outside the table.
    x = (columns + flow[:, 0]).nan_to_num_(nan=0.0).clamp_(0, width - 1)
    y = (lines + flow[:, 1]).nan_to_num_(nan=0.0).clamp_(0, height - 1)
    left, top = x.floor(), y.floor()
    to_right, to_bottom = x - left, y - top
    near, here = left.int(), top.int() * width
    # Past the last pixel the share is 0, but the index must still be inside.
    far, below = (near + 1).clamp_(max=width - 1), (here + width).clamp_(max=(height - 1) * width)
    # Top left, top right, bottom left, bottom right; the shares below are in the same order.
    pixels = torch.stack((here + near, here + far, below + near, below + far), -1)
    from_right, from_bottom = 1 - to_right, 1 - to_bottom
    shares = torch.stack(
        (from_bottom * from_right, from_bottom * to_right, to_bottom * from_right, to_bottom * to_right), -1
    )
    return pixels.view(-1, 4), shares.view(-1, 4)
