"""Measures how long each stage of a long job takes on this machine."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch

from ..api import interpolate, load_model
from ..chunks import Inline, Job
from ..chunks.join import Joined, join
from ..chunks.store import Store
from ..chunks.worker import ROOT
from ..engine.timeline import Moment
from ..errors import BadInputError
from ..vfi_utils import QuietHost
from ..video import Plan, open_clip
from ..video.read.clip import ClipInfo
from ..video.read.part import Part
from ..video.read.span import Span
from ..video.write.encode import Shape, VideoWriter
from ..video.write.formats import Coding, choose_encoding
from ..weights.loading import usable_device

# Frames of the generated clip; encoders look 40 frames ahead.
_FRAMES = 72
# Different frames of the generated clip, shown there and back.
_DISTINCT = 12
# Places of the clip that are sought, each in the middle of an equal part of it.
_SEEKS = 5
# Times that the chunks are joined one after the other, or opening the output would count most.
_REPEATS = 10
_RATE = Fraction(24)
# What a worker does before its first chunk. The package is loaded by its path, for its folder may have any
# name.
_START = """
import importlib, importlib.util, sys
root, *model = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    "midframe", root + "/__init__.py", submodule_search_locations=[root]
)
sys.modules["midframe"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
importlib.import_module("midframe.chunks").ModelChoice(*model).load()
"""


@dataclass(frozen=True)
class Costs:
    """Times and sizes of the stages of a job."""

    decode: float
    """Processor seconds of a source frame, as RGB."""
    encode: float
    """Processor seconds of an output frame, from RGB."""
    make: float
    """Seconds of a made frame; processor seconds where the model runs on the cores."""
    seek: float
    """Seconds until the first frame of a chunk is there."""
    load: float
    """Seconds until a new worker has the model."""
    join: float
    """Processor seconds of a frame that is joined."""
    join_chunk: float
    """The same of a chunk, besides its frames."""
    source_bytes: float
    """Of a second of the source."""
    output_bytes: float
    """Of a second of the output."""


def measure(arguments: argparse.Namespace, ratio: Fraction, *, with_model: bool) -> Costs:
    """Measure all stages.

    Stages that run on the cores are measured in processor seconds, which other programs change least.

    Args:
        arguments: of ``midframe estimate``.
        ratio: output frames for each source frame.
        with_model: run the model too; else ``make`` is 0.

    Raises:
        BadInputError: a size or clip that cannot be used.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip = arguments.clip or _generated(folder / "clip.mp4", _size(arguments.size))
        with open_clip(clip) as opened:
            info = opened.info
        decode, count = _decoding(clip)
        join_frame, join_chunk = _joining(clip, folder, info)
        encode, out_bytes = _encoding(clip, folder / "encoded.mp4", ratio)
        return Costs(
            decode=decode,
            encode=encode,
            make=_making(arguments, (info.height, info.width)) if with_model else 0.0,
            seek=_seeking(clip, count / info.rate),
            load=_loading(arguments),
            join=join_frame,
            join_chunk=join_chunk,
            source_bytes=clip.stat().st_size / float(count / info.rate),
            output_bytes=out_bytes,
        )


@contextmanager
def _processor() -> Iterator[list[float]]:
    """Measure the processor seconds of all threads of this process until the context is left."""
    seconds = [0.0]
    begun = time.process_time()
    yield seconds
    seconds[0] = time.process_time() - begun


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()) or min(int(height), int(width)) < 2:  # noqa: PLR2004
        raise BadInputError("A size is HEIGHTxWIDTH.", text, "Write it like 1080x1920.")
    return int(height), int(width)


