"""``midframe estimate``: the time of a long film on k workers, and how many workers help.

The seconds of each stage are measured on this machine or given; with these figures ``midframe chunks`` is
simulated: which worker makes which chunk when, and what each then waits for.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
import torch

from ..errors import BadInputError
from ..inputs.rates import frame_rate
from ..weights.loading import usable_device
from .stages import Costs, measure

_WORKERS = (1, 2, 4, 8, 16, 32)
# Times that a segment passes the storage while chunks are made: written, and read to be checked.
_COPIES = 2
# The same while they are joined: read to find the order of packets, read to be copied, and written.
_JOINING = 3


@dataclass(frozen=True)
class Film:
    """A film, and the frame rate to convert it to."""

    seconds: float
    rate: Fraction
    """Source frames a second."""
    fps: Fraction
    """Output frames a second."""
    pairs: int
    """Source pairs of a chunk."""

    @property
    def sources(self) -> int:
        """Return the number of source frames."""
        return max(1, round(self.seconds * self.rate))

    @property
    def made_share(self) -> Fraction:
        """Return the share of output frames that a model makes: those at the time of a source frame are
        copied.
        """
        # As p/q in lowest terms: one output frame in p is a source frame, of 24 to 60 (5/2) one in 5.
        return 1 - Fraction(1, (self.fps / self.rate).numerator)

    def chunks(self) -> list[int]:
        """Return the source frames of each chunk."""
        full, rest = divmod(self.sources, self.pairs)
        return [self.pairs] * full + ([rest] if rest else [])


@dataclass(frozen=True)
class Worker:
    """The resources of each worker."""

    cores: float
    model_on_cores: bool
    """The model runs on the same cores that decode and encode, and not on a device of its own."""
    storage: float
    """Bytes a second that all of them read and write together."""


@dataclass(frozen=True)
class Outcome:
    """The estimate for a film on some workers."""

    workers: int
    seconds: float
    stages: dict[str, float]
    """The part of the seconds that the run waits for each stage."""
    join: float
    """The part of the seconds in which chunks are joined."""

    @property
    def binds(self) -> str:
        """Return the stage that the run waits for most."""
        return max(self.stages, key=self.stages.__getitem__)


def chunk_stages(film: Film, frames: int, costs: Costs, worker: Worker, workers: int) -> dict[str, float]:
    """Return the seconds that each stage of a chunk takes by itself, while ``workers`` share the storage.

    Args:
        film: of the chunk.
        frames: source frames of the chunk.
        costs: of each stage.
        worker: that makes it.
        workers: number of them that run at once.
    """
    made_frames = frames * film.fps / film.rate * film.made_share
    out, seconds = float(frames * film.fps / film.rate), float(frames / film.rate)
    # The source is read once, the output is written and read again.
    moved = seconds * (costs.source_bytes + costs.output_bytes * _COPIES)
    return {
        # On the cores `make` is processor seconds, which several cores share out; on a GPU it is seconds of
        # the GPU.
        "model": float(made_frames) * costs.make / (worker.cores if worker.model_on_cores else 1),
        "coding": (frames * costs.decode + out * costs.encode) / worker.cores,
        "storage": moved * workers / worker.storage,
    }


def chunk_seconds(stages: dict[str, float], worker: Worker) -> tuple[float, str]:
    """Return the seconds of a chunk and the stage that decides them.

    Stages run at the same time, unless they share the cores.
    """
    busy = dict(stages)
    if worker.model_on_cores:
        # On the same cores one waits for the other, so their times add up; the longer one gives the name.
        shared = busy.pop("model") + busy.pop("coding")
        longest = "model" if stages["model"] >= stages["coding"] else "coding"
        busy[longest] = shared
    binds = max(busy, key=busy.__getitem__)
    return busy[binds], binds


def simulate(film: Film, costs: Costs, worker: Worker, workers: int) -> Outcome:
    """Simulate a job: the first free worker takes the next chunk; when all are made, one worker joins
    them.
    """
    sizes = film.chunks()
    # Only workers with a chunk share the storage.
    active = min(workers, len(sizes))
    # A heap of the times at which workers are free again; its first entry is the next one to be free.
    free = [costs.load] * active
    waits: dict[str, float] = {}
    for frames in sizes:
        seconds, binds = chunk_seconds(chunk_stages(film, frames, costs, worker, active), worker)
        waits[binds] = waits.get(binds, 0.0) + seconds / active
        heapq.heapreplace(free, free[0] + costs.seek + seconds)
    last_done = max(free)
    waits |= {"start": costs.load, "seek": costs.seek * len(sizes) / active}
    # The sums are averages over workers, which do not see that some are idle while the last chunks are made.
    waits["last chunks"] = max(0.0, last_done - sum(waits.values()))
    join, binds = join_seconds(film, costs, worker)
    waits[binds] = waits.get(binds, 0.0) + join
    return Outcome(workers, last_done + join, waits, join)


def join_seconds(film: Film, costs: Costs, worker: Worker) -> tuple[float, str]:
    """Return the seconds in which one process joins the chunks, and the stage that decides them."""
    length = float(film.sources / film.rate)
    # Joining copies packets and decodes nothing, so it goes by frames and by chunks.
    copying = length * float(film.fps) * costs.join + len(film.chunks()) * costs.join_chunk
    moving = length * costs.output_bytes * _JOINING / worker.storage
    return (copying, "join") if copying >= moving else (moving, "storage")


def bounds(film: Film, costs: Costs, worker: Worker) -> list[str]:
    """Return the limits that no number of workers changes, as lines."""
    sizes = film.chunks()
    stages = chunk_stages(film, sizes[0], costs, worker, 1)
    alone, _ = chunk_seconds(stages, worker)
    # A worker alone keeps the storage busy for this part of its time; so many of them fill it.
    full = (costs.seek + alone) / stages["storage"]
    least = costs.load + costs.seek + alone + join_seconds(film, costs, worker)[0]
    lines = [
        f"More workers than the {len(sizes)} chunks have nothing to do: not below {least / 60:.1f} minutes.",
        f"The storage is full at {full:.0f} workers.",
    ]
    if not worker.model_on_cores and stages["model"]:
        # Stages run at the same time: coding may take as long as the model does, and no longer.
        cores = stages["coding"] * worker.cores / stages["model"]
        lines.append(f"Decoding and encoding keep up with the model on {cores:.1f} cores of a worker.")
    return lines


def table(outcomes: Sequence[Outcome]) -> str:
    """Format the outcomes as Markdown, compared with one worker."""
    lines = [
        "| workers | hours | worker hours | faster | efficiency | waits for most | of the time | join, min |",
        "|" + "---|" * 8,
    ]
    alone = outcomes[0].seconds * outcomes[0].workers
    for outcome in outcomes:
        hours, faster = outcome.seconds / 3600, alone / outcome.seconds
        share = outcome.stages[outcome.binds] / outcome.seconds
        lines.append(
            f"| {outcome.workers} | {hours:.2f} | {hours * outcome.workers:.1f} | {faster:.1f} "
            f"| {faster / outcome.workers:.0%} | {outcome.binds} | {share:.0%} "
            f"| {outcome.join / 60:.1f} |"
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe estimate``."""
    add = parser.add_argument
    add("--hours", type=float, default=2.0, help="of film (default: 2)")
    add("--source-fps", type=frame_rate, default=Fraction(24), metavar="RATE", help="(default: 24)")
    add("--fps", type=frame_rate, default=Fraction(60), metavar="RATE", help="to come out (default: 60)")
    add("--size", default="1080x1920", metavar="HxW", help="of frames (default: 1080x1920)")
    add("--model", default="default", help="(default: the built-in)")
    add("--device", default="cpu", help="where it is measured and runs (default: cpu)")
    add(
        "--seconds-per-frame",
        type=float,
        metavar="S",
        help="that the model takes on a GPU of each worker, instead of measuring it here",
    )
    add("--pairs-per-chunk", type=int, default=240, metavar="N", help="(default: 240)")
    add("--cores", type=float, help="of each worker (default: those of this machine)")
    add("--storage", type=float, default=110, metavar="MB", help="it moves a second (default: 110)")
    add("--workers", type=int, nargs="+", default=list(_WORKERS), metavar="K")
    add("--clip", type=Path, help="whose coding is measured (default: a generated one of that size)")
    add("--costs", type=Path, metavar="JSON", help="take the measurements of an earlier --json")
    add("--json", type=Path, metavar="OUT", help="write everything here, and the table to OUT.md beside")


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measure the costs that are not given, and say the table."""
    film = _film(arguments)
    device = usable_device(arguments.device)
    given = arguments.seconds_per_frame
    if arguments.costs:
        before = _costs_before(arguments.costs)
        costs, about = Costs(**before["costs"]), before["machine"]
    else:
        costs, about = measure(arguments, film.fps / film.rate, with_model=given is None), _machine()
    if given is not None:
        costs = replace(costs, make=given)
    on_cores = given is None and device.type == "cpu"
    worker = Worker(arguments.cores or os.cpu_count() or 1, on_cores, arguments.storage * 1e6)
    # One worker is always among them, for the table compares all others with it.
    outcomes = [simulate(film, costs, worker, k) for k in sorted({1, *arguments.workers})]
    head = _about(film, costs, worker, about, given=given is not None)
    text = "\n".join([*head, "", table(outcomes), "", *bounds(film, costs, worker)])
    say(text)
    if arguments.json:
        report = {
            "machine": about,
            "film": {**asdict(film), "rate": str(film.rate), "fps": str(film.fps)},
            "costs": asdict(costs),
            "model_measured": given is None,
            "worker": asdict(worker),
            "outcomes": [asdict(outcome) for outcome in outcomes],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        arguments.json.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    return 0


def _film(arguments: argparse.Namespace) -> Film:
    numbers = [arguments.hours, arguments.pairs_per_chunk, arguments.storage, *arguments.workers]
    numbers += [n for n in (arguments.cores, arguments.seconds_per_frame) if n is not None]
    if min(numbers) <= 0 or arguments.fps < arguments.source_fps:
        raise BadInputError(
            "There is nothing to estimate.",
            f"{arguments.hours} hours, {arguments.source_fps} to {arguments.fps}, on {arguments.workers}",
            "Give numbers above 0, and more frames a second out than in.",
        )
    folder = (arguments.json or Path()).parent
    if not folder.is_dir():
        raise BadInputError("There is no such folder for the results.", str(folder), "Make it.")
    seconds = arguments.hours * 3600
    return Film(seconds, arguments.source_fps, arguments.fps, arguments.pairs_per_chunk)


def _costs_before(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        # Built and dropped: a file with other fields fails here, where the message can name it.
        Costs(**report["costs"])
        return {"costs": report["costs"], "machine": report["machine"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(
            "These are no measurements.", f"{path}: {error}", "Give what --json wrote, or leave it out."
        ) from error


def _machine() -> dict[str, Any]:
    versions = {"torch": torch.__version__, "av": av.__version__}
    return {"machine": platform.machine(), "cores": os.cpu_count(), "system": platform.system(), **versions}


def _about(film: Film, costs: Costs, worker: Worker, about: dict[str, Any], *, given: bool) -> list[str]:
    model = f"{costs.make:.3f} s a made frame, {'given, not measured' if given else 'measured'}"
    if worker.model_on_cores:
        model = f"{1 / costs.make:.2f} made frames a second and core"
    out = film.sources * film.fps / film.rate
    return [
        f"{film.seconds / 3600:g} hours, {film.rate} to {film.fps} frames a second: {film.sources} in, "
        f"{ceil(out)} out, {ceil(out * film.made_share)} of them made.",
        "",
        f"Measured on {', '.join(f'{name} {value}' for name, value in about.items())}:",
        "",
        f"- model: {model}",
        f"- decoding: {1 / costs.decode:.0f} frames a second and core",
        f"- encoding: {1 / costs.encode:.1f} frames a second and core, H.264",
        f"- storage: {costs.source_bytes / 1e6:.2f} MB in and {costs.output_bytes / 1e6:.2f} MB out a second",
        f"- joining: {1 / costs.join:.0f} frames a second, and {costs.join_chunk:.3f} s a chunk",
        f"- {costs.load:.1f} s to start a worker, {costs.seek:.2f} s to begin a chunk",
        "",
        f"Workers of {worker.cores:g} cores, which share storage of {worker.storage / 1e6:g} MB a second:",
    ]
