"""Makes and reads small video files."""

import hashlib
import pickle
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NTSC = Fraction(24000, 1001)
UNEVEN = [Fraction(n, 120) for n in (0, 4, 12, 15, 35, 36, 80, 81, 82, 83, 84, 120, 124, 200)]


def h264(gop: int, **more: str) -> dict[str, Any]:
    return {"options": {"qp": "12", "g": str(gop), "bf": "3", "x264-params": "scenecut=0", **more}}


KINDS = {
    "closed.mp4": h264(8),
    "open_gop.mp4": h264(6, **{"x264-params": "open-gop=1:bframes=3:scenecut=0"}),
    "refresh.mp4": h264(250, **{"x264-params": "intra-refresh=1:bframes=2"}),
    "ntsc.mkv": {**h264(5), "rate": NTSC},
    "h265.mkv": {"codec": "libx265", "options": {"x265-params": "keyint=6:open-gop=1:log-level=error"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "7"}},
    "old.avi": {"codec": "mpeg4", "options": {"g": "6"}},
    "stream.ts": h264(5),
    "sound.mp4": {**h264(6), "sound": "aac"},
    "uneven.mp4": {**h264(4), "times": UNEVEN},
    "loop.gif": {"codec": "gif", "pix_fmt": "rgb8", "rate": 20, "options": {}},
}
"""Clips of every kind, as arguments of :func:`write_clip`."""


def pictures(
    count: int, size: tuple[int, int] = (32, 48), *, channels: int = 3, bits: int = 8, step: int = 3
) -> list[Array]:
    """A bright bar that moves right over a smooth gradient."""
    height, width = size
    full, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    y, x = np.mgrid[0:height, 0:width]
    out = []
    for i in range(count):
        planes = [0.2 + 0.5 * x / width, 0.3 + 0.4 * y / height, 0.6 - 0.3 * (x + y) / (width + height)]
        bar = np.clip(1.5 - abs(x - 8 - step * i) / 4, 0, 1)
        planes = [p + 0.3 * bar for p in planes] + [0.25 + 0.75 * bar]
        out.append(np.clip(np.rint(np.stack(planes[:channels], -1) * full), 0, full).astype(dtype))
    return out


def _once(write: Callable[..., Path]) -> Callable[..., Path]:
    """Encode the same clip once in a process: many tests begin with the same one."""
    files: dict[str, bytes] = {}

    @wraps(write)
    def written(path: Path, frames: Sequence[Array], **how: Any) -> Path:
        key = hashlib.sha256(
            pickle.dumps((path.suffix, [*map(np.ascontiguousarray, frames)], how))
        ).hexdigest()
        if key in files:
            path.write_bytes(files[key])
        else:
            files[key] = write(path, frames, **how).read_bytes()
        return path

    return written


@_once
def write_clip(
    path: Path,
    frames: Sequence[Array],
    *,
    rate: float | Fraction = 24,
    times: Sequence[Fraction] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound: str | None = None,
    wave: Array | None = None,
    options: dict[str, str] | None = None,
    colour: tuple[int, ...] | None = None,
    base: Fraction | None = None,
) -> Path:
    """``times`` (seconds, Fractions) instead of ``rate`` makes a variable rate. ``sound``: name of an encoder; ``wave``:
    int16 samples at 48000 for it, else a tone. ``colour``: matrix and range, and primaries and transfer if they are not
    those of BT.709."""
    height, width = frames[0].shape[:2]
    source = {(3, 1): "rgb24", (4, 1): "rgba", (3, 2): "rgb48le", (4, 2): "rgba64le"}[
        frames[0].shape[2], frames[0].itemsize
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=Fraction(rate), options=options or ({"qp": "0"} if codec == "libx264" else {})
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        context = stream.codec_context
        base = base or Fraction(1, 12000)
        context.time_base = base if times else 1 / Fraction(rate)
        matrix, level, primaries, transfer = (*colour, 1, 1)[:4] if colour else [None] * 4
        if colour:
            context.colorspace, context.color_range = matrix, level
            context.color_primaries, context.color_trc = primaries, transfer
        tone = container.add_stream(sound, rate=48000) if sound else None
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format=source).reformat(
                format=pix_fmt, dst_colorspace=matrix, dst_color_range=level
            )
            frame.pts = round(times[i] / base) if times else i
            frame.time_base = context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone:
            seconds = float(times[-1]) if times else len(frames) / float(rate)
            if wave is None:
                wave = (np.sin(np.arange(int(48000 * seconds)) * 0.06) * 9000).astype(np.int16)
            audio = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            audio.sample_rate = 48000
            for packet in (*tone.encode(audio), *tone.encode()):
                container.mux(packet)
    return path


def times_of(path: Path | str) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def frames_of(path: Path | str, pix_fmt: str = "rgb24") -> list[Array]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=pix_fmt) for frame in container.decode(video=0)]


def planes_of(path: Path | str) -> list[Array]:
    """The stored samples of every frame, planes one after the other. Older PyAV has no array for 10 bits."""
    with av.open(str(path)) as container:
        return [
            np.concatenate([samples_of(plane, frame.format) for plane in frame.planes])
            for frame in container.decode(video=0)
        ]


def samples_of(plane: "av.video.plane.VideoPlane", pixel_format: "av.VideoFormat") -> Array:
    kind = np.uint16 if pixel_format.components[0].bits > 8 else np.uint8
    rows = np.frombuffer(plane, kind).reshape(plane.height, -1)  # each may end in bytes that are no samples
    return rows[:, : plane.width].astype(int).ravel()


def audio_packets(path: Path | str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [
            (p.pts * p.time_base, bytes(p))
            for p in container.demux(container.streams.audio[0])
            if p.pts is not None
        ]


def colours_of(path: Path | str) -> tuple[int, ...]:
    """How the YUV of a file is tagged: matrix, range, primaries, transfer."""
    with av.open(str(path)) as container:
        next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        return tuple(
            int(getattr(context, name))
            for name in ("colorspace", "color_range", "color_primaries", "color_trc")
        )
