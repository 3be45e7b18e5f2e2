"""Headers that lie, and films of very few or very odd pictures: counts, times and sound stay right."""

import struct

import av
import pytest
from clips import audio_packets, times_of
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.errors import BadInputError
from midframe.video import Plan, interpolate_video
from midframe.video.account import describe_output
from odd_files import film
from thin import thinned

COUNT = 8


def long_mp4(folder, ticks):
    """An MP4 all of whose durations are so many ticks."""
    data = bytearray(film(folder / "a.mp4", count=COUNT, sound="aac").read_bytes())
    for box, skipped in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = -1
        while (at := data.find(box, at + 1)) >= 0:
            data[at + skipped : at + skipped + 4] = struct.pack(">I", ticks)
    (folder / "in.mp4").write_bytes(data)
    return folder / "in.mp4"


def long_mkv(folder, seconds):
    """A Matroska file whose duration is so long."""
    data = bytearray(film(folder / "a.mkv", count=COUNT, sound="aac").read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", seconds * 1000)
    (folder / "in.mkv").write_bytes(data)
    return folder / "in.mkv"


LIES = {
    "endless.mp4": lambda f: long_mp4(f, 2**32 - 2),
    "negative.mp4": lambda f: long_mp4(f, 2**31 + 5),
    "no length.mp4": lambda f: long_mp4(f, 0),
    "endless.mkv": lambda f: long_mkv(f, 1e12),
    "negative.mkv": lambda f: long_mkv(f, -50.0),
    "not a number.mkv": lambda f: long_mkv(f, float("nan")),
}


@pytest.mark.parametrize("kind", thinned([*LIES], (0, 3, 5)))
def test_a_length_that_cannot_be_changes_nothing(tmp_path, kind):
    source, host = LIES[kind](tmp_path), RecordingHost()
    out, chunked = tmp_path / "out.mp4", tmp_path / "chunked.mp4"
    assert f"about {2 * COUNT} frames" in describe_output(source, out, Plan())[0].why
    assert interpolate_video(source, out, LerpModel(), host=host).source_frames == COUNT
    assert {total for _, total, _ in host.seen} == {2 * COUNT}
    process(Job(source, chunked, tmp_path / "work", pairs=5), Inline(LerpModel), host=RecordingHost())
    assert times_of(out) == times_of(chunked)
    assert audio_packets(out) == audio_packets(chunked)
    assert abs(audio_packets(out)[-1][0] - COUNT / 24) < 0.05


@pytest.mark.parametrize(
    ("width", "height", "output"),
    thinned(
        [(w, h, o) for w, h in ((1, 1), (3, 5), (17, 1), (7680, 16)) for o in ("mp4", "mkv", "gif")],
        (0, 4, 9),
    ),
)
def test_pictures_of_any_size_are_made(tmp_path, width, height, output):
    source = film(tmp_path / "in.mkv", count=3, codec="ffv1", pix_fmt="bgr0", size=(height, width))
    made = interpolate_video(source, tmp_path / f"out.{output}", LerpModel())
    assert made.frames == len(times_of(made.path)) == 6


@pytest.mark.parametrize("count", [1, 2])
def test_a_film_of_one_or_two_frames_keeps_its_sound(tmp_path, count):
    source = film(tmp_path / "in.mp4", count=count, sound="aac")
    assert interpolate_video(source, tmp_path / "out.mp4", LerpModel()).frames == 2 * count
    assert len(audio_packets(tmp_path / "out.mp4")) == len(audio_packets(source))


def test_a_file_of_sound_alone_is_refused(tmp_path):
    source = film(tmp_path / "film.mp4", count=4, sound="aac")
    with av.open(str(source)) as given, av.open(str(tmp_path / "in.mp4"), "w") as out:
        tone = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.size:
                packet.stream = tone
                out.mux(packet)
    with pytest.raises(BadInputError, match="no picture"):
        describe_output(tmp_path / "in.mp4", tmp_path / "out.mp4", Plan())
