"""Draw the pictures of docs/timing.md about loops, fast motion, orders and cuts:
``python tests/support/draw_wishes.py``.

They are made of generated leaves and of the demo's clip, with the built-in model.
"""

# ruff: noqa: E402 -- the pack is loaded by its path first, whatever its folder is called

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from draw_guard import ground
from packs import load_pack

load_pack()

from midframe import interpolate
from midframe.analysis.notes import Analysis
from midframe.analysis.watch import analyse
from midframe.cli.demo_timing import drawings
from midframe.engine.timeline import by_multiplier
from midframe.report.pictures import contact_sheet, error_map, thumbnail
from midframe.vfi_utils import Settings
from midframe.video import open_clip
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
SIZE = 180, 320
STEPS_OF_LOOP = 14
FAST = 100.0
"""Pixels between two frames."""
DISC, INK, PAPER = torch.tensor([1.0, 0.75, 0.2]), (60, 60, 60), "white"


def disc(frame: torch.Tensor, x: float, y: float, radius: float = 16) -> torch.Tensor:
    """Return a frame with a disc on it."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SIZE), indexing="ij")
    inside = (radius - torch.hypot(rows - y, columns - x)).clamp(0, 1)[..., None]
    return frame * (1 - inside) + DISC * inside


def loop() -> Image.Image:
    """Return the last frame of a disc that goes round, the first one, and what comes between them."""
    turns = [2 * math.pi * i / STEPS_OF_LOOP for i in range(STEPS_OF_LOOP)]
    still = ground(0) * 0.6
    frames = torch.stack([disc(still, 160 + 60 * math.cos(t), 90 + 60 * math.sin(t)) for t in turns])
    made = interpolate(frames, "default", timeline=by_multiplier(3, end="close_loop"))
    last = 3 * (STEPS_OF_LOOP - 1)
    labels = ("last frame", "made", "made", "first frame again")
    return contact_sheet(zip(labels, map(thumbnail, [*made[last : last + 3], made[0]]), strict=True))


def compared(
    left: torch.Tensor, truth: torch.Tensor, right: torch.Tensor, ways: dict[str, Settings]
) -> Image.Image:
    """Return a true frame and what is made in its place in several ways, each with its error below it."""
    made = {
        name: interpolate(torch.stack((left, right)), "default", settings=way)[1]
        for name, way in ways.items()
    }
    shown = [("first frame", left), ("true frame between", truth), *made.items()]
    below = [("second frame", thumbnail(right)), ("error, four times as large:", thumbnail(truth * 0))]
    below += [(f"{_psnr(frame, truth):.1f} dB", error_map(frame, truth)) for frame in made.values()]
    return contact_sheet([*((name, thumbnail(frame)) for name, frame in shown), *below])


def fast() -> Image.Image:
    """Return a frame between two that are far from each other."""
    frames = [disc(ground(FAST / 2 * i), 110 + FAST / 2 * i, 90, 24) for i in range(3)]
    ways = {
        "made": Settings(),
        "made, --scale 0.25": Settings(options={"flow_scale": 0.25}),
    }
    return compared(*frames, ways)


def orders() -> Image.Image:
    """Return which of seven frames between two is made in which pass, by the name of the order."""
    direct = [(i / 8, 1) for i in range(1, 8)]
    bisect = [(4 / 8, 1), (2 / 8, 2), (6 / 8, 2), (1 / 8, 3), (3 / 8, 3), (5 / 8, 3), (7 / 8, 3)]
    peel = [(1 / 8, 1), (7 / 8, 1), (2 / 8, 2), (6 / 8, 2), (3 / 8, 3), (5 / 8, 3), (4 / 8, 4)]
    picture = Image.new("RGB", (640, 190), PAPER)
    draw = ImageDraw.Draw(picture)
    for row, (name, passes) in enumerate((("direct", direct), ("bisect", bisect), ("peel", peel))):
        y = 40 + 50 * row
        draw.text((12, y - 6), name, INK)
        draw.line((90, y, 610, y), (190, 190, 190))
        for at, number in [(0.0, 0), *passes, (1.0, 0)]:
            x = 90 + 520 * at
            # Darker: more passes, and their errors, lie between the source and this frame.
            colour = (225, 225, 225) if number == 0 else (210 - 45 * number, 225 - 30 * number, 255)
            draw.ellipse((x - 13, y - 13, x + 13, y + 13), colour, INK)
            draw.text((x, y), str(number) if number else "", "black", anchor="mm")
    draw.text((90, 8), "source", INK)
    draw.text((610, 8), "source", INK, anchor="ra")
    draw.text((350, 175), "in which pass a frame is made of those before it", INK, anchor="mm")
    return picture


def found() -> Image.Image:
    """Return frames of the demo's animation around its cut, with what is noted of the pair after each."""
    with open_clip(ROOT / "demo" / "clip.mp4") as clip:
        frames = [frame.pixels[..., :3].to(torch.float32).numpy() for frame in clip]
    shown = [torch.from_numpy(picture.copy()) for picture in drawings(frames)]
    notes = analyse(shown)
    around: Sequence[int] = range(14, 22)
    return contact_sheet((f"{i}: {_said(notes, i)}", thumbnail(shown[i], 200)) for i in around)


def _said(notes: Analysis, index: int) -> str:
    note = notes.note(index)
    return "cut after it" if note.cut else "held" if note.held else f"moves {note.motion:.0f} pixels"


def _psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()))


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Return the pictures by the names of their files."""
    yield "loop.jpg", loop()
    yield "fast.jpg", fast()
    yield "orders.png", orders()
    yield "found.jpg", found()


def main() -> None:
    for name, picture in pictures():
        kept = picture.quantize(32) if name.endswith("png") else picture
        kept.save(ROOT / "docs" / name, optimize=True, quality=80)


if __name__ == "__main__":
    main()
