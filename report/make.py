"""Looks at a clip, measures models on it, and collects what a report shows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..analysis.notes import Analysis
from ..analysis.timing import Timing
from ..api import interpolate
from ..engine.host import Host, QuietHost
from ..errors import BadInputError, MidframeError
from ..vfi_models.interface import Interpolator
from ..video.read.clip import TimedClip
from ..video.stream.looking import analysis_of
from .measure import BLEND, Rebuilt, Score, candidates, measure
from .pictures import contact_sheet, error_map, thumbnail

# Frames on the contact sheet at most, and made frames that are shown of every model.
_SHEET, _SHOWN = 16, 3
# dB within which a faster model is said to be as good.
_AS_GOOD = 0.3

Borrow = Callable[[int, int], AbstractContextManager[Interpolator]]
"""Lends a model that is ready for pictures of a height and a width."""


class Comparison(NamedTuple):
    """A frame of the clip, and what a model made in its place."""

    model: str
    rebuilt: Rebuilt
    truth: Any
    made: Any
    error: Any
    """Pictures (PIL)."""


@dataclass(frozen=True)
class Report:
    """What was found."""

    name: str
    size: tuple[int, int]
    """Height and width."""
    rate: float
    times: tuple[float, ...]
    """Of all frames, seconds."""
    analysis: Analysis
    scores: tuple[Score, ...]
    """The best first; the blend is one of them."""
    comparisons: tuple[Comparison, ...]
    """The frames that are hardest for the blend, of every model."""
    sheet: Any
    """A contact sheet (PIL)."""

    @property
    def advice(self) -> str:
        """Return the sentence that a user came for."""
        ranked = [score for score in self.scores if score.rebuilt and not score.error]
        if not ranked:
            return "Nothing could be measured: every frame lies at a cut, in a dissolve or beside its equal."
        best = ranked[0]
        if best.model == BLEND:
            return "No model comes nearer to this clip's own frames than a plain blend does."
        said = (
            f"{best.model} comes nearest to this clip's own frames: "
            f"{best.psnr:.1f} dB, {best.seconds:.2g} s a frame."
        )
        quick = min(ranked, key=lambda score: score.seconds if score.model != BLEND else math.inf)
        if quick is best or best.over_blend - quick.over_blend > _AS_GOOD:
            return said
        return f"{said} {quick.model} is within {_AS_GOOD} dB of it and takes {quick.seconds:.2g} s."

    def to_json(self) -> str:
        """Return everything but the pictures."""
        scores = [
            {
                "model": score.model,
                "error": score.error or None,
                "psnr": _number(score.psnr),
                "psnr_over_blend": _number(score.over_blend),
                "ssim": _number(score.ssim),
                "seconds_per_frame": _number(score.seconds),
                "frames": [vars(one) for one in score.rebuilt],
            }
            for score in self.scores
        ]
        about = {
            "clip": self.name,
            "height": self.size[0],
            "width": self.size[1],
            "rate": self.rate,
            "frames": len(self.times),
            "advice": self.advice,
            "models": scores,
            "analysis": json.loads(self.analysis.to_json()),
        }
        return json.dumps(about, indent=1) + "\n"


def make(
    name: str,
    open_clip: Callable[[], TimedClip],
    models: Sequence[tuple[str, Borrow]],
    host: Host,
    *,
    most: int = 24,
) -> Report:
    """Make the report of a clip. It is read once for what is in it, and once for each model.

    Args:
        name: of the clip, for the reader.
        open_clip: opens it.
        models: their names, and what lends them.
        host: told of progress; may cancel.
        most: frames that are left out and made at most.

    Raises:
        BadInputError: a clip of fewer than three frames, or fewer than one to make.
        MidframeError: the clip cannot be read.
    """
    if most < 1:
        raise BadInputError("A report needs frames to compare.", f"{most} of them", "Give 1 or more.")
    with open_clip() as clip:
        analysis, info = analysis_of(clip, host), clip.info
        times = tuple(float(at.pts) for at in clip.times())
    if len(times) < 3:  # noqa: PLR2004 - one to leave out, and its neighbours
        raise BadInputError(
            "A report needs a clip of three frames at least.", f"{len(times)} in {name}", "Give another one."
        )
    frames = candidates(analysis, times, most)
    blend = _score(BLEND, _blend, open_clip, frames, host)[0]
    hardest = {one.frame for one in sorted(blend.rebuilt, key=lambda one: one.psnr)[:_SHOWN]}
    scores, shown = [replace(blend, over_blend=0.0)], list[Comparison]()
    size = info.height, info.width
    for model, borrow in models:
        try:
            with borrow(*size) as lent:
                score, comparisons = _score(model, _middle(lent, host), open_clip, frames, host)
        except MidframeError as failure:  # one that cannot be loaded
            score, comparisons = Score(model, error=f"{failure.wrong} {failure.found}".strip()), []
        scores.append(_against(score, blend))
        shown += (one for one in comparisons if one.rebuilt.frame in hardest)
    scores.sort(
        key=lambda score: -math.inf if math.isnan(score.over_blend) else score.over_blend, reverse=True
    )
    sheet = _sheet(open_clip, analysis, times)
    return Report(name, size, float(info.rate), times, analysis, tuple(scores), tuple(shown), sheet)


def _blend(pair: Tensor) -> Tensor:
    return torch.lerp(pair[0], pair[1], 0.5)


def _middle(model: Interpolator, host: Host) -> Callable[[Tensor], Tensor]:
    """Return what makes the frame half-way between two with a model."""
    cancelling = _Cancelling(host)

    def middle(pair: Tensor) -> Tensor:
        # Between these two frames there is no cut: candidates has seen to that.
        return interpolate(pair, model, 2, timing=Timing("interpolate"), host=cancelling)[1].float()

    return middle


class _Cancelling(QuietHost):
    """Asks another host about cancelling and shows no progress: that of one frame would hide that of all."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.check_cancelled = host.check_cancelled  # type: ignore[method-assign]
        self.free_bytes = host.free_bytes  # type: ignore[method-assign]
        self.clear_cache = host.clear_cache  # type: ignore[method-assign]
        self.cached_bytes = host.cached_bytes  # type: ignore[method-assign]


