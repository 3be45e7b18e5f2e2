"""Clips with cuts in known places, and clips that only look as if they had some, made of real footage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInputError, MidframeError
from ..memory.staging import as_dtype, as_unit_float
from ..video import open_clip

_SIDE = 256
"""Pixels of the sides of all clips: detectors are asked about content and not about size."""
_SHOT = 18
"""Frames of each of the two shots around a cut. PySceneDetect knows no shots of under 15."""
_SHORT = 5
"""Frames of the longest of what counts as a short shot."""
_BLACK = 16
_LEAST_FRAMES = 16
# Grey levels by which the frames at a cut differ at least: a splice that nobody sees is none.
_VISIBLE = 8.0
# Grey levels of a step within a clip, from which on it may be a cut that nobody noted.
_MAY_BE_A_CUT = 25.0


@dataclass(frozen=True)
class Case:
    """A made clip (N, H, W, 3) uint8, and the pairs of it that are cuts."""

    kind: str
    frames: Tensor
    cuts: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Footage:
    """Clips that are read when they are needed, and kept in memory at their small size."""

    paths: Sequence[Path]

    def clip(self, place: int) -> Tensor:
        """Return a clip (N, H, W, 3) uint8, every frame at one small size."""
        return _read(self.paths[place % len(self.paths)])


@cache
def _read(path: Path) -> Tensor:
    frames = []
    with open_clip(path) as clip:
        for frame in clip:
            small = as_unit_float(frame.pixels[..., :3]).permute(2, 0, 1)[None]
            least = min(small.shape[-2:])
            size = [max(round(side * _SIDE / least), _SIDE) for side in small.shape[-2:]]
            small = F.interpolate(small, size, mode="bilinear", antialias=True)
            square = _middle(small[0].permute(1, 2, 0), _SIDE)
            frames.append(as_dtype(square, torch.uint8))
    return torch.stack(frames) if frames else torch.empty(0, _SIDE, _SIDE, 3, dtype=torch.uint8, device="cpu")


def _middle(frame: Tensor, side: int) -> Tensor:
    top, left = (max(size - side, 0) // 2 for size in frame.shape[:2])
    return frame[top : top + side, left : left + side]


def footage(folders: Sequence[Path], *, held_out: bool, left_out: frozenset[str]) -> Footage:
    """Find the clips of some folders.

    Args:
        folders: of files, or of folders of pictures.
        held_out: only names whose SHA-256 begins with 0 or 1; else only the others.
        left_out: names that are not used; nor is a clip with a step that may be a cut of its own.

    Raises:
        BadInputError: fewer than two clips.
    """
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*.webp")) + sorted(folder.rglob("*.mp4")) + _picture_folders(folder):
            mine = path.is_dir() or held_out == (hashlib.sha256(path.name.encode()).hexdigest()[0] in "01")
            if mine and path.name not in left_out and _is_one_shot(path):
                found.append(path)
    if len(found) < 2:  # noqa: PLR2004 - a cut needs two shots
        raise BadInputError("There are too few clips.", f"{len(found)} in {folders}", "Give more folders.")
    return Footage(found)


def _picture_folders(folder: Path) -> list[Path]:
    return sorted({path.parent for path in folder.rglob("*.png")})


def _is_one_shot(path: Path) -> bool:
    """Tell whether a clip is long enough, and none of its steps much larger than the others.

    Of a folder of pictures that have nothing to do with each other every step is large.
    """
    try:
        frames = _read(path)
    except MidframeError:
        return False
    if len(frames) < (_LEAST_FRAMES if path.is_file() else 2):
        return False
    steps = torch.tensor([_difference(a, b) for a, b in pairwise(frames)], dtype=torch.float32, device="cpu")
    usual = float(steps.median())
    return usual <= _MAY_BE_A_CUT and float(steps.max()) <= max(_MAY_BE_A_CUT, 4 * usual)


Draw = Callable[[int], int]


def _drawing(seed: int) -> Draw:
    """Return a function that draws a whole number below its argument, the same ones for the same seed."""
    random = torch.Generator().manual_seed(seed)

    def draw(count: int) -> int:
        return int(torch.randint(max(count, 1), (), dtype=torch.int64, device="cpu", generator=random))

    return draw


def cases(clips: Footage, cuts: int, seed: int) -> Iterator[Case]:
    """Return ``cuts`` spliced clips, and after each some without a cut."""
    draw, made = _drawing(seed), 0
    while made < cuts:
        kind = _SPLICES[draw(len(_SPLICES))]
        case = _spliced(kind, clips, draw)
        if case is None:
            continue
        made += len(case.cuts)
        yield case
        name = sorted(_NEGATIVES)[draw(len(_NEGATIVES))]
        shot = _shot(clips.clip(draw(len(clips.paths))), draw, 2 * _SHOT)
        yield Case(name, _NEGATIVES[name](shot, draw, clips))


def short_shots(clips: Footage, count: int, seed: int) -> Iterator[Case]:
    """Return clips in which a shot of 1 to 5 frames stands between two longer ones: two cuts each."""
    draw, made = _drawing(seed), 0
    while made < count:
        length = 1 + made % _SHORT
        shots = [_shot(clips.clip(draw(len(clips.paths))), draw, size) for size in (_SHOT, length, _SHOT)]
        frames, at = torch.cat(shots), {_SHOT - 1, _SHOT + length - 1}
        # The clip of the shot in the middle may be that of another one, and the same shot goes on after it.
        apart = [*((i, i + 1) for i in at), (_SHOT - 1, _SHOT + length)]
        if all(_difference(frames[i], frames[k]) >= _VISIBLE for i, k in apart):
            made += 1
            yield Case(f"{length} frames", frames, frozenset(at))


_SPLICES = ("hard", "hard", "hard", "similar", "through black")


def _shot(clip: Tensor, draw: Draw, length: int) -> Tensor:
    """Return part of a clip, played to and fro where it is too short."""
    while len(clip) < length:
        clip = torch.cat((clip, clip.flip(0)[1:]))
    start = draw(len(clip) - length + 1)
    return clip[start : start + length]


def _spliced(kind: str, clips: Footage, draw: Draw) -> Case | None:
    place = draw(len(clips.paths))
    one = clips.clip(place)
    other = one if kind == "similar" else clips.clip(place + 1 + draw(len(clips.paths) - 1))
    if kind == "similar":
        # Two parts of one take that are far apart: same light, same place, another moment.
        if len(one) < 2 * _SHOT + _LEAST_FRAMES:
            return None
        spare = (len(one) - 2 * _SHOT - _LEAST_FRAMES) // 2
        left, right = _shot(one[: _SHOT + spare], draw, _SHOT), _shot(one[-_SHOT - spare :], draw, _SHOT)
    else:
        left, right = _shot(one, draw, _SHOT), _shot(other, draw, _SHOT)
    if kind == "through black":
        black = torch.zeros(_BLACK, *left.shape[1:], dtype=left.dtype, device="cpu")
        frames, at = torch.cat((left, black, right)), {_SHOT - 1, _SHOT + _BLACK - 1}
    else:
        frames, at = torch.cat((left, right)), {_SHOT - 1}
    if any(_difference(frames[i], frames[i + 1]) < _VISIBLE for i in at):
        return None
    return Case(kind, frames, frozenset(at))


def _difference(left: Tensor, right: Tensor) -> float:
    return float((left.float() - right.float()).abs().mean())


def _plain(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    return shot


def _fast_pan(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    """Move a window over one picture, by up to a sixth of its side a frame."""
    picture = torch.cat((shot[0], shot[0].flip(1)), 1).repeat(1, 8, 1)
    step, side = 8 + draw(_SIDE // 6), shot.shape[2]
    steps = min(len(shot), (picture.shape[1] - side) // step)
    return torch.stack([picture[:, i * step : i * step + side] for i in range(steps)])


def _flash(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    at, length, level = 8 + draw(len(shot) - 16), 1 + draw(2), 0.5 + draw(5) / 10
    return _brightened(shot, {at + i: level for i in range(length)})


def _strobe(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    period, level = 2 + draw(4), 0.3 + draw(5) / 10
    return _brightened(shot, dict.fromkeys(range(4, len(shot) - 4, period), level))


def _brightened(shot: Tensor, levels: dict[int, float]) -> Tensor:
    bright = shot.float()
    for i, level in levels.items():
        bright[i] += (255 - bright[i]) * level
    return bright.round().to(torch.uint8)


def _shaking(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    reach = 4 + draw(12)
    moves = [(draw(2 * reach) - reach, draw(2 * reach) - reach) for _ in shot]
    return torch.stack([torch.roll(frame, move, (0, 1)) for frame, move in zip(shot, moves, strict=True)])


def _explosion(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    """Grow a bright disc from a point over six frames, and fade it over ten."""
    at, y, x = 8 + draw(len(shot) - 26), draw(_SIDE), draw(_SIDE)
    rows, columns = torch.meshgrid(_numbers(_SIDE), _numbers(_SIDE), indexing="ij")
    far = torch.hypot(rows - y, columns - x)
    bright = shot.float()
    for i in range(16):
        disc = torch.sigmoid((25.0 * min(i + 1, 6) - far) / 12)[..., None] * min(1.0, (16 - i) / 10)
        bright[at + i] += (255 - bright[at + i]) * disc
    return bright.round().to(torch.uint8)


def _dissolve(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    other, length = _shot(clips.clip(draw(len(clips.paths))), draw, len(shot)), 8 + draw(17)
    start = (len(shot) - length) // 2
    share = ((_numbers(len(shot)) - start) / length).clamp(0, 1)[:, None, None, None]
    return torch.lerp(shot.float(), other.float(), share).round().to(torch.uint8)


def _held(shot: Tensor, draw: Draw, clips: Footage) -> Tensor:
    """Show every second or third frame so many times, with grain of its own each time."""
    length, grain = 2 + draw(2), draw(4)
    held = shot[_numbers(len(shot)).long() // length * length].float()
    noise = torch.randn(
        held.shape, dtype=torch.float32, device="cpu", generator=torch.Generator().manual_seed(draw(2**31))
    )
    return (held + grain * noise).round().clamp(0, 255).to(torch.uint8)


def _numbers(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float32, device="cpu")


_NEGATIVES: dict[str, Callable[[Tensor, Draw, Footage], Tensor]] = {
    "plain": _plain,
    "fast pan": _fast_pan,
    "flash": _flash,
    "strobe": _strobe,
    "shaking": _shaking,
    "explosion": _explosion,
    "dissolve": _dissolve,
    "held, with grain": _held,
}
