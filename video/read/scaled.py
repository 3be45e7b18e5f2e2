"""A clip in another size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import TracebackType

import av
import torch
from torch import Tensor

from ...errors import BadInputError
from .clip import RGB_FORMATS, ClipInfo, Frame, FrameTime, TimedClip
from .colour import Converter


class Scaled:
    """The frames of a clip, scaled before anything is made of them: less work where they become smaller.

    Args:
        clip: not read yet; closed with this.
        width: of the output, pixels; where it is left out, it follows from the height, as an even number.
        height: the same the other way round.

    Raises:
        BadInputError: a width or height below 2 pixels.
    """

    def __init__(self, clip: TimedClip, width: int | None, height: int | None) -> None:
        self._clip = clip
        info = clip.info
        if min(width or 2, height or 2) < 2:  # noqa: PLR2004
            clip.__exit__(None, None, None)
            raise BadInputError("There is no such size.", f"{width} x {height}", "Give 2 pixels or more.")
        if width is None and height is not None:
            width = _even(Fraction(info.width * height, info.height))
        if height is None and width is not None:
            height = _even(Fraction(info.height * width, info.width))
        self.info: ClipInfo = replace(info, width=width or info.width, height=height or info.height)
        # Of the size that comes in: it may change in the middle of a file.
        self._converters: dict[tuple[int, ...], Converter] = {}

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        self._clip.start_at(time)

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~.clip.TimedClip`."""
        return self._clip.times()

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        for frame in self._clip:
            yield replace(frame, pixels=self._scale(frame.pixels))

    def _scale(self, pixels: Tensor) -> Tensor:
        """Return (H, W, C) pixels in the size of the output, of the same dtype."""
        height, width, channels = pixels.shape
        size = (self.info.height, self.info.width)
        if (height, width) == size:
            return pixels
        name = RGB_FORMATS[pixels.element_size() * 8, channels]
        key = (height, width, channels)
        if key not in self._converters:
            self._converters[key] = Converter((height, width), name, name, None, scaled_to=size)
        frame = av.VideoFrame.from_ndarray(pixels.contiguous().numpy(), format=name)
        return torch.from_numpy(self._converters[key](frame).to_ndarray())

    def __enter__(self) -> Scaled:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clip.__exit__(kind, error, trace)


def _even(length: Fraction) -> int:
    """Return the even number of pixels that is nearest, as 4:2:0 needs it."""
    return max(2, round(length / 2) * 2)
