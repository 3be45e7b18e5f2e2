"""Frames in memory as a clip."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import floor
from pathlib import Path
from types import TracebackType

from torch import Tensor

from ...errors import BadInputError
from .clip import ClipInfo, Frame, FrameTime, Waveform
from .span import Span

_BATCH_DIMENSIONS, _RGB, _RGBA = 4, 3, 4


class TensorClip:
    """A batch of frames at a constant rate, with its sound; nothing is copied.

    Args:
        frames: (N, H, W, C) on the host, float in 0..1, uint8 or uint16, C of 1 (grey), 3 or 4 (RGBA).
        rate: frames a second.
        bits: of a channel, as which they shall be written.
        sound: begins with the first frame.
        alpha: keep transparency.

    Raises:
        BadInputError: not a batch of pictures, or none.
    """

    def __init__(
        self,
        frames: Tensor,
        rate: Fraction,
        *,
        bits: int = 8,
        sound: Waveform | None = None,
        alpha: bool = True,
    ) -> None:
        shape = tuple(frames.shape)
        if len(shape) != _BATCH_DIMENSIONS or not all(shape) or shape[-1] not in (1, _RGB, _RGBA):
            raise BadInputError(
                "These are no frames of a video.",
                f"shape {shape}",
                "Give at least one frame, (frames, height, width, channels), grey, RGB or RGBA.",
            )
        # Views throughout: a 1080p frame takes 25 MB in float32.
        alpha = alpha and shape[-1] == _RGBA
        frames = frames.expand(-1, -1, -1, _RGB) if shape[-1] == 1 else frames
        self._frames = frames if alpha else frames[..., :_RGB]
        self._first = 0
        self.info = ClipInfo(
            path=Path("frames in memory"),
            height=shape[1],
            width=shape[2],
            bits=bits,
            alpha=alpha,
            rate=rate,
            tick=1 / rate,
            frames_estimate=shape[0],
            sound=sound is not None,
            sound_from=sound,
            # What is longer than the picture does not make the video longer.
            sound_span=Span(Fraction(0), shape[0] / rate),
        )

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        self._first = max(0, min(floor(time * self.info.rate), len(self._frames) - 1))

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~.clip.TimedClip`."""
        duration = 1 / self.info.rate
        return (FrameTime(index * duration, duration) for index in range(len(self._frames)))

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        duration = 1 / self.info.rate
        for index in range(self._first, len(self._frames)):
            yield Frame(self._frames[index], index * duration, duration)

    def __enter__(self) -> TensorClip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no file is open."""
