"""Draws the icon and the banner that ComfyUI's registry shows: a ball in two frames, and in the one made between them.

python tests/support/draw_icon.py     # web/icon.png, web/banner.png
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WEB = Path(__file__).resolve().parents[2] / "web"
NIGHT, GREY, BLUE, SUN, WHITE = "#14181f", "#5d6878", "#4aa8ff", "#ffb636", "#eef2f7"
FINE = 4
"""Drawn so many times larger, for smooth edges."""

Draw = ImageDraw.ImageDraw


def frame(draw: Draw, x: float, y: float, side: float, ball: tuple[float, float], *, made: bool) -> None:
    """Draw one frame with its upper left corner at (x, y), and the ball at a part of its sides."""
    line = round(side / (14 if made else 22))
    colour = BLUE if made else GREY
    corner, far = (x, y), (x + side, y + side)
    draw.rounded_rectangle((*corner, *far), side / 7, fill=NIGHT, outline=colour, width=line)
    radius = side * 0.17
    left, top = x + ball[0] * side - radius, y + ball[1] * side - radius
    draw.ellipse((left, top, left + 2 * radius, top + 2 * radius), fill=SUN if made else GREY)


def three(draw: Draw, x: float, y: float, side: float) -> None:
    """Draw two frames and, before them, the one between."""
    step = side * 0.52
    frame(draw, x, y, side, (0.3, 0.3), made=False)
    frame(draw, x + 2 * step, y + 2 * step, side, (0.7, 0.7), made=False)
    frame(draw, x + step, y + step, side, (0.5, 0.5), made=True)


def icon() -> Image.Image:
    side = 400 * FINE
    picture = Image.new("RGB", (side, side), NIGHT)
    three(ImageDraw.Draw(picture), side * 0.06, side * 0.06, side * 0.43)
    return picture.resize((400, 400), Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    """21 by 9, as the registry wants it."""
    width, height = 1260 * FINE, 540 * FINE
    picture = Image.new("RGB", (width, height), NIGHT)
    draw = ImageDraw.Draw(picture)
    three(draw, width * 0.05, height * 0.14, height * 0.35)
    font = ImageFont.load_default(height * 0.2)
    draw.text((width * 0.40, height * 0.30), "Midframe", WHITE, font)
    words = "the frames between the frames of a video"
    draw.text((width * 0.405, height * 0.58), words, GREY, ImageFont.load_default(height * 0.065))
    return picture.resize((1260, 540), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    for name, picture in (("icon", icon()), ("banner", banner())):
        picture.quantize(64).save(WEB / f"{name}.png", optimize=True)
