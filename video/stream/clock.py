"""When output frames are shown, from when source frames are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from ...engine.timeline import Gap, Moment, Timeline
from ..read.clip import FrameTime
from ..read.span import Span


class _SourceFrame(NamedTuple):
    number: int
    """In the whole clip."""
    time: FrameTime


class Clock:
    """The timeline of a clip whose frames have times; it keeps those of the output frames.

    It is what the frame loop is given for its timeline (:class:`...engine.timeline.Timesteps`). The loop
    counts the source frames that it gets, which may be a part of the clip; the timeline's pairs are those of
    the whole clip.

    Args:
        timeline: of the whole clip; its ``source_fps`` says how long a last frame without duration is shown.
        start: when the clip's first frame is shown, seconds; the timeline counts from there.
        span: the part of the output that is made; all where it is left out.
        times: of all frames of the clip, by which those that are read get their numbers. Where it is left
            out, the first that is read is number 0.
        frame_time: returns when the frame is shown of which a moment of the timeline is a sample; the moment
            itself where each is a frame. The first sample of a frame has its time.
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        start: Fraction = Fraction(0),
        span: Span | None = None,
        times: Iterator[FrameTime] | None = None,
        frame_time: Callable[[Fraction], Fraction] = lambda time: time,
    ) -> None:
        self._frame_time = frame_time
        self.timeline = timeline
        self._start = start
        self._span = Span(start) if span is None else span
        self._numbers = Numbers(iter(()) if times is None else times)
        self._frames: deque[_SourceFrame] = deque()
        self._dropped = 0
        self._moments: deque[Moment] = deque()
        self.cut = False
        """Whether something would be shown after the span."""

    def read(self, pts: Fraction, duration: Fraction | None) -> None:
        """Take note of the next source frame before the loop gets it."""
        self._frames.append(_SourceFrame(self._numbers.next(pts), FrameTime(pts, duration)))

    def shown(self, index: int, *, last: bool) -> tuple[Fraction, ...]:
        """Return the timesteps of the output frames in the span; see :class:`...engine.timeline.Timesteps`.

        To be asked once for each source frame, in order, when the next one has been read.
        """
        # Frame `index` becomes the first of the queue: earlier ones are not asked for again.
        while self._dropped < index:
            self._frames.popleft()
            self._dropped += 1
        # Exact Fractions: in floats, a frame at the border of two chunks could fall into both.
        outputs = self.timeline.outputs(self._gap(last=last), last=last)
        moments = [Moment(time + self._start, duration) for _, (time, duration) in outputs]
        # An empty rest of a clip is its end; an empty rest of a span is not, which only this tells.
        end = self._span.end
        # A frame is in the span where it is shown, with all of its samples.
        frames = [self._frame_time(moment.time - self._start) + self._start for moment in moments]
        self.cut = self.cut or (end is not None and bool(moments) and frames[-1] >= end)
        kept = [self._span.holds(time) for time in frames]
        self._moments.extend(
            moment
            for moment, time, keep in zip(moments, frames, kept, strict=True)
            if keep and moment.time == time
        )
        return tuple(output.timestep for output, keep in zip(outputs, kept, strict=True) if keep)

    @property
    def closes(self) -> bool:
        """Tell whether the clip's first frame follows its last; see :class:`...engine.timeline.Timeline`."""
        return self.timeline.closes

    def number_of(self, index: int) -> int:
        """Return the number in the whole clip of a source frame that the loop has not passed yet."""
        return self._frames[index - self._dropped].number

    def next_moment(self) -> Moment:
        """Return when the next output frame is shown."""
        return self._moments.popleft()

    def moments(self, times: Iterable[FrameTime]) -> tuple[Moment, ...]:
        """Return when all output frames are shown, without a loop: from the ``times`` of source frames."""
        index = -1
        for time in times:
            self.read(*time)
            if index >= 0:
                self.shown(index, last=False)
            index += 1
        if index >= 0:
            self.shown(index, last=True)
        return tuple(self._moments)

    def _gap(self, *, last: bool) -> Gap:
        number, (pts, duration) = self._frames[0]
        # Not every file says how long its last frame is shown.
        end = pts + (duration or 1 / self.timeline.source_fps) if last else self._frames[1].time.pts
        return Gap(number, pts - self._start, end - self._start)


class Numbers:
    """Numbers source frames as the whole clip does, of which only a part may be read.

    A frame that could not be decoded keeps its number: the others must not depend on where reading began.
    """

    def __init__(self, times: Iterator[FrameTime]) -> None:
        self._times = times
        self._ahead = next(times, None)
        self._passed = 0
        self._number = -1

    def next(self, pts: Fraction) -> int:
        """Return the number of the next frame that is read, which is shown at ``pts``."""
        while self._ahead is not None and self._ahead.pts <= pts:
            self._passed += 1
            self._ahead = next(self._times, None)
        # A time that was repaired in decoding may not be in the file: numbers rise all the same.
        self._number = max(self._number + 1, self._passed - 1)
        return self._number
