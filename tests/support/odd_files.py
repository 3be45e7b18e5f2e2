"""Makes video files of the kinds that people's cameras, recorders and programs make, with PyAV alone."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from clips import pictures

SIZE = (48, 64)


def film(
    path: Path,
    *,
    count: int = 24,
    sound: str | None = None,
    layout: str = "stereo",
    rate: int = 48000,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    texts: str | None = None,
    prepare: Any = None,
    muxer: str | None = None,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    size: tuple[int, int] = SIZE,
) -> Path:
    """A second of a moving bar at 24 frames a second, with noise for sound.

    ``texts``: encoder of two subtitles. ``prepare``: called with the container and the picture's stream before the header.
    ``times``: of the frames, in 24ths.
    """
    options = {"bf": "2", "g": "8"} if options is None and codec == "libx264" else options or {}
    with av.open(str(path), "w", format=muxer, container_options=container_options or {}) as out:
        picture: Any = out.add_stream(codec, rate=24, options=options)
        picture.height, picture.width, picture.pix_fmt = *size, pix_fmt
        tone: Any = out.add_stream(sound, rate=rate) if sound else None
        if tone:
            tone.codec_context.layout = layout
            if sound == "wmav2":
                tone.codec_context.bit_rate = 128000
        lines: Any = out.add_stream(texts) if texts else None
        if lines:
            lines.codec_context.subtitle_header = b"[Script Info]\r\n\r\n[V4+ Styles]\r\n\r\n[Events]\r\n"
            lines.codec_context.time_base = lines.time_base = Fraction(1, 1000)
        if prepare:
            prepare(out, picture)
        for i, pixels in enumerate(pictures(count, size)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = times[i] if times else i, Fraction(1, 24)
            out.mux(picture.encode(frame))
        out.mux(picture.encode())
        for packet in _noise(tone, layout, rate, count / 24) if tone else ():
            out.mux(packet)
        for at in (100, 500) if lines else ():
            event = b"0,0,Default,,0,0,0,,words at %d" % at
            made = lines.codec_context.encode_subtitle(
                av.subtitles.subtitle.SubtitleSet.create(text=event, start=0, end=300, pts=at * 1000)
            )
            made.stream, made.time_base, made.pts, made.dts, made.duration = (
                lines,
                Fraction(1, 1000),
                at,
                at,
                300,
            )
            out.mux(made)
    return path


def _noise(tone: Any, layout: str, rate: int, seconds: float) -> list[Any]:
    channels = av.AudioLayout(layout).nb_channels
    wave = (np.random.default_rng(0).normal(size=(1, int(rate * seconds) * channels)) * 3000).astype(np.int16)
    whole = av.AudioFrame.from_ndarray(wave, format="s16", layout=layout)
    whole.sample_rate, whole.pts = rate, 0
    context = tone.codec_context
    resample = av.AudioResampler(context.format.name, context.layout.name, rate, context.frame_size or 1024)
    frames = [part for frame in (whole, None) for part in resample.resample(frame)]
    return [packet for frame in (*frames, None) for packet in tone.encode(frame)]


def remux(source: Path, target: Path, change: Any = lambda packet: packet, **options: Any) -> Path:
    """Copy all packets; ``change`` may change each, or drop it by returning None."""
    with av.open(str(source)) as container, av.open(str(target), "w", **options) as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in container.streams}
        for packet in container.demux():
            changed = change(packet) if packet.size else None
            if changed is not None:
                changed.stream = streams[packet.stream.index]
                out.mux(changed)
    return target


def with_times(source: Path, target: Path, times: list[int]) -> Path:
    """A Matroska file of key frames alone whose simple blocks have other times, in 24ths: muxers write no such file."""
    data, at = bytearray(source.read_bytes()), 0
    for k, time in enumerate(times):
        block = b"\x81" + round(k * 1000 / 24).to_bytes(2, "big")
        at = next(i for i in range(at, len(data)) if data[i : i + 3] == block and data[i - 3] == 0xA3)
        data[at + 1 : at + 3] = round(time * 1000 / 24).to_bytes(2, "big")
        at += 4
    target.write_bytes(data)
    return target


def joined(folder: Path, *, times: int = 2) -> Path:
    """A transport stream whose clock starts anew, as of a recorder that was stopped, or of `cat`."""
    part = film(folder / "part.ts", sound="aac")
    (folder / "joined.ts").write_bytes(part.read_bytes() * times)
    return folder / "joined.ts"


def with_matrix(source: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """An MP4 whose picture's track has another display matrix."""
    data = bytearray(source.read_bytes())
    at = (
        data.index(b"tkhd") + 4 + 4 + 20 + 16
    )  # version and flags; times, number, duration; layer to reserved
    a, b, c, d = (entry << 16 for entry in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


def odd_channels(source: Path, target: Path) -> Path:
    """A MOV of 5.1 channels that are said to be in the order of MPEG 5.1 B, which is "custom" for FFmpeg."""
    data = bytearray(source.read_bytes())
    at = data.index(b"chan") + 8
    data[at : at + 4] = (122 << 16 | 6).to_bytes(4, "big")
    target.write_bytes(data)
    return target


def two_films(source: Path, target: Path, **tags: str) -> Path:
    """A file with its picture twice, the second named so, with tags of the first."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        picture = container.streams.video[0]
        first, second = (out.add_stream_from_template(picture, opaque=True) for _ in range(2))
        first.metadata.update(tags)
        second.metadata["title"] = "second"
        for packet in container.demux(picture):
            if packet.size:
                again = av.Packet(bytes(packet))
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                again.duration, again.is_keyframe = packet.duration, packet.is_keyframe
                packet.stream, again.stream = first, second
                out.mux(packet)
                out.mux(again)
    return target
