"""The scene of the demo clip: balls that roll and bounce on a table in a room.

Units: metres, seconds; x to the right, y up, z away from the camera; colours linear RGB. Points and
directions are (N, 3), distances (N, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

EDGE = 3.3
"""Where the table ends."""
NEAR, FAR = np.float32(1e-3), np.float32(1e9)
TINY = np.float32(1e-6)


def f32(values: Any) -> Array:
    """Return values as an array of float32."""
    return np.asarray(values, np.float32)


def dot(a: Array, b: Array) -> Array:
    """Return the dot product over the last axis, which is kept."""
    return f32((a * b).sum(-1, keepdims=True))


def unit(a: Array) -> Array:
    """Scale ``a`` to length one over the last axis."""
    return f32(a / np.sqrt(dot(a, a)))


def smooth(low: float, high: float, x: Array) -> Array:
    """Return 0 below ``low``, 1 above ``high``, and a smooth ramp between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return f32(t * t * (3 - 2 * t))


def mix(a: Array, b: Array, t: Array) -> Array:
    """Interpolate from ``a`` at t = 0 to ``b`` at t = 1."""
    return f32(a + (b - a) * t)


_SCATTERED = np.random.default_rng(7).random(2**16, np.float32)


def hashed(x: Array, y: Array, z: Array | float = 0) -> Array:
    """Return a number in 0..1 for each whole-numbered point, without pattern."""
    # Primes, as in lattice noise, so that neighbouring points fall far apart in the table of 2^16.
    place = f32(x) * 1619 + f32(y) * 31337 + f32(z) * 6971
    return f32(_SCATTERED[place.astype(np.int64) & 0xFFFF])


def noise(x: Array, y: Array, z: Array | None = None) -> Array:
    """Return smooth noise in 0..1 with features of size one, over a plane or over space."""
    # Value noise: hashed numbers at the corners of a cell, blended by a smooth ramp along each axis.
    cells = [np.floor(v) for v in (x, y, *(() if z is None else (z,)))]
    parts = [smooth(0, 1, f32(v - c)) for v, c in zip((x, y, z), cells, strict=False)]
    total = np.zeros_like(x)
    for corner in product((0, 1), repeat=len(cells)):
        weight = np.ones_like(x)
        for near, part in zip(corner, parts, strict=True):
            weight *= part if near else 1 - part
        total += weight * hashed(*(c + near for c, near in zip(cells, corner, strict=True)))
    return total


def layered(x: Array, y: Array, z: Array | None = None, octaves: int = 3) -> Array:
    """Return noise with detail at several sizes, 0..1."""
    total, weight = np.zeros_like(x), 0.0
    # Each octave is twice as fine and half as strong; shifted, or all would be alike around the origin.
    for k in range(octaves):
        total += noise(f32(x * 2**k + 17 * k), f32(y * 2**k), None if z is None else f32(z * 2**k)) * 0.5**k
        weight += 0.5**k
    return f32(total / weight)


def wood(along: Array, across: Array, tone: Array) -> Array:
    """Return the colour of wood with its grain, linear RGB."""
    rings = layered(along * 1.3, across * 9 + 40 * tone) * 7 + across * 3
    line = 0.5 + 0.5 * np.sin(rings * 6.283)
    pores = layered(along * 6, across * 160, octaves=2)
    shade = (0.72 + 0.28 * tone) * (0.80 + 0.20 * line) * (0.82 + 0.36 * (pores - 0.5))
    return f32(f32([0.46, 0.25, 0.115]) * shade)


def table(point: Array, _: Array) -> Array:
    """Paint planks along x."""
    x, z = point[..., :1], point[..., 2:]
    # Planks of 42 cm, a joint every 2.1 m; each is shifted, so that joints do not line up.
    plank = np.floor(z / 0.42)
    x = x + 1.7 * hashed(plank, plank + 7)
    end = np.floor(x / 2.1)
    colour = wood(x, z, hashed(plank, end))
    gap = smooth(0.0, 0.012, f32(np.abs(z / 0.42 - np.round(z / 0.42)) * 0.42))
    return f32(colour * (0.25 + 0.75 * gap))


def beach_ball(_: Array, local: Array) -> Array:
    """Paint five stripes that meet at the poles."""
    colours = f32(
        [[0.8, 0.06, 0.05], [0.85, 0.85, 0.8], [0.9, 0.55, 0.03], [0.85, 0.85, 0.8], [0.04, 0.17, 0.6]]
    )
    # In stripes, 0..5.
    angle = (np.arctan2(local[..., 2], local[..., 0]) / 6.2832 + 0.5) * 5
    colour = colours[np.clip(angle.astype(int), 0, 4)]
    seam = smooth(0.0, 0.03, f32(np.abs(angle - np.round(angle)))[..., None])
    cap = smooth(0.93, 0.95, f32(np.abs(local[..., 1:2])))
    dust = layered(local[..., :1] * 5, local[..., 1:2] * 5, local[..., 2:] * 5)
    return f32(mix(colour * (0.7 + 0.3 * seam), f32([0.85, 0.85, 0.8]), cap) * (0.86 + 0.25 * dust))


