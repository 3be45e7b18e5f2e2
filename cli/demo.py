"""``midframe demo``: interpolates the clip that comes with the project, and shows the result.

``clip.mp4`` is every second frame of a rendered scene; ``truth.mp4`` are the frames between them, which
the network does not get (see ``render_clip.py``).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from ..api import load_model
from ..video import Plan, interpolate_video, open_clip
from ..weights.loading import default_device
from . import demo_timing
from .progress import ProgressHost

HERE = Path(__file__).parents[1] / "demo"
CLIP, TRUTH = HERE / "clip.mp4", HERE / "truth.mp4"

# Pixels of the strip above each picture, for its text.
_LABEL = 26
# How much differences are amplified in the picture.
_GAIN = 4

Picture = npt.NDArray[np.float32]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe demo``."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo_output"), metavar="DIR", help="(default: demo_output)"
    )
    parser.add_argument("--model", default="default", help="(default: the built-in one)")
    parser.add_argument(
        "--timing", action="store_true", help="an animation on twos with a cut, before and after, instead"
    )
    parser.add_argument("--device", type=torch.device, default=None, help="(default: the best there is)")


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Make a film and a picture, and say where they are and how close the made frames come to the true
    ones.
    """
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    film, sheet = folder / "midframe_demo.mp4", folder / "midframe_demo.png"
    device = arguments.device or default_device()
    model = load_model(arguments.model, device)
    host = ProgressHost(device, quiet=arguments.quiet)
    if arguments.timing:
        demo_timing.run(folder, _pictures(CLIP), model, host, _pictures, say)
        host.close()
        return 0
    began = time.monotonic()
    try:
        written = interpolate_video(CLIP, film, model, Plan(overwrite=True), host=host)
    finally:
        host.close()
    seconds = time.monotonic() - began
    # Every second frame of the film is one of the clip's own.
    shown, truth, made = _pictures(CLIP), _pictures(TRUTH), _pictures(film)[1::2]
    blends = [np.asarray((a + b) / 2, np.float32) for a, b in pairwise(shown)]
    _sheet(shown, made, blends, truth).save(sheet)
    say(f"{film}: {written.frames} frames from {written.source_frames}, in {seconds:.1f} s on {device}")
    say(f"{sheet}: two frames of the clip, the one made between them, and how far it is from the true one")
    # One less than made frames: the film holds its last frame, for which there is no true one.
    pairs = len(truth)
    say(
        f"Over {pairs} made frames: {_mean_psnr(made[:pairs], truth):.1f} dB to the true ones; "
        f"a plain blend has {_mean_psnr(blends, truth):.1f} dB."
    )
    return 0


def _pictures(path: Path) -> list[Picture]:
    """Read every frame, (H, W, 3), 0..255."""
    with open_clip(path, alpha=False) as clip:
        return [frame.pixels.numpy().astype(np.float32) for frame in clip]


def _mean_psnr(pictures: list[Picture], truth: list[Picture]) -> float:
    errors = [float(((a - b) ** 2).mean()) for a, b in zip(pictures, truth, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-9)) for error in errors]))


def _sheet(
    shown: list[Picture], made: list[Picture], blends: list[Picture], truth: list[Picture]
) -> Image.Image:
    """Draw two rows of three labelled pictures, of the pair with the largest motion."""
    # The pair that shows best what a network does and a blend does not.
    at = int(np.argmax([float(abs(a - b).mean()) for a, b in pairwise(shown)]))
    panels = [
        (f"frame {at} of the clip", shown[at]),
        ("made by Midframe, half-way", made[at]),
        (f"frame {at + 1} of the clip", shown[at + 1]),
        ("a plain blend, for comparison", blends[at]),
        (f"made frame: distance from the true one, x{_GAIN}", abs(made[at] - truth[at]) * _GAIN),
        (f"plain blend: distance from the true one, x{_GAIN}", abs(blends[at] - truth[at]) * _GAIN),
    ]
    height, width = shown[0].shape[:2]
    sheet = Image.new("RGB", (3 * width, 2 * (height + _LABEL)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for index, (label, pixels) in enumerate(panels):
        left, top = index % 3 * width, index // 3 * (height + _LABEL)
        sheet.paste(Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)), (left, top + _LABEL))
        draw.text((left + 8, top + 7), label, fill="black", font=font)
    return sheet
