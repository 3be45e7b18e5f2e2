"""Counts how many cuts are found and how many are false, beside the detectors of others.

    python -m midframe.benchmarks.cuts --clips FOLDER [--clips FOLDER] [--held-out] --out NAME

Clips of real footage are spliced in known places, and pairs that look like cuts and are none are made of the
same footage: pans, flashes, strobes, shaking, explosions, dissolves, held animation. Everything is drawn from
a fixed seed. A cut counts as found at its own pair alone: one beside it is both missed and false.

PySceneDetect (``pip install scenedetect opencv-python-headless``) is measured where it is installed, with the
thresholds that its detectors have by default.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..analysis.watch import Watcher
from ..api import interpolate
from ..memory.staging import as_dtype
from .cut_cases import Case, Footage, cases, footage

_SIZE_OF_COST = (480, 832)

Detector = Callable[[Tensor], set[int]]


# --- detectors


def _midframe(frames: Tensor, *, only_cuts: bool) -> set[int]:
    watcher = Watcher(only_cuts=only_cuts)
    notes = [note for frame in frames for note in watcher.push(frame)] + watcher.finish()
    return {note.index for note in notes if note.cut}


def _older(frames: Tensor) -> set[int]:
    watcher = Watcher("ssim32", only_cuts=True)
    notes = [note for frame in frames for note in watcher.push(frame)] + watcher.finish()
    return {note.index for note in notes if note.cut}


def _scenedetect(frames: Tensor, name: str) -> set[int]:
    import scenedetect  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - only where it is installed

    detector: Any = getattr(scenedetect, name)()
    found: list[Any] = []
    pictures = frames.flip(-1).contiguous().numpy()  # BGR
    rate = 24.0
    for number, picture in enumerate(pictures):
        found += detector.process_frame(scenedetect.FrameTimecode(number, rate), picture)
    found += detector.post_process(scenedetect.FrameTimecode(len(pictures), rate))
    # It names the first frame of the new shot.
    return {int(getattr(cut, "frame_num", cut)) - 1 for cut in found}


def detectors() -> dict[str, Detector]:
    """Return the detectors that can be had here, by name."""
    here: dict[str, Detector] = {
        "midframe (default)": lambda frames: _midframe(frames, only_cuts=True),
        "midframe (analyse)": lambda frames: _midframe(frames, only_cuts=False),
        "older SSIM rule": _older,
    }
    try:
        import scenedetect  # noqa: F401, PLC0415
    except ImportError:
        sys.stderr.write("PySceneDetect is not installed: it is left out.\n")
        return here
    for name in ("ContentDetector", "AdaptiveDetector"):
        here[f"PySceneDetect {name}"] = lambda frames, name=name: _scenedetect(frames, name)  # type: ignore[misc]
    return here


# --- counting


@dataclass
class Score:
    """What a detector found, over all cases."""

    found: int = 0
    missed: int = 0
    false: int = 0

    def add(self, cuts: frozenset[int], said: set[int]) -> None:
        """Count one case."""
        self.found += len(cuts & said)
        self.missed += len(cuts - said)
        self.false += len(said - cuts)

    @property
    def recall(self) -> float:
        """Return the share of cuts that are found."""
        return self.found / max(self.found + self.missed, 1)

    @property
    def precision(self) -> float:
        """Return the share of what is found that is a cut."""
        return self.found / max(self.found + self.false, 1)


def run(clips: Footage, cuts: int, seed: int, shown: Path | None, only: Sequence[str] = ()) -> dict[str, Any]:
    """Count over all cases and return the figures of the table, of the detectors named or of all."""
    scores: dict[str, Score] = {}
    kinds: dict[str, Counter[str]] = {}
    seconds: dict[str, float] = {}
    totals: Counter[str] = Counter()
    asked = {name: detector for name, detector in detectors().items() if not only or name in only}
    for number, case in enumerate(cases(clips, cuts, seed)):
        totals["cuts"] += len(case.cuts)
        totals["others"] += len(case.frames) - 1 - len(case.cuts)
        for name, detector in asked.items():
            began = time.process_time()
            said = detector(case.frames)
            seconds[name] = seconds.get(name, 0.0) + time.process_time() - began
            scores.setdefault(name, Score()).add(case.cuts, said)
            wrong = kinds.setdefault(name, Counter())
            wrong[f"{case.kind}: missed"] += len(case.cuts - said)
            wrong[f"{case.kind}: false"] += len(said - case.cuts)
            if shown is not None and name == "midframe (default)" and said != set(case.cuts):
                _show(case, said, shown / f"{number:04d}_{case.kind.replace(' ', '_')}.png")
    frames = totals["cuts"] + totals["others"]
    rows = {
        name: {
            "recall": score.recall,
            "precision": score.precision,
            "missed": score.missed,
            "false": score.false,
            "ms a frame": 1000 * seconds[name] / frames,
            "wrong": {kind: count for kind, count in sorted(kinds[name].items()) if count},
        }
        for name, score in scores.items()
    }
    return {"cuts": totals["cuts"], "pairs that are none": totals["others"], "seed": seed, "detectors": rows}


def _show(case: Case, said: set[int], path: Path) -> None:
    """Write the pictures around what is wrong, for a person to look at."""
    from PIL import Image  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    at = sorted(said ^ set(case.cuts))[0]
    around = case.frames[max(at - 2, 0) : at + 4]
    Image.fromarray(torch.cat(tuple(around), 1).numpy()).save(path)


def cost() -> dict[str, float]:
    """Return the milliseconds of processor time of looking at a frame of 480x832 and of making one, side by
    side, on generated motion.
    """
    height, width = _SIZE_OF_COST
    random, shape = torch.Generator().manual_seed(0), (1, 3, height // 8 + 4, width // 8 + 8)
    noise = torch.rand(shape, dtype=torch.float32, device="cpu", generator=random)
    picture = F.interpolate(noise, scale_factor=8, mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
    clip = torch.stack(
        [as_dtype(picture[i : i + height, 2 * i : 2 * i + width], torch.uint8) for i in range(16)]
    )
    figures: dict[str, float] = {}
    for name, looks in (("looking for cuts", True), ("looking at everything", False)):
        began = time.process_time()
        _midframe(clip, only_cuts=looks)
        figures[name] = 1000 * (time.process_time() - began) / len(clip)
    began = time.process_time()
    interpolate(clip[:3], "default", 2)
    figures["making a frame with the built-in model"] = 1000 * (time.process_time() - began) / 2
    return figures


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"{figures['cuts']} cuts, {figures['pairs that are none']} pairs that are none, "
        f"seed {figures['seed']}.",
        "",
        "| detector | recall | precision | missed | false | ms a frame | wrong by kind |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in figures["detectors"].items():
        wrong = ", ".join(f"{kind} {count}" for kind, count in row["wrong"].items()) or "nothing"
        lines.append(
            f"| {name} | {row['recall']:.2%} | {row['precision']:.2%} | {row['missed']} | {row['false']} "
            f"| {row['ms a frame']:.2f} | {wrong} |"
        )
    lines.append("")
    lines += [f"- {name}: {value:.1f} ms" for name, value in figures.get("cost", {}).items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--clips", type=Path, action="append", required=True, metavar="FOLDER")
    add("--held-out", action="store_true", help="clips that nothing was tuned on; else the others")
    add("--leave-out", type=Path, metavar="JSON", help="a file whose left_out names clips that hold cuts")
    add("--cuts", type=int, default=500, metavar="N")
    add("--seed", type=int, default=0)
    add("--detector", action="append", default=[], metavar="NAME", help="a name of the table (default: all)")
    add("--show", type=Path, metavar="FOLDER", help="pictures of what is wrong")
    add("--out", type=Path, metavar="NAME", help="NAME.json and NAME.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    left_out = json.loads(arguments.leave_out.read_text())["left_out"] if arguments.leave_out else ()
    clips = footage(arguments.clips, held_out=arguments.held_out, left_out=frozenset(left_out))
    sys.stderr.write(f"{len(clips.paths)} clips\n")
    figures = {
        **run(clips, arguments.cuts, arguments.seed, arguments.show, arguments.detector),
        "cost": cost(),
    }
    sys.stdout.write(table(figures))
    if arguments.out is not None:
        arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(table(figures))


if __name__ == "__main__":
    main()
