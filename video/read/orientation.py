"""Which way up a picture is: display matrices of video files, EXIF orientation of pictures."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from .opening import open_image

_LOG = logging.getLogger(__name__)

# The tag of EXIF, and of TIFF before it. Its values 1 to 8 are the rows of _EXIF, from 1 on.
_ORIENTATION_TAG = 274


class Orientation(NamedTuple):
    """How the stored picture is brought upright: first rows and columns change places, then they are turned
    round.
    """

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the upright picture of (H, W, C), which is one piece of memory."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        pixels = pixels[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]
        # torch takes no negative strides.
        return np.ascontiguousarray(pixels)


UPRIGHT = Orientation()
_ALMOST_ZERO = 1 << 8
# Codecs whose frames must not be asked for what lies beside them: a colour profile has a name there, which
# PyAV (18.1) frees a second time with the frame, and the process dies. No other decoder gives it one.
_NAMED_PROFILES = ("png", "apng")
_QUARTERS = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}
_EXIF = (
    UPRIGHT,
    Orientation(columns_reversed=True),
    Orientation(rows_reversed=True, columns_reversed=True),
    Orientation(rows_reversed=True),
    Orientation(transposed=True),
    Orientation(transposed=True, columns_reversed=True),
    Orientation(transposed=True, rows_reversed=True, columns_reversed=True),
    Orientation(transposed=True, rows_reversed=True),
)


def orientation_of(frame: av.VideoFrame, path: Path, codec: str) -> Orientation:
    """Return how a decoded frame of a video is brought upright, as its display matrix says.

    Args:
        frame: decoded.
        path: its file, for a warning.
        codec: FFmpeg's name of what it was decoded from.
    """
    matrix = _display_matrix(frame, codec)
    if matrix is None:
        return UPRIGHT
    # A pixel at (x, y) of the stored picture is shown at (a x + c y, b x + d y). Phones turn by quarters,
    # cameras that face their user mirror.
    a, b, c, d = matrix
    if b == c == 0 and a and d:
        return Orientation(rows_reversed=d < 0, columns_reversed=a < 0)
    if a == d == 0 and b and c:
        return Orientation(True, rows_reversed=b < 0, columns_reversed=c < 0)
    if a * d == b * c:  # shows no picture at all: whoever wrote it meant nothing by it
        return UPRIGHT
    degrees = int(getattr(frame, "rotation", 0))
    _LOG.warning("%s is turned by %d degrees, which is left as it is.", path.name, degrees)
    return UPRIGHT


def orientation_of_picture(frame: av.VideoFrame, path: Path) -> Orientation:
    """Return how a picture file is brought upright, as its EXIF data say."""
    # Before version 8, FFmpeg does not pass EXIF on with the frame, and for some types it still does not.
    try:
        with open_image(path) as picture:
            value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except OSError:  # what FFmpeg reads and Pillow does not, such as EXR
        return orientation_of(frame, path, path.suffix[1:].lower())
    return _EXIF[value - 1] if value in range(1, len(_EXIF) + 1) else UPRIGHT


def side_data(frame: av.VideoFrame, name: str, codec: str) -> bytes | None:
    """Return what FFmpeg keeps beside a frame under a name of ``Type`` of av.sidedata, or None.

    None too of a frame of a ``codec`` that cannot be asked.
    """
    if codec in _NAMED_PROFILES:
        return None
    try:
        data: Any = frame.side_data.get(name)
    except ValueError:  # PyAV (18.1) knows fewer kinds than its FFmpeg, and one such fails for all
        return None
    return None if data is None else bytes(data)


def _display_matrix(frame: av.VideoFrame, codec: str) -> tuple[int, int, int, int] | None:
    """Return the four entries of a frame's matrix that turn the picture; None where it has no matrix."""
    data = side_data(frame, "DISPLAYMATRIX", codec)
    if data is None:
        # Not every PyAV tells the angle (counter-clockwise); those that do read it past unknown kinds.
        return _QUARTERS.get(int(getattr(frame, "rotation", 0)) % 360)
    # Nine numbers of 16.16 bits, row by row; the third column and the last row do not turn anything.
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    # A cosine of 90 degrees may come out as 1 instead of 0.
    a, b, c, d = (0 if abs(entry) < _ALMOST_ZERO else entry for entry in (a, b, c, d))
    return a, b, c, d
