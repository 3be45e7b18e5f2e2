"""Run a job to its end, from the chunks that are finished already."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..engine.remarks import Remarks
from ..errors import BadInputError, MidframeError
from ..vfi_models.interface import Interpolator
from ..vfi_utils import Host
from ..video import ClipInfo, Written
from ..video.stream.files import check_paths, say_nothing_made
from ..video.stream.pipeline import Counted
from ..video.write.target import Target
from .documents import settle
from .fingerprint import fingerprint
from .job import Job
from .join import Joined, join
from .lock import locked
from .looking import keep_analysis, looked_at_job
from .make import make_chunks
from .replaced import adopt_chunks
from .store import DONE, LOCK, Record, Store

Done = Callable[[Record], None]


@dataclass(frozen=True)
class Report:
    """The state of a job when a chunk is finished."""

    chunk: int
    frames: int
    """In that chunk."""
    finished: int
    """Frames in all finished chunks."""
    total: int | None
    """Frames that there will be, as far as the source's header tells."""


class Executor(Protocol):
    """Makes the chunks. The store's records are the only truth about what is finished."""

    def __call__(self, job: Job, store: Store, info: ClipInfo, *, host: Host, done: Done) -> None:
        """Make the chunks that the store is missing, until it is complete.

        Args:
            job: whose chunks.
            store: of this process, loaded.
            info: of the source.
            host: gets progress, and may cancel.
            done: called with each chunk that is finished.
        """
        ...


class Inline:
    """Makes the chunks in this process, one after the other.

    Args:
        load: returns the model; called once, and only where a chunk is missing.
    """

    def __init__(self, load: Callable[[], Interpolator]) -> None:
        self._load = load

    def __call__(self, job: Job, store: Store, info: ClipInfo, *, host: Host, done: Done) -> None:
        """See :class:`Executor`."""
        model = None
        while not store.complete:
            model = model or self._load()
            # All chunks up to the next finished one in one pass: neighbours share what is read and computed.
            first = store.missing()[0]
            counted = Counted(host, job.frames_expected(info), before=store.frames)
            make_chunks(job, store, (first, store.after(first)), model, host=counted, done=done)


@Remarks()
def process(
    job: Job,
    executor: Executor,
    *,
    host: Host,
    report: Callable[[Report], None] = lambda report: None,
    keep_chunks: bool = False,
) -> Written:
    """Make the missing chunks of a job, join all, and give the output its name.

    Whatever ended an earlier run of the same job (a crash, a power cut, a full disk, the user), its finished
    chunks are used as they are.

    Args:
        job: to be done.
        executor: makes the chunks.
        host: gets progress over the whole job, and may cancel.
        report: called with each chunk that is finished, in whatever thread finishes it.
        keep_chunks: do not remove them when the output is whole.

    Returns:
        The output. ``source_frames`` is 0: they are not counted.

    Raises:
        BadInputError: source, target or plan cannot be worked with; the work folder is another job's, or
            another process's.
        MidframeError: the run failed; the next one goes on from there.
    """
    _check(job)
    # What cannot be read or written is found before the work folder is made, and leaves nothing behind.
    info = job.describe()
    job.model.identity()  # weights that cannot be had are found before all of the clip is looked at
    output = Joined(job.target, job.plan, info)
    with contextlib.ExitStack() as stack:
        _lock(job.workdir, stack)
        job = looked_at_job(job, host)
        store = _open_store(job, info)
        keep_analysis(job)
        # An earlier run may have ended between naming the output and removing the chunks.
        frames = store.finished(job.target)
        if frames is not None:
            if not keep_chunks:
                store.drop_segments()
            return Written(job.target, frames, 0)
        target = Target(job.target, overwrite=job.plan.overwrite, mark=store.job)
        info = job.expected(info)
        total = job.frames_expected(info)

        def done(record: Record) -> None:
            report(Report(record.chunk, len(record.times), store.frames, total))

        if not store.complete:
            output.rehearse(target.temporary)
            executor(job, store, info, host=host, done=done)
        _join(job, store, target, output, host)
        frames = store.frames
        _remark(info, frames == total)
        if not keep_chunks:
            store.drop_segments()
        return Written(job.target, frames, 0)


def _remark(info: ClipInfo, as_expected: bool) -> None:
    if info.frames_estimate == 1 and as_expected:
        say_nothing_made(info.path)


def _check(job: Job) -> None:
    folder, source, target = (path.resolve() for path in (job.workdir, job.source, job.target))
    if folder in (source, *source.parents, target, *target.parents) or target in folder.parents:
        raise BadInputError(
            "The work folder must hold nothing but chunks.",
            f"{job.workdir}, with source {job.source} and output {job.target}",
            "Give a folder of its own, or leave it out: it is made beside the output then.",
        )
    # What is there may be this job's own output. If it is not, the store finds out once the job is known.
    may_be_ours = (job.workdir / DONE).exists()
    check_paths(job.source, job.target, replace(job.plan, overwrite=job.plan.overwrite or may_be_ours))


def _lock(folder: Path, stack: contextlib.ExitStack) -> None:
    """Make the work folder, and lock it until ``stack`` ends."""
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(folder / LOCK))


def _open_store(job: Job, info: ClipInfo) -> Store:
    """Open the work folder, which is locked."""
    identity = job.identity()
    with _usable(job.workdir):
        adopt_chunks(job, identity, info)
        store = Store(job.workdir, identity)
        store.load(clean=True)
    return store


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Raise what keeps a folder from being a work folder as an error of ours."""
    try:
        yield
    except OSError as error:
        raise BadInputError(
            "This cannot be a work folder.",
            f"{folder}: {error}",
            "Check that it is a folder that may be written to, on a disk with room; or give another one.",
        ) from error


def _join(job: Job, store: Store, target: Target, output: Joined, host: Host) -> None:
    # The fingerprint that chunks are known by is from the start of this run, maybe days ago.
    if fingerprint(job.source) != store.identity["source"]:
        raise BadInputError(
            "The source changed while the job ran.",
            str(job.source),
            f"Chunks may be of either: remove {store.folder} and run the same again.",
        )
    target.discard()  # half of it, if an earlier run was killed here
    try:
        join(store.records, store.folder, output, target.temporary, poll=host.check_cancelled)
        settle(target.temporary)
        # From here on a run that is started again knows the output by its bytes, under either name.
        store.finish(target.path, target.temporary)
    except OSError as error:
        target.discard()
        raise MidframeError(
            "The output is joined, but that cannot be noted.",
            f"{store.folder}: {error}",
            "Make room on that disk and run the same again: nothing is made twice.",
        ) from error
    except BaseException:
        target.discard()
        raise
    target.commit()
    # The new name outlasts a power cut only when its folder is on the disk.
    settle(target.path.parent)
