"""Puts overlays on clips: subtitles, logos, a display, borders, a ticker, and a ball that none may hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Layer = tuple[Tensor, Tensor]
"""Colour (H, W, 3) and opacity (H, W, 1) of what lies over a frame, float32 in 0..1."""

_TICKER_SPEED, _BALL_SPEED = 6, 24


def _drawn(size: tuple[int, int], draw: Callable[[ImageDraw.ImageDraw, int, int], None]) -> Layer:
    """Return what is drawn on a transparent picture of (height, width)."""
    height, width = size
    picture = Image.new("RGBA", (width, height))
    draw(ImageDraw.Draw(picture), width, height)
    pixels = torch.from_numpy(np.array(picture)).to(torch.float32) / 255.0
    return pixels[..., :3], pixels[..., 3:]


def _font(height: int, share: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(height * share)))


def outlined(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Draw a subtitle of two lines, white with a black outline."""
    font, stroke = _font(height, 0.075), max(1, height // 180)
    for place, words in ((0.78, "Where were you"), (0.87, "all these years?")):
        draw.text(
            (width / 2, height * place), words, "white", font, "mt", stroke_width=stroke, stroke_fill="black"
        )


def bare(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Draw a subtitle without an outline."""
    draw.text((width / 2, height * 0.85), "Nobody told me that.", "white", _font(height, 0.08), "mt")


def logo(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Draw an opaque logo into a corner."""
    side, edge = height * 0.18, height * 0.05
    left, top = width - edge - side, edge
    draw.rounded_rectangle((left, top, left + side, top + side), side / 5, (200, 30, 40))
    draw.ellipse((left + side * 0.2, top + side * 0.2, left + side * 0.8, top + side * 0.8), "white")
    draw.text((left + side / 2, top + side / 2), "TV", (20, 20, 90), _font(height, 0.07), "mm")


def faint(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Draw a logo of which half shines through."""
    draw.text((width * 0.96, height * 0.06), "CHANNEL 4", (255, 255, 255, 128), _font(height, 0.1), "rt")


def display(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Draw what a game lays over its picture: a bar, figures, a cross, a map."""
    thin = max(1, height // 180)
    draw.rectangle(
        (width * 0.04, height * 0.05, width * 0.3, height * 0.09), (30, 30, 30), "white", width=thin
    )
    draw.rectangle((width * 0.045, height * 0.06, width * 0.22, height * 0.08), (220, 40, 40))
    draw.text((width * 0.04, height * 0.11), "AMMO 24 / 120", (255, 230, 90), _font(height, 0.06))
    x, y, arm = width / 2, height / 2, height * 0.05
    for line in ((x - arm, y, x + arm, y), (x, y - arm, x, y + arm)):
        draw.line(line, (90, 255, 90), thin + 1)
    side = height * 0.25
    box = (width * 0.96 - side, height * 0.95 - side, width * 0.96, height * 0.95)
    draw.ellipse(box, (20, 40, 30), "white", width=thin + 1)


def borders(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Draw black bars above and below."""
    bar = round(height * 0.12)
    draw.rectangle((0, 0, width, bar - 1), "black")
    draw.rectangle((0, height - bar, width, height), "black")


STANDING: dict[str, Callable[[ImageDraw.ImageDraw, int, int], None]] = {
    "outlined subtitle": outlined,
    "bare subtitle": bare,
    "logo": logo,
    "faint logo": faint,
    "display": display,
    "borders": borders,
}


def _ticker(size: tuple[int, int], at: float) -> Layer:
    """Return a bar below with words that run through it, at frame ``at``."""

    def draw(canvas: ImageDraw.ImageDraw, width: int, height: int) -> None:
        canvas.rectangle((0, height * 0.86, width, height), (20, 30, 90))
        words = "Prices rise again  +++  Storm expected on Sunday  +++  " * 3
        start = 20 - _TICKER_SPEED * at
        canvas.text((start, height * 0.93), words, "white", _font(height, 0.07), "lm")

    return _drawn(size, draw)


def _ball(size: tuple[int, int], at: float) -> Layer:
    """Return a ball that is quick and small: it covers pixels in the middle that it covers in no source."""

    def draw(canvas: ImageDraw.ImageDraw, width: int, height: int) -> None:
        x, y, radius = 40 + _BALL_SPEED * at, height * 0.3, height * 0.03
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), (250, 240, 60))

    return _drawn(size, draw)


MOVING: dict[str, Callable[[tuple[int, int], float], Layer]] = {"ticker": _ticker, "ball": _ball}


def overlay(kind: str, size: tuple[int, int], at: int) -> Layer:
    """Return the layer of a kind of :data:`STANDING` or :data:`MOVING` over a frame (height, width)."""
    return _drawn(size, STANDING[kind]) if kind in STANDING else MOVING[kind](size, at)


def under(frame: Tensor, layer: Layer) -> Tensor:
    """Return a frame (H, W, 3) float32 with a layer over it."""
    colour, opacity = layer
    return frame + (colour - frame) * opacity
