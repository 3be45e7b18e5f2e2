"""Go on with a job over pictures of which some were replaced: only their chunks are made again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from ..video import ClipInfo
from .documents import digest_of, read_document, write_document
from .fingerprint import prints_of
from .job import Job
from .store import JOB, PICTURES, record_files

_LOG = logging.getLogger(__name__)

# Pictures on either side of a chunk's own: it ends with the first of the next one, and a trim may begin
# between two.
_BESIDE = 2
# Settings by which a picture counts for more frames than those beside it.
_FAR = {"analysis", "speed", "shutter", "levels", "guard"}


def adopt_chunks(job: Job, identity: Mapping[str, Any], info: ClipInfo) -> None:
    """Make finished chunks those of ``job``, except where a picture that they show is another one now.

    A broken picture ends a run, and its user puts a whole one in its place: what was made of all the others
    is as good as before. Any other difference is left for the store to find.

    Args:
        job: whose work folder is locked. Nothing is done where its source is a file.
        identity: of it, as it is now.
        info: of its clip.

    Raises:
        OSError: the work folder cannot be read or written.
    """
    folder, source = job.workdir, identity["source"]
    known = read_document(folder / PICTURES) or {}
    if job.source.is_file() or known.get("source") == source:
        return
    prints, before = prints_of(job.source), read_document(folder / JOB) or {}
    old: dict[str, str] = known.get("pictures", {})
    alike = {**before, "source": source} == identity and known.get("source") == before.get("source")
    if alike and [*old] == [*prints] and not _FAR & identity.keys() and job.plan.end != "close_loop":
        changed = [number for number, name in enumerate(prints) if prints[name] != old[name]]
        if 0 not in changed:  # the first one says the size and depth of all
            _adopt(job, (digest_of(before), digest_of(identity)), changed, info)
    write_document(folder / PICTURES, {"source": source, "pictures": prints})


def _adopt(job: Job, digests: tuple[str, str], changed: Iterable[int], info: ClipInfo) -> None:
    """Write the second digest of the job into the records that have the first, and remove those concerned."""
    before, now = digests
    times = [Fraction(number) / info.rate - (job.plan.start or 0) for number in changed]
    again = 0
    # Before job.json is written anew: whatever ends this, the next run does the rest.
    for path in record_files(job.workdir):
        record = read_document(path)
        if record is None or record.get("job") != before:
            continue
        if _shows(job, info, int(path.stem), times):
            path.unlink()
            again += 1
        else:
            write_document(path, {**record, "job": now})
    _LOG.warning("%s: pictures were replaced; %s.", job.source.name, _said(again))


def _shows(job: Job, info: ClipInfo, chunk: int, times: Iterable[Fraction]) -> bool:
    """Tell whether a chunk is made of a picture that is shown at any of some times."""
    beside, span = _BESIDE / info.rate, job.span(info, chunk)
    assert span.end is not None  # noqa: S101 -- narrows the type
    return any(span.start - beside <= time <= span.end + beside for time in times)


def _said(again: int) -> str:
    if not again:
        return "no finished chunk shows them"
    return f"{again} finished chunk{'s are' if again > 1 else ' is'} made again"
