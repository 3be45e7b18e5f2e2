"""A clip without its beginning or its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from math import ceil
from types import TracebackType

from ...errors import BadInputError
from .clip import ClipInfo, Frame, FrameTime, TimedClip
from .span import Span

SLACK = Fraction(1, 10_000)
"""Seconds that are given as floats may be a little more than the frame's time that they mean."""


class Trimmed:
    """The frames that begin in a window of a file, as a clip of its own.

    What is cut off is not there: no frame is made towards it, and the last frame is held. The first frame
    that is left is at time 0, and so is the sound that went with it.

    Args:
        open_clip: opens the clip; called once more where a part of it is read.
        window: seconds of the file.

    Raises:
        BadInputError: no frame begins in the window.
    """

    def __init__(self, open_clip: Callable[[], TimedClip], window: Span) -> None:
        self._open = open_clip
        self._clip = open_clip()
        try:
            whole = self._clip.info
            # From the file's time to that of Frame.pts.
            start = window.start - whole.origin
            end = None if window.end is None else window.end - whole.origin
            self._window = Span(start - SLACK, None if end is None else end - SLACK)
            if start > whole.start:
                self._clip.start_at(start)
            frames = self._kept()
            first = next(frames, None)
            if first is None:
                raise BadInputError(
                    "Nothing is left of this video.",
                    f"{whole.path} from {float(window.start):g} s"
                    + ("" if window.end is None else f" to {float(window.end):g} s"),
                    "Trim less of it.",
                )
            # A file that is not cut keeps the time of its first frame, to which its sound belongs.
            cut_off = start > SLACK
            self._start = (first.pts if start > whole.start else start) if cut_off else Fraction(0)
            self._frames: Iterator[Frame] = chain((first,), frames)
            info = whole.cut(Span(self._start, end))
            self.info: ClipInfo = replace(info, frames_estimate=_estimate(whole, first.pts, end))
        except BaseException:
            self._clip.__exit__(None, None, None)
            raise

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        # Opened anew: the frames before were read already, and not every file can go back.
        self._clip.__exit__(None, None, None)
        self._clip = self._open()
        self._clip.start_at(time + self._start)
        self._frames = self._kept()

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~.clip.TimedClip`."""
        for pts, duration in self._clip.times():
            if self._window.holds(pts):
                yield FrameTime(pts - self._start, duration)

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        for frame in self._frames:
            yield replace(frame, pts=frame.pts - self._start)

    def __enter__(self) -> Trimmed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clip.__exit__(kind, error, trace)

    def _kept(self) -> Iterator[Frame]:
        for frame in self._clip:
            if self._window.holds(frame.pts):
                yield frame
            elif frame.pts >= self._window.start:
                # Frames before the window are passed over; the first one after it ends the clip.
                return


def _estimate(info: ClipInfo, first: Fraction, end: Fraction | None) -> int | None:
    ends = [] if end is None else [end]
    if info.frames_estimate is not None:
        ends.append(info.start + info.frames_estimate / info.rate)
    return max(1, ceil((min(ends) - first) * info.rate)) if ends else None
