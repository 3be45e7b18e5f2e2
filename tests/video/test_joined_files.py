"""Files that are two in one, and how many frames there will be in files that do not say."""

from fractions import Fraction as Fr

import av
import numpy as np
import pytest
from clips import audio_packets, pictures, times_of
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.errors import BadInputError
from midframe.video import Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from midframe.video.read import describe
from midframe.video.read.opening import holds_another, open_source
from midframe.video.stream.looking import analysis_of
from odd_files import film
from PIL import Image
from thin import thinned


def twice(path, target, parts=2):
    target.write_bytes(path.read_bytes() * parts)
    return target


@pytest.mark.parametrize(
    ("kind", "codec", "sound", "output"),
    thinned(
        [
            ("mkv", "libx264", "aac", "mkv"),
            ("mkv", "libx264", "aac", "mp4"),
            ("webm", "libvpx", "libopus", "webm"),
            ("mkv", "mpeg4", "ac3", "mov"),
        ],
        (0,),
    ),
)
def test_matroska_files_in_one_go_on_with_their_sound(tmp_path, caplog, kind, codec, sound, output):
    """The sound of the second was pressed into the time of the first, and half of the frames were expected."""
    source = twice(film(tmp_path / f"one.{kind}", sound=sound, codec=codec), tmp_path / f"in.{kind}")
    out, chunked, host = tmp_path / f"out.{output}", tmp_path / f"chunked.{output}", RecordingHost()
    assert "about 96 frames" in describe_output(source, out, Plan())[0].why
    interpolate_video(source, out, LerpModel(), host=host)
    times, sounds = times_of(out), audio_packets(out)
    assert len(times) == 96
    assert {total for _, total, _ in host.seen} == {96}
    steps = np.diff([float(time) for time in times])
    assert steps.max() < 0.03
    assert steps.min() > 0.015
    heard = [float(time) for time, _ in sounds]
    assert heard == sorted(heard)
    assert abs(heard[-1] - 2) < 0.06
    assert "cut short" not in caplog.text
    process(Job(source, chunked, tmp_path / "work", pairs=20), Inline(LerpModel), host=RecordingHost())
    assert times_of(chunked) == times
    assert audio_packets(chunked) == sounds


def test_one_matroska_file_is_one(tmp_path):
    plain, live = (
        film(tmp_path / f"{name}.mkv", count=4, container_options=options)
        for name, options in (("plain", {}), ("live", {"live": "1"}))
    )
    padded = tmp_path / "padded.mkv"
    padded.write_bytes(plain.read_bytes() + bytes(4000))
    three = twice(plain, tmp_path / "three.mkv", 3)
    found = []
    for path in (plain, live, padded, three):
        with open_source(path) as container:
            found.append(holds_another(container))
    assert found == [False, False, False, True]


@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_the_second_film_of_an_mp4_is_said_to_be_left_out(tmp_path, caplog, kind):
    one = film(tmp_path / f"one.{kind}", count=4)
    with open_clip(one):
        pass
    assert not caplog.text
    with open_clip(twice(one, tmp_path / f"in.{kind}")) as clip:
        assert len(list(clip)) == 4
    assert "two files in one" in caplog.text


class LookingHost(RecordingHost):
    def __init__(self):
        super().__init__()
        self.totals = set()

    def looked(self, done, total):
        self.totals.add(total)


def test_the_bar_of_looking_for_cuts_has_its_total_where_the_header_is_silent(tmp_path):
    source, host = film(tmp_path / "in.mkv", count=12, container_options={"live": "1"}), LookingHost()
    with open_clip(source) as clip:
        assert clip.info.frames_estimate is None
        analysis_of(clip, host)
    assert host.totals == {12}


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg2video", {"g": "12", "bf": "2"}),
        ("mpeg1video", {"g": "12"}),
        ("libx264", {"g": "40", "bf": "3"}),
    ],
)
def test_frames_of_a_long_program_stream_follow_from_its_last_packets(tmp_path, monkeypatch, codec, options):
    """FFmpeg's duration is up to the last time that is stated: 867 of 900 frames."""
    monkeypatch.setattr(describe, "_QUICKLY_READ", 0)
    source = film(tmp_path / "in.mpg", count=150, codec=codec, sound="mp2", options=options)
    with open_clip(source) as clip:
        assert clip.info.frames_estimate == 150


RARE = ["gif", "jp2", "tga", "ppm", "pcx", "sgi", "qoi", "dds", "jfif"]


def write_dpx(path, picture):
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as out:
        stream = out.add_stream("dpx", rate=24)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "gbrp10le"
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="gbrp10le")
        for part in (frame, None):
            out.mux(stream.encode(part))


