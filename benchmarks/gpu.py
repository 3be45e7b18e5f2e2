"""Runs everything that needs a GPU, one after the other: tests, parity, the rows of the benchmark.

    python -m midframe.benchmarks.gpu --comfyui FOLDER --older FOLDER --out FOLDER --minutes 9

Each step is a process of its own, and its results are kept as soon as it is done: a page for people and an
archive of everything are written anew after each. A step that fails, or takes too long, is named, and the
others go on. Steps that do not fit into ``--minutes`` are left out, the last ones first. ``--rehearse`` does
the same at small sizes on a processor, without the parts that need CUDA, to see that it runs.

Nothing is downloaded. A bare machine needs torch for CUDA with Triton, this project with its tests, and
pytest; to compare with others, their checkouts and what these import.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .machine import machine

# Seconds.
_LONGEST_ROW = 120.0
# Last lines of a step's log that the page shows.
_LINES = 12
# Seconds that must be left to begin a row: torch is imported, CUDA set up.
_SHORTEST_ROW = 20.0
_PACK = (__package__ or "").partition(".")[0]
_ROOT = Path(__file__).resolve().parent.parent
_PAGE, _ARCHIVE = "page.md", "results.zip"
# Bytes, before they are compressed; larger files stay in the folder and are named on the page.
_LARGEST_ARCHIVE = 16 * 2**20


@dataclass(frozen=True)
class Row:
    """One step, or one row or a few of the benchmark."""

    name: str
    """Of its files."""
    arguments: tuple[str, ...]
    """After ``python -m``; ``--json`` and its file follow."""
    writes: bool = True
    """Whether it takes ``--json``; its output is kept in any case."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Besides this process's own."""


def checks() -> list[Row]:
    """Return the steps that must pass before a figure counts: tests, with both allocators, and parity."""
    tests = (
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "tests/test_cuda.py",
        "tests/vfi_models/test_fused.py",
    )
    parity = (_PACK, "parity", "--device", "cuda")
    contract = ("pytest", "-q", "-rs", "-p", "no:cacheprovider", "-m", "not long", "--device", "cuda")
    models: tuple[str, ...] = (*contract, "tests/vfi_models/test_models_contract.py")
    # ComfyUI chooses this allocator on most cards; the memory of captured passes then belongs to the driver
    # and not to torch.
    asynchronous = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    return [
        Row("tests", tests, writes=False),
        Row("tests_async", tests, writes=False, environment=asynchronous),
        Row("transfers", (f"{_PACK}.benchmarks.transfers", "--device", "cuda"), writes=False),
        Row("contract_float32", models, writes=False),
        Row("contract_float16", (*models, "--dtype", "float16"), writes=False),
        Row("parity_float32", parity, writes=False),
        Row("parity_float16", (*parity, "--dtype", "float16"), writes=False),
    ]


def rehearsal() -> list[Row]:
    """Return steps of each kind at sizes that a processor does in a minute."""
    golden = str(_ROOT / "parity" / "goldens" / "rife" / "4.25.npz")
    words = (_PACK, "bench", "--device", "cpu", "--size", "64x96", "--multiplier", "2", "--frames", "3")
    return [
        checks()[0],
        Row("transfers", (f"{_PACK}.benchmarks.transfers", "--device", "cpu", "--small"), writes=False),
        Row("parity_float32", (_PACK, "parity", golden, "--device", "cpu"), writes=False),
        Row("layouts", _layouts("cpu", "64x96", "float32", "rife-4.6"), writes=False),
        Row("rife_x2", (*words, "--rounds", "1", "--model", "rife-4.6", "--launches")),
        Row("film_x2", (*words, "--rounds", "1", "--model", "film-narrow")),
    ]


