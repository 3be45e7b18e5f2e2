"""Runs `midframe memory` of another checkout of this project and of this one in turn, on the same machine.

    python -m midframe.benchmarks.beside FOLDER --out benchmarks/results/streaming_beside

The other one goes first and last (other, this, this, other), so that a machine that gets slower or faster
favours neither; of its two runs the better speed and the lower peak count. The machine should be idle.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MidframeError

# Frames out a second of this checkout may be so much of the other's: less is noise on an idle machine.
_NO_WORSE = 0.95
# The longer run may take so much of the memory of the shorter one.
_FLAT = 1.1
_PACK = (__package__ or "").partition(".")[0]
_ROOT = Path(__file__).resolve().parent.parent
_SHAPE = ("--default-frames", "0", "--disk-size", "90x160", "--disk-frames", "10", "20")


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and print a table; return 1 where this checkout needs more memory or is slower."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout, such as a worktree of an older commit")
    parser.add_argument("--size", default="720x1280", metavar="HxW", help="(default: %(default)s)")
    parser.add_argument("--frames", nargs=2, default=["100", "500"], metavar="N", help="short and long")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    given = parser.parse_args(words)
    shape = ["--size", given.size, "--frames", *given.frames, *_SHAPE]
    runs: dict[str, list[list[dict[str, Any]]]] = {"other": [], "this": []}
    for name in ("other", "this", "this", "other"):
        runs[name].append(_measured(given.other if name == "other" else _ROOT, shape))
    best = {name: _best(rows) for name, rows in runs.items()}
    text = "\n".join(
        [_table(best), "", *(f"{'yes' if held else 'NO'}: {what}" for what, held in _verdicts(best))]
    )
    sys.stdout.write(text + "\n")
    if given.out:
        given.out.with_suffix(".md").write_text(text + "\n")
        given.out.with_suffix(".json").write_text(json.dumps(runs, indent=1) + "\n")
    return 0 if all(held for _, held in _verdicts(best)) else 1


def _measured(checkout: Path, shape: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of streaming of one checkout, each measured in a process of its own.

    Raises:
        MidframeError: the checkout does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _PACK).symlink_to(checkout.resolve(), target_is_directory=True)
        out = Path(folder) / "out"
        command = [sys.executable, "-m", _PACK, "memory", "--folder", folder, "--out", str(out), *shape]
        environment = {**os.environ, "PYTHONPATH": folder}
        done = subprocess.run(  # noqa: S603 - a checkout that was named
            command, cwd=folder, env=environment, check=False, capture_output=True, text=True
        )
        file = out.with_suffix(".json")
        if not file.exists():  # 1 also says that memory is not flat, which is this command's business
            raise MidframeError("A checkout did not run.", f"{checkout}: {done.stderr[-2000:]}", "Check it.")
        rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return [row for row in rows if row["what"] == "stream"]


def _best(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return one row for each length: the best speed and the lowest peak of all runs."""
    return [
        {
            "frames": rows[0]["frames"],
            "speed": max(row["made"] / row["seconds"] for row in rows),
            "peak": min(row["rss_mb"] for row in rows),
        }
        for rows in zip(*runs, strict=True)
    ]


def _table(best: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = ["| checkout | frames in | frames out a second | peak, MB |", "|---|---|---|---|"]
    for name, rows in best.items():
        lines += [f"| {name} | {row['frames']} | {row['speed']:.1f} | {row['peak']} |" for row in rows]
    return "\n".join(lines)


def _verdicts(best: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, bool]]:
    """Return the conditions in words, and whether each holds."""
    short, long = best["this"]
    ratio = long["peak"] / short["peak"]
    verdicts = [
        (f"{long['frames']} frames take {ratio:.2f} times the memory of {short['frames']}", ratio <= _FLAT)
    ]
    for this, other in zip(best["this"], best["other"], strict=True):
        part = this["speed"] / other["speed"]
        verdicts.append((f"{this['frames']} frames at {part:.2f} of the other's speed", part >= _NO_WORSE))
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
