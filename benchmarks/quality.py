"""Measures how near a model's frames are to those that were left out of real clips.

    python -m midframe.benchmarks.quality --clips FOLDER [--model NAME ...] --out NAME

Every second frame of a clip is held out and made again of its two neighbours, rounded to 8 bits as in a file.
Against it stand the PSNR and the SSIM, means over frames, and how different the two look to a network that
was trained on people's judgements: LPIPS in its form that forgives small shifts (Ghildyal and Liu, 2022),
trunk AlexNet, 0 is the same. That is measured where its package is installed, which brings its weights:
``pip install stlpips_pytorch torchvision torchsummary ipython``. A plain blend of both neighbours goes first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..api import load_model
from ..report.quality import ssim
from ..vfi_utils import Settings
from .whole import clips_in, middle, psnr, rounded, triplets

Maker = Callable[[Tensor], Tensor]
"""Makes the middle one (H, W, C) of three frames (3, H, W, C), of which it sees the first and the last."""
Measure = Callable[[Tensor, Tensor], float]
"""Compares two pictures (H, W, C) float32 in 0..1."""


def perceptual() -> Measure | None:
    """Return LPIPS; None where its package is not installed."""
    try:
        from stlpips_pytorch import stlpips  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        sys.stderr.write("stlpips_pytorch is not installed: LPIPS is left out.\n")
        return None
    network: Any = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)

    def measure(a: Tensor, b: Tensor) -> float:
        pictures = [x.permute(2, 0, 1)[None] for x in (a, b)]
        with torch.inference_mode():
            return float(network(*pictures, normalize=True))

    return measure


def measures() -> dict[str, Measure]:
    """Return what can be measured here, by name."""
    found: dict[str, Measure] = {"PSNR": psnr, "SSIM": ssim}
    looks = perceptual()
    if looks is not None:
        found["LPIPS"] = looks
    return found


def blend(triplet: Tensor) -> Tensor:
    """Return the mean of the first and the last of three frames, rounded to 8 bits."""
    return rounded((triplet[0] + triplet[2]) / 2)


def made_by(name: str, dtype: str) -> Maker:
    """Return a maker of the frames of a model, by the name or file that ``load_model`` takes."""
    model = load_model(name, "cpu", dtype)
    return lambda triplet: middle(model, triplet, Settings())


def rows_of(
    maker: Maker, clips: dict[str, Tensor], most: int, by: dict[str, Measure]
) -> dict[str, dict[str, float]]:
    """Return the mean of each measure for each clip, and over the clips."""
    rows: dict[str, dict[str, float]] = {}
    for name, frames in clips.items():
        pairs = [(maker(triplet), triplet[1]) for triplet in triplets(frames, most)]
        rows[name] = {
            title: sum(measure(*pair) for pair in pairs) / len(pairs) for title, measure in by.items()
        }
    rows["mean"] = {title: sum(row[title] for row in rows.values()) / len(clips) for title in by}
    return rows


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the results as Markdown: a line for each model and measure, a column for each clip."""
    clips = list(next(iter(results.values())))
    lines = [f"| model | measure | {' | '.join(clips)} |", "|---|---" + "|---" * len(clips) + "|"]
    for model, rows in results.items():
        for title in rows["mean"]:
            digits = 2 if title == "PSNR" else 4
            values = (f"{rows[clip][title]:.{digits}f}" for clip in clips)
            lines.append(f"| {model} | {title} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run from the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--clips", type=Path, required=True, metavar="FOLDER", help="of folders of pictures")
    add("--model", action="append", metavar="NAME", help="name or file (default: default)")
    add("--dtype", default="float32", help="of the convolutions")
    add("--most", type=int, default=1000, metavar="N", help="frames of each clip")
    add("--out", type=Path, metavar="NAME", help="NAME.json and NAME.md")
    arguments = parser.parse_args()
    clips, by = clips_in(arguments.clips), measures()
    results = {"blend": rows_of(blend, clips, arguments.most, by)}
    for name in arguments.model or ["default"]:
        maker = made_by(name, arguments.dtype)
        results[Path(name).stem] = rows_of(maker, clips, arguments.most, by)
        sys.stderr.write(f"{name}: {results[Path(name).stem]['mean']}\n")
    sys.stdout.write(table(results))
    if arguments.out is not None:
        arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
