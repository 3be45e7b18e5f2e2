"""``midframe triplets``: cut clips into the septuplets or triplets that a training reads.

The layout is that of Vimeo-90k, see :mod:`.sequences`, so that other trainings read it too.
"""

from __future__ import annotations

import argparse
import logging
import math
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..analysis.notes import PairNote
from ..analysis.watch import Watcher
from ..errors import BadInputError, MidframeError
from ..video import open_clip
from .footage import Frame, is_held_out
from .sequences import KINDS, PICTURES, list_names

_log = logging.getLogger(__name__)

# A sequence is left out whose ends differ by fewer grey levels, or one of whose steps is under this share of
# their mean, or over so many times: a frame that repeats another, or one that is missing.
_LEAST, _UNEVEN, _JUMP = 1.0, 0.4, 2.5
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".exr", ".avif"}
_VIMEO_NAME = "{:05}/{:04}"


@dataclass(frozen=True)
class Cutting:
    """Settings of a cut of clips into sequences."""

    frames: int = 7
    """Frames of a sequence: 7 or 3."""
    shorter_side: int = 0
    """Larger pictures are reduced to this; 0 keeps them."""
    held_out: int = 8
    """Sequences of a clip of which the last one is held out; 0 holds none out."""
    least_side: int = 64
    """Clips with a shorter side are refused."""


