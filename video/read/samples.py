"""Samples of a frame of sound as an array, and back.

PyAV looks for the planes of a frame until it finds none, which goes past the end of eight and more: its own
conversions end the process there or refuse (18.1), and so does ``frame.planes`` (19.0). So planes are asked
for by their numbers. Formats with the channels of a sample side by side have one.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.audio.plane import AudioPlane
from numpy.typing import NDArray

Samples = NDArray[Any]
"""(channels, samples)."""

_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""numpy's types of FFmpeg's sample formats; planar ones have a "p" behind."""


def samples_of(frame: av.AudioFrame) -> Samples:
    """Return the samples of a frame, a copy."""
    count, kind = frame.layout.nb_channels, np.dtype(_TYPES[frame.format.name.removesuffix("p")])
    planes = _planes(frame)
    if not frame.format.is_planar:
        row = np.frombuffer(planes[0], kind, count=frame.samples * count)
        return np.ascontiguousarray(row.reshape(-1, count).T)
    return np.stack([np.frombuffer(plane, kind, count=frame.samples) for plane in planes])


def frame_of(samples: Samples, layout: str, kind: str = "fltp") -> av.AudioFrame:
    """Return a frame of sound without a time.

    Args:
        samples: of FFmpeg's sample format ``kind``.
        layout: FFmpeg's name of the layout of the channels.
        kind: see there.
    """
    frame = av.AudioFrame(format=kind, layout=layout, samples=samples.shape[1])
    rows = np.ascontiguousarray(samples if frame.format.is_planar else samples.T.reshape(1, -1))
    for plane, row in zip(_planes(frame), rows, strict=True):
        plane.update(row.tobytes())
    return frame


def _planes(frame: av.AudioFrame) -> list[Any]:
    return [
        AudioPlane(frame, index) for index in range(frame.layout.nb_channels if frame.format.is_planar else 1)
    ]