def _score(
    model: str,
    interpolate: Callable[[Tensor], Tensor],
    open_clip: Callable[[], TimedClip],
    frames: list[int],
    host: Host,
) -> tuple[Score, list[Comparison]]:
    comparisons: list[Comparison] = []

    def keep(rebuilt: Rebuilt, made: Tensor, truth: Tensor) -> None:
        pictures = thumbnail(truth), thumbnail(made), error_map(made, truth)
        comparisons.append(Comparison(model, rebuilt, *pictures))

    with open_clip() as clip:
        return measure(model, interpolate, clip, frames, host, keep), comparisons


def _against(score: Score, blend: Score) -> Score:
    """Return a score with what it is over the blend of the same frames."""
    blended = {one.frame: one.psnr for one in blend.rebuilt}
    gains = [one.psnr - blended[one.frame] for one in score.rebuilt]
    return replace(score, over_blend=sum(gains) / len(gains)) if gains and not score.error else score


def _sheet(open_clip: Callable[[], TimedClip], analysis: Analysis, times: Sequence[float]) -> Any:
    """Return a contact sheet: the first frame of each shot, and others spread evenly."""
    shots = [0, *(note.index + 1 for note in analysis.pairs if note.cut)]
    first = shots[:: -(-len(shots) // _SHEET)]
    more = _SHEET - len(first)
    spread = {round(i * (len(times) - 1) / max(more - 1, 1)) for i in range(more)}
    chosen, cuts = sorted(spread | set(first)), set(shots[1:])
    thumbnails = []
    with open_clip() as clip:
        for index, frame in enumerate(clip):
            if index in chosen:
                word = ", a cut before it" if index in cuts else ""
                thumbnails.append((f"{times[index]:.2f} s, frame {index}{word}", thumbnail(frame.pixels)))
    return contact_sheet(thumbnails)


def _number(value: float) -> float | None:
    """Return a number as JSON knows it: None for NaN."""
    return None if math.isnan(value) else value
