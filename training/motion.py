"""Generates motion: layers that move, with exact frames and exact flow at any time.

A sample is two to five textured layers, each on its own smooth path over time 0 to 1. A layer's picture is
in the coordinates of the frame to predict (time t); :meth:`~.layers.Layer.forward` maps a point of that frame
to time 0 or 1, which is the flow that a network has to estimate, and its inverse draws the frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .atlas import Atlas, chance
from .layers import Generator, Layer, Path

# How often the background, and any other layer, has no motion of its own.
_STILL_GROUND = 0.4
_STILL_LAYER = 0.35
# Cover from which a pixel belongs to a layer.
_OPAQUE = 0.5


@dataclass(frozen=True)
class Sample:
    """Two frames and the one between them."""

    left: Tensor
    """(3, H, W) float32 in 0..1, time 0."""
    right: Tensor
    """(3, H, W), time 1."""
    middle: Tensor
    """(3, H, W), time ``timestep``, free of noise."""
    timestep: Tensor
    """() float32 in (0, 1)."""
    flow: Tensor
    """(4, H, W) float32 pixels: from each pixel of the middle to the left frame (x, y), then to the right."""
    visible: Tensor
    """(2, H, W) float32, 1 where the pixel shows the same layer in the left, then in the right frame."""


@dataclass
class _Scene:
    """The layers painted so far."""

    times: tuple[float, float, float]
    """0, t and 1."""
    frames: Tensor
    """(3, 3, H, W): a frame for each time."""
    owner: Tensor
    """(3, H, W) int8: number of the layer on top."""
    places: Tensor
    """(H, W, 4): where each pixel at t is at time 0 (x, y) and at time 1."""


class MotionGenerator:
    """Generates samples of moving layers; sample ``index`` is the same whenever and wherever it is made.

    Args:
        atlas: textures and shapes of the layers.
        seed: with the index, fixes a sample.
        size: height and width of the frames.
        reach: largest displacement in pixels between time 0 and 1 by a layer's own shift.
    """

    def __init__(self, atlas: Atlas, *, seed: int = 0, size: int = 160, reach: float = 40.0) -> None:
        self._atlas = atlas
        self._seed = seed
        self._size = size
        self._reach = reach
        place = torch.arange(size, dtype=torch.float32, device="cpu")
        y, x = torch.meshgrid(place, place, indexing="ij")
        self._pixels = torch.stack((x, y), -1)

    def sample(self, index: int) -> Sample:
        """Generate sample ``index``: half of them are at t = 0.5, the others anywhere from 0.05 to 0.95."""
        rng = np.random.default_rng([self._seed, 0x5A, index])
        time = 0.5 if chance(rng, 0.5) else float(rng.uniform(0.05, 0.95))
        still = chance(rng, _STILL_GROUND)
        # The background moves as the camera does; half of the other layers move relative to it.
        camera = Path.random(rng, self._size, self._reach, under=None, still=still)
        scene = self._ground(rng, Layer.random(rng, camera, time), time)
        for number in range(1, int(rng.integers(2, 6))):
            under = camera if chance(rng, 0.5) else None
            still = chance(rng, _STILL_LAYER)
            path = Path.random(rng, self._size, self._reach, under=under, still=still)
            self._paint(rng, scene, Layer.random(rng, path, time), number)
        return self._finish(rng, scene)

    def _ground(self, rng: Generator, layer: Layer, time: float) -> _Scene:
        times = (0.0, time, 1.0)
        owner = torch.zeros(3, self._size, self._size, dtype=torch.int8, device="cpu")
        frames = self._texture(rng, self._visible_points(layer, times))
        return _Scene(times, frames, owner, self._places(layer))

    def _paint(self, rng: Generator, scene: _Scene, layer: Layer, number: int) -> None:
        """Paint one more layer over the scene."""
        # (3, H, W, 2): texture and shape are sampled at the same points of the layer, whose picture moves
        # with it.
        where = self._visible_points(layer, scene.times)
        cover = self._cover(rng, where)
        scene.frames.lerp_(self._texture(rng, where), cover)
        mine = cover[:, 0] > _OPAQUE
        # Ownership is hard, at half cover, while the picture is blended: a pixel has one flow.
        scene.owner[mine] = number
        scene.places[mine[1]] = self._places(layer)[mine[1]]

    def _visible_points(self, layer: Layer, times: tuple[float, float, float]) -> Tensor:
        """Return the point of the layer that each pixel shows at each time, (3, H, W, 2)."""
        return torch.stack([layer.backward(self._pixels, time) for time in times])

    def _places(self, layer: Layer) -> Tensor:
        return torch.cat((layer.forward(self._pixels, 0.0), layer.forward(self._pixels, 1.0)), -1)

    def _texture(self, rng: Generator, where: Tensor) -> Tensor:
        """Sample a texture of the atlas, turned and magnified, at points (3, H, W, 2): (3, 3, H, W)."""
        texture = self._atlas.textures[int(rng.integers(len(self._atlas.textures)))]
        if chance(rng, 0.5):
            texture = texture[torch.from_numpy(rng.permutation(3))]
        angle = rng.uniform(0, 2 * np.pi) if chance(rng, 0.6) else 0.0
        # Texels to a pixel: always below 1, so that the texture is not undersampled.
        scale = np.exp(rng.uniform(np.log(0.4), np.log(0.95)))
        turn = scale * _turn(angle)
        start = rng.uniform(0, texture.shape[-1], 2)
        texels = where @ torch.from_numpy(turn).float() + torch.from_numpy(start).float()
        # From texels to grid_sample's -1..1; mirrored beyond the borders, so that a plane has no end.
        grid = texels * (2.0 / texture.shape[-1]) - 1.0
        return F.grid_sample(
            texture.expand(3, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
        )

    def _cover(self, rng: Generator, where: Tensor) -> Tensor:
        """Sample a shape of the atlas somewhere in the frame, at points (3, H, W, 2): (3, 1, H, W)."""
        shape = self._atlas.shapes[int(rng.integers(len(self._atlas.shapes)))]
        angle = rng.uniform(0, 2 * np.pi)
        extent = self._size * np.exp(rng.uniform(np.log(0.15), np.log(0.9)))
        turn = _turn(angle) * (np.exp(rng.uniform(-0.4, 0.4, 2)) / (0.5 * extent))
        centre = torch.from_numpy(rng.uniform(0.05, 0.95, 2) * self._size).float()
        # -1..1 across the shape; beyond it, and so at the borders of the atlas, nothing is covered.
        grid = (where - centre) @ torch.from_numpy(turn).float()
        return F.grid_sample(shape.expand(3, -1, -1, -1), grid, padding_mode="zeros", align_corners=False)

    def _finish(self, rng: Generator, scene: _Scene) -> Sample:
        """Add blur, tone and sensor noise, and work out visibility."""
        frames = scene.frames
        if chance(rng, 0.2):
            frames = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, 1)
        gain, offset = rng.uniform(0.6, 1.1), rng.uniform(-0.05, 0.15)
        gamma = float(np.exp(rng.uniform(-0.4, 0.4)))
        frames = (frames.clamp(0, 1) ** gamma * gain + offset).clamp(0, 1)
        # In the order of `times`: 0, t, 1.
        left, middle, right = frames.unbind()
        if chance(rng, 0.4):
            # In the two source frames only: the frame in the middle is the target, and noise cannot be
            # predicted.
            noise = torch.from_numpy(rng.standard_normal((2, *left.shape), dtype=np.float32))
            left, right = left + rng.uniform(0.0, 0.02) * noise[0], right + rng.uniform(0.0, 0.02) * noise[1]
        # Frame 0 of the scene is the left one, frame 2 the right one; `places` are x and y in each.
        visible = [self._visible(scene, side=0, place=scene.places[..., :2])]
        visible.append(self._visible(scene, side=2, place=scene.places[..., 2:]))
        return Sample(
            left.clamp(0, 1).contiguous(),
            right.clamp(0, 1).contiguous(),
            middle.contiguous(),
            torch.tensor(scene.times[1], dtype=torch.float32, device="cpu"),
            # (H, W, 4) to (4, H, W): displacements x and y to the left frame, then to the right.
            (scene.places - self._pixels.repeat(1, 1, 2)).permute(2, 0, 1).contiguous(),
            torch.stack(visible),
        )

    def _visible(self, scene: _Scene, *, side: int, place: Tensor) -> Tensor:
        """Return 1 where the layer of a pixel at t is also on top at its place in frame ``side``, else 0."""
        nearest = place.round().long()
        x, y = nearest.clamp(0, self._size - 1).unbind(-1)
        inside = ((nearest >= 0) & (nearest < self._size)).all(-1)
        return (inside & (scene.owner[side][y, x] == scene.owner[1])).float()


def _turn(angle: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return a rotation that multiplies row vectors from the right."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
