"""Measures how much memory long clips need: from file to file, and as a batch that is stored on the disk.

Each figure is of a process of its own. The network is a stand-in of fixed cost, a blend, so that everything
around it is measured; the built-in model is reported separately. A run of ten times as many frames must not
need more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import av
import psutil
import torch
from torch import Tensor, nn

from ..api import load_model
from ..errors import BadInputError, MidframeError
from ..memory.sinks import Storage
from ..vfi_models.interface import ModelSpec, Options
from ..vfi_utils import FrameLoop, by_multiplier
from ..video import interpolate_video

# MB of main memory that streaming 1080p may take, and the largest ratio of the long run to the short one.
_LIMIT, _FLAT = 1200, 1.1
# Seconds from one sample of the memory to the next.
_INTERVAL = 0.01
# Frames a second of the generated clip.
_RATE = 30
_MB = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--size", default="1080x1920", metavar="HxW", help="of streamed frames (default: %(default)s)")
    add("--frames", type=int, nargs=2, default=[200, 2000], metavar="N", help="source frames, short and long")
    add("--default-frames", type=int, default=40, metavar="N", help="of the built-in model")
    add("--disk-size", default="540x960", metavar="HxW", help="of frames on the disk (default: %(default)s)")
    add("--disk-frames", type=int, nargs=2, default=[100, 1000], metavar="N", help="output frames there")
    add("--folder", type=Path, help="for clips and outputs (default: for temporary files)")
    add("--out", type=Path, help="write results to OUT.json and OUT.md", metavar="OUT")
    add("--part", nargs=2, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measure, write and say the results; return 1 where memory is not flat or too much."""
    # A child of `_in_own_process`: one measurement, and a line of JSON for its parent.
    if arguments.part:
        say(json.dumps(_PARTS[arguments.part[0]](Path(arguments.folder), json.loads(arguments.part[1]))))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = [
            _in_own_process(name, Path(folder), details) | details | {"what": name}
            for name, details in _measurements(arguments)
        ]
    rows = [row for row in rows if row["what"] != "clip"]
    verdicts = _verdicts(rows)
    about = f"{psutil.cpu_count()} cores, {platform.system()}, torch {torch.__version__}"
    text = _table(about, rows, verdicts)
    say(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        results = {"machine": about, "rows": rows, "verdicts": verdicts}
        arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(text + "\n")
    return 0 if all(kept for _, kept in verdicts) else 1


def _measurements(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the measurements in order: a clip is made before it is read."""
    yield "clip", {"frames": max(*arguments.frames, arguments.default_frames), "size": arguments.size}
    for frames in arguments.frames:
        yield "stream", {"frames": frames, "size": arguments.size, "model": "blend"}
    if arguments.default_frames:
        yield "stream", {"frames": arguments.default_frames, "size": arguments.size, "model": "default"}
    for frames in arguments.disk_frames:
        yield "disk", {"frames": frames, "size": arguments.disk_size, "model": "blend"}


def _in_own_process(name: str, folder: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    package = (__package__ or "").partition(".")[0]
    command = [sys.executable, "-m", package, "memory", "--folder", str(folder)]
    command += ["--part", name, json.dumps(details)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    if done.returncode:
        raise MidframeError("Measuring failed.", done.stderr[-2000:], "Run it again, or report this.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _clip(folder: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    """Write a clip of a texture that is moved about: cheap to make, and as hard to encode as a film."""
    height, width = _size(details["size"])
    # Noise at an eighth of the size, with a margin of 256 pixels: the window moves by up to 199.
    shape, generator = (1, 3, height // 8 + 32, width // 8 + 32), torch.Generator().manual_seed(0)
    noise = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
    texture = nn.functional.interpolate(noise, scale_factor=8, mode="bicubic").clamp(0, 1)[0]
    levels = (texture.permute(1, 2, 0) * 255).to(torch.uint8)
    with av.open(str(folder / "clip.mp4"), "w") as file:
        stream: Any = file.add_stream("libx264", rate=_RATE, options={"preset": "ultrafast", "crf": "20"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for i in range(details["frames"]):
            # Never the same twice in a row: the loop would hold equal frames without running the network.
            y, x = 3 * i % 200, 5 * i % 200
            part = levels[y : y + height, x : x + width].contiguous()
            file.mux(stream.encode(av.VideoFrame.from_ndarray(part.numpy(), format="rgb24")))
        file.mux(stream.encode())
    return {}


def _stream(folder: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    """Interpolate the first frames of the clip, from file to file."""
    source, target = folder / f"clip{details['frames']}.mp4", folder / "made.mp4"
    _cut(folder / "clip.mp4", source, details["frames"])
    model: Any = Blend() if details["model"] == "blend" else load_model("default", "cpu")
    with _watching() as measured:
        written = interpolate_video(source, target, model)
    target.unlink()
    return measured | {"made": written.frames}


def _cut(source: Path, target: Path, frames: int) -> None:
    """Copy the first frames of a clip, packet by packet."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as file:
        # x264's ultrafast has no B frames, so that the first packets are the first frames.
        stream = file.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            # At the end of a file PyAV's demuxer yields an empty packet without times, which would flush a
            # decoder.
            if packet.dts is None or frames == 0:
                break
            frames -= 1
            packet.stream = stream
            file.mux(packet)


def _disk(folder: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    """Make a batch on the disk from frames that come one by one, and read every frame of it afterwards."""
    height, width = _size(details["size"])
    count = details["frames"]
    loop, model = FrameLoop(by_multiplier(2, end="hold_last")), Blend()
    generator, shape = torch.Generator().manual_seed(0), (height, width, 3)
    # Half as many source frames: at twice the frames, with the last one held, they make `count`.
    source = (
        torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu") for _ in range(count // 2)
    )
    with _watching() as measured:
        sink = Storage("disk", folder=folder).sink(count, (height, width, 3))
        loop.feed(source, model, sink, last=True)
        # Every frame is read back: mapped pages count as resident only once they are touched.
        bright = sum(float(frame.amax()) > 0 for frame in sink.frames)
    return measured | {"made": bright}


_PARTS: Mapping[str, Callable[[Path, Mapping[str, Any]], dict[str, Any]]] = {
    "clip": _clip,
    "stream": _stream,
    "disk": _disk,
}


class Blend:
    """A network of fixed cost: the weighted mean of both frames."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device, self.dtype, self.weight_bytes = device or torch.device("cpu"), torch.float32, 0
        self.spec = ModelSpec(
            architecture="blend",
            family="blend",
            any_timestep=True,
            follows_extra=True,
            dtypes=(torch.float32,),
            safe_dtypes=(torch.float32,),
            options={},
            licence="MIT",
            source="none",
        )

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Blend:
        """Return this model, which stays where it is."""
        return self

    def open(self, height: int, width: int, options: Options | None = None) -> Blend:
        """Open a session, which is this object: nothing depends on a size."""
        return self

    def encode(self, frames: Tensor) -> Tensor:
        """Return the frames themselves."""
        return frames

    def between(self, left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
        """Return the weighted means of the frames."""
        return torch.lerp(left, right, timestep.view(-1, 1, 1, 1))

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the bytes of a made frame."""
        # Three channels of float32.
        return 12 * height * width

    def low_memory(self, options: Options) -> Options | None:
        """Return None: there are no options."""
        return None


class Memory(NamedTuple):
    """Resident bytes of this process."""

    all: int
    anonymous: int
    """Those that belong to no file, and can only go to swap. 0 where the system does not count them."""


def memory_now() -> Memory:
    """Return the resident memory of this process."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            rows = dict(line.split(":", 1) for line in file)
        # In kB of 1024 bytes. Linux counts anonymous memory by itself, other systems do not.
        return Memory(*(int(rows[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon")))
    except (OSError, KeyError):
        return Memory(psutil.Process().memory_info().rss, 0)


@contextlib.contextmanager
def _watching() -> Iterator[dict[str, Any]]:
    """Yield a dict that gets the peak memory while it is open, in MB, and the seconds that it took.

    ``samples`` in it counts, while it is open, how often memory was looked at.
    """
    measured: dict[str, Any] = {"samples": 0}
    over, start = threading.Event(), memory_now()
    peak = start

    def watch() -> None:
        nonlocal peak
        while not over.wait(_INTERVAL):
            now = memory_now()
            peak = Memory(max(peak.all, now.all), max(peak.anonymous, now.anonymous))
            measured["samples"] += 1

    thread, began = threading.Thread(target=watch, name="memory", daemon=True), time.perf_counter()
    thread.start()
    try:
        yield measured
    finally:
        over.set()
        thread.join()
    measured |= {"rss_mb": round(peak.all / _MB), "rss_before_mb": round(start.all / _MB)}
    if peak.anonymous:
        measured |= {"anonymous_mb": round(peak.anonymous / _MB)}
        measured |= {"anonymous_before_mb": round(start.anonymous / _MB)}
    measured["seconds"] = round(time.perf_counter() - began, 3)


def _verdicts(rows: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Return the conditions in words, and whether each holds."""
    short, long = (row for row in rows if row["what"] == "stream" and row["model"] == "blend")
    ratio = long["rss_mb"] / short["rss_mb"]
    verdicts = [
        (f"{long['frames']} streamed frames take {ratio:.2f} times {short['frames']}", ratio <= _FLAT),
        (f"streaming takes {long['rss_mb']} MB, bound {_LIMIT}", long["rss_mb"] <= _LIMIT),
    ]
    few, many = (row for row in rows if row["what"] == "disk")
    # Not the whole resident memory: what is read of the file shows in it too, though it is the system's
    # cache.
    if "anonymous_mb" in many:
        ratio = many["anonymous_mb"] / few["anonymous_mb"]
        says = (
            f"{many['frames']} frames on the disk take {ratio:.2f} times {few['frames']}, in anonymous memory"
        )
        verdicts.append((says, ratio <= _FLAT))
    return verdicts


def _table(about: str, rows: list[dict[str, Any]], verdicts: list[tuple[str, bool]]) -> str:
    lines = [
        about,
        "",
        "| what | model | size | frames in | frames out | RSS before, MB | RSS peak | anonymous before | "
        "anonymous peak | frames out a second |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        source = row["frames"] if row["what"] == "stream" else row["frames"] // 2
        cells = [
            row["what"],
            row["model"],
            row["size"],
            source,
            row["made"],
            row["rss_before_mb"],
            row["rss_mb"],
        ]
        cells += [row.get("anonymous_before_mb", "-"), row.get("anonymous_mb", "-")]
        cells += [f"{row['made'] / row['seconds']:.1f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *(f"{'yes' if kept else 'NO'}: {what}" for what, kept in verdicts)])


def _size(text: str) -> tuple[int, int]:
    """Parse height and width.

    Raises:
        BadInputError: no such thing.
    """
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise BadInputError("This is no frame size.", text, "Write height x width: 1080x1920.")
    return int(height), int(width)
