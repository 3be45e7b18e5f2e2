"""Counts how many cuts are found and how many are false, beside the detectors of others.

    python -m midframe.benchmarks.cuts --clips FOLDER [--clips FOLDER] [--held-out] --out NAME

Clips of real footage are spliced in known places, and pairs that look like cuts and are none are made of the
same footage: pans, flashes, strobes, shaking, explosions, dissolves, held animation. Everything is drawn from
a fixed seed. A cut counts as found at its own pair alone: one beside it is both missed and false.

PySceneDetect (``pip install scenedetect opencv-python-headless``) is measured where it is installed, with the
thresholds that its detectors have by default. Each detector runs in a process of its own: one that crashes is
told of and costs the others nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..analysis.watch import Watcher
from ..api import interpolate
from ..memory.staging import as_dtype
from .cut_cases import Case, Footage, cases, footage, short_shots

_SIZE_OF_COST = (480, 832)
_SHORT_SHOTS = 100

Detector = Callable[[Tensor], set[int]]
_OTHERS = "PySceneDetect"


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
    """Return the detectors that can be had here, by name; each can be sent to another process."""
    here: dict[str, Detector] = {
        "midframe (default)": partial(_midframe, only_cuts=True),
        "midframe (analyse)": partial(_midframe, only_cuts=False),
        "older SSIM rule": _older,
    }
    # Not imported here: each detector is in a process of its own.
    if importlib.util.find_spec("scenedetect") is None:
        sys.stderr.write("PySceneDetect is not installed: it is left out.\n")
        return here
    for name in ("ContentDetector", "AdaptiveDetector"):
        here[f"{_OTHERS} {name}"] = partial(_scenedetect, name=name)
    return here


# --- processes


def _serve(detector: Detector, ask: Connection) -> None:
    """Answer with what a detector finds in frames, and its processor time, until there are no more."""
    torch.set_num_threads(1)
    while (pixels := ask.recv()) is not None:
        began = time.process_time()
        said = detector(torch.from_numpy(pixels))
        ask.send((said, time.process_time() - began))


class Apart:
    """Detectors, each in a process of its own.

    Args:
        detectors: by name.
        method: how processes begin. A fork would take torch's threads along, as locks that nobody opens: it
            is for detectors that do not compute.
    """

    def __init__(self, detectors: Mapping[str, Detector], method: str = "spawn") -> None:
        # Typed by what both ways share.
        context: Any = multiprocessing.get_context(method)
        self.ended: dict[str, int] = {}
        """Exit code of each detector that crashed."""
        self._running: dict[str, tuple[Any, Connection]] = {}
        for name, detector in detectors.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(detector, theirs), daemon=True)
            process.start()
            # Closed here, so that a crash there ends the pipe.
            theirs.close()
            self._running[name] = process, ours

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, ask in self._running.values():
            # Before the pipe ends, which a detector would complain of.
            process.terminate()
            process.join()
            ask.close()

    def find(self, frames: Tensor) -> dict[str, tuple[set[int], float]]:
        """Return what each detector that still runs finds, and its seconds of processor time."""
        pixels, answers = frames.numpy(), {}
        for name in tuple(self._running):
            self._try(name, lambda ask: ask.send(pixels))
        for name in tuple(self._running):
            answer = self._try(name, lambda ask: ask.recv())
            if answer is not None:
                answers[name] = answer
        return answers

    def _try(self, name: str, what: Callable[[Connection], Any]) -> Any:
        process, ask = self._running[name]
        try:
            return what(ask)
        except (EOFError, OSError):
            ask.close()
            process.join()
            self.ended[name] = process.exitcode
            sys.stderr.write(f"{name} ended with {process.exitcode}: it is left out from here on.\n")
            del self._running[name]
            return None


# --- counting


@dataclass
class Score:
    """What a detector found, over all cases."""

    found: int = 0
    missed: int = 0
    false: int = 0
    seconds: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, said: set[int], seconds: float) -> None:
        """Count one case."""
        missed, false = len(case.cuts - said), len(said - case.cuts)
        self.found += len(case.cuts & said)
        self.missed += missed
        self.false += false
        self.seconds += seconds
        self.wrong.update({f"{case.kind}: missed": missed, f"{case.kind}: false": false})

    @property
    def recall(self) -> float:
        """Return the share of cuts that are found."""
        return self.found / max(self.found + self.missed, 1)

    @property
    def precision(self) -> float:
        """Return the share of what is found that is a cut."""
        return self.found / max(self.found + self.false, 1)

    def row(self, frames: int) -> dict[str, Any]:
        """Return the figures of the table, of a detector that saw so many frames."""
        return {
            "recall": self.recall,
            "precision": self.precision,
            "missed": self.missed,
            "false": self.false,
            "ms a frame": 1000 * self.seconds / frames,
            "wrong": {kind: count for kind, count in sorted(self.wrong.items()) if count},
        }


def run(clips: Footage, cuts: int, seed: int, shown: Path | None, only: Sequence[str] = ()) -> dict[str, Any]:
    """Count over all cases and return the figures of the table, of the detectors named or of all."""
    asked = {name: detector for name, detector in detectors().items() if not only or name in only}
    scores = {name: Score() for name in asked}
    short = {name: Score() for name in asked}
    totals: Counter[str] = Counter()
    with Apart(asked) as apart:
        for number, case in enumerate(cases(clips, cuts, seed)):
            totals["cuts"] += len(case.cuts)
            totals["others"] += len(case.frames) - 1 - len(case.cuts)
            for name, (said, seconds) in apart.find(case.frames).items():
                scores[name].add(case, said, seconds)
                if shown is not None and name == "midframe (default)" and said != set(case.cuts):
                    _show(case, said, shown / f"{number:04d}_{case.kind.replace(' ', '_')}.png")
        for case in short_shots(clips, _SHORT_SHOTS, seed):
            for name, (said, seconds) in apart.find(case.frames).items():
                short[name].add(case, said, seconds)
    frames = totals["cuts"] + totals["others"]
    # What a detector found before it crashed would stand beside what others found in all.
    rows = {name: score.row(frames) for name, score in scores.items() if name not in apart.ended}
    return {
        "cuts": totals["cuts"],
        "pairs that are none": totals["others"],
        "seed": seed,
        "clips": len(clips.paths),
        "detectors": rows,
        "short shots": {
            name: {key: value for key, value in short[name].row(1).items() if key != "ms a frame"}
            for name in rows
        },
        "crashed": apart.ended,
        "versions": _versions(rows),
    }


def _versions(rows: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of the packages that others' detectors need, where one of them ran."""
    if not any(name.startswith(_OTHERS) for name in rows):
        return {}
    packages = importlib.metadata.packages_distributions()
    return {
        package: importlib.metadata.version(package)
        for module in ("scenedetect", "cv2")
        for package in packages.get(module, [])[:1]
    }


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
        f"seed {figures['seed']}, of {figures['clips']} clips."
        + "".join(f" {name} {version}." for name, version in figures["versions"].items()),
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
    lines += [
        "",
        f"Shots of 1 to 5 frames between two longer ones, {_SHORT_SHOTS} of them. "
        "PySceneDetect takes none of under "
        "15 frames for a shot.",
        "",
        "| detector | recall | false | wrong by length |",
        "|---|---|---|---|",
    ]
    for name, row in figures["short shots"].items():
        wrong = ", ".join(f"{kind} {count}" for kind, count in row["wrong"].items()) or "nothing"
        lines.append(f"| {name} | {row['recall']:.2%} | {row['false']} | {wrong} |")
    lines.append("")
    lines += [f"- {name} crashed (exit code {code})" for name, code in figures["crashed"].items()]
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
