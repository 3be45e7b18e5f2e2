"""Tell whether frames changed between two commits, bit for bit, on every model and every path.

    python tests/support/same_frames.py before.json
    python tests/support/same_frames.py after.json --against before.json
    python tests/support/same_frames.py clips.json --clips FOLDER [--model FILE] [--against before.json]

The first is run at the old commit and the second at the new one, on the same machine: another processor
rounds otherwise. Copy this file to a commit that does not have it. It uses the Python API of the README, the
command line and the nodes alone, so that it runs whatever lies behind these.

What is compared: the pixels and the times of what comes out, as SHA-256 for each run. Models but the built-in
one have synthetic weights. A run that takes more than a model's own time is not among them: sizes are small.

With ``--clips``, instead of all that: the folders of pictures in FOLDER, each a clip without a cut or a held frame.
A default run of each is compared with one that does not look at the clip, where the commit can do that, and with
the older commit's by ``--against``.
"""

# ruff: noqa: E402 -- the pack is loaded by its path first, whatever its folder is called

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads stop a shared machine

import numpy as np
import torch
from packs import load_pack

load_pack()

from clips import frames_of, pictures, times_of, write_clip
from midframe import NODE_CLASS_MAPPINGS, interpolate, load_model
from midframe.benchmarks.work import synthetic
from midframe.chunks import Inline, Job, ModelChoice, process
from midframe.cli import main as command
from midframe.vfi_utils import FrameLoop, QuietHost, Settings, States, by_fps, by_multiplier
from midframe.video import Plan, interpolate_video
from PIL import Image
from safetensors.torch import save_file

Runs = Iterator[tuple[str, Callable[[], str]]]
"""Names of runs, and functions that return what came out as a digest."""
SIZE = 64, 96
MODELS = {
    "default": {},
    "rife-4.0": {},
    "rife-4.6": {},
    "rife-4.25": {},
    "rife_hd-hdv3": {},
    "film-narrow": {},
    "tlbvfi-small": {"sample_steps": 3, "flow_scale": 0.25},
}
"""Options of each."""


def clip(count: int, channels: int = 3) -> torch.Tensor:
    """Frames that move, the third the same as the second: (N, H, W, C) float32."""
    frames = (
        torch.stack([torch.from_numpy(p) for p in pictures(count, SIZE, channels=channels)]).float() / 255
    )
    frames[2:3] = frames[1:2]
    return frames


def digest(frames: Sequence[Any], times: Sequence[Fraction] = ()) -> str:
    sha = hashlib.sha256(repr([str(time) for time in times]).encode())
    for frame in frames:
        array = frame.contiguous().numpy() if isinstance(frame, torch.Tensor) else frame
        sha.update(repr((array.shape, array.dtype.str)).encode())
        sha.update(array.tobytes())
    return f"{len(frames)} frames {sha.hexdigest()}"


def of_file(path: Path) -> str:
    return digest(frames_of(path), times_of(path))


def file_of(model: str, folder: Path) -> str:
    """The file of a model, or the name of the built-in one."""
    if model == "default":
        return model
    path = folder / f"{model}.safetensors"
    if not path.is_file():
        save_file({name: value.clone() for name, value in synthetic(model).items()}, path)
    return str(path)


def made(model: Any, frames: torch.Tensor, *arguments: Any, **more: Any) -> str:
    return digest(interpolate(frames, model, *arguments, **more))


def in_memory(folder: Path) -> Runs:
    for name, options in MODELS.items():
        model = load_model(file_of(name, folder), "cpu", "float32")
        settings = Settings(options=options)
        yield f"{name} x2", partial(made, model, clip(4), 2, settings=settings)
        if name.startswith("tlbvfi"):
            continue
        yield f"{name} RGBA x3", partial(made, model, clip(3, 4), 3)
        yield f"{name} grey x2.5", partial(made, model, clip(3)[..., :1], 2.5)
        if torch.bfloat16 in model.spec.dtypes:
            half = load_model(file_of(name, folder), "cpu", "bfloat16")
            yield f"{name} bfloat16 x2", partial(made, half, clip(2), 2)
    model = load_model("default", "cpu", "float32")
    timelines = {
        "list": by_multiplier([3, 2, 0, 4]),
        "hold_last": by_multiplier(2, end="hold_last"),
        "skipped": by_multiplier(3, states=States({1})),
        "24 to 60": by_fps(24, 60),
        "23.976 to 59.94, skipped": by_fps(23.976, 59.94, states=States({0, 3}), end="hold_last"),
        "down": by_fps(30, 24),
    }
    for name, timeline in timelines.items():
        yield f"timeline {name}", partial(made, model, clip(5), timeline=timeline)
    for schedule, batch in product(("any_t", "bisect"), (0, 2)):
        settings = Settings(schedule=schedule, batch=batch)
        yield f"schedule {schedule}, batch {batch}", partial(made, model, clip(4), 5, settings=settings)
    yield "in parts", partial(in_parts, model)


class Kept:
    """A sink that keeps copies."""

    def __init__(self) -> None:
        self.frames = []

    def put(self, index: int, frames: torch.Tensor) -> None:
        self.frames.extend(frames.clone().unbind())


