"""Measures models on a clip: frames of it are left out, made from their neighbours, and compared."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median

import torch
from torch import Tensor

from ..analysis.notes import Analysis
from ..engine.host import Host
from ..errors import MidframeError
from ..memory.staging import as_unit_float
from ..video.read.clip import Clip
from .quality import ssim

BLEND = "blend"
"""The name of the mean of both neighbours, which needs no model."""
_BEST_PSNR = 60.0
# The two times between three frames are even where they differ by less than this share.
_UNEVEN = 0.1
_RGB = 3

Interpolate = Callable[[Tensor], Tensor]
"""From (2, H, W, 3) in 0..1 to the frame half-way, (H, W, 3)."""
Keep = Callable[["Rebuilt", Tensor, Tensor], None]
"""Takes what was measured, the frame that was made and the true one, both (H, W, 3) in 0..1."""


@dataclass(frozen=True)
class Rebuilt:
    """A frame of the clip that was left out and made from its neighbours."""

    frame: int
    """Its number in the clip, from 0."""
    psnr: float
    """dB, at most 60."""
    ssim: float
    seconds: float
    """Time that it took."""


@dataclass(frozen=True)
class Score:
    """How near a model comes to the frames of a clip."""

    model: str
    rebuilt: tuple[Rebuilt, ...] = ()
    error: str = ""
    """Why it could not be measured."""
    over_blend: float = field(default=math.nan)
    """dB by which it is nearer than a blend of the same frames."""

    @property
    def psnr(self) -> float:
        """Return the mean, dB."""
        return mean(one.psnr for one in self.rebuilt) if self.rebuilt else math.nan

    @property
    def ssim(self) -> float:
        """Return the mean."""
        return mean(one.ssim for one in self.rebuilt) if self.rebuilt else math.nan

    @property
    def seconds(self) -> float:
        """Return the usual time of a frame, without the first one's preparations."""
        return median(one.seconds for one in (self.rebuilt[1:] or self.rebuilt)) if self.rebuilt else math.nan


def candidates(analysis: Analysis, pts: Sequence[float], most: int) -> list[int]:
    """Return frames that can be left out and made from their neighbours, spread evenly, at most ``most``.

    Frames at cuts, in dissolves and flashes, and such as stand between equal frames say nothing of a model.

    Args:
        analysis: of the clip.
        pts: times of its frames, seconds.
        most: at least 1.
    """

    def good(frame: int) -> bool:
        notes = analysis.note(frame - 1), analysis.note(frame)
        before, after = pts[frame] - pts[frame - 1], pts[frame + 1] - pts[frame]
        even = abs(before - after) <= _UNEVEN * max(before, after)
        return even and not any(note.cut or note.dissolve or note.flash or note.held for note in notes)

    found = [frame for frame in range(1, len(pts) - 1) if good(frame)]
    count = min(most, len(found))
    # The middles of so many equal parts: neither end of the clip counts more than its middle.
    return [found[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)]


def measure(
    model: str, interpolate: Interpolate, clip: Clip, frames: Collection[int], host: Host, keep: Keep
) -> Score:
    """Measure one model on some frames of a clip, which is read once; memory holds three frames.

    Args:
        model: its name.
        interpolate: makes a frame.
        clip: not read yet.
        frames: which to leave out and make.
        host: told of progress; may cancel.
        keep: given every frame that was made.
    """
    rebuilt: list[Rebuilt] = []
    try:
        for frame, (left, truth, right) in _triples(clip, frames):
            host.check_cancelled()
            began = time.perf_counter()
            made = interpolate(torch.stack((left, right)))
            seconds = time.perf_counter() - began
            error = float((made.double() - truth.double()).square().mean())
            psnr = min(_BEST_PSNR, -10 * math.log10(max(error, 1e-12)))
            rebuilt.append(Rebuilt(frame, psnr, ssim(made, truth), seconds))
            keep(rebuilt[-1], made, truth)
            host.progress(len(rebuilt), len(frames), partial(_itself, made))
    except MidframeError as failure:
        return Score(model, tuple(rebuilt), f"{failure.wrong} {failure.found}".strip())
    return Score(model, tuple(rebuilt))


def _itself(frame: Tensor) -> Tensor:
    return frame


def _triples(clip: Clip, frames: Collection[int]) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
    """Yield each of ``frames`` with its neighbours, (H, W, 3) float32 in 0..1."""
    wanted, window = frozenset(frames), deque[Tensor](maxlen=3)
    for index, frame in enumerate(clip):
        window.append(frame.pixels)
        if index - 1 in wanted:
            left, middle, right = (as_unit_float(pixels[..., :_RGB]) for pixels in window)
            yield index - 1, (left, middle, right)
