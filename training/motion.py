"""Generated motion: layers that move, with exact frames and exact flow at any time.

A sample is two to five textured layers, each moving on its own smooth path over time 0 to 1. A layer's
picture is laid out in the coordinates of the wanted frame (time t); ``forward`` says where a point of that
frame is at time 0 or 1, which is the flow that a network has to find, and its inverse draws the frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .atlas import Atlas

Matrix = NDArray[np.float64]
Generator = np.random.Generator

_INVERSION_STEPS = 6


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
    """(4, H, W) float32 pixels: where each pixel of the middle is in the left (x, y), then in the right frame."""
    visible: Tensor
    """(2, H, W) float32, 1 where that place shows the same layer: in the left, then in the right frame."""


@dataclass(frozen=True)
class _Path:
    """How one layer moves."""

    shift: Matrix
    turn: float
    zoom: float
    shear: float
    tilt: Matrix
    centre: Matrix
    acceleration: float
    under: _Path | None
    """What it rides on: the camera."""

    def at(self, time: float) -> Matrix:
        """3 x 3 homography from the layer at rest to the picture at ``time``."""
        progress = time + self.acceleration * time * (1.0 - time)
        c, s = np.cos(progress * self.turn), np.sin(progress * self.turn)
        grow = np.exp(progress * self.zoom)
        linear = grow * np.array([[c, -s], [s, c]]) @ np.array([[1.0, progress * self.shear], [0.0, 1.0]])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = self.centre - linear @ self.centre + progress * self.shift
        keystone = np.eye(3)
        keystone[2, :2] = progress * self.tilt
        keystone[2, 2] = 1.0 - progress * self.tilt @ self.centre
        own = matrix @ keystone
        return self.under.at(time) @ own if self.under else own


@dataclass(frozen=True)
class _Wave:
    """Low-frequency bending: displacement sum(amplitude * sin(frequency . x + phase))."""

    amplitude: Tensor
    frequency: Tensor
    phase: Tensor

    def __call__(self, where: Tensor) -> Tensor:
        angle = where @ self.frequency.T + self.phase
        return torch.sin(angle) @ self.amplitude


def _apply(matrix: Matrix, where: Tensor) -> Tensor:
    """A homography applied to points (..., 2)."""
    m = torch.from_numpy(matrix).float()
    across = where @ m[:2, :2].T + m[:2, 2]
    return across / (where @ m[2:, :2].T + m[2, 2])


class _Layer:
    """A textured shape on a path; coordinates are pixels of the frame at time t."""

    def __init__(self, path: _Path, wave: _Wave | None, time: float) -> None:
        self._path = path
        self._wave = wave
        self._time = time
        self._start = np.linalg.inv(path.at(time))

    def forward(self, where: Tensor, time: float) -> Tensor:
        """Where points of the frame at t are at ``time``."""
        if self._wave is not None:
            where = where + (time - self._time) * self._wave(where)
        return _apply(self._path.at(time) @ self._start, where)

    def backward(self, where: Tensor, time: float) -> Tensor:
        """The inverse of :meth:`forward`, to well under a hundredth of a pixel."""
        straight = _apply(np.linalg.inv(self._path.at(time) @ self._start), where)
        if self._wave is None or time == self._time:
            return straight
        found = straight
        for _ in range(_INVERSION_STEPS):
            found = straight - (time - self._time) * self._wave(found)
        return found


class MotionGenerator:
    """Samples of moving layers; sample ``index`` is the same whenever and wherever it is made.

    Args:
        atlas: what layers are cut from.
        seed: with the index, fixes a sample.
        size: height and width of the frames.
        reach: largest usual displacement in pixels between time 0 and 1.
    """

    def __init__(self, atlas: Atlas, *, seed: int = 0, size: int = 160, reach: float = 40.0) -> None:
        self._atlas = atlas
        self._seed = seed
        self._size = size
        self._reach = reach
        y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        self._pixels = torch.stack((x, y), -1).float()

    def __call__(self, index: int) -> Sample:
        rng = np.random.default_rng([self._seed, 0x5A, index])
        time = 0.5 if rng.random() < 0.5 else float(rng.uniform(0.05, 0.95))
        times = (0.0, time, 1.0)
        camera = self._path(rng, None, still=rng.random() < 0.4)
        frames, owner, flow = self._paint_ground(rng, camera, times)
        for number in range(1, int(rng.integers(2, 6))):
            self._paint_layer(rng, camera, times, number, frames, owner, flow)
        flow = flow - self._pixels.repeat(1, 1, 2)
        return self._finish(rng, frames, owner, flow.permute(2, 0, 1).contiguous(), time)

    def _path(self, rng: Generator, under: _Path | None, *, still: bool) -> _Path:
        size = self._size
        centre = rng.uniform(0.2, 0.8, 2) * size
        if still:
            return _Path(np.zeros(2), 0.0, 0.0, 0.0, np.zeros(2), centre, 0.0, under)
        # Squared: small motion is the usual case, large motion has to be met now and then.
        length = self._reach * rng.uniform(0.0, 1.0) ** 2
        angle = rng.uniform(0, 2 * np.pi)
        some = rng.random(5) < (0.4, 0.4, 0.25, 0.2, 0.4)
        return _Path(
            shift=length * np.array([np.cos(angle), np.sin(angle)]),
            turn=some[0] * rng.normal(0, 0.08),
            zoom=some[1] * rng.normal(0, 0.06),
            shear=some[2] * rng.normal(0, 0.05),
            tilt=some[3] * rng.normal(0, 0.08, 2) / size,
            centre=centre,
            acceleration=some[4] * rng.uniform(-0.3, 0.3),
            under=under,
        )

    def _wave(self, rng: Generator) -> _Wave | None:
        if rng.random() > 0.3:
            return None
        length = rng.uniform(50.0, 200.0, 2)
        angle = rng.uniform(0, 2 * np.pi, 2)
        frequency = 2 * np.pi / length[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1)
        # The steepness keeps the fixed point of ``backward`` a contraction.
        steep = rng.uniform(0.02, 0.12, (2, 1))
        heading = rng.normal(0, 1, (2, 2))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-6
        amplitude = heading * steep / (2 * np.pi / length[:, None])
        phase = rng.uniform(0, 2 * np.pi, 2)
        return _Wave(*(torch.from_numpy(a).float() for a in (amplitude, frequency, phase)))

    def _texture(self, rng: Generator, where: Tensor) -> Tensor:
        """A texture seen at points (3, H, W, 2) of the frame at t: (3, 3, H, W)."""
        texture = self._atlas.textures[int(rng.integers(len(self._atlas.textures)))]
        if rng.random() < 0.5:
            texture = texture[torch.from_numpy(rng.permutation(3))]
        angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else 0.0
        scale = np.exp(rng.uniform(np.log(0.4), np.log(0.95)))
        turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        start = rng.uniform(0, texture.shape[-1], 2)
        texels = where @ torch.from_numpy(turn).float() + torch.from_numpy(start).float()
        grid = texels * (2.0 / texture.shape[-1]) - 1.0
        return F.grid_sample(
            texture.expand(3, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
        )

    def _paint_ground(
        self, rng: Generator, camera: _Path, times: tuple[float, float, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        layer = _Layer(camera, self._wave(rng), times[1])
        where = torch.stack([layer.backward(self._pixels, time) for time in times])
        frames = self._texture(rng, where)
        owner = torch.zeros(3, self._size, self._size, dtype=torch.int8)
        flow = torch.cat((layer.forward(self._pixels, 0.0), layer.forward(self._pixels, 1.0)), -1)
        return frames, owner, flow

    def _paint_layer(
        self,
        rng: Generator,
        camera: _Path,
        times: tuple[float, float, float],
        number: int,
        frames: Tensor,
        owner: Tensor,
        flow: Tensor,
    ) -> None:
        """Puts one more layer over what is there, in place."""
        riding = camera if rng.random() < 0.5 else None
        layer = _Layer(self._path(rng, riding, still=rng.random() < 0.35), self._wave(rng), times[1])
        where = torch.stack([layer.backward(self._pixels, time) for time in times])
        shape = self._atlas.shapes[int(rng.integers(len(self._atlas.shapes)))]
        angle = rng.uniform(0, 2 * np.pi)
        extent = self._size * np.exp(rng.uniform(np.log(0.15), np.log(0.9)))
        stretch = np.exp(rng.uniform(-0.4, 0.4, 2)) / (0.5 * extent)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * stretch
        centre = torch.from_numpy(rng.uniform(0.05, 0.95, 2) * self._size).float()
        grid = (where - centre) @ torch.from_numpy(turn).float()
        cover = F.grid_sample(shape.expand(3, -1, -1, -1), grid, padding_mode="zeros", align_corners=False)
        frames.lerp_(self._texture(rng, where), cover)
        mine = cover[:, 0] > 0.5
        owner[mine] = number
        moved = torch.cat((layer.forward(self._pixels, 0.0), layer.forward(self._pixels, 1.0)), -1)
        flow[mine[1]] = moved[mine[1]]

    def _finish(self, rng: Generator, frames: Tensor, owner: Tensor, flow: Tensor, time: float) -> Sample:
        """Blur, tone and sensor noise, and who sees what."""
        if rng.random() < 0.2:
            frames = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, 1)
        gain, offset = rng.uniform(0.6, 1.1), rng.uniform(-0.05, 0.15)
        frames = (frames.clamp(0, 1) ** float(np.exp(rng.uniform(-0.4, 0.4))) * gain + offset).clamp(0, 1)
        left, middle, right = frames.unbind()
        if rng.random() < 0.4:
            noise = torch.from_numpy(rng.standard_normal((2, *left.shape), dtype=np.float32))
            left, right = (x + rng.uniform(0.0, 0.02) * n for x, n in zip((left, right), noise, strict=True))
        visible = torch.stack(
            [self._same_owner(owner[1], owner[side], flow[at : at + 2]) for side, at in ((0, 0), (2, 2))]
        )
        return Sample(
            left.clamp(0, 1).contiguous(),
            right.clamp(0, 1).contiguous(),
            middle.contiguous(),
            torch.tensor(time, dtype=torch.float32),
            flow,
            visible,
        )

    def _same_owner(self, here: Tensor, there: Tensor, flow: Tensor) -> Tensor:
        """1 where a pixel's layer is also on top at the place its flow points to, inside the frame."""
        target = self._pixels.permute(2, 0, 1) + flow
        inside = ((target > -0.5) & (target < self._size - 0.5)).all(0)
        x, y = target.round().long().clamp(0, self._size - 1)
        return (inside & (there[y, x] == here)).float()
