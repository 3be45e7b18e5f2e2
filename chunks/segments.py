"""Write the output of a run into segments, one for each chunk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..engine.timeline import Moment
from ..errors import MidframeError
from ..video import ClipInfo, Plan
from ..video.read.span import Span
from ..video.write.encode import Shape, VideoWriter, Writer, usable_tick
from ..video.write.formats import Encoding, check_rate, choose_encoding, file_suffix, images_of
from ..video.write.pictures import FolderWriter, Images, picture_bits, transfer_of
from .store import Record, Store

# Files whose segments are joined packet by packet.
_PACKET_TYPES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


@dataclass(frozen=True)
class Form:
    """The form of segments: pieces of the output in its own codec, or lossless folders of pictures."""

    suffix: str
    bits: int
    rate: Fraction
    tick: Fraction
    """That times in records are counted in, seconds."""
    encoding: Encoding | None
    """None: folders of pictures."""
    images: Images = "png"
    """The type of these."""

    @classmethod
    def of(cls, target: Path, plan: Plan, info: ClipInfo) -> Form:
        """Return the form in which the chunks of a job are kept.

        Raises:
            BadInputError: an extension, codec or combination that cannot be written.
        """
        rate, tick = plan.rate_and_tick(info)
        size, suffix = (info.height, info.width), file_suffix(target).lower()
        if suffix:  # also where pictures are kept: what cannot be written at the end is not begun
            check_rate(target, rate)
            encoding = choose_encoding(
                target, plan.coding, size, bits=info.bits, alpha=info.alpha, source=info
            )
            if suffix in _PACKET_TYPES:
                # The container's options are for the output: faststart would write each segment twice.
                plain = replace(encoding, container_options={})
                return cls(suffix, encoding.bits, rate, usable_tick(tick), plain)
            return cls("", encoding.bits, rate, usable_tick(tick), None)
        images = images_of(target, plan.coding)
        bits = picture_bits(info.bits, images)
        return cls("", bits, rate, usable_tick(tick), None, images)

    def writer(self, path: Path, info: ClipInfo) -> Writer:
        """Open the writer of one segment."""
        if self.encoding is None:
            return FolderWriter(path, self.bits, self.images, transfer=transfer_of(info))
        silent = replace(
            info, sound=False, sound_from=None, carries=False, metadata={}
        )  # the joined output gets both
        return VideoWriter(path, self.encoding, silent, Shape(self.bits, self.rate, self.tick))


def headers_digest(writer: Writer) -> str:
    """Return a digest of the headers of a writer's packets; empty where there are none."""
    return hashlib.sha256(writer.headers).hexdigest()[:16] if writer.headers else ""


@dataclass
class _Open:
    """The segment that is being written."""

    writer: Writer | None = None
    path: Path | None = None
    start: Fraction = Fraction(0)
    times: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)


class SegmentWriter:
    """A writer that ends a segment, and begins the next, where one chunk's span ends.

    Args:
        store: gets the finished ones.
        form: of segments.
        info: of the source.
        spans: of each chunk.
        chunks: the first to be written, and the one before which the run ends, None where the clip does.
        ended: called when everything is written; tells whether that was the end of the clip.
        done: called with each finished chunk, in the thread that writes.
    """

    def __init__(  # noqa: PLR0913 - what a run over chunks consists of
        self,
        store: Store,
        form: Form,
        info: ClipInfo,
        *,
        spans: Callable[[int], Span],
        chunks: tuple[int, int | None],
        ended: Callable[[], bool],
        done: Callable[[Record], None],
    ) -> None:
        self._store = store
        self._form = form
        self._info = info
        self._spans = spans
        self._chunk, self._stop = chunks
        self._ended = ended
        self._done = done
        self._open = _Open()

    @property
    def headers(self) -> bytes:
        """See :class:`..video.write.encode.Writer`."""
        return self._open.writer.headers if self._open.writer is not None else b""

    def write(self, pixels: Tensor, moment: Moment) -> None:
        """See :class:`..video.write.encode.Writer`."""
        while not self._spans(self._chunk).holds(moment.time):
            self._finish(ended=False)
        segment = self._open
        if segment.writer is None:
            segment.path = self._store.temporary(self._chunk, self._form.suffix)
            segment.start = moment.time
            segment.writer = self._form.writer(segment.path, self._info)
        # A segment is a file that begins at 0; the record keeps when its frames are shown.
        segment.writer.write(pixels, Moment(moment.time - segment.start, moment.duration))
        # They rise, as those of the writer do.
        least = segment.times[-1] + 1 if segment.times else 0
        segment.times.append(max(round(moment.time / self._form.tick), least))
        segment.durations.append(round(moment.duration / self._form.tick))

    def close(self, *, whole: bool) -> None:
        """End the last segment, see :class:`..video.write.encode.Writer`; drop it if it is not whole."""
        if not whole:
            self.drop()
        elif self._stop is None or self._ended():
            self._finish(ended=True)
        else:
            # The clip goes on after this run: chunks at its end may have no frame, and are finished too.
            while self._chunk < self._stop:
                self._finish(ended=False)

    def drop(self) -> None:
        """Drop the open segment, see :class:`..video.write.encode.Writer`; finished chunks stay."""
        if self._open.writer is not None and self._open.path is not None:
            self._open.writer.drop()
            self._store.discard(self._open.path)
        self._open = _Open()

    def _finish(self, *, ended: bool) -> None:
        # Also where no frame is in the chunk: the record says that there is nothing to make.
        segment, headers = self._open, ""
        if segment.writer is not None:
            headers = headers_digest(segment.writer)
            segment.writer.close(whole=False)
        times, durations = tuple(segment.times), tuple(segment.durations)
        record = Record(self._chunk, self._store.job, times, durations, ended, headers)
        try:
            record = self._store.add(record, segment.path)
        except OSError as error:
            raise MidframeError(
                "A finished chunk cannot be kept.",
                f"{self._store.folder}: {error}",
                "Make room on that disk and run the same again: it goes on with the chunks that are there.",
            ) from error
        self._done(record)
        self._open = _Open()
        self._chunk += 1
