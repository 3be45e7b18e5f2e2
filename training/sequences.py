"""Reads folders of septuplets and triplets as Vimeo-90k has them: ``sequences/00001/0001/im1.png``.

``tri_trainlist.txt`` or ``sep_trainlist.txt`` names what is trained on, a ``00001/0001`` in each line, and
``..._testlist.txt`` what is held out.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from .footage import SPACINGS, Clip, Frame
from .triplets import Triplet

KINDS = {3: "tri", 7: "sep"}
"""Frames of a sequence, and how the names of its lists begin."""
PICTURES = "sequences"
# Grey levels that frames differ by where it was not measured: sequences are free of cuts and stills already.
_MOVES = 8.0


def list_names(frames: int) -> tuple[str, str]:
    """Return the names of the lists of what is trained on and what is held out."""
    return f"{KINDS[frames]}_trainlist.txt", f"{KINDS[frames]}_testlist.txt"


class Sequences:
    """A folder of sequences, each of which is a short clip; read as they are needed.

    Args:
        folder: with ``sequences/`` and at least a list of what is trained on.

    Raises:
        BadInputError: no list, an empty one, or a sequence whose pictures are missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.frames = _frames_of(folder)
        self.clips: list[Clip] = []
        for held_out, name in enumerate(list_names(self.frames)):
            for line in _lines(folder / name):
                height, width = self._size(line)
                place = len(self.clips)
                self.clips.append(
                    Clip(
                        line,
                        folder.name,
                        bool(held_out),
                        place,
                        self.frames,
                        height,
                        width,
                        _even(self.frames),
                    )
                )
        if not self.clips:
            raise BadInputError(
                "There are no sequences to train on.",
                f"empty lists in {folder}",
                "Cut some with `midframe triplets`.",
            )

    def frame(self, clip: Clip, number: int) -> Frame:
        """Return a frame (H, W, 3) uint8, not to be written to."""
        from PIL import Image  # noqa: PLC0415 - where nothing is read it is not needed

        with Image.open(self._path(clip.name, number)) as picture:
            return np.asarray(picture.convert("RGB"))

    def examined(self, most: int = 24) -> list[Triplet]:
        """Return three frames in a row of held-out sequences, always the same, spread over all of them."""
        places = [place for place, clip in enumerate(self.clips) if clip.held_out]
        found = [
            Triplet(place, middle - 1, middle, middle + 1)
            for place in places
            for middle in range(1, self.frames - 1)
        ]
        return found[:: max(1, -(-len(found) // most))]

    def _path(self, name: str, number: int) -> Path:
        return self._folder / PICTURES / name / f"im{number + 1}.png"

    def _size(self, name: str) -> tuple[int, int]:
        """Return height and width of a sequence."""
        from PIL import Image  # noqa: PLC0415 - see above

        try:
            with Image.open(self._path(name, 0)) as picture:
                return picture.height, picture.width
        except OSError as error:
            raise BadInputError(
                "A sequence of the list cannot be read.",
                f"{self._path(name, 0)}: {error}",
                "Unpack the folder again, or take its line out of the list.",
            ) from error


def fingerprint(folder: Path) -> str:
    """Return the folder's name and the first digits of the SHA-256 of what its lists say."""
    digest = hashlib.sha256()
    for name in list_names(_frames_of(folder)):
        digest.update("\n".join([name, *_lines(folder / name)]).encode())
    return f"{folder.name} {digest.hexdigest()[:12]}"


def _frames_of(folder: Path) -> int:
    for frames in sorted(KINDS, reverse=True):
        if (folder / list_names(frames)[0]).is_file():
            return frames
    wanted = " or ".join(list_names(frames)[0] for frames in KINDS)
    raise BadInputError(
        "This is no folder of septuplets or triplets.",
        f"no {wanted} in {folder}",
        "Cut your clips with `midframe triplets CLIPS --out FOLDER`, or name the folder of the lists.",
    )


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@cache
def _even(frames: int) -> list[list[float]]:
    return [[_MOVES] * max(0, frames - spacing) for spacing in range(1, SPACINGS + 1)]
