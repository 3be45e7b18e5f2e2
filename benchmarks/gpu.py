"""Every row that needs a GPU, one after the other.

    python -m midframe.benchmarks.gpu --comfyui FOLDER --older FOLDER --out FOLDER

Each row is a process of its own and is kept as soon as it is done. One that fails, or takes too long, is
named, and the others go on. What does not fit into ``--minutes`` is left out, last rows first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .machine import machine

_LONGEST_ROW = 120.0
"""Seconds."""
_SHORTEST_ROW = 20.0
"""Seconds without which a row is not begun: torch is imported, CUDA set up."""
_PACK = (__package__ or "").partition(".")[0]


@dataclass(frozen=True)
class Row:
    """One row, or a few of one kind."""

    name: str
    """Of its file."""
    arguments: tuple[str, ...]
    """After ``python -m``; ``--json`` and its file follow."""


def rows(comfyui: Path | None, older: Path | None) -> list[Row]:
    """All rows, those that goals hang on first.

    Args:
        comfyui: checkout of ComfyUI; without it ours runs alone.
        older: checkout of the older pack; without it its rows are left out.
    """
    made = [
        _bench("rife_1080p_x2", "rife-4.25", "1080x1920", _against("comfyui", comfyui), frames=17),
        _bench("film_1080p_x2", "film", "1080x1920", _against("comfyui", comfyui), frames=5),
        _bench("rife_4k_8gib", "rife-4.25", "2160x3840", ("--vram-gib", "8"), frames=5),
        Row("clearing", (f"{_PACK}.benchmarks.pressure",)),
        # Nothing is recorded before the 24th pass.
        _bench("rife_1080p_graphs", "rife-4.25", "1080x1920", ("--option", "graphs=true,false"), frames=97),
        _bench(
            "rife_1080p_x4", "rife-4.25", "1080x1920", ("--multiplier", "4", *_against("comfyui", comfyui))
        ),
    ]
    if older is not None:
        for kind in ("float16", "float32"):
            types = ("--dtype", kind, "--peer-dtype", kind, *_against("older", older))
            made.append(_bench(f"older_1080p_{kind}", "rife-4.6", "1080x1920", types))
    for name, size in (("720p", "720x1280"), ("1440p", "1440x2560"), ("4k", "2160x3840")):
        made.append(_bench(f"rife_{name}_x2", "rife-4.25", size, _against("comfyui", comfyui)))
    return made


def _against(peer: str, folder: Path | None) -> tuple[str, ...]:
    return () if folder is None else ("--against", f"{peer}={folder}")


def _bench(name: str, model: str, size: str, more: tuple[str, ...], *, frames: int = 9) -> Row:
    """A row in float16 and at twice the frames, unless ``more`` says otherwise: the last word counts."""
    words: tuple[str, ...] = (
        _PACK,
        "bench",
        "--device",
        "cuda",
        "--model",
        model,
        "--size",
        size,
        "--multiplier",
        "2",
    )
    words += ("--frames", str(frames), "--rounds", "3", "--dtype", "float16", "--peer-dtype", "float16")
    return Row(name, (*words, *more))


def run_all(
    todo: Sequence[Row],
    out: Path,
    say: Callable[[str], None],
    *,
    seconds: float,
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> list[str]:
    """Runs rows until they are done or ``seconds`` are over, and returns the names of those without a result.

    Args:
        todo: rows.
        out: folder for their files.
        say: told of each row.
        seconds: for all together.
        run: runs a command as :func:`subprocess.run` does.
    """
    missing, end = [], time.monotonic() + seconds
    for row in todo:
        left = min(_LONGEST_ROW, end - time.monotonic())
        if left < _SHORTEST_ROW:
            say(f"{row.name}: left out, time is over")
            missing.append(row.name)
            continue
        command = [sys.executable, "-m", *row.arguments, "--json", str(out / f"{row.name}.json")]
        try:
            done = run(command, check=False, capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            reason = f"not done in {left:.0f} s"
        except OSError as error:
            reason = str(error)
        else:
            (out / f"{row.name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
            reason = "" if done.returncode == 0 else f"failed: {_last_line(done.stderr or done.stdout)}"
        say(f"{row.name}: {reason or 'done'}")
        missing += [row.name] if reason else []
    return missing


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, 1 where rows are missing, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="midframe.benchmarks.gpu", description=__doc__)
    parser.add_argument("--comfyui", type=Path, default=None, metavar="FOLDER", help="a checkout of ComfyUI")
    parser.add_argument("--older", type=Path, default=None, metavar="FOLDER", help="of the older pack")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the results")
    parser.add_argument("--minutes", type=float, default=7.5, help="for everything")
    args = parser.parse_args(arguments)

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    if not torch.cuda.is_available():
        say("There is no CUDA device here, so there is nothing to measure. Run it on a machine with one.")
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    about = json.dumps(machine("cuda"), indent=1)
    (args.out / "machine.json").write_text(about + "\n", encoding="utf-8")
    say(about)
    missing = run_all(rows(args.comfyui, args.older), args.out, say, seconds=60 * args.minutes)
    say(f"Missing: {', '.join(missing)}" if missing else "All rows are there.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
