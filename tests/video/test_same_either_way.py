"""One account, whoever asks: chunks carry and write what a single run does."""

from fractions import Fraction as Fr

import av
import pytest
from clips import audio_packets, times_of
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.video import Coding, Plan, interpolate_video
from odd_files import film, joined, odd_channels, remux


def described(path):
    """What is in a file besides its pictures: streams, tags, chapters, attached files."""
    with av.open(str(path)) as container:
        streams = [
            (s.type, getattr(s.codec_context, "name", None), dict(s.metadata), int(s.disposition))
            for s in container.streams
        ]
        for _, _, tags, _ in streams:
            tags.pop("DURATION", None)  # compared as times, below
        chapters = [(c["start"] * c["time_base"], c["metadata"]) for c in container.chapters()]
        return streams, chapters, {k: v for k, v in container.metadata.items() if k != "creation_time"}


def recorder(folder):
    part = film(folder / "part.mp4", sound="aac")
    return remux(part, folder / "in.ts", container_options={"output_ts_offset": "95443.5"})


def full(folder):
    def prepare(out, picture):
        out.add_attachment("font.ttf", "font/ttf", b"letters" * 9)
        picture.metadata.update({"language": "deu", "title": "the film"})
        chapter = {"id": 1, "start": 0, "end": 500, "time_base": Fr(1, 1000), "metadata": {"title": "first"}}
        out.set_chapters([chapter])

    return film(folder / "in.mkv", sound="flac", texts="subrip", prepare=prepare)


def timecode(folder):
    return film(
        folder / "in.mov",
        sound="pcm_s16le",
        prepare=lambda out, p: p.metadata.update({"timecode": "01:00:00:00"}),
    )


KINDS = {
    "recorder": recorder,
    "full": full,
    "timecode": timecode,
    "joined": joined,
    "custom": lambda f: odd_channels(film(f / "in.mov", sound="pcm_s24le", layout="5.1"), f / "odd.mov"),
    "program": lambda f: film(f / "in.mpg", sound="mp2", codec="mpeg2video", options={"g": "6"}),
    "flash": lambda f: film(f / "in.flv", sound="aac"),
    "fragments": lambda f: film(
        f / "in.mp4", sound="aac", container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "silent": lambda f: film(f / "in.mp4"),
}


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("full", "mkv"),
        ("recorder", "mp4"),
        ("timecode", "mov"),
        *(
            pytest.param(kind, output, marks=pytest.mark.long)
            for kind in KINDS
            for output in ("mp4", "mov", "mkv", "webm")
        ),
    ],
)
def test_chunks_and_a_single_run_agree(tmp_path, caplog, kind, output):
    source = KINDS[kind](tmp_path)
    plan = Plan(coding=Coding(preset=None if output == "webm" else "ultrafast"))
    single = interpolate_video(source, tmp_path / f"single.{output}", LerpModel(), plan).path
    alone = sorted(record.message for record in caplog.records if "Left out" in record.message)
    caplog.clear()
    target = tmp_path / f"out.{output}"
    job = Job(source, target, tmp_path / "work", plan=plan, pairs=10)
    process(job, Inline(LerpModel), host=RecordingHost())
    assert times_of(target) == times_of(single)
    assert described(target) == described(single)
    if any(kind == "audio" for kind, *_ in described(single)[0]):
        assert audio_packets(target) == audio_packets(single)
    assert sorted(r.message for r in caplog.records if "Left out" in r.message) == alone