def rows(comfyui: Path | None, older: Path | None) -> list[Row]:
    """Return all rows, those that goals depend on first.

    Args:
        comfyui: checkout of ComfyUI; without it ours runs alone.
        older: checkout of the older pack; without it its rows are left out.
    """
    todo = [
        _bench("rife_1080p_x2", "rife-4.25", "1080x1920", _against("comfyui", comfyui), frames=17),
        _bench("film_1080p_x2", "film", "1080x1920", _against("comfyui", comfyui), frames=5),
        _bench("default_1080p_x2", "default", "1080x1920", ("--launches",)),
        Row("layouts", _layouts("cuda", "1080x1920", "float16", "rife-4.25", "default"), writes=False),
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
            todo.append(_bench(f"older_1080p_{kind}", "rife-4.6", "1080x1920", types))
    for name, size in (("720p", "720x1280"), ("1440p", "1440x2560"), ("4k", "2160x3840")):
        todo.append(_bench(f"rife_{name}_x2", "rife-4.25", size, _against("comfyui", comfyui)))
    return todo


def _against(peer: str, folder: Path | None) -> tuple[str, ...]:
    return () if folder is None else ("--against", f"{peer}={folder}")


def _layouts(device: str, size: str, dtype: str, *models: str) -> tuple[str, ...]:
    """Return the profile of some models with activations in planes, and beside it channels last."""
    profile = (f"{_PACK}.benchmarks.profile", "--device", device, "--size", size, "--dtype", dtype)
    return (*profile, "--rounds", "2", "--layout", "planes", "channels_last", "--model", *models)


def _bench(name: str, model: str, size: str, more: tuple[str, ...], *, frames: int = 9) -> Row:
    """Return a row in float16 and at twice the frames, unless ``more`` says otherwise: a later option
    wins.
    """
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
    """Run rows until they are done or ``seconds`` are over, and return the names of those without a result.

    Args:
        todo: rows.
        out: folder for their files.
        say: called with a line for each row.
        seconds: for all together.
        run: runs a command as :func:`subprocess.run` does.
    """
    end = time.monotonic() + seconds
    outcomes: dict[str, str] = {}
    for row in todo:
        begun = time.monotonic()
        # A row that hangs must not take the time of all others.
        left = min(_LONGEST_ROW, end - begun)
        if left < _SHORTEST_ROW:
            outcomes[row.name] = "left out, time is over"
        else:
            outcomes[row.name] = _outcome(row, out, run, left) or f"done, {time.monotonic() - begun:.0f} s"
        say(f"{row.name}: {outcomes[row.name]}")
        _keep(out, outcomes)
    return [name for name, outcome in outcomes.items() if not outcome.startswith("done")]


def _outcome(
    row: Row, out: Path, run: Callable[..., subprocess.CompletedProcess[str]], seconds: float
) -> str:
    """Run a step; return why there is no result, or an empty text."""
    command = [sys.executable, "-m", *row.arguments]
    # `bench` writes its file after each of its rows, so one that runs out of time leaves the finished ones.
    command += ["--json", str(out / f"{row.name}.json")] if row.writes else []
    environment = {**os.environ, **row.environment}
    try:
        # From the project's folder, for tests are named by their path in it.
        done = run(
            command, check=False, capture_output=True, text=True, timeout=seconds, cwd=_ROOT, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"not done in {seconds:.0f} s"
    except OSError as error:
        return str(error)
    (out / f"{row.name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    return "" if done.returncode == 0 else f"failed: {_last_line(done.stderr or done.stdout)}"


def _keep(out: Path, outcomes: Mapping[str, str]) -> None:
    """Write the page and the archive of all results so far."""
    about = out / "machine.json"
    parts = [
        "# What was run on this machine",
        f"```\n{about.read_text(encoding='utf-8').strip()}\n```" if about.is_file() else "",
        "\n".join(["| step | |", "|---|---|", *(f"| {name} | {text} |" for name, text in outcomes.items())]),
    ]
    for name in outcomes:
        table, log = out / f"{name}.md", out / f"{name}.log"
        if table.is_file():
            parts += [f"## {name}", table.read_text(encoding="utf-8").strip()]
        elif log.is_file():
            ending = log.read_text(encoding="utf-8").strip().splitlines()[-_LINES:]
            parts += [f"## {name}", "\n".join(["```", *ending, "```"])]
    # The page and the archive themselves are written anew each time.
    files = [path for path in sorted(out.iterdir()) if path.name not in (_PAGE, _ARCHIVE)]
    # The smallest first: one large file must not keep many small ones out.
    room, kept = _LARGEST_ARCHIVE, []
    for path in sorted(files, key=lambda path: path.stat().st_size):
        room -= path.stat().st_size
        if room >= 0:
            kept.append(path)
    if len(kept) < len(files):
        left_out = ", ".join(path.name for path in files if path not in kept)
        parts.append(f"Too large for the archive: {left_out}")
    (out / _PAGE).write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    with zipfile.ZipFile(out / _ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*kept, out / _PAGE]:
            archive.write(path, path.name)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0, 1 where rows are missing, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="midframe.benchmarks.gpu", description=__doc__)
    parser.add_argument("--comfyui", type=Path, default=None, metavar="FOLDER", help="a checkout of ComfyUI")
    parser.add_argument("--older", type=Path, default=None, metavar="FOLDER", help="of the older pack")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the results")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument("--rehearse", action="store_true", help="small, on a processor, to see that it runs")
    args = parser.parse_args(arguments)

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    if not args.rehearse and not torch.cuda.is_available():
        say("There is no CUDA device here, so there is nothing to measure. Run it on a machine with one.")
        return 2
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    about = json.dumps(machine("cpu" if args.rehearse else "cuda"), indent=1)
    (out / "machine.json").write_text(about + "\n", encoding="utf-8")
    say(about)
    todo = rehearsal() if args.rehearse else [*checks(), *rows(args.comfyui, args.older)]
    missing = run_all(todo, out, say, seconds=60 * args.minutes)
    say(f"Missing: {', '.join(missing)}" if missing else "All rows are there.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
