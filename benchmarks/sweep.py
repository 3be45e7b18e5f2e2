"""Makes small files of many kinds, takes each into several formats, and says what came: a table.

    python -m midframe.benchmarks.sweep --out benchmarks/results/made_files

What is in an output is found by PyAV alone (:mod:`.files`). A blend stands in for the network.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.subtitles.subtitle import SubtitleSet

from ..errors import MidframeError
from ..video import Coding, Plan, interpolate_video
from ..video.write.trial import silence
from .files import collected_warnings, content_of, wrong_in
from .long_clips import Blend

_COUNT, _RATE, _HEIGHT, _WIDTH = 12, 24, 48, 64
_OUTPUTS = ("mp4", "mov", "mkv", "webm")


_ABOUT = (
    f"`python -m midframe.benchmarks.sweep`, PyAV {av.__version__}: codecs of picture, sound and subtitles\n"
    "in each output, as PyAV finds them there, what was left out, and `WRONG` where frames, times, length\n"
    "or sound are not those of the source."
)


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    container: str
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    sound: str = ""
    layout: str = "stereo"
    rate: int = 48000
    texts: str = ""

    def __str__(self) -> str:
        sound = f"{self.sound} {self.layout} {self.rate}" if self.sound else ""
        return ", ".join(
            filter(None, (self.container, f"{self.codec} {self.pixel_format}", sound, self.texts))
        )


_SOUNDS = """
mp4 aac stereo 44100, mp4 ac3 5.1(side) 48000, mp4 alac stereo 44100, mp4 eac3 5.1(side) 48000,
mov pcm_u8 mono 8000, mov pcm_s24le 5.1 48000, mov adpcm_ima_qt mono 22050, mkv flac 7.1 96000,
mkv libopus quad 48000, mkv libmp3lame mono 22050, mkv eac3 stereo 48000, mkv pcm_f32le 6.1 44100,
mkv mp2 stereo 48000, mkv truehd stereo 48000, mkv dca 5.1(side) 48000, mkv aac 6.1 48000,
mkv wavpack stereo 44100, mkv vorbis stereo 48000, mkv tta stereo 44100, avi pcm_s16le stereo 48000,
avi adpcm_ms stereo 44100, wmv wmav2 stereo 44100, flv nellymoser mono 22050, ts mp2 stereo 48000,
mpg ac3 stereo 48000, 3gp aac mono 16000, nut pcm_s16be stereo 32000
"""
_PICTURES = """
mkv libx264 yuv422p10le, mkv libx264 gray10le, mkv libx265 yuv444p12le, mkv ffv1 gbrp14le, mkv ffv1 gray16le,
mkv ffv1 bgra, mov png rgba, mov prores_ks yuva444p10le, mov qtrle argb, mov mjpeg yuvj422p,
mp4 libsvtav1 yuv420p10le, webm libvpx-vp9 yuva420p, webm libvpx yuv420p, avi huffyuv rgb24, avi utvideo gbrp,
avi rawvideo bgr24, mov v210 yuv422p10le, mxf mpeg2video yuv420p, ogv libtheora yuv420p, gif gif rgb8,
apng apng rgba, m4v mpeg4 yuv420p, h264 libx264 yuv420p, y4m wrapped_avframe yuv420p
"""
_TEXTS = "mkv subrip, mkv ass, mkv webvtt, mp4 mov_text, ts dvbsub"
_CODECS = {"avi": "mpeg4", "wmv": "msmpeg4", "mpg": "mpeg2video", "flv": "flv"}


def _kinds() -> Iterator[Kind]:
    for container, sound, layout, rate in _rows(_SOUNDS):
        codec = _CODECS.get(container, "libx264")
        yield Kind(container, codec, sound=sound, layout=layout, rate=int(rate))
    for container, codec, pixel_format in _rows(_PICTURES):
        yield Kind(container, codec, pixel_format)
    for container, texts in _rows(_TEXTS):
        yield Kind(container, texts=texts)


def _rows(table: str) -> Iterator[list[str]]:
    return (row.split() for row in table.split(","))


KINDS = tuple(_kinds())
"""Kinds that are tried; those for which this PyAV has no encoder are left out."""


def make(kind: Kind, folder: Path) -> Path | None:
    """Write half a second of a moving bar; return None where this PyAV cannot."""
    path = folder / f"in.{kind.container}"
    silence(kind.codec)
    try:
        with av.open(str(path), "w") as output:
            picture: Any = output.add_stream(kind.codec, rate=_RATE)
            picture.width, picture.height, picture.pix_fmt = _WIDTH, _HEIGHT, kind.pixel_format
            sound = _sound(output, kind) if kind.sound else None
            lines = _lines(output, kind.texts) if kind.texts else None
            for packet in _pictures(picture, kind):
                output.mux(packet)
            for packet in _noise(sound, kind) if sound else ():
                output.mux(packet)
            for packet in _spoken(lines) if lines else ():
                output.mux(packet)
    except (av.error.FFmpegError, ValueError, OSError, NotImplementedError):
        path.unlink(missing_ok=True)
        return None
    return path


def _pictures(picture: Any, kind: Kind) -> Iterator[Any]:
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    for index in range(_COUNT):
        bar = 120 * (abs(x - 6 - 4 * index) < 4)  # noqa: PLR2004 - half its width
        pixels = np.stack([x + 40, 2 * y + 40, 120 - x], -1) + bar[..., None]
        frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24").reformat(
            format=kind.pixel_format
        )
        frame.pts, frame.time_base = index, Fraction(1, _RATE)
        yield from picture.encode(frame)
    yield from picture.encode(None)


def _sound(output: Any, kind: Kind) -> Any:
    stream = output.add_stream(kind.sound, rate=kind.rate, options={"strict": "-2"})
    stream.codec_context.layout = kind.layout
    if kind.sound == "wmav2":
        stream.codec_context.bit_rate = 128_000
    return stream


def _noise(sound: Any, kind: Kind) -> Iterator[Any]:
    count = kind.rate * _COUNT // _RATE * av.AudioLayout(kind.layout).nb_channels
    wave = (np.random.default_rng(0).normal(size=(1, count)) * 3000).astype(np.int16)
    whole = av.AudioFrame.from_ndarray(wave, format="s16", layout=kind.layout)
    whole.sample_rate, whole.pts = kind.rate, 0
    context = sound.codec_context
    context.open(strict=False)
    resample = av.AudioResampler(
        context.format.name, context.layout.name, kind.rate, context.frame_size or 1024
    )
    for frame in (whole, None):
        for part in resample.resample(frame):
            yield from sound.encode(part)
    yield from sound.encode(None)


def _lines(output: Any, texts: str) -> Any:
    stream = output.add_stream(texts)
    stream.codec_context.subtitle_header = b"[Script Info]\r\n\r\n[V4+ Styles]\r\n\r\n[Events]\r\n"
    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
    return stream


def _spoken(lines: Any) -> Iterator[Any]:
    for start in (50, 250):
        text = SubtitleSet.create(text=b"0,0,Default,,0,0,0,,words", start=0, end=150, pts=start * 1000)
        packet = lines.codec_context.encode_subtitle(text)
        packet.stream, packet.time_base = lines, Fraction(1, 1000)
        packet.pts, packet.dts, packet.duration = start, start, 150
        yield packet


def cell(source: Path, target: Path) -> str:
    """Take a file into a format; return what came, what was left out, and what is ``WRONG``."""
    with collected_warnings() as said:
        try:
            interpolate_video(source, target, Blend(), Plan(coding=Coding()))
            given, made = content_of(source), content_of(target)
        except MidframeError as error:
            return f"refused: {error.wrong} {error.found.partition(': ')[2]}"
    with av.open(str(target)) as file:
        others = [
            *(name for *_, name in made.sounds),
            *(s.codec_context.name for s in file.streams.subtitles),
        ]
    wrong = [f"WRONG: {what}" for what in wrong_in(given, made, made, whole=True)]
    lost = [text.partition(": ")[2].rstrip(".") for text in said if text.startswith("Left out")]
    kept = [text.partition(": ")[2].rstrip(".") for text in said if " keeps " in text]
    what = " + ".join([" ".join(made.picture.split()[:2]), *others])
    return "; ".join([what, *kept, *(f"without {text}" for text in lost), *wrong])


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--to", nargs="+", default=_OUTPUTS, metavar="EXT", help="(default: mp4 mov mkv webm)"
    )
    parser.add_argument("--kinds", type=int, metavar="N", help="the first N (default: all)")
    parser.add_argument("--out", type=Path, help="write OUT.md")
    given = parser.parse_args(words)
    lines = ["# Made files", "", _ABOUT, ""]
    lines += [f"| kind | {' | '.join(given.to)} |", "|---" * (len(given.to) + 1) + "|"]
    left_out = []
    for kind in KINDS[: given.kinds]:
        with tempfile.TemporaryDirectory() as folder:
            source = make(kind, Path(folder))
            if source is None:
                left_out.append(str(kind))
                continue
            cells = [cell(source, source.with_name(f"out.{suffix}")) for suffix in given.to]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
        sys.stdout.write(lines[-1] + "\n")
    lines += ["", f"Not made, for want of an encoder: {'; '.join(left_out) or 'none'}."]
    if given.out:
        given.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    return int(any("WRONG: " in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
