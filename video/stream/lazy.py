"""An interpolated video that is described first, and made when somebody reads or writes it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from ...analysis.notes import Analysis, PairNote
from ...engine.remarks import Remarks
from ...engine.timeline import Moment
from ...memory.sinks import TensorSink
from ...memory.staging import as_unit_float
from ...vfi_models.interface import Interpolator
from ...vfi_utils import Host, QuietHost, Settings
from ..read.clip import ClipInfo, Frame, FrameTime, TimedClip, Waveform
from ..read.span import Span
from ..read.trim import SLACK
from ..write.formats import EXTENSIONS, Coding, holds_alpha
from ..write.sound import heard
from ..write.target import Target
from .files import Maker, Written, collect_clip, stream_clip
from .looking import looked_at, looks_on_the_way
from .pipe import PIPE_BYTES, AbandonedError, Pipe
from .pipeline import BYTE, Stream
from .plan import Plan
from .workers import Worker

OpenSource = Callable[[bool], TimedClip]
"""Opens the source anew, with its transparency where the argument is true."""
Borrow = Callable[[int, int], AbstractContextManager[Interpolator]]
"""Lends a model that is ready for pictures of a height and a width."""


@dataclass(frozen=True)
class LazyVideo:
    """An interpolated clip, or a part of one. Nothing runs before its frames are read or written."""

    source: OpenSource
    plan: Plan
    borrow: Borrow
    settings: Settings = field(default_factory=Settings)
    span: Span | None = None
    """The part, in the source's time."""
    _looked: list[Plan] = field(default_factory=list, repr=False, compare=False)
    """The plan with what is known of the source, once that has been looked at; parts share it."""
    _remarks: Remarks = field(default_factory=Remarks, repr=False, compare=False)
    """What was warned of already, which parts share too."""

    @cached_property
    def info(self) -> ClipInfo:
        """Return what is known of the video, whose beginning is time 0. Decodes one frame of the source."""
        with self._remarks, self.source(True) as clip:
            return self.info_from(clip.info)

    def info_from(self, info: ClipInfo) -> ClipInfo:
        """Return what is known of the video where ``info`` is known of its source."""
        rate, tick = self.plan.rate_and_tick(info)
        count = self.plan.frames_estimate(info, self.span)
        cut = info if self.span is None else info.cut(self.span)
        return replace(cut, rate=rate, tick=tick, frames_estimate=count)

    @cached_property
    def moments(self) -> tuple[Moment, ...]:
        """Return when every frame is shown. Reads the source through, but decodes only one frame of it."""
        with self._remarks, self.source(True) as clip:
            moments = self.plan.clock(clip, self.span).moments(clip.times())
        start = Fraction(0) if self.span is None else self.span.start
        return tuple(Moment(time - start, duration) for time, duration in moments)

    def planned(self, host: Host) -> Plan:
        """Return the plan with what it has to know of the source, which is looked at once."""
        if not self._looked:
            with self._remarks:
                self._looked.append(looked_at(self.plan, partial(self.source, False), host))
        return self._looked[0]

    def _plan_for(self, clip: TimedClip, host: Host) -> Plan:
        """Return the plan of one run over the whole source, or of the part that is made of it."""
        # Not looked at where that happens on the way; but what is known need not be found again.
        on_the_way = not self._looked and looks_on_the_way(self.plan, clip, self.span)
        return self.plan if on_the_way else self.planned(host)

    def notes(self, host: Host) -> Analysis:
        """Return the cuts of the video: those of its source, where they have come to be."""
        plan = self.planned(host)
        if plan.analysis is None or not any(note.cut for note in plan.analysis.pairs):
            return Analysis(())
        with self._remarks, self.source(False) as clip:
            analysis, shown = plan.notes_of(clip), [time.pts for time in clip.times()]
        cuts = [note.index for note in analysis.pairs if note.cut] if analysis is not None else []
        start = Fraction(0) if self.span is None else self.span.start
        times = [moment.time + start for moment in self.moments]
        # The nearer frame is held on either side: the cut is half way between the two.
        ends = [(shown[i] + shown[i + 1]) / 2 for i in cuts if i + 1 < len(shown)]
        before = {bisect_left(times, end) - 1 for end in ends}
        return Analysis(tuple(PairNote(i, cut=True) for i in sorted(before) if 0 <= i < len(times) - 1))

    @property
    def duration(self) -> Fraction:
        """Return the seconds from time 0 to the end of the last frame."""
        # A moment is (time, duration): their sum is when it ends.
        return sum(self.moments[-1], Fraction(0)) if self.moments else Fraction(0)

    def part(self, start: Fraction, duration: Fraction | None) -> LazyVideo:
        """Return a part of the video, which begins with the first frame in there.

        Args:
            start: seconds of this video's own time.
            duration: seconds; None: to the end.
        """
        whole = self.span or Span(Fraction(0))
        first = self._frame_after(start)
        # Times come as floats from ComfyUI: one a little after a frame means that frame, at either end.
        ends = [] if whole.end is None else [whole.end]
        if duration is not None:
            end = start + duration
            after = self._frame_after(end)
            ends.append(whole.start + (after if after - end <= SLACK else end))
        return replace(self, span=Span(whole.start + first, min(ends, default=None)))

    def _frame_after(self, time: Fraction) -> Fraction:
        """Return when the first frame at ``time`` or later is shown; ``time`` itself where there is none."""
        return next((moment.time for moment in self.moments if moment.time >= time - SLACK), time)

    def write(
        self,
        path: Path,
        coding: Coding,
        *,
        suffix: str | None = None,
        metadata: Mapping[str, str] | None = None,
        host: Host | None = None,
    ) -> Written:
        """Make the video and write it; a file that is there is replaced once the output is whole.

        Args:
            path: of the file.
            coding: codec, quality and depth.
            suffix: says the format where the name does not, or otherwise; MP4 where neither does.
            metadata: tags, besides those of the source.
            host: gets progress, and may cancel.

        Raises:
            MidframeError: see :func:`~.files.interpolate_video`.
        """
        suffix = suffix or (path.suffix if path.suffix.lower() in EXTENSIONS else ".mp4")
        place = Target(path, overwrite=True, suffix=suffix)
        alpha = holds_alpha(path.with_suffix(suffix))
        with (
            self._remarks,
            self.source(alpha) as clip,
            self.borrow(clip.info.height, clip.info.width) as model,
        ):
            maker = Maker(model, self.settings, host)
            looked = self._plan_for(clip, maker.watched(None))
            plan = replace(looked, coding=coding, metadata=metadata or {})
            return stream_clip(clip, place, maker, plan, reopen=partial(self.source, alpha), span=self.span)

    def frames(self, sink: Callable[[int, tuple[int, int, int]], TensorSink], host: Host | None) -> Tensor:
        """Make all frames: (N, H, W, C), C of 4 where there is transparency; as the sink keeps them.

        Args:
            sink: makes a sink for a number of frames (H, W, C).
            host: gets progress, and may cancel.

        Raises:
            MidframeError: see :func:`~.files.interpolate_video`.
        """
        with (
            self._remarks,
            self.source(True) as clip,
            self.borrow(clip.info.height, clip.info.width) as model,
        ):
            channels = 4 if clip.info.alpha else 3
            kept = _GrowingSink(sink(len(self.moments), (clip.info.height, clip.info.width, channels)))
            maker, reopen = Maker(model, self.settings, host), partial(self.source, True)
            plan = self._plan_for(clip, maker.watched(None))
            count = collect_clip(clip, kept, maker, plan, reopen=reopen, span=self.span)
        return kept.first(count)

    def sound(self) -> Waveform | None:
        """Return the sound that goes with the video; None without one."""
        with self._remarks:
            return heard(self.info)

    def opened(self, alpha: bool) -> MadeClip:
        """Open the video as a clip; see :data:`OpenSource`."""
        return MadeClip(self, self.source(alpha))


