"""Draws the textures and shapes of generated layers, by numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.floating[Any]]
Generator = np.random.Generator

TEXTURE_SIZE = 256
SHAPE_SIZE = 128


@dataclass(frozen=True)
class Atlas:
    """Textures and shapes that layers are cut from."""

    textures: Tensor
    """(T, 3, 256, 256) float32 in 0..1."""
    shapes: Tensor
    """(S, 1, 128, 128) float32 in 0..1, zero along the border."""


def make_atlas(seed: int, *, textures: int = 120, shapes: int = 96) -> Atlas:
    """Draw an atlas, the same one for the same arguments."""
    # The second number keeps this stream apart from those of samples (0x5A), crops (0xF0) and light (0x11).
    rng = np.random.default_rng([seed, 0xA7])
    pictures = [_finish(_TEXTURES[i % len(_TEXTURES)](rng), rng) for i in range(textures)]
    outlines = [_SHAPES[i % len(_SHAPES)](rng) for i in range(shapes)]
    return Atlas(
        # (T, H, W, 3) to (T, 3, H, W).
        torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(np.stack(outlines)[:, None].copy()),
    )


def chance(rng: Generator, probability: float) -> bool:
    """Return True with the probability given; draws one number."""
    return bool(rng.random() < probability)


def _plane(size: int) -> tuple[Array, Array]:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    return x, y


def _coloured_noise(rng: Generator, slope: float, channels: int) -> Array:
    """Draw periodic noise whose amplitude falls as frequency ** -slope; zero mean, unit deviation."""
    # Cycles a pixel of each coefficient of rfft2, (H, W // 2 + 1).
    frequency = np.hypot(np.fft.fftfreq(TEXTURE_SIZE)[:, None], np.fft.rfftfreq(TEXTURE_SIZE)[None])
    # The mean has frequency 0, which has no negative power; it is set to 0 below.
    frequency[0, 0] = 1.0
    noise = np.fft.rfft2(rng.standard_normal((channels, TEXTURE_SIZE, TEXTURE_SIZE)))
    noise *= frequency**-slope
    noise[:, 0, 0] = 0.0
    field = np.fft.irfft2(noise, s=(TEXTURE_SIZE, TEXTURE_SIZE))
    field /= field.std(axis=(1, 2), keepdims=True)
    noise_map: Array = field.transpose(1, 2, 0).astype(np.float32)
    return noise_map


def _cloud(rng: Generator) -> Array:
    """Draw 1/f noise; its channels share most of their variation, as in nature."""
    field = _coloured_noise(rng, rng.uniform(0.8, 1.8), 3)
    mix = np.eye(3) * rng.uniform(0.2, 0.7) + rng.uniform(0.2, 0.6, (3, 3))
    field = field @ mix.astype(np.float32)
    picture: Array = 0.5 + rng.uniform(0.08, 0.22) * field / field.std() + rng.uniform(-0.15, 0.15, 3)
    return picture


def _leaves(rng: Generator) -> Array:
    """Draw dead leaves: discs and boxes of every size over each other."""
    x, y = _plane(TEXTURE_SIZE)
    picture = np.broadcast_to(rng.uniform(0.1, 0.9, 3), (TEXTURE_SIZE, TEXTURE_SIZE, 3)).astype(np.float32)
    for _ in range(260):
        # Areas of all sizes are equally common then, as in the dead leaves model of natural images.
        radius = 3.0 * rng.uniform(0.001, 1.0) ** -0.5
        radius = min(radius, 60.0)
        cx, cy = rng.uniform(0, TEXTURE_SIZE, 2)
        top, bottom = max(0, int(cy - radius) - 1), min(TEXTURE_SIZE, int(cy + radius) + 2)
        low, high = max(0, int(cx - radius) - 1), min(TEXTURE_SIZE, int(cx + radius) + 2)
        dx, dy = x[top:bottom, low:high] - cx, y[top:bottom, low:high] - cy
        distance = np.hypot(dx, dy) if chance(rng, 0.6) else np.maximum(np.abs(dx), np.abs(dy) * 1.3)
        cover = np.clip(radius - distance, 0.0, 1.0)[..., None].astype(np.float32)
        colour = np.clip(rng.uniform(0.0, 1.0) + rng.normal(0, 0.15, 3), 0, 1).astype(np.float32)
        patch = picture[top:bottom, low:high]
        picture[top:bottom, low:high] = patch * (1 - cover) + colour * cover
    return picture


def _gradient(rng: Generator) -> Array:
    """Draw an almost plain ground: a slow change of colour."""
    field = _coloured_noise(rng, 3.0, 3)
    picture: Array = 0.5 + 0.12 * field + rng.uniform(-0.3, 0.3, 3)
    return picture


def _stripes(rng: Generator) -> Array:
    """Draw waves of two colours, sharp or soft, a little bent."""
    x, y = _plane(TEXTURE_SIZE)
    bend = _coloured_noise(rng, 2.5, 1)[..., 0] * rng.uniform(0.0, 1.5)
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(6.0, 40.0)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / pitch + bend)
    if chance(rng, 0.3):
        wave = wave * np.sin((x * np.sin(angle) - y * np.cos(angle)) * 2 * np.pi / pitch + bend)
    wave = np.clip(wave * rng.uniform(0.7, 4.0), -1, 1)[..., None]
    first, second = rng.uniform(0.05, 0.95, (2, 3))
    picture: Array = first + (second - first) * (0.5 + 0.5 * wave)
    return picture


def _pattern(rng: Generator) -> Array:
    """Draw a repeated pattern, whose parts look alike: grids of lines, checks, dots, bricks."""
    x, y = _plane(TEXTURE_SIZE)
    pitch_x = np.exp(rng.uniform(np.log(4.0), np.log(22.0)))
    pitch_y = pitch_x * rng.choice([1.0, 1.0, 0.5])
    row = np.floor(y / pitch_y)
    # 0 checks, 1 dots, 2 a grid of lines, 3 bricks.
    kind = rng.integers(4)
    if kind == 3:  # noqa: PLR2004 - bricks: every second row is shifted by half a brick
        x = x + 0.5 * pitch_x * (row % 2)
    # Pixels from the middle of the cell, by axis: a dot lies there, and lines run through it.
    across, down = np.abs(x / pitch_x % 1 - 0.5) * pitch_x, np.abs(y / pitch_y % 1 - 0.5) * pitch_y
    if kind == 0:
        cover = (np.floor(x / pitch_x) + row) % 2
    elif kind == 1:
        cover = np.clip(rng.uniform(0.2, 0.4) * pitch_x - np.hypot(across, down) + 0.5, 0, 1)
    else:
        width = rng.uniform(0.4, 1.2)
        cover = np.clip(width + 0.5 - np.minimum(across, down), 0, 1)
    ground = _gradient(rng) if chance(rng, 0.7) else _cloud(rng)
    cover = cover[..., None] * rng.uniform(0.4, 1.0)
    picture: Array = ground * (1 - cover) + rng.uniform(0, 1, 3) * cover
    return picture


def _segment_cover(points: Array, width: float, x: Array, y: Array) -> Array:
    """Return the coverage of a line from points[0] to points[1], soft over one pixel."""
    (ax, ay), (bx, by) = points
    dx, dy = bx - ax, by - ay
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-6), 0, 1)
    cover: Array = np.clip(width + 0.5 - np.hypot(x - ax - along * dx, y - ay - along * dy), 0, 1)
    return cover


def _lines(rng: Generator) -> Array:
    """Draw thin strokes on a cloud or a plain ground."""
    picture = _cloud(rng) if chance(rng, 0.5) else _gradient(rng)
    x, y = _plane(TEXTURE_SIZE)
    for _ in range(rng.integers(10, 40)):
        points = rng.uniform(0, TEXTURE_SIZE, (2, 2))
        cover = _segment_cover(points, rng.uniform(0.4, 2.5), x, y)[..., None]
        picture = picture * (1 - cover) + rng.uniform(0, 1, 3) * cover
    return picture


def _glyph(rng: Generator, size: int) -> Array:
    """Draw an invented letter of two to four strokes between the nine points of a grid."""
    x, y = _plane(size)
    places = (np.stack(np.divmod(rng.choice(9, 5, replace=False), 3), 1) * 0.32 + 0.18) * size
    cover = np.zeros((size, size), np.float32)
    for i in range(rng.integers(2, 5)):
        cover = np.maximum(cover, _segment_cover(places[i : i + 2], size * 0.06, x, y))
    return cover


def _lettering(rng: Generator) -> Array:
    """Draw rows of invented letters."""
    size = int(rng.choice([16, 24, 32]))
    count = TEXTURE_SIZE // size + 1
    letters = [_glyph(rng, size) for _ in range(12)]
    rows = [np.concatenate([letters[k] for k in rng.integers(0, 12, count)], 1) for _ in range(count)]
    cover = np.concatenate(rows, 0)[:TEXTURE_SIZE, :TEXTURE_SIZE, None]
    ground, ink = rng.uniform(0, 1, (2, 3))
    picture: Array = ground + (ink - ground) * cover
    return picture


def _finish(picture: Array, rng: Generator) -> Array:
    """Add fine grain, then shade and contrast."""
    picture = picture + rng.uniform(0.0, 0.05) * _coloured_noise(rng, rng.uniform(0.4, 1.2), 1)
    if chance(rng, 0.5):
        picture = picture * (1.0 + 0.2 * _coloured_noise(rng, 2.0, 1))
    return np.clip(picture, 0.0, 1.0).astype(np.float32)


def _radial(rng: Generator, harmonics: int, sharp: float) -> Array:
    """Draw a blob: a radius that varies smoothly with the angle."""
    x, y = _plane(SHAPE_SIZE)
    x, y = (x - SHAPE_SIZE / 2 + 0.5), (y - SHAPE_SIZE / 2 + 0.5)
    angle = np.arctan2(y, x)
    radius = np.full_like(angle, SHAPE_SIZE * 0.3)
    # From the second harmonic on: the first would only move the blob.
    for k in range(2, 2 + harmonics):
        radius = radius * (1 + rng.uniform(-0.45, 0.45) / k * np.sin(k * angle + rng.uniform(0, 2 * np.pi)))
    # Short of the border, outside of which a layer's shape is sampled as zero.
    radius = np.minimum(radius, SHAPE_SIZE * 0.46)
    cover: Array = np.clip((radius - np.hypot(x, y)) * sharp + 0.5, 0, 1).astype(np.float32)
    return cover


def _blob(rng: Generator) -> Array:
    return _radial(rng, int(rng.integers(1, 7)), float(rng.choice([0.3, 1.0, 1.0])))


def _polygon(rng: Generator) -> Array:
    x, y = _plane(SHAPE_SIZE)
    inside = np.full((SHAPE_SIZE, SHAPE_SIZE), 1e3, np.float32)
    sides, turn = int(rng.integers(3, 7)), rng.uniform(0, 2 * np.pi)
    for i in range(sides):
        angle = turn + 2 * np.pi * (i + rng.uniform(-0.3, 0.3)) / sides
        reach = rng.uniform(0.2, 0.38) * SHAPE_SIZE
        away = (x - SHAPE_SIZE / 2) * np.cos(angle) + (y - SHAPE_SIZE / 2) * np.sin(angle)
        inside = np.minimum(inside, reach - away)
    # Nothing reaches the border: outside of it a layer's shape is sampled as zero.
    margin = np.minimum(np.minimum(x, y), SHAPE_SIZE - 1 - np.maximum(x, y)) - 2
    cover: Array = np.clip(np.minimum(inside, margin) + 0.5, 0, 1).astype(np.float32)
    return cover


def _strokes(rng: Generator) -> Array:
    """Draw thin things: poles, wires, twigs."""
    x, y = _plane(SHAPE_SIZE)
    cover = np.zeros((SHAPE_SIZE, SHAPE_SIZE), np.float32)
    width = rng.uniform(0.8, 6.0)
    points = rng.uniform(0.12, 0.88, (int(rng.integers(2, 6)), 2)) * SHAPE_SIZE
    for i in range(len(points) - 1):
        cover = np.maximum(cover, _segment_cover(points[i : i + 2], width, x, y))
    strokes: Array = cover.astype(np.float32)
    return strokes


def _letter(rng: Generator) -> Array:
    # With a margin of zeros, as every shape has.
    return np.pad(_glyph(rng, SHAPE_SIZE - 8), 4).astype(np.float32)


# A kind that stands here more often is drawn more often.
_TEXTURES: tuple[Callable[[Generator], Array], ...] = (
    _cloud, _leaves, _pattern, _stripes, _cloud, _lines, _leaves, _pattern, _gradient, _lettering,
)  # fmt: skip
_SHAPES: tuple[Callable[[Generator], Array], ...] = (_blob, _polygon, _blob, _strokes, _blob, _letter)
