"""Look at a clip, a few frames ahead of those that are made; or before, in a pass that keeps no frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from ...analysis.notes import Analysis
from ...analysis.watch import analyse
from ...engine.host import Host, report_looked
from ..read.clip import TimedClip
from ..read.retimed import Retimed
from ..read.span import Span
from .clock import Numbers
from .expected import counted
from .plan import Plan, Reading
from .workers import DecodeThread


@runtime_checkable
class Noted(Protocol):
    """A clip whose cuts are known without its frames, each of which may be dear to make."""

    def notes(self, host: Host) -> Analysis:
        """Return the notes of its pairs; ``host`` may cancel."""
        ...


def looks_on_the_way(plan: Plan, clip: TimedClip, span: Span | None) -> bool:
    """Tell whether the cuts of a clip are found while frames are made of it, in one pass over the file."""
    return (
        plan.analysis is None
        and plan.timing.follows
        # Pairs are judged by those around them: all parts of a clip must find the same.
        and span is None
        # One that plays at another speed shows a frame twice, or backwards.
        and not isinstance(clip, Retimed | Noted)
        # Without its alpha, as it is read to be looked at, a frame may be converted in another way.
        and not clip.info.alpha
    )


def reading_of(
    plan: Plan, clip: TimedClip, span: Span | None, *, reopen: Callable[[], TimedClip], host: Host
) -> Reading:
    """Return what is read of a clip, see :meth:`~.plan.Plan.read`; look at it first where that is needed.

    Args:
        plan: what to make.
        clip: not read yet.
        span: the part of the output; all where it is left out.
        reopen: opens the clip once more.
        host: see :func:`looked_at`.

    Raises:
        MidframeError: the clip cannot be read.
    """
    if looks_on_the_way(plan, clip, span):
        return plan.read_watched(clip)
    return looked_at(plan, reopen, host).read(clip, span, reopen=reopen)


def looked_at(plan: Plan, open_clip: Callable[[], TimedClip], host: Host) -> Plan:
    """Return the plan with what it has to know of its clip; the same one where that is known, or is nothing.

    Args:
        plan: of the clip.
        open_clip: opens it.
        host: told how far it is, where it shows that; may cancel.

    Raises:
        MidframeError: the clip cannot be read.
    """
    if plan.analysis is not None or not plan.timing.looks:
        return plan
    with open_clip() as opened:
        # What is noted is of the frames of the source, whichever of them are shown when.
        clip = opened.source if isinstance(opened, Retimed) else opened
        if isinstance(clip, Noted):
            return replace(plan, analysis=clip.notes(host))
        return replace(plan, analysis=analysis_of(clip, host, only_cuts=plan.timing.only_cuts))


def analysis_of(clip: TimedClip, host: Host, *, only_cuts: bool = False) -> Analysis:
    """Return the notes of a clip's pairs, by the numbers that its frames have in the file.

    Args:
        clip: not read yet; read by a thread of its own, closed by the caller.
        host: told how far it is, where it shows that; may cancel.
        only_cuts: see :class:`~...analysis.watch.Watcher`.
    """
    looked, total = report_looked(host), counted(clip).frames_estimate
    numbers: list[int] = []
    numbered = Numbers(clip.times())
    decoder = DecodeThread(clip)

    def pixels() -> Iterator[Tensor]:
        for frame in decoder.frames(host.check_cancelled):
            numbers.append(numbered.next(frame.pts))
            looked(len(numbers), total)
            yield frame.pixels

    try:
        decoder.start()
        seen = analyse(pixels(), only_cuts=only_cuts, poll=host.check_cancelled)
    finally:
        decoder.stop()
    # Where a frame could not be decoded, the pairs after it are not the first, second and third of the file.
    return Analysis(tuple(replace(note, index=numbers[note.index]) for note in seen.pairs), seen.loop)