@pytest.mark.parametrize("kind", thinned([*RARE, "dpx"], (0, 1, 2, 9)))
def test_a_folder_of_rarer_pictures_is_read(tmp_path, kind):
    folder = tmp_path / "shots"
    folder.mkdir()
    given = pictures(3, (48, 64))
    for number, picture in enumerate(given):
        file = folder / f"{number}.{kind}"
        if kind == "dpx":
            write_dpx(file, picture)
        else:
            Image.fromarray(picture).save(file, **({"format": "JPEG"} if kind == "jfif" else {}))
    (folder / "notes.txt").write_text("no picture")
    with open_clip(folder) as clip:
        assert clip.info.bits == (10 if kind == "dpx" else 8)
        assert not clip.info.alpha
        frames = [frame.pixels.numpy() for frame in clip]
    scale = 257 if kind == "dpx" else 1
    errors = [np.abs(made / scale - picture).mean() for made, picture in zip(frames, given, strict=True)]
    # GIF has 256 colours, JPEG and JPEG 2000 lose a little.
    assert max(errors) < (6 if kind in ("gif", "jfif", "jp2") else 0.5)


def test_rarer_pictures_beside_usual_ones_are_no_frames(tmp_path):
    for number, picture in enumerate(pictures(3, (48, 64))):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    Image.fromarray(picture).save(tmp_path / "preview.gif")
    with open_clip(tmp_path) as clip:
        assert clip.info.frames_estimate == 3


def test_a_transparent_gif_is_transparent(tmp_path):
    clear = np.full((48, 64, 4), 255, np.uint8)
    clear[:, :32, 3] = 0
    for number in range(2):
        Image.fromarray(clear).save(tmp_path / f"{number}.gif")
    with open_clip(tmp_path) as clip:
        assert clip.info.alpha
        assert next(iter(clip)).pixels[..., 3].float().mean() == pytest.approx(127.5, abs=1)


def test_times_of_a_part_are_those_of_the_whole_in_joined_matroska(tmp_path):
    source = twice(film(tmp_path / "one.mkv", sound="aac"), tmp_path / "in.mkv")
    plan = Plan(1, start=Fr(1, 2), stop=Fr(3, 2))
    made = interpolate_video(source, tmp_path / "out.mkv", LerpModel(), plan)
    assert made.frames == 24
    heard = [time for time, _ in audio_packets(tmp_path / "out.mkv")]
    assert abs(heard[-1] - 1) < Fr(1, 10)


@pytest.mark.parametrize(("kind", "codec"), thinned([("mkv", "libx264"), ("wmv", "wmv2")], (0,)))
def test_frames_of_a_recording_with_pauses_are_counted(tmp_path, kind, codec):
    """By duration and rate a Matroska file of six frames in 20 seconds was one of 601."""
    times = [0, 120, 240, 241, 360, 480]  # 24ths of a second
    source = film(tmp_path / f"in.{kind}", count=6, codec=codec, times=times, options={})
    assert "about 12 frames" in describe_output(source, tmp_path / "out.mp4", Plan())[0].why
    assert "about 12 frames" not in describe_output(source, tmp_path / "out.mp4", Plan(fps=60))[0].why
    host = RecordingHost()
    assert interpolate_video(source, tmp_path / "out.mp4", LerpModel(), host=host).frames == 12
    assert {total for _, total, _ in host.seen} == {12}
    totals = set()
    job = Job(source, tmp_path / "chunked.mp4", tmp_path / "work", pairs=240)
    process(job, Inline(LerpModel), host=RecordingHost(), report=lambda report: totals.add(report.total))
    assert totals == {12}
    assert times_of(tmp_path / "out.mp4") == times_of(tmp_path / "chunked.mp4")


@pytest.mark.parametrize("pieces", [False, True])
def test_a_recording_without_its_index_is_refused_in_words_that_say_so(tmp_path, pieces):
    options = {"movflags": "frag_keyframe+empty_moov"} if pieces else {}
    data = film(tmp_path / "whole.mp4", count=6, container_options=options).read_bytes()
    at, kept = 0, b""
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kept += b"" if data[at + 4 : at + 8] == b"moov" else data[at : at + size]
        at += size
    (tmp_path / "in.mp4").write_bytes(kept)
    with pytest.raises(BadInputError, match="never finished"):
        describe_output(tmp_path / "in.mp4", tmp_path / "out.mp4", Plan())
    (tmp_path / "in.mp4").write_bytes(b"")
    with pytest.raises(BadInputError, match="cannot be read"):
        describe_output(tmp_path / "in.mp4", tmp_path / "out.mp4", Plan())
