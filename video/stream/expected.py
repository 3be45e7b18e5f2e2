"""Number of frames to come, where the header of a source does not say it."""

from __future__ import annotations

from dataclasses import replace

from ...engine.timeline import AtRate
from ...errors import BadInputError
from ..read.clip import ClipInfo, TimedClip
from ..read.span import Span
from .plan import Plan


def counted(clip: TimedClip) -> ClipInfo:
    """Return what is known of a clip, with the number of its frames also where its header does not say it.

    Recordings that were piped or streamed, and streams without a container, do not say it. Their packets are
    counted then, which reads the whole file and decodes nothing of it.
    """
    info = clip.info
    if info.frames_estimate is not None and not info.frames_guessed:
        return info
    try:
        count = sum(1 for _ in clip.times()) or None
        return replace(info, frames_estimate=count, frames_guessed=False)
    except BadInputError:  # damaged further on: said where it is read
        return info


def frames_expected(plan: Plan, clip: TimedClip, span: Span | None = None) -> int | None:
    """Return how many output frames there will be; see :meth:`.plan.Plan.frames_estimate`.

    Args:
        plan: of the output.
        clip: its source.
        span: the part of the output; all where it is left out.
    """
    expected = plan.frames_estimate(clip.info, span)
    # At a constant rate, how many come out follows from the duration, which is no guess.
    guessed = clip.info.frames_guessed and span is None
    if expected is None or (guessed and not isinstance(plan.timeline(clip.info).policy, AtRate)):
        return plan.frames_estimate(counted(clip), span)
    return expected
