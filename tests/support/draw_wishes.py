"""Draw the pictures of docs/timing.md about loops, fast motion, orders, light, flicker and
cuts, and of the report:
``python tests/support/draw_wishes.py [NAME ...]``.

They are made of generated leaves and of the demo's clip, with the built-in model.
"""

# ruff: noqa: E402 -- the pack is loaded by its path first, whatever its folder is called

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from draw_guard import ground
from packs import load_pack

load_pack()

from midframe import interpolate
from midframe.analysis.notes import Analysis
from midframe.analysis.watch import analyse
from midframe.cli import main as command
from midframe.cli.demo_timing import drawings
from midframe.engine.timeline import by_multiplier
from midframe.memory.staging import as_unit_float
from midframe.report.pictures import contact_sheet, error_map, thumbnail
from midframe.vfi_utils import Settings
from midframe.video import open_clip
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
SIZE = 180, 320
STEPS_OF_LOOP = 14
FAST = 100.0
"""Pixels between two frames."""
DARKER, BETWEEN = 0.75, 24
"""The second frame's brightness by the first's; the place of the first in the demo's clip."""
SOURCE, MADE = (200, 90, 30), (40, 90, 200)
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


def demo(name: str) -> list[torch.Tensor]:
    """Return the frames of a clip of the demo, (H, W, 3) in 0..1."""
    with open_clip(ROOT / "demo" / name) as clip:
        return [as_unit_float(frame.pixels[..., :3]) for frame in clip]


def light() -> Image.Image:
    """Return a frame between two of which the second is darker."""
    sources, truths = demo("clip.mp4"), demo("truth.mp4")
    frames = sources[BETWEEN], truths[BETWEEN] * (1 + DARKER) / 2, sources[BETWEEN + 1] * DARKER
    return compared(*frames, {"made": Settings(), "made, --levels match": Settings(levels="match")})


def flicker() -> Image.Image:
    """Return how bright one part of the demo's clip is, frame by frame: the source's frames and the made."""
    made = interpolate(torch.stack(demo("clip.mp4")[10:26]), "default", 2)
    height, width = made.shape[1:3]
    part = made[:, height // 2 : height * 3 // 4, width // 2 : width * 3 // 4]
    values = (part.mean((1, 2, 3)) * 255).tolist()
    low, high = min(values) - 1, max(values) + 1
    picture = Image.new("RGB", (640, 230), PAPER)
    draw = ImageDraw.Draw(picture)
    spots = [
        (50 + 570 * i / (len(values) - 1), 195 - 165 * (value - low) / (high - low))
        for i, value in enumerate(values)
    ]
    draw.line(spots, (170, 170, 170), 2)
    for i, (x, y) in enumerate(spots):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), MADE if i % 2 else SOURCE)
    for value in (low, high):
        draw.text((44, 195 - 165 * (value - low) / (high - low)), f"{value:.0f}", INK, anchor="rm")
    draw.text((50, 8), "mean brightness (of 255) of one part of the picture, frame by frame:", INK)
    draw.text((50, 212), "frames of the source", SOURCE)
    draw.text((200, 212), "made frames", MADE)
    return picture


def found() -> Image.Image:
    """Return frames of the demo's animation around its cut, with what is noted of the pair after each."""
    frames = [frame.numpy() * 255 for frame in demo("clip.mp4")]
    shown = [torch.from_numpy(picture.copy()) for picture in drawings(frames)]
    notes = analyse(shown)
    around: Sequence[int] = range(14, 22)
    return contact_sheet((f"{i}: {_said(notes, i)}", thumbnail(shown[i], 200)) for i in around)


def _said(notes: Analysis, index: int) -> str:
    note = notes.note(index)
    return "cut after it" if note.cut else "held" if note.held else f"moves {note.motion:.0f} pixels"


def _psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()))


def report() -> Image.Image:
    """Return the upper part of the report's page about the demo's clip, as a browser shows it.

    A ``chromium`` is needed on the PATH.
    """
    with tempfile.TemporaryDirectory() as name:
        page, shot = Path(name) / "clip.html", Path(name) / "shot.png"
        words = ["report", str(ROOT / "demo" / "clip.mp4"), str(page), "--frames", "6", "--model", "default"]
        command([*words, "--device", "cpu", "--quiet"])
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1100,1150",
        ]
        subprocess.run(["chromium", *flags, f"--screenshot={shot}", page.as_uri()], check=True)
        with Image.open(shot) as picture:
            return picture.convert("RGB").resize((825, 862), Image.Resampling.LANCZOS)


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "loop.jpg": loop,
    "fast.jpg": fast,
    "orders.png": orders,
    "light.jpg": light,
    "flicker.png": flicker,
    "report.jpg": report,
    "found.jpg": found,
}


def main() -> None:
    """Draw those that are named, or all."""
    for name in sys.argv[1:] or PICTURES:
        picture = PICTURES[name]()
        kept = picture.quantize(32) if name.endswith("png") else picture
        kept.save(ROOT / "docs" / name, optimize=True, quality=80)


if __name__ == "__main__":
    main()