def in_parts(model: Any) -> str:
    sink = Kept()
    parts = clip(6).split(2)
    with FrameLoop(by_multiplier(2)) as loop:
        for part in parts:
            loop.feed(part, model, sink, last=part is parts[-1])
    return digest(sink.frames)


PLANS = {
    "x2": {},
    "x3 end_on_last": {"multiplier": 3, "end": "end_on_last"},
    "x2.5": {"multiplier": 2.5},
    "to 60": {"fps": 60},
}


def from_file_to_file(source: Path, target: Path, plan: dict[str, Any]) -> str:
    interpolate_video(source, target, load_model("default", "cpu", "float32"), Plan(**plan))
    return of_file(target)


def in_chunks(source: Path, target: Path, plan: dict[str, Any]) -> str:
    choice = ModelChoice("default", "cpu", "float32")
    job = Job(source, target, target.with_suffix(".chunks"), choice, plan=Plan(**plan), pairs=2)
    process(job, Inline(choice.load), host=QuietHost())
    return of_file(target)


def by_files(folder: Path) -> Runs:
    plain = write_clip(folder / "plain.mkv", pictures(6, SIZE), sound="aac")
    times = [Fraction(n, 100) for n in (0, 4, 5, 12, 15)]
    uneven = write_clip(folder / "uneven.mkv", pictures(5, SIZE), times=times)
    for source in (plain, uneven):
        for name, plan in PLANS.items():
            for make in (from_file_to_file, in_chunks):
                target = folder / f"{source.stem}_{name}_{make.__name__}.mkv".replace(" ", "_")
                yield f"{make.__name__} {source.stem} {name}", partial(make, source, target, plan)


def by_words(target: Path, words: list[str]) -> str:
    quietly = ["--device", "cpu", "--dtype", "float32", "--quiet"]
    if command([*words[:2], str(target), *words[2:], *quietly]):
        raise RuntimeError(f"midframe {' '.join(words)} failed")
    return of_file(target)


def by_command(folder: Path) -> Runs:
    source = write_clip(folder / "words.mkv", pictures(4, SIZE))
    options = (["--fps", "60"], ["--multiplier", "5/2"], ["-m", "3", "--scale", "0.5", "--ensemble"])
    for i, (word, more) in enumerate(product(("interpolate", "chunks"), options)):
        words = [word, str(source), *more]
        yield f"command {word} {' '.join(more)}", partial(by_words, folder / f"words{i}.mkv", words)


def of_node(node: Any, options: dict[str, Any], file: str) -> str:
    """The model by a link, as Load Model makes it."""
    load = NODE_CLASS_MAPPINGS["MidframeModelLoader"]().load
    link, *_ = load(model=file, device="cpu", dtype="float32")
    frames, fps, count, *_ = node.interpolate(
        clip(3), "default", multiplier=3, source_fps=16.0, model_override=link, **options
    )
    return f"{digest(frames)} {fps} {count}"


def by_nodes(folder: Path) -> Runs:
    models = {"MidframeRIFE": "rife-4.25", "MidframeFILM": "film-narrow", "MidframeTLBVFI": "tlbvfi-small"}
    for name, model in models.items():
        node = NODE_CLASS_MAPPINGS[name]()
        yield f"node {name}", partial(of_node, node, MODELS.get(model, {}), file_of(model, folder))


def clip_of(folder: Path) -> torch.Tensor:
    """The pictures of a folder, (N, H, W, C) float32 in 0..1."""
    found = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    return torch.from_numpy(np.stack(found)).float() / 255


def of_clips(folder: Path, file: str) -> Runs:
    """Default runs of clips; fail where a run that does not look gives other frames."""
    model = load_model(file, "cpu", "float32")
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield f"clip {path.name} {Path(file).stem}", partial(with_and_without, model, path)


def with_and_without(model: Any, path: Path) -> str:
    frames = clip_of(path)
    looked = made(model, frames, 2)
    try:
        from midframe.analysis.timing import Timing
    except ImportError:  # a commit from before clips were looked at
        return looked
    unlooked = made(model, frames, 2, timing=Timing(cuts="interpolate", held="keep"))
    if looked != unlooked:
        raise RuntimeError(f"{path.name}: {looked} where it is looked at, {unlooked} where not")
    return looked


def say(*lines: str) -> None:
    sys.stdout.write("\n  ".join(lines) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="where the digests go")
    parser.add_argument("--against", type=Path, help="digests of another commit")
    parser.add_argument(
        "--clips", type=Path, metavar="FOLDER", help="these clips instead of the generated ones"
    )
    parser.add_argument("--model", default="default", metavar="FILE", help="with --clips (default: built in)")
    arguments = parser.parse_args()
    parts = (in_memory, by_files, by_command, by_nodes)
    if arguments.clips is not None:
        parts = (lambda _: of_clips(arguments.clips, arguments.model),)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for part in parts:
            for run, make in part(Path(name)):
                found[run] = make()
                say(f"{run}: {found[run][:40]}")
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.against is None:
        return 0
    before = json.loads(arguments.against.read_text())
    differ = sorted(run for run in before.keys() | found.keys() if before.get(run) != found.get(run))
    say(f"{len(found)} runs, {len(differ)} differ", *differ)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