def _texture(size: tuple[int, int]) -> Iterator[torch.Tensor]:
    """Yield a pan over clouds of every scale, with a little grain: (H, W, 3) uint8."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    # Larger by as much as the window moves: 4 rows and 6 columns a frame.
    big = (height + 4 * _DISTINCT, width + 6 * _DISTINCT)
    clouds = torch.zeros(1, 3, *big, dtype=torch.float32, device="cpu")
    for scale in (4, 16, 64, 256):
        shape = 1, 3, big[0] // scale + 2, big[1] // scale + 2
        noise = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
        clouds += torch.nn.functional.interpolate(noise, big, mode="bilinear") * scale**0.5
    clouds /= clouds.max()
    for i in range(_DISTINCT):
        window = clouds[0, :, 4 * i : 4 * i + height, 6 * i : 6 * i + width].permute(1, 2, 0)
        grain = torch.randn(height, width, 1, generator=generator, dtype=torch.float32, device="cpu") * 0.01
        yield ((window + grain).clamp(0, 1) * 255).to(torch.uint8)


def _generated(path: Path, size: tuple[int, int]) -> Path:
    frames = list(_texture(size))
    # There and back again without a jump, which would be a scene cut to the encoder.
    back_and_forth = frames + frames[-2:0:-1]
    info = ClipInfo(path, *size, bits=8, alpha=False, rate=_RATE, tick=1 / _RATE, frames_estimate=None)
    encoding = choose_encoding(path, Coding("h264", 20), size, bits=8, alpha=False)
    writer = VideoWriter(path, encoding, info, Shape(8, _RATE, 1 / _RATE))
    for i in range(_FRAMES):
        writer.write(back_and_forth[i % len(back_and_forth)], Moment(i / _RATE, 1 / _RATE))
    writer.close(whole=True)
    return path


def _decoding(clip: Path) -> tuple[float, int]:
    with _processor() as seconds, open_clip(clip) as opened:
        count = sum(1 for _ in opened)
    return seconds[0] / count, count


def _encoding(clip: Path, path: Path, ratio: Fraction) -> tuple[float, float]:
    """Return the processor seconds of an output frame, and the bytes of a second.

    Each source frame is written once, at the output's rate, so that frames of the output are measured.
    """
    with open_clip(clip) as opened:
        # Decoded before the clock starts.
        info, frames = opened.info, [frame.pixels for frame, _ in zip(opened, range(_FRAMES), strict=False)]
    rate = info.rate * ratio
    encoding = choose_encoding(path, Coding(), (info.height, info.width), bits=info.bits, alpha=False)
    with _processor() as seconds:
        writer = VideoWriter(path, encoding, info, Shape(encoding.bits, rate, 1 / rate))
        for i, pixels in enumerate(frames):
            writer.write(pixels, Moment(i / rate, 1 / rate))
        # The clip's sound is left out, for these are only its first frames.
        writer.close(whole=False)
    return seconds[0] / len(frames), path.stat().st_size / float(len(frames) / rate)


def _making(arguments: argparse.Namespace, size: tuple[int, int]) -> float:
    model = load_model(arguments.model, arguments.device)
    frames = torch.stack([frame for frame, _ in zip(_texture(size), range(3), strict=False)])
    # A run before the clock starts, for what is set up once.
    interpolate(frames[:2], model)
    begun = time.perf_counter()
    with _processor() as seconds:
        interpolate(frames, model)
    # Processor seconds on the cores, where other programs disturb the clock; of a device the clock tells
    # more.
    on_cores = usable_device(arguments.device).type == "cpu"
    return (seconds[0] if on_cores else time.perf_counter() - begun) / (len(frames) - 1)


def _seeking(clip: Path, length: Fraction) -> float:
    seconds = []
    for i in range(_SEEKS):
        begun = time.perf_counter()
        with open_clip(clip) as opened:
            next(iter(Part(opened, Span(length * (2 * i + 1) / (2 * _SEEKS)))))
        seconds.append(time.perf_counter() - begun)
    return statistics.mean(seconds)


def _loading(arguments: argparse.Namespace) -> float:
    """Measure a process of its own that imports everything and loads the model, as a worker does."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", _START, ROOT, arguments.model, arguments.device]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
    if done.returncode:
        raise BadInputError("The model cannot be loaded.", done.stderr[-1000:], "Give another model.")
    return time.perf_counter() - begun


def _joining(clip: Path, folder: Path, info: ClipInfo) -> tuple[float, float]:
    """Return the processor seconds of a frame and of a chunk, from the same frames in a few chunks and in
    many.
    """
    few, many = (_joined(clip, folder / f"{pairs}", info, pairs) for pairs in (_FRAMES, _FRAMES // 8))
    # Two runs with the same frames and different numbers of chunks tell the cost of a chunk from that of a
    # frame.
    chunk = max(0.0, (many[1] - few[1]) / (many[0] - few[0]))
    return max(1e-6, (few[1] - few[0] * chunk) / (_FRAMES * _REPEATS)), chunk


def _joined(clip: Path, folder: Path, info: ClipInfo, pairs: int) -> tuple[int, float]:
    """Join the chunks of a real job; return their number, and the processor seconds that this took.

    The job's frames are those of its source, so that no model is run, and they are joined again and again.
    """
    job = Job(clip, folder / "joined.mp4", folder / "work", plan=Plan(1), pairs=pairs)
    job.workdir.mkdir(parents=True)
    store = Store(job.workdir, job.identity())
    Inline(job.model.load)(job, store, info, host=QuietHost(), done=lambda record: None)
    length = store.records[-1].times[-1] + 1
    records = [
        # The same files again, each time later by the length of the whole.
        replace(record, times=tuple(time + i * length for time in record.times))
        for i in range(_REPEATS)
        for record in store.records
    ]
    output = Joined(job.target, job.plan, info)
    with _processor() as seconds:
        join(records, store.folder, output, folder / "joined.tmp.mp4", poll=lambda: None)
    return len(records), seconds[0]
