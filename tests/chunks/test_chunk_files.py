"""Long films in chunks come out like the same films in one pass, whatever kind of file they are."""

from fractions import Fraction

import av
import pytest
from clips import pictures, write_clip
from midframe import cli
from odd_files import film, joined, remux, with_times
from thin import thinned


def wrapped(folder):
    part = film(folder / "part.mp4", sound="aac", count=48)
    return remux(part, folder / "in.ts", container_options={"output_ts_offset": "95443.2"})


def repeated(folder):
    clip = film(folder / "clip.mkv", count=12, codec="ffv1", pix_fmt="bgr0")
    return with_times(clip, folder / "in.mkv", [0, 1, 2, 3, 3, 3, 3, 7, 8, 9, 10, 11])


def furnished(folder):
    def prepare(out, picture):
        picture.metadata.update({"language": "deu"})
        chapter = {
            "id": 1,
            "start": 0,
            "end": 500,
            "time_base": Fraction(1, 1000),
            "metadata": {"title": "first"},
        }
        out.set_chapters([chapter])
        out.add_attachment("font.ttf", "font/ttf", b"letters")

    return film(folder / "in.mkv", sound="flac", texts="subrip", prepare=prepare)


def deep(folder):
    frames = pictures(9, (64, 64), bits=16)
    options = {"x265-params": "log-level=none:hdr10=1:max-cll=1000,400"}
    return write_clip(
        folder / "in.mkv",
        frames,
        codec="libx265",
        pix_fmt="yuv420p10le",
        options=options,
        colour=(9, 1, 9, 16),
    )


def content(path):
    """Everything in a file: streams, tags, chapters, and all packets but those of the picture, which is decoded."""
    with av.open(str(path)) as container:
        kinds = [
            (s.type, getattr(s.codec_context, "name", None), int(s.disposition), s.metadata.get("language"))
            for s in container.streams
        ]
        chapters = [chapter["metadata"] for chapter in container.chapters()]
        others = [s for s in container.streams if s.type in ("audio", "subtitle")]
        packets = (
            [(p.stream.index, p.pts, bytes(p)) for p in container.demux(*others) if p.size] if others else []
        )
    with av.open(str(path)) as container:
        frames = [(f.pts * f.time_base, f.format.name) for f in container.decode(video=0)]
    return kinds, chapters, sorted(packets), frames


@pytest.mark.parametrize(
    ("make", "output"),
    # A repaired clock, and everything else that a file carries.
    thinned(
        [(make, out) for make in (joined, wrapped, repeated, furnished, deep) for out in ("mkv", "mp4")],
        (7,),
    ),
)
def test_chunks_and_one_pass_agree(tmp_path, make, output):
    source = make(tmp_path)
    words = ("--quiet", "--preset", "ultrafast")
    one, many = tmp_path / f"one.{output}", tmp_path / f"many.{output}"
    assert cli.main(["interpolate", str(source), str(one), *words]) == 0
    assert cli.main(["chunks", str(source), str(many), "--pairs-per-chunk", "7", *words]) == 0
    assert content(many) == content(one)
