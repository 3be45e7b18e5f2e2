"""The source frames from which a part of the output is made."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType

from .clip import Clip, ClipInfo, Frame
from .span import Span


class Part:
    """The frames of a clip that the output of a span is made of.

    These are the frame that is shown when the span begins, all that follow before it ends, and the next.

    Args:
        clip: not read yet; closed with this.
        span: of the output.
    """

    def __init__(self, clip: Clip, span: Span) -> None:
        self._clip = clip
        self._span = span
        clip.start_at(span.start)
        self.exhausted = False
        """Whether the clip came to its end."""

    @property
    def info(self) -> ClipInfo:
        """See :class:`~.clip.Clip`."""
        return self._clip.info

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        self._clip.start_at(time)

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        # Read one frame ahead: only the next one tells whether this one is still shown when the span begins.
        frames = iter(self._clip)
        frame, following = next(frames, None), next(frames, None)
        # A seek lands on a key frame: what comes before the span is decoded for the others, not shown.
        while following is not None and following.pts <= self._span.start:
            frame, following = following, next(frames, None)
        while frame is not None:
            yield frame
            if self._span.end is not None and frame.pts >= self._span.end:
                return
            frame, following = following, None if following is None else next(frames, None)
        self.exhausted = True

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clip.__exit__(kind, error, trace)
