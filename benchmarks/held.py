"""Counts how many repeated frames are found and how many frames of slow motion are taken for repeats.

    python -m midframe.benchmarks.held --clips FOLDER [--held-out] --out NAME

Clips of real footage are shown on twos and threes, with grain of their own in each frame and compressed by
H.264; against these stand the clips as they are, and pictures that drift by a fraction of a pixel a frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch
import torch.nn.functional as F
from torch import Tensor

from ..analysis.watch import Measure, analyse
from ..memory.staging import as_dtype
from ..video import open_clip
from .cut_cases import Footage, footage

_FRAMES = 36
_GRAIN = (0, 1, 3, 6)
"""Standard deviations in grey levels."""
_CRF = (18, 23, 28, 33)
_DRIFTS = (0.1, 0.2, 0.4)
"""Pixels a frame."""
_OLDER: Measure = "ssim32"


def on_beat(clip: Tensor, length: int) -> tuple[Tensor, set[int]]:
    """Return a clip of which each frame is shown ``length`` times, and its pairs that are repeats."""
    places = torch.arange(_FRAMES, dtype=torch.int64, device="cpu") // length % len(clip)
    return clip[places], {i for i in range(_FRAMES - 1) if places[i] == places[i + 1]}


def grained(clip: Tensor, sigma: float, seed: int) -> Tensor:
    """Add noise that is another in each frame."""
    noise = torch.randn(
        clip.shape, dtype=torch.float32, device="cpu", generator=torch.Generator().manual_seed(seed)
    )
    return (clip.float() + sigma * noise).round().clamp(0, 255).to(torch.uint8)


def compressed(clip: Tensor, crf: int) -> Tensor:
    """Return a clip as H.264 leaves it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(24), options={"crf": str(crf)})
            stream.height, stream.width, stream.pix_fmt = *clip.shape[1:3], "yuv420p"
            for frame in clip:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), "rgb24")))
            container.mux(stream.encode())
        with open_clip(path) as opened:
            return torch.stack([frame.pixels for frame in opened])


def drifting(clip: Tensor, step: float) -> Tensor:
    """Move one picture by so many pixels a frame."""
    picture = clip[:1].permute(0, 3, 1, 2).float() / 255
    moved = []
    for i in range(_FRAMES):
        rows = [[0.9, 0.0, 2 * step * i / picture.shape[-1]], [0.0, 0.9, 0.0]]
        theta = torch.tensor([rows], dtype=torch.float32, device="cpu")
        grid = F.affine_grid(theta, list(picture.shape), align_corners=False)
        moved.append(F.grid_sample(picture, grid, "bicubic", "reflection", align_corners=False))
    return as_dtype(torch.cat(moved).permute(0, 2, 3, 1), torch.uint8)


def cases(clips: Footage) -> Iterator[tuple[str, Callable[[], Tensor], set[int]]]:
    """Return for each clip the kinds of it: a name, what makes the frames, and the pairs that are repeats."""
    for number in range(len(clips.paths)):
        clip = clips.clip(number)
        length = 2 + number % 2
        held, repeats = on_beat(clip, length)
        for sigma in _GRAIN:
            yield f"grain {sigma}", lambda h=held, s=sigma, n=number: grained(h, s, n), repeats  # type: ignore[misc]
        for crf in _CRF:
            yield f"crf {crf}", lambda h=held, c=crf: compressed(h, c), repeats  # type: ignore[misc]
        yield "grain 3, crf 23", lambda h=held, n=number: compressed(grained(h, 3, n), 23), repeats  # type: ignore[misc]
        yield "as it is", lambda c=clip: c[:_FRAMES], set()  # type: ignore[misc]
        for step in _DRIFTS:
            yield f"drift {step}", lambda c=clip, s=step: drifting(c, s), set()  # type: ignore[misc]


def run(clips: Footage) -> dict[str, Any]:
    """Count over all cases."""
    rows: dict[str, dict[str, Any]] = {}
    for kind, make, repeats in cases(clips):
        frames = make()
        row = rows.setdefault(kind, {"repeats": 0, "others": 0})
        row["repeats"] += len(repeats)
        row["others"] += len(frames) - 1 - len(repeats)
        measures: tuple[Measure, ...] = ("midframe", _OLDER)
        for measure in measures:
            said = {note.index for note in analyse(frames, measure).pairs if note.held}
            counts = row.setdefault(measure, {"found": 0, "false": 0})
            counts["found"] += len(said & repeats)
            counts["false"] += len(said - repeats)
    return {"clips": len(clips.paths), "kinds": rows}


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"{figures['clips']} clips; repeats found of all, and others taken for repeats.",
        "",
        "| kind | repeats | others | found | false | older rule: found | false |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in figures["kinds"].items():
        ours, older = row["midframe"], row[_OLDER]
        lines.append(
            f"| {kind} | {row['repeats']} | {row['others']} | {_share(ours['found'], row['repeats'])} "
            f"| {_share(ours['false'], row['others'])} | {_share(older['found'], row['repeats'])} "
            f"| {_share(older['false'], row['others'])} |"
        )
    return "\n".join(lines) + "\n"


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"


def main() -> None:
    """Run from the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--clips", type=Path, action="append", required=True, metavar="FOLDER")
    add("--held-out", action="store_true", help="clips that nothing was tuned on; else the others")
    add("--leave-out", type=Path, metavar="JSON", help="a file whose left_out names clips that hold cuts")
    add("--out", type=Path, metavar="NAME", help="NAME.json and NAME.md")
    arguments = parser.parse_args()
    left_out = json.loads(arguments.leave_out.read_text())["left_out"] if arguments.leave_out else ()
    clips = footage(arguments.clips, held_out=arguments.held_out, left_out=frozenset(left_out))
    figures = run(clips)
    sys.stdout.write(table(figures))
    if arguments.out is not None:
        arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(table(figures))


if __name__ == "__main__":
    main()
