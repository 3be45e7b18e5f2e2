"""Make chunks of a job: decode, interpolate and encode a run of them in one pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..vfi_models.interface import Interpolator
from ..vfi_utils import Host
from ..video.read.span import Span
from ..video.stream.pipeline import Stream
from ..video.write.formats import holds_alpha
from .job import Job
from .segments import Form, SegmentWriter
from .store import Record, Store


def make_chunks(
    job: Job,
    store: Store,
    chunks: tuple[int, int | None],
    model: Interpolator,
    *,
    host: Host,
    done: Callable[[Record], None],
) -> None:
    """Make neighbouring chunks in one pass: between them nothing is read or computed twice.

    Args:
        job: whose chunks.
        store: gets each as soon as it is finished.
        chunks: the first, and the one before which to stop; None: where the clip ends.
        model: on the device where it shall run.
        host: gets progress, and may cancel.
        done: called with each finished chunk, in another thread.

    Raises:
        MidframeError: it failed; the chunks that are finished are in the store.
    """
    first, stop = chunks
    reopen = partial(job.plan.open, job.source, alpha=holds_alpha(job.target))
    with reopen() as clip:
        info = clip.info
        span = Span(job.span(info, first).start, None if stop is None else job.span(info, stop).start)
        # The clock counts from the beginning of the clip, wherever the chunks are in it.
        reading, form = job.plan.read(clip, span, reopen=reopen), Form.of(job.target, job.plan, info)
        writer = SegmentWriter(
            store,
            form,
            info,
            spans=lambda chunk: job.span(info, chunk),
            chunks=chunks,
            ended=lambda: reading.exhausted and not reading.clock.cut,
            done=done,
        )
        Stream(reading, writer, bits=form.bits, host=host)(model, job.settings)
