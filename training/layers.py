"""The motion of generated layers: smooth paths that can be followed both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .atlas import chance

Matrix = NDArray[np.float64]
Generator = np.random.Generator

# Each step leaves at most 0.24 of the error, for a layer has two waves of a slope up to 0.12 each.
_INVERSION_STEPS = 6


@dataclass(frozen=True)
class Path:
    """The rigid part of a motion: how a plane has moved since time 0. Lengths are pixels."""

    shift: Matrix
    """(2,) by time 1."""
    turn: float
    zoom: float
    """Logarithm of the growth by time 1."""
    shear: float
    tilt: Matrix
    """(2,) bottom row of the homography at time 1."""
    centre: Matrix
    """(2,) point that turn, zoom and shear leave in place."""
    acceleration: float
    under: Path | None
    """The path that this one is relative to: the camera's."""

    @classmethod
    def still(cls, centre: Matrix, under: Path | None) -> Path:
        """Return a path without motion of its own."""
        return cls(np.zeros(2), 0.0, 0.0, 0.0, np.zeros(2), centre, 0.0, under)

    @classmethod
    def random(cls, rng: Generator, size: int, reach: float, *, under: Path | None, still: bool) -> Path:
        """Draw a path in a frame of ``size``; ``reach`` is its largest shift."""
        centre = rng.uniform(0.2, 0.8, 2) * size
        if still:
            return cls.still(centre, under)
        # Squared: small motion is the usual case, large motion has to be met now and then.
        length = reach * rng.uniform(0.0, 1.0) ** 2
        angle = rng.uniform(0, 2 * np.pi)
        # Turn, zoom, shear, tilt and acceleration: most layers have only some of them.
        has = rng.random(5) < (0.4, 0.4, 0.25, 0.2, 0.4)
        return cls(
            shift=length * np.array([np.cos(angle), np.sin(angle)]),
            turn=has[0] * rng.normal(0, 0.08),
            zoom=has[1] * rng.normal(0, 0.06),
            shear=has[2] * rng.normal(0, 0.05),
            tilt=has[3] * rng.normal(0, 0.08, 2) / size,
            centre=centre,
            acceleration=has[4] * rng.uniform(-0.3, 0.3),
            under=under,
        )

    def at(self, time: float) -> Matrix:
        """Return the 3 x 3 homography from the layer at time 0 to the picture at ``time``."""
        # 0 at time 0 and 1 at time 1, whatever the acceleration.
        progress = time + self.acceleration * time * (1.0 - time)
        c, s = np.cos(progress * self.turn), np.sin(progress * self.turn)
        grow = np.exp(progress * self.zoom)
        # Turn, zoom and shear about the centre, then the shift.
        linear = grow * np.array([[c, -s], [s, c]]) @ np.array([[1.0, progress * self.shear], [0.0, 1.0]])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = self.centre - linear @ self.centre + progress * self.shift
        keystone = np.eye(3)
        keystone[2, :2] = progress * self.tilt
        # The centre stays where it is under the tilt.
        keystone[2, 2] = 1.0 - progress * self.tilt @ self.centre
        own: Matrix = matrix @ keystone
        return self.under.at(time) @ own if self.under else own


@dataclass(frozen=True)
class Wave:
    """Low-frequency bending of a layer: two waves of displacement, in pixels."""

    amplitude: Tensor
    """(2 waves, 2)."""
    frequency: Tensor
    """(2 waves, 2) radians a pixel."""
    phase: Tensor
    """(2 waves,)."""

    @classmethod
    def random(cls, rng: Generator) -> Wave:
        """Draw a wave, steep enough to be visible, gentle enough that :meth:`Layer.backward` converges."""
        length = rng.uniform(50.0, 200.0, 2)
        angle = rng.uniform(0, 2 * np.pi, 2)
        # Waves of 50 to 200 pixels; `steep` below is the amplitude by the wave length over 2 pi, the largest
        # slope.
        frequency = 2 * np.pi / length[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1)
        steep = rng.uniform(0.02, 0.12, (2, 1))
        heading = rng.normal(0, 1, (2, 2))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-6
        amplitude = heading * steep / (2 * np.pi / length[:, None])
        phase = rng.uniform(0, 2 * np.pi, 2)
        return cls(*(torch.from_numpy(a).float() for a in (amplitude, frequency, phase)))

    def __call__(self, where: Tensor) -> Tensor:
        """Return the displacement (..., 2) of points (..., 2)."""
        return torch.sin(where @ self.frequency.T + self.phase) @ self.amplitude


class Layer:
    """A plane that moves; its own coordinates are the pixels of the frame at time t."""

    def __init__(self, path: Path, wave: Wave | None, time: float) -> None:
        self._path = path
        self._wave = wave
        self._time = time
        # From the frame at t, whose pixels are the layer's own coordinates, back to time 0.
        self._start = np.linalg.inv(path.at(time))

    @classmethod
    def random(cls, rng: Generator, path: Path, time: float, *, waving: float = 0.3) -> Layer:
        """Draw a layer on ``path`` that bends with probability ``waving``."""
        return cls(path, Wave.random(rng) if chance(rng, waving) else None, time)

    def forward(self, where: Tensor, time: float) -> Tensor:
        """Return where points (..., 2) of the frame at t are at ``time``."""
        if self._wave is not None:
            # The bending grows with the time from t, where it is none.
            where = where + (time - self._time) * self._wave(where)
        return _apply(self._path.at(time) @ self._start, where)

    def backward(self, where: Tensor, time: float) -> Tensor:
        """Invert :meth:`forward`, to well under a hundredth of a pixel."""
        straight = _apply(np.linalg.inv(self._path.at(time) @ self._start), where)
        if self._wave is None or time == self._time:
            return straight
        # A fixed point: the wave is gentle enough that each step brings it nearer.
        points = straight
        for _ in range(_INVERSION_STEPS):
            points = straight - (time - self._time) * self._wave(points)
        return points


def _apply(matrix: Matrix, where: Tensor) -> Tensor:
    """Apply a homography to points (..., 2)."""
    # Points are rows, hence the transposes; the last row of the matrix gives the divisor of the perspective.
    m = torch.from_numpy(matrix).float()
    across = where @ m[:2, :2].T + m[:2, 2]
    return across / (where @ m[2:, :2].T + m[2, 2])
