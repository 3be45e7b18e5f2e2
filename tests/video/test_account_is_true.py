"""The account of `midframe probe` is what an output holds, stream by stream."""

from collections.abc import Callable
from fractions import Fraction as Fr
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from accounts import untrue
from av.stream import Disposition
from clips import pictures, write_clip
from fakes import LerpModel
from midframe.video import Coding, Plan, interpolate_video
from midframe.video.account import describe_output
from odd_files import film, odd_channels, two_films
from thin import thinned

COUNT = 8


def _named(out: Any, picture: Any) -> None:
    """Put a name, a language, marks, chapters and a font into a file."""
    picture.metadata.update({"language": "deu", "title": "the film", "mood": "dark"})
    out.metadata.update({"title": "all of it", "artist": "nobody"})
    chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fr(1, 1000), "metadata": {"title": "first"}}
    out.set_chapters([chapter, {**chapter, "id": 2, "start": 200, "end": 90000}])
    out.add_attachment("font.ttf", "font/ttf", b"letters" * 9)
    out.streams.audio[0].disposition = Disposition.comment | Disposition.original


def _two(folder: Path) -> Path:
    return two_films(film(folder / "one.mkv", count=COUNT), folder / "in.mkv", title="first")


def _odd(folder: Path) -> Path:
    return odd_channels(
        film(folder / "pcm.mov", count=COUNT, sound="pcm_s16le", layout="5.1"), folder / "in.mov"
    )


KINDS: dict[str, Callable[[Path], Path]] = {
    "named.mkv": lambda f: film(f / "in.mkv", count=COUNT, sound="aac", texts="subrip", prepare=_named),
    "styled.mkv": lambda f: film(f / "in.mkv", count=COUNT, sound="flac", texts="ass"),
    "phone.mp4": lambda f: film(f / "in.mp4", count=COUNT, sound="aac", texts="mov_text"),
    "surround.mkv": lambda f: film(f / "in.mkv", count=COUNT, sound="ac3", layout="5.1(side)"),
    "bytes.mov": lambda f: film(f / "in.mov", count=COUNT, sound="pcm_u8", layout="mono", rate=8000),
    "windows.wmv": lambda f: film(f / "in.wmv", count=COUNT, sound="wmav2", codec="mpeg4", rate=44100),
    "recorder.ts": lambda f: film(f / "in.ts", count=COUNT, sound="mp2"),
    "deep.mkv": lambda f: film(f / "in.mkv", count=COUNT, pix_fmt="yuv444p10le", sound="wavpack"),
    "clear.mkv": lambda f: film(f / "in.mkv", count=COUNT, codec="ffv1", pix_fmt="bgra"),
    "loop.gif": lambda f: write_clip(
        f / "in.gif", pictures(COUNT, (48, 64)), codec="gif", pix_fmt="rgb8", rate=20, options={}
    ),
    "two pictures.mkv": _two,
    "odd channels.mov": _odd,
}
# WebP is missing: FFmpeg (8.1) writes animated ones and does not read them.
OUTPUTS = ("mp4", "mkv", "mov", "webm", "avi", "ts", "nut", "gif", "apng", "avif", "y4m")


@pytest.mark.parametrize(
    ("kind", "output"),
    # By turns: an output for each kind, each of them once; the others are the same code.
    thinned(
        [*product(KINDS, OUTPUTS)],
        [place * len(OUTPUTS) + place % len(OUTPUTS) for place in range(len(KINDS))],
    ),
)
def test_the_account_is_true_of_the_output(tmp_path, kind, output):
    source, target = KINDS[kind](tmp_path), tmp_path / f"out.{output}"
    entries = describe_output(source, target, Plan())
    interpolate_video(source, target, LerpModel(), Plan())
    assert list(untrue(entries, target)) == []


@pytest.mark.parametrize(
    "coding",
    [{"sound": "none"}, {"sound": "ac3"}, {"subtitles": False}, {"streams": (2,)}, {"codec": "ffv1"}],
    ids=["silent", "ac3", "no subtitles", "chosen", "ffv1"],
)
def test_the_account_is_true_of_what_is_chosen(tmp_path, coding):
    source, target = KINDS["styled.mkv"](tmp_path), tmp_path / "out.mkv"
    plan = Plan(coding=Coding(**coding))
    entries = describe_output(source, target, plan)
    interpolate_video(source, target, LerpModel(), plan)
    assert list(untrue(entries, target)) == []


def test_a_line_that_is_not_true_is_found(tmp_path):
    source, target = KINDS["named.mkv"](tmp_path), tmp_path / "out.mkv"
    interpolate_video(source, target, LerpModel(), Plan())
    entries = describe_output(source, tmp_path / "out.webm", Plan())
    found = "\n".join(untrue(entries, target))
    for text in ("it is h264", "it is aac", "it is srt", "attached files"):
        assert text in found
