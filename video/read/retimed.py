"""A clip that plays along a curve of speed."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from math import ceil
from types import TracebackType

from torch import Tensor

from ...engine.curve import Curve
from ...engine.pieces import Retiming, SoundLaw, pieces_of
from ...engine.route import Route, route_of
from .clip import ClipInfo, Frame, FrameTime, TimedClip
from .span import Span

_LOG = logging.getLogger(__name__)

# Bytes of frames that are in memory while a part of a clip is read backwards.
_BACKWARD_BYTES = 512 * 2**20


class Retimed:
    """The frames of a clip in the order in which a curve visits them, at the times when it does.

    To whoever reads it, it is a clip like any other: its times rise. ``info.rate`` stays that of the source,
    and ``info.frames_estimate`` is the number of frames that would be shown in its time at that rate.

    What plays backwards is read in parts that fit into memory, each forwards from a key frame of the file.

    Args:
        open_clip: opens the clip; called again for each part that is read backwards.
        curve: of its speed.
        law: for its sound.

    Raises:
        BadInputError: a keyframe that is not reached; see :func:`...engine.route.route_of`.
    """

    def __init__(self, open_clip: Callable[[], TimedClip], curve: Curve, law: SoundLaw = "stretch") -> None:
        self._open = open_clip
        self.source = open_clip()
        """The clip as it is, at its beginning."""
        try:
            info = self.source.info
            self._start = info.start
            shown = list(self.source.times())
            self._times = [time.pts for time in shown]
            length = (shown[-1].duration if shown else None) or 1 / info.rate
            times = [time - self._start for time in self._times]
            end = times[-1] + length if times else Fraction(0)
            self.route: Route = route_of(curve, times, end)
            pieces = () if self.route.turns else pieces_of(self.route, times, end, self._start)
            law = _usable(law, info, pieces != ())
            # In memory there is nothing else than sound to carry.
            silent = law == "drop" and not info.carries
            self.info: ClipInfo = replace(
                info,
                frames_estimate=ceil(self.route.end * info.rate),
                sound_span=Span(Fraction(0), self._start + self.route.end),
                stated=None,
                retiming=Retiming(pieces, law, ends=self._ends()),
                sound=info.sound and not silent,
                sound_from=None if silent else info.sound_from,
            )
        except BaseException:
            self.source.__exit__(None, None, None)
            raise
        self._starts = [visit.start for visit in self.route.visits]
        self._first = 0
        self._fresh = True

    def _ends(self) -> tuple[Fraction, Fraction]:
        """Return when the last visit begins and when it ends; see :class:`...engine.pieces.Retiming`."""
        return (self.route.visits[-1].start if self.route.visits else Fraction(0)), self.route.end

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        self._first = max(bisect_right(self._starts, time - self._start) - 1, 0)

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~.clip.TimedClip`."""
        for index in range(len(self.route.visits)):
            gap = self.route.gap(index)
            yield FrameTime(gap.start + self._start, gap.end - gap.start)

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        visits = self.route.visits
        indices = range(self._first, len(visits))
        # Neighbours in the same direction are one run; a turn belongs to the run that leads to it.
        back = [i > 0 and visits[i].frame < visits[i - 1].frame for i in range(len(visits))]
        for i in indices:  # a frame that is held while it plays backwards does not change the direction
            if i and visits[i].frame == visits[i - 1].frame:
                back[i] = back[i - 1]
        for backward, group in groupby(indices, key=back.__getitem__):
            run = list(group)
            yield from self._backward(run) if backward else self._forward(run)

    def _forward(self, run: list[int]) -> Iterator[Frame]:
        """Yield the frames of visits whose numbers rise, or stay."""
        place = 0
        for number, pixels in self._read(self.route.visits[run[0]].frame):
            while place < len(run) and self.route.visits[run[place]].frame <= number:
                # One that could not be decoded is not there, as in any clip.
                if self.route.visits[run[place]].frame == number:
                    yield self._frame(run[place], pixels)
                place += 1
            if place == len(run):
                return

    def _backward(self, run: list[int]) -> Iterator[Frame]:
        """Yield the frames of visits whose numbers fall, or stay."""
        info = self.info
        size = info.height * info.width * (4 if info.alpha else 3) * (1 if info.bits <= 8 else 2)  # noqa: PLR2004
        most = max(_BACKWARD_BYTES // size, 1)
        place = 0
        while place < len(run):
            last = self.route.visits[run[place]].frame
            first = max(last - most + 1, self.route.visits[run[-1]].frame)
            kept: dict[int, Tensor] = {}
            for number, pixels in self._read(first):
                if number > last:
                    break
                kept[number] = pixels
            while place < len(run) and self.route.visits[run[place]].frame >= first:
                pixels_there = kept.get(self.route.visits[run[place]].frame)
                if pixels_there is not None:
                    yield self._frame(run[place], pixels_there)
                place += 1

    def _read(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the frames of the source from a number on, each with its own."""
        if not self._fresh:
            # Opened anew: the frames before were read already, and not every file can go back.
            self.source.__exit__(None, None, None)
            self.source = self._open()
        self._fresh = False
        if first:
            self.source.start_at(self._times[first])
        number = -1
        for frame in self.source:
            # A time that was repaired in decoding may not be in the file: numbers rise all the same.
            number = max(number + 1, bisect_right(self._times, frame.pts) - 1)
            if number >= first:
                yield number, frame.pixels

    def _frame(self, index: int, pixels: Tensor) -> Frame:
        gap = self.route.gap(index)
        return Frame(pixels, gap.start + self._start, gap.end - gap.start)

    def __enter__(self) -> Retimed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.__exit__(kind, error, trace)


def _usable(law: SoundLaw, info: ClipInfo, forwards: bool) -> SoundLaw:
    """Return what becomes of the sound of a clip, where not all can be done that is asked for."""
    again = info.retiming is not None
    if law == "drop" or not (again or (law == "stretch" and not forwards)):
        return law
    # Of a file it is in the account of what becomes of its streams.
    if info.sound and not info.carries:
        why = "plays at another speed already" if again else "plays backwards"
        _LOG.warning("The sound is left out: the clip %s.", why)
    return "drop"