def basketball(_: Array, local: Array) -> Array:
    """Paint orange with black seams and pebbles."""
    x, y, z = (local[..., i : i + 1] for i in range(3))
    seams = np.minimum.reduce([np.abs(x), np.abs(y), np.abs(np.abs(z) - 0.55 - 0.25 * y * y)])
    pebbles = noise(x * 34, y * 34, z * 34)
    wear = layered(x * 3, y * 3, z * 3 + 5)
    orange = f32([0.62, 0.20, 0.05]) * (0.62 + 0.45 * pebbles) * (0.8 + 0.35 * wear)
    return f32(mix(f32([0.02, 0.018, 0.016]), orange, smooth(0.018, 0.034, f32(seams))))


def tennis_ball(_: Array, local: Array) -> Array:
    """Paint felt with a white line round it."""
    x, y, z = (local[..., i : i + 1] for i in range(3))
    felt = layered(x * 14, y * 14, z * 14, 3)
    line = np.abs(np.abs(x) - 0.25 - 0.9 * y * np.sign(z) * np.sqrt(np.abs(z)) * 0.75)
    colour = f32([0.52, 0.63, 0.08]) * (0.55 + 0.75 * felt)
    return f32(mix(f32([0.75, 0.75, 0.68]), colour, smooth(0.05, 0.1, f32(line))))


def wooden_ball(_: Array, local: Array) -> Array:
    """Paint turned wood, one end coloured."""
    colour = wood(local[..., 1:2] * 0.5, local[..., :1] * 0.6, np.full_like(local[..., :1], 0.9)) * 1.5
    return f32(mix(colour, f32([0.02, 0.22, 0.24]), smooth(0.28, 0.31, local[..., 1:2])))


def block(_: Array, local: Array) -> Array:
    """Paint a toy block: wood with a coloured square on each side."""
    largest = np.abs(local).max(-1, keepdims=True)
    # 0 in the middle of a side, 1 at its edge.
    inner = np.sort(np.abs(local), -1)[..., 1:2] / largest
    side = np.argmax(np.abs(local), -1)
    paints = f32([[0.55, 0.05, 0.05], [0.06, 0.28, 0.10], [0.05, 0.12, 0.45]])
    ring = smooth(0.62, 0.65, f32(inner)) * smooth(0.80, 0.77, f32(inner)) + smooth(0.34, 0.30, f32(inner))
    plain = wood(local[..., :1] * 2, local[..., 1:2] + local[..., 2:], np.full_like(inner, 0.95)) * 1.7
    return mix(f32(plain), paints[side], f32(ring))


@dataclass(frozen=True)
class Ball:
    """A ball at one moment."""

    centre: Array
    radius: float
    turn: Array
    """Rotation, world to ball."""
    paint: Callable[[Array, Array], Array]
    gloss: float

    def hit(self, origin: Array, way: Array) -> Array:
        """Return the distance along rays, (N, 1), ``FAR`` where they miss."""
        to = origin - self.centre
        b = dot(to, way)
        # The discriminant of the quadratic equation for the distance; below 0 the ray misses.
        under = b * b - dot(to, to) + self.radius**2
        near = -b - np.sqrt(np.maximum(under, 0))
        return f32(np.where((under > 0) & (near > NEAR), near, FAR))

    def normal(self, point: Array) -> Array:
        """Return the outward normals at points of the surface."""
        return f32((point - self.centre) / self.radius)

    def local(self, point: Array) -> Array:
        """Return points in the ball's own axes, its surface at length one."""
        return f32(self.normal(point) @ self.turn.T)


@dataclass(frozen=True)
class Block:
    """A cube on the table, turned about the upright axis."""

    centre: Array
    half: float
    turn: Array
    paint: Callable[[Array, Array], Array]
    gloss: float

    def hit(self, origin: Array, way: Array) -> Array:
        """Return the distance along rays, (N, 1), ``FAR`` where they miss."""
        start, along = (origin - self.centre) @ self.turn.T, way @ self.turn.T
        # The part of the ray that lies between all three pairs of sides.
        near, far = -FAR, FAR
        for axis in range(3):
            # A ray along a side would divide by 0.
            inverse = 1 / np.where(np.abs(along[..., axis]) < TINY, TINY, along[..., axis])
            a, b = (-self.half - start[..., axis]) * inverse, (self.half - start[..., axis]) * inverse
            near, far = np.maximum(near, np.minimum(a, b)), np.minimum(far, np.maximum(a, b))
        return f32(np.where((near < far) & (near > NEAR), near, FAR))[..., None]

    def normal(self, point: Array) -> Array:
        """Return the outward normals at points of the surface."""
        local = self.local(point)
        edge = np.sign(local) * np.maximum(np.abs(local) - 0.9, 0) ** 0.5  # rounded edges catch the light
        return unit(f32(edge + 1e-6 * np.sign(local)) @ self.turn)

    def local(self, point: Array) -> Array:
        """Return points in the block's own axes, its sides at one."""
        return f32((point - self.centre) @ self.turn.T / self.half)


