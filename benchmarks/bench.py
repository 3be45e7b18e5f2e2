"""``midframe bench``: ours against peers, same weights, same frames, interleaved in one process.

Times are medians over rounds in which each contender runs once; only their ratio means anything on a
shared machine. Peak memory is measured in a process of its own for each contender.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from ..api import default_device, interpolate, load_model
from ..errors import BadInputError
from ..vfi_models import architectures, build, detect
from ..vfi_models._core.seam import Interpolator
from ..vfi_models._core.synthetic import synthetic_state_dict
from ..vfi_utils import Settings
from .loading import loads, loads_table
from .peers import Interpolate, peer

_AGREE = 1e-3
"""Largest error between two float32 implementations of one network on these frames."""


@dataclass(frozen=True)
class Work:
    """What is run."""

    model: str
    size: tuple[int, int]
    multiplier: int
    frames: int
    dtype: str
    device: str
    options: dict[str, Any] = field(default_factory=dict)
    """Of the model's session."""

    def clip(self) -> Tensor:
        """A smooth texture that drifts and turns: (N, H, W, 3) float32, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        height, width = self.size
        texture = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
        frames = []
        for i in range(self.frames):
            angle = torch.tensor(0.01 * i)
            turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos())).view(2, 2)
            shift = torch.tensor([[0.02 * i], [0.01 * i]])
            grid = torch.nn.functional.affine_grid(
                torch.cat((turn, shift), 1).unsqueeze(0), [1, 3, height, width], align_corners=False
            )
            frames.append(
                torch.nn.functional.grid_sample(texture, grid, padding_mode="reflection", align_corners=False)
            )
        return torch.cat(frames).permute(0, 2, 3, 1).contiguous()

    def model_to_run(self) -> Interpolator:
        """The built-in model with its weights, any other with synthetic ones."""
        if self.model == "default":
            return load_model("default", self.device, getattr(torch, self.dtype))
        model = build(detect(self.weights()))
        model.module.to(device=self.device, dtype=getattr(torch, self.dtype))
        return model

    def weights(self) -> dict[str, Tensor]:
        """Synthetic weights of the network, scaled so that its flows are a few pixels."""
        name, _, family = self.model.partition("-")
        family = family or name
        owner = next((a for a in architectures() if a.name == name and family in a.families), None)
        if owner is None:
            known = [f"{a.name}-{f}" for a in architectures() for f in a.families]
            raise BadInputError(
                "There is no such model to measure.", self.model, f"Use default or {', '.join(known)}."
            )
        return synthetic_state_dict(owner.shapes(family), 0, 1.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``midframe bench``."""
    parser.add_argument("--model", nargs="+", default=["rife-4.25"], help="rife-4.25, rife-4.6, default ...")
    parser.add_argument("--size", nargs="+", default=["480x832"], metavar="HxW", help="frame sizes")
    parser.add_argument("--multiplier", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--frames", type=int, default=9, help="source frames")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each contender")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--device", default=None, help="cpu, cuda ... (default: the best)")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a peer's checkout, e.g. comfyui=PATH",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE[,VALUE]",
        help="of the model's, e.g. flow_scale=0.5,1",
    )
    parser.add_argument(
        "--json", type=Path, default=None, metavar="OUT", help="write rows here, and OUT.md beside"
    )
    parser.add_argument("--loading", action="store_true", help="also how long files take to load")
    parser.add_argument("--peak-of", default=None, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measures every combination, says a table; 1 where pictures do not agree."""
    if min(args.multiplier) < 2 or args.frames < 2 or args.rounds < 1:  # noqa: PLR2004
        raise BadInputError(
            "There is nothing to measure.",
            f"multiplier {args.multiplier}, {args.frames} frames, {args.rounds} rounds",
            "Use a multiplier and frames of 2 or more, and at least one round.",
        )
    if args.against and (args.dtype != "float32" or "default" in args.model):
        raise BadInputError(
            "This cannot be compared with a peer.",
            f"{', '.join(args.model)} in {args.dtype}; peers run published networks in float32",
            "Leave --against out, or compare in float32.",
        )
    if args.json and not args.json.parent.is_dir():
        raise BadInputError("The folder for the results does not exist.", str(args.json.parent), "Make it.")
    device = args.device or str(default_device())
    options = [dict(chosen) for chosen in itertools.product(*(_options(text) for text in args.option))]
    works = [
        Work(model, _size(size), multiplier, args.frames, args.dtype, device, chosen)
        for model in args.model
        for size in args.size
        for multiplier in args.multiplier
        for chosen in options
    ]
    if args.peak_of:
        say(json.dumps(peak_memory(works[0], args.peak_of, args.against)))
        return 0
    rows = [row for work in works for row in measure(work, args.against, args.rounds)]
    report: dict[str, Any] = {"machine": machine(device), "rows": rows}
    table = as_table(report)
    if args.loading:
        weights = {work.model: work.weights() for work in works if work.model != "default"}
        loading = [row for model in weights for row in loads(model, weights[model], args.rounds)]
        report["loading"] = loading
        table += "\n\n" + loads_table(loading)
    say(table)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        args.json.with_suffix(".md").write_text(table + "\n", encoding="utf-8")
    return 0 if all(row["pictures_agree"] for row in rows) else 1


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise BadInputError("A size is HEIGHTxWIDTH.", text, "Write it like 480x832.")
    return int(height), int(width)


def _options(text: str) -> list[tuple[str, Any]]:
    """``name=1,2`` as ``(name, 1), (name, 2)``; what is no JSON is a word."""
    name, _, values = text.partition("=")
    made = []
    for value in values.split(","):
        with contextlib.suppress(json.JSONDecodeError):
            made.append((name, json.loads(value)))
            continue
        made.append((name, value))
    return made


def measure(work: Work, against: Iterable[str], rounds: int) -> list[dict[str, Any]]:
    """One row for each peer, or one of ours alone."""
    clip, device = work.clip(), torch.device(work.device)
    model = work.model_to_run()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for argument in against or [""]:
            contenders: dict[str, Interpolate] = {}
            options: dict[str, Any] = {}
            name = "nothing"
            if argument:
                name, other = peer(argument)
                contenders[name] = other.open(work.weights(), Path(scratch), device, work.options)
                options = other.options(*work.size)
            contenders["midframe"] = _ours(model, options | work.options)
            with torch.inference_mode():
                pictures = {who: contender(clip, work.multiplier) for who, contender in contenders.items()}
            times = _interleaved(contenders, clip, work.multiplier, rounds)
            rows.append(_row(work, name, argument, times, pictures))
    return rows


def _ours(model: Interpolator, options: dict[str, Any]) -> Interpolate:
    settings = Settings(options={k: v for k, v in options.items() if k in model.spec.options})
    return lambda frames, multiplier: interpolate(frames, model, multiplier, settings=settings)


@dataclass(frozen=True)
class Times:
    """What the runs of one contender took, each: seconds by the clock, and of processors working for it.

    On a machine that others use too, the second says more; on an accelerator it says nothing.
    """

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def _interleaved(
    contenders: dict[str, Interpolate], clip: Tensor, multiplier: int, rounds: int
) -> dict[str, Times]:
    """The order turns round after each round."""
    times = {name: Times() for name in contenders}
    order = list(contenders)
    with torch.inference_mode():
        for _ in range(rounds):
            for name in order:
                begun, worked = time.perf_counter(), time.process_time()
                contenders[name](clip, multiplier)
                times[name].processor.append(time.process_time() - worked)
                times[name].wall.append(time.perf_counter() - begun)
            order.reverse()
    return times


def _row(
    work: Work, name: str, argument: str, times: dict[str, Times], pictures: dict[str, Tensor]
) -> dict[str, Any]:
    made = (work.frames - 1) * (work.multiplier - 1)
    ours = times["midframe"]
    seconds = statistics.median(ours.wall)
    row: dict[str, Any] = {
        **asdict(work),
        "size": f"{work.size[0]}x{work.size[1]}",
        "against": name,
        "seconds_per_made_frame": seconds / made,
        "spread": (max(ours.wall) - min(ours.wall)) / seconds,
        "processor_seconds_per_made_frame": statistics.median(ours.processor) / made,
        "peak_mib": _peak_in_own_process(work, "midframe", argument),
        "pictures_agree": True,
    }
    if name in pictures:
        theirs = times[name]
        error = (pictures[name].float() - pictures["midframe"]).abs()
        agree = float(error.max()) < _AGREE
        row |= {
            "their_seconds_per_made_frame": statistics.median(theirs.wall) / made,
            "their_processor_seconds_per_made_frame": statistics.median(theirs.processor) / made,
            "speedup": statistics.median(theirs.wall) / seconds if agree else None,
            "processor_speedup": statistics.median(theirs.processor) / statistics.median(ours.processor)
            if agree
            else None,
            "their_peak_mib": _peak_in_own_process(work, name, argument),
            "max_error": float(error.max()),
            "psnr": float(-10 * torch.log10(error.double().square().mean().clamp(min=1e-12))),
            "pictures_agree": agree,
        }
    return row


def _peak_in_own_process(work: Work, who: str, against: str) -> float:
    """MiB that a run of one contender adds to a process that holds the model and the input."""
    command = [sys.executable, "-m", (__package__ or "").partition(".")[0], "bench", "--peak-of", who]
    command += ["--model", work.model, "--size", f"{work.size[0]}x{work.size[1]}"]
    command += ["--multiplier", str(work.multiplier), "--frames", str(work.frames)]
    command += ["--dtype", work.dtype, "--device", work.device]
    command += [f"--option={name}={json.dumps(value)}" for name, value in work.options.items()]
    command += ["--against", against] if against else []
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
    if done.returncode:
        raise BadInputError("Measuring memory failed.", done.stderr[-2000:], "Run it again, or report this.")
    return float(json.loads(done.stdout.splitlines()[-1]))


def peak_memory(work: Work, who: str, against: Iterable[str]) -> float:
    """The rise of this process's memory over what it holds before one run, in MiB.

    A run on two small frames comes first: it loads the libraries, which is nobody's memory in particular.
    """
    clip = work.clip()
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        if who == "midframe":
            options = {k: v for a in against for k, v in peer(a)[1].options(*work.size).items()}
            model = work.model_to_run()
            contender = _ours(model, options | work.options)
            _ours(model, {})(clip[:2, :256, :256], work.multiplier)
        else:
            contender = peer(next(iter(against)))[1].open(
                work.weights(), Path(scratch), torch.device(work.device), work.options
            )
            contender(clip[:2, :256, :256], work.multiplier)
        if work.device.startswith("cuda"):
            return _device_peak(lambda: contender(clip, work.multiplier))
        with _Sampled() as memory:
            contender(clip, work.multiplier)
    return round(memory.rise / 2**20, 1)


def _device_peak(run: Callable[[], Tensor]) -> float:
    """The most that torch holds on the CUDA device during ``run``, over that before it, in MiB."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)


class _Sampled:
    """The most resident memory of this process while it is entered, over that at its beginning, in bytes."""

    def __enter__(self) -> _Sampled:
        _give_back_free_heap()
        self._process = psutil.Process()
        self._before = self._most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self.rise = self._most - self._before

    def _sample(self) -> None:
        while not self._over.wait(0.002):
            self._most = max(self._most, self._process.memory_info().rss)


def _give_back_free_heap() -> None:
    """What was freed before must not hide what is allocated now. Only glibc has a word for it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def machine(device: str) -> dict[str, Any]:
    """What was measured on."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor()
    return {
        "device": device,
        "name": name or platform.machine(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


def as_table(report: dict[str, Any]) -> str:
    """The rows as Markdown."""
    about = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = [
        about,
        "",
        "| model | size | x | dtype | against | ours, s a made frame | theirs | speed-up | in processor time "
        "| ours, peak MiB | theirs | max error | PSNR, dB |",
        "|" + "---|" * 13,
    ]
    for row in report["rows"]:
        theirs = "- | - | -"
        if "their_seconds_per_made_frame" in row:
            ratios = [row["speedup"], row["processor_speedup"] if row["device"] == "cpu" else None]
            theirs = f"{row['their_seconds_per_made_frame']:.3f} | "
            theirs += " | ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        ours = f"{row['seconds_per_made_frame']:.3f}"
        peak = f"{row['peak_mib']:.0f} | {row.get('their_peak_mib', float('nan')):.0f}"
        same = f"{row['max_error']:.1e} | {row['psnr']:.0f}" if "psnr" in row else "- | -"
        model = " ".join([row["model"], *(f"{name}={value}" for name, value in row["options"].items())])
        verdict = "" if row["pictures_agree"] else " (pictures differ: no comparison)"
        lines.append(
            f"| {model} | {row['size']} | {row['multiplier']} | {row['dtype']} "
            f"| {row['against']}{verdict} | {ours} | {theirs} | {peak} | {same} |"
        )
    return "\n".join(lines)
