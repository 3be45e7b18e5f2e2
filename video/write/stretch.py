"""Stretch sound to the pieces of a retimed clip, with its pitch held: FFmpeg's ``atempo``."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
import torch
from numpy.typing import NDArray

from ...engine.pieces import Piece, Retiming
from ..read.clip import Waveform
from ..read.samples import frame_of, samples_of

Samples = NDArray[np.float32]
"""(channels, samples), in -1..1."""

# What one filter takes; more of them follow each other.
_SLOWEST, _FASTEST = Fraction(1, 2), Fraction(100)
# Seconds by which a frame may be off the sound before it, for the container's clock, without a gap.
_JITTER = Fraction(1, 50)
# Seconds of sound after a piece that its filter gets, for its windows: they are about 0.04 s long.
_AHEAD = Fraction(1, 10)


class Stretcher:
    """Stretches sound that comes bit by bit: each piece by a filter of its own, and exactly to its length.

    Where two pieces of different speed meet, the waves do not: with a curve that may be heard as a faint
    click. At one speed there is one piece.

    Args:
        pieces: of the clip, from time 0 on.
        rate: samples a second.
        layout: FFmpeg's name of the channels.
    """

    def __init__(self, pieces: Sequence[Piece], rate: int, layout: str) -> None:
        self._pieces = [piece for piece in pieces if piece.shown[1] > 0]
        self._rate, self._layout = rate, layout
        self._channels = av.AudioLayout(layout).nb_channels
        self._index = -1
        self._given = 0
        """Samples of the source so far, from its time 0."""
        self._left = self._owed = 0
        """Of the piece: samples of the source to come, and of the output to be given."""
        self._tempo: _Tempo | None = None
        self._ahead = round(_AHEAD * rate)
        self._waiting: Samples = np.zeros((self._channels, 0), np.float32)
        first = self._pieces[0].source[0] if self._pieces else Fraction(0)
        self._skip = max(round(first * rate), 0)
        self.start = self._pieces[0].shown[0] if self._pieces else Fraction(0)
        """When the output begins, seconds."""

    def at(self, time: Fraction, samples: Samples) -> Iterator[Samples]:
        """Yield what becomes of samples that begin at a time of the source, seconds.

        Gaps are filled with silence; what comes twice is left out.
        """
        begin = round(time * self._rate)
        missing = begin - self._given
        if abs(missing) > _JITTER * self._rate or self._given == 0:
            if missing < 0:
                samples = samples[:, -missing:]
            elif missing:
                yield from self(np.zeros((self._channels, missing), np.float32))
        yield from self(samples)

    def __call__(self, samples: Samples) -> Iterator[Samples]:
        """Yield what becomes of the next samples."""
        self._given += samples.shape[1]
        skipped = min(self._skip, samples.shape[1])
        self._skip -= skipped
        yield from self._taken(samples[:, skipped:], self._ahead)

    def end(self) -> Iterator[Samples]:
        """Yield the rest: nothing follows but silence."""
        silence = np.zeros((self._channels, self._ahead), np.float32)
        yield from self._taken(silence[:, :0], 0)
        if self._tempo is not None:
            yield from self._owing([*self._tempo(silence), *self._tempo.end()])
            self._tempo = None

    def _taken(self, samples: Samples, ahead: int) -> Iterator[Samples]:
        """Yield what becomes of samples; a piece ends once so many of the next one's are there."""
        samples, self._waiting = np.concatenate((self._waiting, samples), 1), samples[:, :0]
        while samples.shape[1]:
            if not self._left:
                if self._tempo is not None and samples.shape[1] < ahead:
                    self._waiting = samples
                    return
                if not (yield from self._next(samples[:, : self._ahead])):
                    return
            now, samples = samples[:, : self._left], samples[:, self._left :]
            self._left -= now.shape[1]
            yield from self._owing(self._tempo(now) if self._tempo else [now])

    def _next(self, ahead: Samples) -> Generator[Samples, None, bool]:
        """End a piece and begin the next one that has sound; return whether there is one.

        Args:
            ahead: samples after the piece: a filter gives less than it owes until it has got some more.
        """
        if self._tempo is not None:
            yield from self._owing(self._tempo(ahead))
            yield from self._owing(self._tempo.end())
            self._tempo = None
        while True:
            if self._owed:
                yield np.zeros((self._channels, self._owed), np.float32)
            self._index += 1
            self._owed = 0
            if self._index >= len(self._pieces):
                return False
            source, shown = (
                [round(time * self._rate) for time in times] for times in self._pieces[self._index]
            )
            self._left, self._owed = source[1] - source[0], shown[1] - shown[0]
            if self._left and self._owed:
                tempo = Fraction(self._left, self._owed)
                self._tempo = None if tempo == 1 else _Tempo(tempo, self._rate, self._layout)
                return True

    def _owing(self, parts: Sequence[Samples]) -> Iterator[Samples]:
        """Yield as much of some parts as the piece has room for."""
        for part in parts:
            kept = part[:, : self._owed]
            self._owed -= kept.shape[1]
            if kept.shape[1]:
                yield kept


class _Tempo:
    """A chain of FFmpeg's ``atempo``."""

    def __init__(self, tempo: Fraction, rate: int, layout: str) -> None:
        self._rate, self._layout = rate, layout
        self._graph = av.filter.Graph()
        chain: list[Any] = [
            self._graph.add_abuffer(
                sample_rate=rate, format="fltp", layout=layout, time_base=Fraction(1, rate)
            )
        ]
        while tempo != 1:
            now = min(max(tempo, _SLOWEST), _FASTEST)
            chain.append(self._graph.add("atempo", f"{float(now):.12f}"))
            tempo /= now
        # atempo has the channels of a sample side by side.
        chain += [self._graph.add("aformat", "sample_fmts=fltp"), self._graph.add("abuffersink")]
        self._graph.link_nodes(*chain).configure()
        self._done = 0

    def __call__(self, samples: Samples) -> list[Samples]:
        """Return what is finished after some more samples."""
        frame = frame_of(samples, self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
        self._done += samples.shape[1]
        self._graph.push(frame)
        return self._pull()

    def end(self) -> list[Samples]:
        """Return the rest."""
        self._graph.push(None)
        return self._pull()

    def _pull(self) -> list[Samples]:
        parts: list[Samples] = []
        while True:
            try:
                frame: Any = self._graph.pull()
                parts.append(samples_of(frame))
            except (av.error.BlockingIOError, av.error.EOFError):
                return parts


def stretched(sound: Waveform, retiming: Retiming, layout: str) -> Waveform:
    """Return a waveform that begins at time 0 of a source, as it is heard from time 0 of the clip on."""
    samples: Samples = sound.samples.float().cpu().numpy()
    if retiming.law == "stretch":
        stretcher = Stretcher(retiming.pieces, sound.rate, layout)
        parts = [*stretcher(samples), *stretcher.end()]
        begin = round(stretcher.start * sound.rate)
        whole = np.concatenate([np.zeros((len(samples), max(begin, 0)), np.float32), *parts], 1)
        samples = whole[:, max(-begin, 0) :]
    else:
        samples = samples[:, round(retiming.begin * sound.rate) :]
    return Waveform(torch.from_numpy(samples), sound.rate)
