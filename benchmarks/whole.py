"""Measures what keeps the picture whole: steps of exposure, overlays, flicker, cuts, the scale of flow.

    python -m midframe.benchmarks.whole --clips FOLDER [--model NAME ...] --out NAME

Every second frame of a clip is held out and made again of its neighbours. A step is a gain on the right one
of these, and half of it on the frame that was held out; everything is rounded to 8 bits as in a file. Of the
overlays of :mod:`.overlays` there is the mean squared error where they are opaque (of a faint one: where it
is), its ratio to that without guard, and the PSNR of all the rest of the picture. At a cut the frame half way
to the first one of a shot is made of that one and the next but one, forwards and backwards. The scales of
flow are tried on the clips as they are, on every fourth frame, and on larger and smaller pictures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..analysis.notes import Analysis, PairNote
from ..analysis.timing import CutLaw, Timing
from ..analysis.watch import analyse
from ..api import interpolate, load_model
from ..engine.settings import GuardLaw, Levels
from ..memory.staging import as_dtype, as_unit_float
from ..vfi_models.interface import Interpolator
from ..vfi_utils import Settings
from ..video import open_clip
from .overlays import MOVING, STANDING, overlay, under

_STEPS = {"none": 1.0, "1%": 1.01, "3%": 1.03, "darker by 3%": 1 / 1.03, "10%": 1.1, "30%": 1.3, "flash": 2.0}
"""Gains of the right frame; what leaves 0..1 is clipped, as a camera does."""
_SIZES = {
    "as it is": (1, 1.0),
    "every fourth frame": (4, 1.0),
    "2 x larger": (1, 2.0),
    "4 x larger": (1, 4.0),
    "a quarter": (1, 0.25),
}
"""Strides over the frames, and factors by which these are enlarged."""
_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
_LEAST_SIDE, _LARGEST_SIDE = 16, 1500
_OPAQUE = {"faint logo": 0.3}
_CELLS = 8
"""Local means along the shorter side, for flicker."""


def clips_in(folder: Path) -> dict[str, Tensor]:
    """Return the clips of a folder, each a folder of pictures, as (N, H, W, 3) uint8 by name."""
    found = {}
    for path in sorted({file.parent for file in folder.rglob("*.png")}):
        with open_clip(path) as clip:
            found[path.name] = torch.stack([frame.pixels[..., :3] for frame in clip])
    return found


def triplets(frames: Tensor, most: int) -> Iterator[Tensor]:
    """Return up to ``most`` runs of three frames (3, H, W, 3) float32, spread over a clip."""
    starts = list(range(0, len(frames) - 2, 2))
    step = max(1, len(starts) // most)
    for start in starts[::step][:most]:
        yield as_unit_float(frames[start : start + 3])


def rounded(frames: Tensor) -> Tensor:
    """Return float frames as 8 bits hold them."""
    return as_unit_float(as_dtype(frames, torch.uint8))


def stepped(triplet: Tensor, gain: float) -> Tensor:
    """Return three frames of which the right one is brighter by ``gain``, the middle one by half."""
    gains = torch.tensor([1.0, (1.0 + gain) / 2, gain], dtype=torch.float32, device="cpu")
    return rounded(triplet * gains.view(-1, 1, 1, 1))


def psnr(a: Tensor, b: Tensor) -> float:
    """Return the PSNR of two pictures in 0..1, dB."""
    return -10 * math.log10(max(float((a - b).square().mean()), 1e-12))


def middle(model: Interpolator, triplet: Tensor, settings: Settings) -> Tensor:
    """Make the frame between the first and the last of three: (H, W, C), rounded to 8 bits."""
    return rounded(interpolate(triplet[::2], model, settings=settings)[1])


def exposure(model: Interpolator, clips: dict[str, Tensor], most: int) -> list[dict[str, Any]]:
    """Return PSNR by step and clip, with levels kept and matched."""
    rows = []
    for kind, gain in _STEPS.items():
        for name, frames in clips.items():
            given = [stepped(triplet, gain) for triplet in triplets(frames, most)]
            row: dict[str, Any] = {"step": kind, "clip": name}
            for levels in get_args(Levels):
                settings = Settings(levels=levels)
                row[levels] = _mean([psnr(middle(model, each, settings), each[1]) for each in given])
            rows.append(row)
    return rows


def overlays(model: Interpolator, clips: dict[str, Tensor], most: int) -> list[dict[str, Any]]:
    """Return by overlay and clip the error inside it and the PSNR beside it, without and with guard."""
    rows = []
    for kind in ("none", *STANDING, *MOVING):
        for name, frames in clips.items():
            made = [_guarded(model, kind, i, each) for i, each in enumerate(triplets(frames, most))]
            error_off, error_auto, beside_off, beside_auto = (
                _mean(values) for values in zip(*made, strict=True)
            )
            row: dict[str, Any] = {"overlay": kind, "clip": name, "error off": error_off, "auto": error_auto}
            row["ratio"] = round(error_auto / error_off, 3) if error_off else "-"
            rows.append({**row, "PSNR beside, off": beside_off, "with auto": beside_auto})
    return rows


def _guarded(model: Interpolator, kind: str, number: int, triplet: Tensor) -> list[float]:
    """Return the squared error (grey levels) inside an overlay, off and auto, and the PSNR beside it."""
    inside = torch.zeros_like(triplet[0, ..., :1], dtype=torch.bool)
    if kind != "none":
        height, width = triplet.shape[1:3]
        layers = [overlay(kind, (height, width), 2 * number + i) for i in range(3)]
        triplet = rounded(torch.stack([under(*each) for each in zip(triplet, layers, strict=True)]))
        inside = layers[1][1] > _OPAQUE.get(kind, 0.99)
    inside = inside[..., 0]
    frames = [middle(model, triplet, Settings(guard=law)) for law in get_args(GuardLaw)]
    errors = [(frame - triplet[1])[inside].square() for frame in frames]
    within = [float(each.mean()) * 255.0**2 if each.numel() else 0.0 for each in errors]
    return [*within, *(psnr(frame[~inside], triplet[1][~inside]) for frame in frames)]


def local_means(frames: Tensor) -> Tensor:
    """Return means (N, C, h, w) over large areas of frames (N, H, W, C), in grey levels."""
    side = max(1, min(frames.shape[1:3]) // _CELLS)
    return F.avg_pool2d(frames.permute(0, 3, 1, 2) * 255.0, side)


def pulse(before: Tensor, frame: Tensor, after: Tensor) -> float:
    """Return how far local means of a frame are from those between its neighbours: RMS, grey levels."""
    low, here, high = local_means(torch.stack((before, frame, after)))
    return float((here - (low + high) / 2).square().mean().sqrt())


def flicker(model: Interpolator, clips: dict[str, Tensor], most: int) -> list[dict[str, Any]]:
    """Return by clip the pulse of true frames and of made ones, and the colour that made ones are off by."""
    rows = []
    for name, frames in clips.items():
        true, made, off = [], [], []
        for triplet in triplets(frames, most):
            frame = middle(model, triplet, Settings())
            true.append(pulse(*triplet))
            made.append(pulse(triplet[0], frame, triplet[2]))
            means = local_means(torch.stack((frame, triplet[1]))).mean((2, 3))
            off.append(float((means[0] - means[1]).abs().max()))
        rows.append({"clip": name, "true": _mean(true), "made": _mean(made), "mean off": _mean(off)})
    return rows


def cuts(model: Interpolator, clips: dict[str, Tensor], most: int) -> list[dict[str, Any]]:
    """Return by clip the PSNR of the frame half way between two shots, held and extrapolated.

    It belongs to the shot that begins: held it is one frame late, the true one was left out.
    """
    rows = []
    notes = Analysis((PairNote(1, cut=True),))
    for name, frames in clips.items():
        row: dict[str, Any] = {"clip": name}
        for law in ("hold", "extrapolate"):
            row[law] = _mean([_at_cut(model, four, law, notes) for four in _runs(frames, most)])
        rows.append(row)
    return rows


def _at_cut(model: Interpolator, four: Tensor, law: CutLaw, notes: Analysis) -> float:
    """Return the PSNR of the first of four frames, made of the second and the last, after another shot."""
    other = four[:2].flip(1, 2)
    spliced = torch.cat((other, four[1::2]))
    made = interpolate(spliced, model, 2, timing=Timing(law), analysis=notes)
    return psnr(rounded(made[3]), four[0])


def _runs(frames: Tensor, most: int) -> Iterator[Tensor]:
    """Return up to ``most`` runs of four frames (4, H, W, 3) float32, spread over a clip, each both ways."""
    starts = list(range(0, len(frames) - 3, 2))
    step = max(1, len(starts) // most)
    for start in starts[::step][:most]:
        four = as_unit_float(frames[start : start + 4])
        yield four
        yield four.flip(0)


def scales(model: Interpolator, clips: dict[str, Tensor], most: int) -> list[dict[str, Any]]:
    """Return by size and clip the motion that the analysis finds and the PSNR at each scale of flow."""
    rows = []
    for kind, (step, factor) in _SIZES.items():
        for name, frames in clips.items():
            given = [_resized(triplet, factor) for triplet in triplets(frames[::step], most)]
            height, width = given[0].shape[1:3]
            row: dict[str, Any] = {"kind": kind, "clip": name, "size": f"{width}x{height}"}
            row["motion"] = _mean([analyse([*triplet[::2]]).note(0).motion for triplet in given])
            for scale in _SCALES:
                # The quarter of a tiny picture is nothing, and four times a large one takes minutes.
                tried = _LEAST_SIDE <= min(height, width) * scale <= _LARGEST_SIDE
                settings = Settings(options={"flow_scale": scale})
                found = [psnr(middle(model, each, settings), each[1]) for each in given if tried]
                row[str(scale)] = _mean(found) if found else "-"
            rows.append(row)
    return rows


def _resized(frames: Tensor, factor: float) -> Tensor:
    """Return frames (N, H, W, C) so many times as large, rounded to 8 bits."""
    if factor == 1:
        return frames
    way = "bicubic" if factor > 1 else "area"
    return rounded(
        F.interpolate(frames.permute(0, 3, 1, 2), scale_factor=factor, mode=way).permute(0, 2, 3, 1)
    )


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3)


TABLES: dict[str, Callable[[Interpolator, dict[str, Tensor], int], list[dict[str, Any]]]] = {
    "exposure": exposure,
    "overlays": overlays,
    "flicker": flicker,
    "cuts": cuts,
    "scale": scales,
}


def table(title: str, model: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as Markdown."""
    names = list(rows[0])
    lines = [f"### {title}: {model}", "", f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run from the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--clips", type=Path, required=True, metavar="FOLDER", help="of folders of pictures")
    add("--model", action="append", metavar="NAME", help="name or file (default: default)")
    add("--dtype", default="float32", help="of the convolutions")
    add("--table", action="append", choices=list(TABLES), help="default: all")
    add("--most", type=int, default=1000, metavar="N", help="frames of each clip")
    add("--out", type=Path, metavar="NAME", help="NAME.json and NAME.md")
    arguments = parser.parse_args()
    clips = clips_in(arguments.clips)
    results: dict[str, Any] = {}
    text = ""
    for name in arguments.model or ["default"]:
        model = load_model(name, "cpu", arguments.dtype)
        for title in arguments.table or TABLES:
            label = f"{Path(name).stem}, {arguments.dtype}"
            rows = TABLES[title](model, clips, arguments.most)
            results.setdefault(title, {})[label] = rows
            text += table(title, label, rows) + "\n"
            sys.stdout.write(text.rpartition("###")[2])
            sys.stdout.flush()
    if arguments.out is not None:
        arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