def cut(sources: Sequence[Path], out: Path, cutting: Cutting, *, quiet: bool = True) -> tuple[int, int]:
    """Cut clips into a new folder of sequences.

    Args:
        sources: video files, animated images, folders of numbered pictures, folders of any of these.
        out: the folder, which gets its name when it is whole.
        cutting: how.
        quiet: show no progress.

    Returns:
        How many sequences are for training, and how many are held out.

    Raises:
        BadInputError: nothing there that can be read, or no sequence in it that moves; or ``out`` is there.
    """
    if out.exists():
        raise BadInputError("The output is there already.", str(out), "Choose another name, or remove it.")
    clips = list(clips_in(sources))
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    lists: tuple[list[str], list[str]] = ([], [])
    refused: list[str] = []
    try:
        for number, path in enumerate(tqdm(clips, unit=" clips", disable=quiet, dynamic_ncols=True), 1):
            names, why = _cut_clip(path, partial / PICTURES, number, cutting)
            if why:
                refused.append(f"{path.name}: {why}")
                _log.warning("left out %s: %s", path, why)
            training, held_out = _divided(names, path, cutting.held_out)
            lists[0].extend(training)
            lists[1].extend(held_out)
        if not lists[0]:
            raise BadInputError(
                "There is no sequence to train on in these clips.",
                f"{len(clips)} clips; " + ("; ".join(refused[:3]) or "none"),
                f"Give clips of more than {cutting.frames} frames in a row in which something moves.",
            )
        for name, lines in zip(list_names(cutting.frames), lists, strict=True):
            (partial / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        partial.rename(out)
    except OSError as error:
        raise MidframeError(
            "The sequences cannot be written.",
            f"{error.filename or partial}: {error.strerror or error}",
            "Make room there, or choose another folder; nothing was kept.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(lists[0]), len(lists[1])


def clips_in(sources: Iterable[Path]) -> Iterator[Path]:
    """Yield the clips of files and folders, in the order of their names; a folder of pictures is one clip.

    Raises:
        BadInputError: nothing is there, or an empty folder.
    """
    for source in sources:
        if not source.exists():
            raise BadInputError("There is no such file or folder.", str(source), "Check the name.")
        if not source.is_dir():
            yield source
            continue
        entries = sorted(entry for entry in source.iterdir() if not entry.name.startswith("."))
        if not entries:
            raise BadInputError("This folder is empty.", str(source), "Put clips into it, or name another.")
        if sum(entry.suffix.lower() in _PICTURES and not _animated(entry) for entry in entries) > 1:
            yield source
        else:
            yield from clips_in(entries)


def _animated(path: Path) -> bool:
    from PIL import Image  # noqa: PLC0415 - for folders alone

    try:
        with Image.open(path) as picture:
            return bool(getattr(picture, "is_animated", False))
    except OSError:
        return False


def _cut_clip(path: Path, folder: Path, number: int, cutting: Cutting) -> tuple[list[str], str]:
    """Write the sequences of a clip, and return their names, and why there are none."""
    names: list[str] = []
    try:
        with open_clip(path, alpha=False) as clip:
            height, width = clip.info.height, clip.info.width
            if min(height, width) < cutting.least_side:
                return [], f"{height} x {width} pixels, too small: at least {cutting.least_side} are needed"
            frames = (frame.pixels for frame in clip)
            for count, sequence in enumerate(sequences_of(frames, cutting.frames), 1):
                name = _VIMEO_NAME.format(number, count)
                _write(folder / name, sequence, cutting.shorter_side)
                names.append(name)
    except BadInputError as error:
        return names, f"{error.wrong} {error.found}"
    return names, "" if names else f"no {cutting.frames} frames in a row that move and are no cut"


def sequences_of(frames: Iterable[Tensor], length: int) -> Iterator[list[Tensor]]:
    """Yield runs of ``length`` frames without a cut, a dissolve, a flash, a still or a repeated frame.

    Args:
        frames: (H, W, C), in order.
        length: of a sequence; no frame is in two.
    """
    run: list[Tensor] = []
    for frame, note in _noted(frames):
        if note is not None and note.held:
            continue  # shown a second time: what follows is where it would be without
        if note is not None and (note.cut or note.dissolve or note.flash):
            run = []
        run.append(frame)
        if len(run) == length:
            if _moves_evenly(run):
                yield run
                run = []
            else:
                # Perhaps the next frame makes it even.
                run = run[1:]


def _noted(frames: Iterable[Tensor]) -> Iterator[tuple[Tensor, PairNote | None]]:
    """Yield each frame with the note of the pair that it ends."""
    watcher = Watcher()
    waiting: deque[Tensor] = deque()
    first = True
    for frame in frames:
        notes = watcher.push(frame)
        waiting.append(frame)
        if first:
            yield waiting.popleft(), None
            first = False
        for note in notes:
            yield waiting.popleft(), note
    if not first:
        for note in watcher.finish():
            yield waiting.popleft(), note


def _moves_evenly(run: Sequence[Tensor]) -> bool:
    grey = [_eight_bits(frame)[::2, ::2].mean(-1, dtype=np.float32) for frame in run]
    steps = [float(np.abs(a - b).mean()) for a, b in pairwise(grey)]
    mean = math.fsum(steps) / len(steps)
    moved = float(np.abs(grey[0] - grey[-1]).mean())
    return moved >= _LEAST and min(steps) >= _UNEVEN * mean and max(steps) <= _JUMP * mean


def _eight_bits(frame: Tensor) -> Frame:
    if frame.dtype == torch.uint8:
        return frame.numpy()
    # uint16 holds 0..65535, floats 0..1.
    scaled = frame.float() / 257.0 if frame.dtype == torch.uint16 else frame.float() * 255.0
    return scaled.round().clamp(0, 255).to(torch.uint8).numpy()


def _write(folder: Path, frames: Sequence[Tensor], shorter_side: int) -> None:
    from PIL import Image  # noqa: PLC0415 - where nothing is cut it is not needed

    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        pixels = _reduced(_eight_bits(frame)[..., :3], shorter_side)
        # The lowest compression: half the time for a tenth more bytes.
        Image.fromarray(pixels).save(folder / f"im{number}.png", compress_level=1)


def _reduced(pixels: Frame, shorter_side: int) -> Frame:
    height, width = pixels.shape[:2]
    if not 0 < shorter_side < min(height, width):
        return pixels
    scale = shorter_side / min(height, width)
    size = (round(height * scale), round(width * scale))
    picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def _divided(names: list[str], path: Path, every: int) -> tuple[list[str], list[str]]:
    """Return the sequences for training and those that are held out: the end of the clip, always the same.

    The end and not one here and there: neighbours of a sequence show nearly the same pictures.
    """
    if every == 0 or not names:
        return names, []
    if len(names) == 1:
        return ([], names) if is_held_out(path.name) else (names, [])
    count = max(1, len(names) // every)
    return names[:-count], names[-count:]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe triplets``."""
    add = parser.add_argument
    add("clips", type=Path, nargs="+", metavar="CLIPS", help="video files, folders of pictures, or of clips")
    add("--out", type=Path, required=True, metavar="FOLDER", help="new folder, laid out as Vimeo-90k")
    add(
        "--frames",
        type=int,
        choices=sorted(KINDS),
        default=Cutting.frames,
        help=f"of a sequence (default: {Cutting.frames})",
    )
    add(
        "--shorter-side",
        type=int,
        default=Cutting.shorter_side,
        metavar="PIXELS",
        help="reduce larger pictures (default: keep them)",
    )
    add(
        "--held-out",
        type=int,
        default=Cutting.held_out,
        metavar="N",
        help=f"hold out one sequence in N, at each clip's end (default: {Cutting.held_out}); 0: none",
    )


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Cut, and say what came out."""
    for name in ("shorter_side", "held_out"):
        if getattr(arguments, name) < 0:
            raise BadInputError(
                f"--{name.replace('_', '-')} is a number from 0.",
                str(getattr(arguments, name)),
                "Correct it.",
            )
    cutting = Cutting(arguments.frames, arguments.shorter_side, arguments.held_out)
    training, held_out = cut(arguments.clips, arguments.out, cutting, quiet=arguments.quiet)
    say(
        f"{training} sequences of {arguments.frames} frames to train on, {held_out} held out: {arguments.out}"
    )
    return 0
