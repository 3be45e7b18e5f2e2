"""Decodes real clips for training, animated WebPs of the template packages, once into a store.

``python -m midframe.training.footage --packages DIR --out STORE`` reads the unpacked wheels in ``DIR`` and
writes two files: ``frames.bin``, every frame as uint8 (H, W, 3) one after the other, and ``clips.json``, an
index of the clips. The data are for training and measuring only; no frame of them is part of the project.

A clip is held out, never trained on, where the SHA-256 of its file name begins with 0 or 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Generator = np.random.Generator

LIST = Path(__file__).with_name("footage.json")
"""Which clips are used, held out and left out, and why."""
FRAMES, CLIPS = "frames.bin", "clips.json"
SPACINGS = 4
"""Differences are kept of frames that are 1 to this many apart."""
# Frames, and pixels of the shorter side, that a clip must have.
_LEAST_FRAMES, _LEAST_SIDE = 10, 200


@dataclass(frozen=True)
class Clip:
    """A clip of the store."""

    name: str
    """File name."""
    package: str
    held_out: bool
    offset: int
    """Where its first frame begins in ``frames.bin``, in bytes."""
    frames: int
    height: int
    width: int
    differences: list[list[float]]
    """Mean absolute difference, in grey levels of 255, of frames i and i + s + 1 at [s][i]."""


class Footage(Protocol):
    """Clips whose frames can be read in any order."""

    clips: list[Clip]

    def frame(self, clip: Clip, number: int) -> Frame:
        """Return a frame (H, W, 3) uint8, not to be written to."""
        ...


class Joined:
    """The clips of several places as those of one.

    Args:
        parts: in the order of their clips.
    """

    def __init__(self, parts: Sequence[Footage]) -> None:
        self.clips = [clip for part in parts for clip in part.clips]
        # By identity: clips of two folders may have one name.
        self._owners = {id(clip): part for part in parts for clip in part.clips}

    def frame(self, clip: Clip, number: int) -> Frame:
        """Return a frame (H, W, 3) uint8, not to be written to."""
        return self._owners[id(clip)].frame(clip, number)


class Store:
    """Decoded clips, read as they are needed.

    Args:
        folder: written by :func:`decode`.
    """

    def __init__(self, folder: Path) -> None:
        self.clips = [Clip(**entry) for entry in json.loads((folder / CLIPS).read_text())]
        # Mapped and not read: the 16,410 frames of the packages, mostly 350x350, would be 6 GB.
        self._frames = np.memmap(folder / FRAMES, np.uint8, "r")

    def frame(self, clip: Clip, number: int) -> Frame:
        """Return a frame (H, W, 3) uint8, not to be written to."""
        size = clip.height * clip.width * 3
        start = clip.offset + number * size
        return self._frames[start : start + size].reshape(clip.height, clip.width, 3)


def left_out() -> frozenset[str]:
    """Return the names of the clips that the committed list leaves out."""
    return frozenset(json.loads(LIST.read_text())["left_out"])


def is_held_out(name: str) -> bool:
    """Tell whether the clip of this file name is for measuring only."""
    # Two of sixteen first digits: one clip in eight, whichever other clips there are.
    return hashlib.sha256(name.encode()).hexdigest()[0] in "01"


def decode(packages: Path, out: Path) -> list[Clip]:
    """Write the store of every animated WebP under ``packages`` that is long and large enough.

    Args:
        packages: a folder of unpacked wheels.
        out: folder of the store, created where it is missing.

    Returns:
        The clips, in the order of their names; the same pictures under a second name are left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    hashes: set[str] = set()
    with (out / FRAMES).open("wb") as store:
        for path in sorted(packages.rglob("*.webp"), key=lambda p: (p.name, str(p))):
            # Several packages hold the same clip under other names.
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            if content in hashes:
                continue
            hashes.add(content)
            frames = list(_frames(path))
            if len(frames) < _LEAST_FRAMES:
                continue
            clips.append(_clip(path, packages, store.tell(), frames))
            store.write(b"".join(frame.tobytes() for frame in frames))
    (out / CLIPS).write_text(json.dumps([asdict(clip) for clip in clips]))
    return clips


def _frames(path: Path) -> Iterator[Frame]:
    from PIL import Image  # noqa: PLC0415 - needed for this alone

    with Image.open(path) as picture:
        count = getattr(picture, "n_frames", 1)
        if count < _LEAST_FRAMES or min(picture.size) < _LEAST_SIDE:
            return
        for i in range(count):
            picture.seek(i)
            yield np.asarray(picture.convert("RGB"))


def _clip(path: Path, packages: Path, offset: int, frames: list[Frame]) -> Clip:
    height, width = frames[0].shape[:2]
    package = path.relative_to(packages).parts[0]
    differences = differences_of(frames)
    return Clip(path.name, package, is_held_out(path.name), offset, len(frames), height, width, differences)


def differences_of(frames: Sequence[Frame]) -> list[list[float]]:
    """Return the mean absolute differences of frames 1, 2, ... apart; see :class:`Clip`."""
    # Every second pixel of the grey picture is enough to measure motion by.
    small = [frame[::2, ::2].mean(-1, dtype=np.float32) for frame in frames]
    return [
        [round(float(np.abs(a - b).mean()), 3) for a, b in zip(small, small[spacing:], strict=False)]
        for spacing in range(1, SPACINGS + 1)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="midframe.training.footage", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="folder of unpacked wheels")
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    options = parser.parse_args(arguments)
    decode(options.packages, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
