"""Look at the clip of a job once, however often the job is begun."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ..analysis.notes import Analysis
from ..engine.host import Host
from ..errors import MidframeError
from ..video.stream.looking import looked_at
from .documents import read_document, write_document
from .fingerprint import fingerprint
from .job import Job
from .store import ANALYSIS


def looked_at_job(job: Job, host: Host) -> Job:
    """Return the job with what it has to know of its clip: from its work folder, or looked at now.

    Args:
        job: whose clip.
        host: told how far it is, where it shows that; may cancel.

    Raises:
        MidframeError: the clip cannot be read.
    """
    kept = read_document(job.workdir / ANALYSIS) or {}
    text = kept.pop("analysis", None)
    plan = job.plan
    if plan.analysis is None and plan.timing.looks and text and kept == _clip_of(job):
        plan = replace(plan, analysis=Analysis.from_json(text))
    plan = looked_at(plan, partial(plan.open, job.source, alpha=False), host)
    return replace(job, plan=plan)


def keep_analysis(job: Job) -> None:
    """Write what is known of the clip into the work folder, which is there.

    Raises:
        MidframeError: there is no room for it.
    """
    if job.plan.analysis is None:
        return
    try:
        document = {**_clip_of(job), "analysis": job.plan.analysis.to_json()}
        write_document(job.workdir / ANALYSIS, document)
    except OSError as error:
        raise MidframeError(
            "What is known of the clip cannot be kept.",
            f"{job.workdir}: {error}",
            "Make room on that disk and run the same again.",
        ) from error


def _clip_of(job: Job) -> dict[str, Any]:
    """Return what decides which clip is looked at, and how."""
    plan = job.plan
    return {
        "source": fingerprint(job.source),
        "source fps": str(plan.source_fps),
        "part": f"{plan.start} {plan.stop}",
        "deinterlace": plan.deinterlace,
        "only cuts": plan.timing.only_cuts,
    }