@dataclass(frozen=True)
class Table:
    """The plane y = 0, up to its far edge."""

    paint: Callable[[Array, Array], Array] = table
    gloss: float = 0.03

    def hit(self, origin: Array, way: Array) -> Array:
        """Return the distance along rays, (N, 1), ``FAR`` where they miss."""
        distance = -origin[..., 1:2] / np.where(np.abs(way[..., 1:2]) < TINY, TINY, way[..., 1:2])
        deep = origin[..., 2:] + distance * way[..., 2:]
        return f32(np.where((distance > NEAR) & (deep < EDGE), distance, FAR))

    def normal(self, point: Array) -> Array:
        """Return the normals, which point up."""
        return f32(np.broadcast_to(f32([0, 1, 0]), point.shape))

    def local(self, point: Array) -> Array:
        """Return points unchanged."""
        return point


Thing = Ball | Block | Table


def rotation(axis: Array, angle: float) -> Array:
    """Return the matrix that takes the world to something turned by ``angle`` about ``axis``."""
    x, y, z = axis
    # Rodrigues' formula turns the thing; the transpose is the inverse, from the world to it.
    cross = f32([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return f32((np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).T)


def rolling(
    start: tuple[float, float], way: tuple[float, float], distance: float, radius: float
) -> tuple[Array, float, Array]:
    """Return centre, radius and rotation of a ball that has rolled so far over the table."""
    # Rolls without slipping: it turns by distance / radius about the level axis across its way.
    x, z = f32(way) / np.float32(np.hypot(*way))
    centre = f32([start[0] + x * distance, radius, start[1] + z * distance])
    return (
        centre,
        radius,
        rotation(f32([z, 0, -x]), distance / radius) @ rotation(unit(f32([1, 0.4, 0.5])), 0.9),
    )


def scene(t: float) -> list[Thing]:
    """Return everything at time ``t``."""
    # A bounce every 0.8 s, 0.32 m high.
    phase = (t + 0.2) % 0.8
    bounce = f32([1.5 - 1.05 * t, 0.13 + 2.0 * phase * (0.8 - phase), -0.45 + 0.2 * t])
    up = f32([0, 1, 0])
    return [
        Table(),
        Ball(*rolling((-2.0, 0.35), (1.0, -0.12), 1.25 * t - 0.09 * t * t, 0.34), beach_ball, 0.2),
        Ball(*rolling((2.3, 1.35), (-1.0, -0.1), 1.05 * t, 0.30), basketball, 0.06),
        Ball(*rolling((0.9, 3.0), (-0.35, -1.0), 1.15 * t - 0.12 * t * t, 0.17), wooden_ball, 0.14),
        Ball(bounce, 0.13, rotation(unit(f32([0.3, 0.2, 1.0])), 5.5 * t), tennis_ball, 0.0),
        Block(f32([0.62, 0.21, 0.75]), 0.21, rotation(up, 0.5), block, 0.05),
        Block(f32([0.70, 0.56, 0.80]), 0.14, rotation(up, -0.3), block, 0.05),
        Block(f32([-0.75, 0.16, 1.7]), 0.16, rotation(up, 0.9), block, 0.05),
    ]


def surroundings(way: Array) -> Array:
    """Return the room behind, out of focus: a wall, a window on the left, a shelf with books, a plant."""
    x, y, z = (way[..., i : i + 1] for i in range(3))
    # Radians to the right of the z axis, and height on the unit sphere of directions.
    u, y = np.arctan2(x, z), y + 0.13
    wall = mix(f32([0.20, 0.16, 0.13]), f32([0.46, 0.40, 0.33]), smooth(-0.1, 0.9, y))
    light = mix(wall, wall * 1.5, smooth(0.6, -1.2, u))
    window = smooth(-1.25, -1.15, u) * smooth(-0.45, -0.55, u) * smooth(0.10, 0.18, y) * smooth(0.80, 0.70, y)
    bars = (
        1
        - 0.8 * smooth(0.035, 0.02, f32(np.abs(u + 0.85)))
        - 0.6 * smooth(0.025, 0.015, f32(np.abs(y - 0.42)))
    )
    colour = light + f32([2.6, 2.9, 3.2]) * window * bars
    shelf = smooth(-0.06, -0.02, u) * smooth(0.80, 0.76, u) * smooth(0.045, 0.06, y) * smooth(0.27, 0.25, y)
    book = np.floor(u / 0.047)
    tone = hashed(book, book * 3)
    books = mix(f32([0.30, 0.08, 0.05]), f32([0.07, 0.16, 0.22]), tone) * (0.5 + hashed(book, book + 9))
    gap = smooth(0.0, 0.16, f32(np.abs(u / 0.047 - np.round(u / 0.047))))
    colour = mix(f32(colour), f32(books * gap * smooth(0.30, 0.17 + 0.02, y - 0.06 * tone)), shelf)
    leaves = layered(u * 22, y * 22)
    plant = smooth(0.30, 0.12, f32(np.hypot(u + 0.28, (y - 0.18) * 0.8))) * smooth(0.45, 0.6, leaves)
    return mix(f32(colour), f32([0.05, 0.13, 0.03]) * (0.5 + 1.5 * leaves), plant)