class _GrowingSink:
    """A sink with room for the frames that the file announces, and for more if there are more."""

    def __init__(self, sink: TensorSink) -> None:
        self._sink = sink
        self._more: list[Tensor] = []

    def narrowed(self, frames: Tensor) -> Tensor:
        """See :class:`~...memory.sinks.NarrowSink`."""
        return self._sink.narrowed(frames)

    def put(self, index: int, frames: Tensor) -> None:
        """See :class:`~...memory.sinks.Sink`."""
        room = max(len(self._sink.frames) - index, 0)
        if room:
            self._sink.put(index, frames[:room])
        if len(frames) > room:
            # A copy: a sink's frames are only valid until this returns.
            self._more.append(as_unit_float(frames[room:]).clone())

    def first(self, count: int) -> Tensor:
        """Return the first ``count`` frames."""
        return (
            torch.cat((self._sink.frames, *self._more))[:count] if self._more else self._sink.frames[:count]
        )


class MadeClip:
    """A lazy video as the source of another: a thread makes its frames as they are read.

    Args:
        video: what to make.
        clip: its source, opened; closed with this.
    """

    def __init__(self, video: LazyVideo, clip: TimedClip) -> None:
        self._video = video
        self._clip = clip
        self._span = video.span
        self._start = Fraction(0) if video.span is None else video.span.start
        self._running: Generator[Frame, None, None] | None = None
        self.info = video.info_from(clip.info)

    def start_at(self, time: Fraction) -> None:
        """See :class:`~..read.clip.Clip`."""
        # Frames are made from there on only: a jump into a long video must not make its beginning.
        earlier = [moment.time for moment in self._video.moments if moment.time <= time]
        if earlier:
            self._span = Span(self._start + earlier[-1], None if self._span is None else self._span.end)

    def notes(self, host: Host) -> Analysis:
        """See :class:`~.looking.Noted`."""
        return self._video.notes(host)

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~..read.clip.TimedClip`."""
        return (FrameTime(time, duration) for time, duration in self._video.moments)

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~..read.clip.Clip`."""
        self._running = self._frames()
        return self._running

    def _frames(self) -> Generator[Frame, None, None]:
        pipe: Pipe[Frame] = Pipe(PIPE_BYTES)
        thread = Worker(partial(self._make, pipe), "midframe-make")
        try:
            thread.start()
            for frame in pipe.get():
                yield replace(frame, pts=frame.pts - self._start)
        finally:
            # Also where the reader stops early: a thread that waited on would keep the model in memory.
            pipe.abandon()
            thread.end()

    def _make(self, pipe: Pipe[Frame]) -> None:
        """Make the frames, in a thread of their own.

        The run that reads them reports progress and cancels, not this one.
        """
        clip, video, info = self._clip, self._video, self._clip.info
        try:
            reopen = partial(video.source, info.alpha)
            reading = video.planned(_Reader(pipe)).read(clip, self._span, reopen=reopen)
            # In whole numbers, as a file between the two runs would have held them.
            bits = BYTE if info.bits <= BYTE else 16
            with video.borrow(info.height, info.width) as model:
                host = Maker(model).watched(None)
                Stream(reading, _PipeWriter(pipe), bits=bits, host=host)(model, video.settings)
            pipe.finish()
        except AbandonedError:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised again in the thread that reads
            pipe.finish(error)

    def __enter__(self) -> MadeClip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # The thread ends first: it reads the clip that is closed next.
            if self._running is not None:
                self._running.close()
        finally:
            self._clip.__exit__(kind, error, trace)


class _Reader(QuietHost):
    """A host that cancels when nobody reads the other end of a pipe any more."""

    def __init__(self, pipe: Pipe[Frame]) -> None:
        super().__init__()
        self._pipe = pipe

    def check_cancelled(self) -> None:
        """See :class:`...engine.host.Host`."""
        self._pipe.require_wanted()


class _PipeWriter:
    """A writer that hands frames to whoever reads the other end of a pipe."""

    def __init__(self, pipe: Pipe[Frame]) -> None:
        self._pipe = pipe
        self.headers = b""

    def write(self, pixels: Tensor, moment: Moment) -> None:
        """See :class:`~..write.encode.Writer`."""
        self._pipe.put(Frame(pixels, moment.time, moment.duration), pixels.nbytes)

    def close(self, *, whole: bool) -> None:
        """See :class:`~..write.encode.Writer`."""

    def drop(self) -> None:
        """See :class:`~..write.encode.Writer`."""
