"""Draw the pictures of docs/timing.md about speed and shutter: ``python tests/support/draw_speed.py``.

The curves are those of the node; the ball is the same clip of 60 frames a second, to 24 by moments and by shutter.
"""

# ruff: noqa: E402 -- the pack is loaded by its path first, whatever its folder is called

from pathlib import Path

import torch
from packs import load_pack

load_pack()

from midframe import interpolate
from midframe.engine.curve import Curve
from midframe.engine.curve_picture import picture_of
from midframe.engine.shutter import Shutter
from midframe.vfi_utils import by_fps
from PIL import Image

CURVES = ("0:1, 2s:0.25, 4s:1", "0:1, 2s:0 for 1s", "0:1, 4s:-1, 2s:1")


def curves() -> Image.Image:
    """Return the pictures of three curves beside each other."""
    pictures = [picture_of(Curve.of(curve)) for curve in CURVES]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * len(pictures), height))
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place * width, 0))
    return sheet


def ball(count: int = 31, size: tuple[int, int] = (96, 288)) -> torch.Tensor:
    """A ball that crosses the picture over a striped ground, 60 frames a second."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    ground = 0.15 + 0.1 * ((x + y) % 24 < 12)
    frames = []
    for i in range(count):
        far = ((x - 30 - 7 * i) ** 2 + (y - 48) ** 2).sqrt()
        inside = (20 - far).clamp(0, 1)[..., None]
        frames.append(ground[..., None] * (1 - inside) + torch.tensor([1.0, 0.75, 0.2]) * inside)
    return torch.stack(frames)


def shutters() -> Image.Image:
    """Return three frames of the ball at 24 frames a second: as moments, and with two shutters."""
    clip, timeline = ball(), by_fps(60, 24, end="hold_last")
    rows = [
        interpolate(clip, "default", timeline=timeline, shutter=shutter)[4:7]
        for shutter in (None, Shutter(180, 8), Shutter(360, 15))
    ]
    grid = torch.cat([torch.cat(tuple(row), 1) for row in rows])
    return Image.fromarray((grid.clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def main() -> None:
    docs = Path(__file__).parents[2] / "docs"
    curves().save(docs / "curves.png", optimize=True)
    shutters().save(docs / "shutter.png", optimize=True)


if __name__ == "__main__":
    main()
