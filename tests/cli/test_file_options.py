"""Options of the command line about files: what is read, what is written, what is carried."""

import io
import os
import subprocess
import sys
import threading
from fractions import Fraction as Fr
from pathlib import Path

import av
import numpy as np
import odd_files
import pytest
from clips import frames_of, pictures, times_of, write_clip
from midframe import cli
from odd_files import film
from PIL import Image
from thin import thinned


def run(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture
def clip(tmp_path):
    return film(tmp_path / "in.mkv", sound="flac", texts="subrip")


@pytest.mark.parametrize("words", [("probe",), ("interpolate", "--dry-run")])
def test_a_dry_run_says_what_becomes_of_everything_and_makes_nothing(clip, capsys, words):
    command, *options = words
    assert run(command, clip, clip.with_name("out.mov"), *options) == 0
    said = capsys.readouterr().out
    assert "libx264 yuv420p, 48 frames a second, about 48 frames" in said
    assert "encoded       aac, stereo" in said
    assert "converted     mov_text" in said
    assert [path.name for path in clip.parent.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
def test_a_part_of_a_file(clip, command):
    words = ("--start", "0.25", "--stop", "0:00:00.75", "--codec", "ffv1", "--quiet")
    assert run(command, clip, clip.with_name("out.mkv"), *words) == 0
    assert [round(float(time), 2) for time in times_of(clip.with_name("out.mkv"))] == [
        round(k / 48, 2) for k in range(24)
    ]
    with av.open(str(clip.with_name("out.mkv"))) as container:
        ends = [
            float((p.pts + p.duration) * p.time_base) for p in container.demux(audio=0) if p.pts is not None
        ]
    assert 0.4 < max(ends) < 0.65


@pytest.mark.parametrize("command", thinned(["interpolate", "chunks"], (1,)))
def test_options_of_coding_and_carrying(clip, command):
    words = ("--preset", "ultrafast", "--bitrate", "900k", "--audio", "none", "--no-subtitles", "--quiet")
    assert run(command, clip, clip.with_name("out.mp4"), *words) == 0
    with av.open(str(clip.with_name("out.mp4"))) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_the_rate_of_a_file_can_be_set(clip):
    raw = clip.with_name("raw.h264")
    with av.open(str(clip)) as container, av.open(str(raw), "w", format="h264") as out:
        stream = container.streams.video[0]
        copied = out.add_stream_from_template(stream, opaque=True)
        for packet in container.demux(stream):
            if packet.size:
                packet.stream = copied
                out.mux(packet)
    assert run("interpolate", raw, clip.with_name("out.mkv"), "--source-fps", "30", "--quiet") == 0
    times = times_of(clip.with_name("out.mkv"))
    assert len(times) == 48
    assert abs(times[-1] - Fr(47, 60)) < Fr(1, 500)


@pytest.mark.parametrize(
    "words",
    [
        ("--crf", "99"),
        ("--crf", "-5"),
        ("--bitrate", "fast"),
        ("--audio", "nonsense"),
        ("--streams", "x"),
        ("--start", "soon"),
    ],
)
def test_options_that_cannot_be_are_refused_first(clip, capsys, words):
    try:
        status = run("interpolate", clip, clip.with_name("out.mp4"), *words)
    except SystemExit as end:  # argparse
        status = end.code
    assert status == 2
    assert "disk has room" not in capsys.readouterr().err
    assert [path.name for path in clip.parent.iterdir()] == ["in.mkv"]


def test_help_has_options_in_groups(capsys):
    with pytest.raises(SystemExit):
        run("interpolate", "--help")
    said = capsys.readouterr().out
    for heading in ("which frames:", "model:", "picture of the output:", "sound and other streams:"):
        assert heading in said


def test_a_name_that_begins_with_a_dash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "-dash.mp4", pictures(3))
    assert run("interpolate", "-dash.mp4", "out.mp4", "--quiet") == 0


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
def test_a_folder_with_a_dot_in_its_name(tmp_path, command):
    folder = tmp_path / "shots.v2"
    folder.mkdir()
    for k in range(3):
        Image.new("RGB", (32, 32), (k * 20, 0, 0)).save(folder / f"{k}.png")
    assert run(command, folder, "--quiet") == 0
    assert len(list((tmp_path / "shots.v2_x2").iterdir())) == 6
    assert run(command, folder, tmp_path / "out.v3", "--quiet") == 0
    assert len(list((tmp_path / "out.v3").iterdir())) == 6


def piped(clip, *words):
    command = [
        sys.executable,
        "-c",
        "import sys; from packs import load_pack; load_pack(); from midframe import cli; ",
    ]
    command[-1] += "sys.exit(cli.main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": str(Path(odd_files.__file__).parent)}
    return subprocess.run(
        [*command, *map(str, words)],
        check=False,
        input=clip.read_bytes(),
        capture_output=True,
        env=environment,
    )


@pytest.mark.parametrize("kind", thinned(["mkv", "nut", "y4m"], (0,)))
def test_standard_input_and_output(clip, kind):
    done = piped(clip, "interpolate", "-", "-", "--pipe-format", kind, "--quiet")
    assert done.returncode == 0, done.stderr
    with av.open(io.BytesIO(done.stdout)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 48
    assert [path.name for path in clip.parent.iterdir()] == ["in.mkv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_read(clip):
    pipe = clip.with_name("pipe")
    os.mkfifo(pipe)
    feeding = threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()))
    feeding.start()
    assert run("interpolate", pipe, clip.with_name("out.mp4"), "--quiet") == 0
    feeding.join()
    assert len(times_of(clip.with_name("out.mp4"))) == 48


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
def test_combs_are_gone_after_deinterlacing(tmp_path, command):
    frames = pictures(12, (64, 64), step=3)
    for first, second in zip(frames[::2], frames[1::2], strict=True):
        first[1::2] = second[1::2]
    source = write_clip(tmp_path / "in.mkv", frames[::2], codec="ffv1", pix_fmt="yuv422p")

    def combs(path):
        lines = [picture.astype(int) for picture in frames_of(path)]
        return sum(abs(2 * p[1:-1] - p[:-2] - p[2:]).mean() for p in lines)

    words = ("-m", 1, "--codec", "ffv1", "--quiet")
    assert run(command, source, tmp_path / "plain.mkv", *words) == 0
    assert run(command, source, tmp_path / "whole.mkv", *words, "--deinterlace") == 0
    assert times_of(tmp_path / "whole.mkv") == times_of(tmp_path / "plain.mkv")
    assert combs(tmp_path / "whole.mkv") < combs(tmp_path / "plain.mkv") / 2


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
@pytest.mark.parametrize(
    ("words", "size"),
    [(("--width", 32), (24, 32)), (("--height", 96), (96, 128)), (("--width", 20, "--height", 30), (30, 20))],
)
def test_a_clip_is_scaled(tmp_path, command, words, size):
    source = write_clip(tmp_path / "in.mkv", pictures(4, (48, 64)), codec="ffv1", pix_fmt="bgr0")
    assert run(command, source, tmp_path / "out.mkv", *words, "--codec", "ffv1", "--quiet") == 0
    frames = frames_of(tmp_path / "out.mkv")
    assert {frame.shape[:2] for frame in frames} == {size}
    expected = Image.fromarray(pictures(1, (48, 64))[0]).resize(size[::-1], Image.Resampling.BICUBIC)
    assert abs(frames[0].astype(int) - expected).mean() < 6


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
def test_pictures_can_be_jpeg(tmp_path, command):
    source = write_clip(tmp_path / "in.mkv", pictures(3, (48, 64), bits=16), codec="ffv1", pix_fmt="gbrp14le")
    assert run(command, source, tmp_path / "out", "--images", "jpg", "--quiet") == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"{k:08d}.jpg" for k in range(6)]
    with Image.open(files[0]) as first:
        assert first.format == "JPEG"
        difference = abs(
            np.asarray(first.convert("RGB")).astype(int) - (pictures(1, (48, 64))[0]).astype(int)
        )
    assert difference.mean() < 4


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
@pytest.mark.parametrize("pattern", ["shot_%04d.png", "shot_%4d.png", "shot_%d.png"])
def test_a_pattern_means_numbered_pictures(tmp_path, command, pattern):
    digits = 1 if "%d" in pattern else 4
    for k in range(9, 12):
        Image.new("RGB", (32, 32), (k * 20, 0, 0)).save(tmp_path / f"shot_{k:0{digits}d}.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "other.png")
    assert run(command, tmp_path / pattern, "--quiet") == 0
    assert len(list((tmp_path / "shot_x2").iterdir())) == 6


def test_several_clips_on_one_line(tmp_path, capsys):
    clips = [write_clip(tmp_path / f"{name}.mp4", pictures(3)) for name in "abc"]
    folder = tmp_path / "made"
    assert run("interpolate", clips[0], folder, "--also", *clips[1:]) == 2
    assert "Several clips do not go into one file" in capsys.readouterr().err
    folder.mkdir()
    assert run("interpolate", clips[0], folder, "--also", *clips[1:], "--quiet") == 0
    assert sorted(file.name for file in folder.iterdir()) == [f"{name}_x2.mp4" for name in "abc"]
    assert run("interpolate", clips[0], folder, "--also", *clips[1:], "--quiet") == 2
    assert run("interpolate", clips[0], "--also", *clips[1:], "--quiet") == 0
    assert (tmp_path / "c_x2.mp4").exists()


@pytest.mark.parametrize("words", [("-", "out.mkv"), ("in.mkv", "-"), ("in.mkv", "/dev/stdout")])
def test_chunks_of_a_pipe_are_refused_and_make_nothing(clip, monkeypatch, capsys, words):
    monkeypatch.chdir(clip.parent)
    assert run("chunks", *words) == 2
    assert "A pipe cannot go on" in capsys.readouterr().err
    assert [path.name for path in clip.parent.iterdir()] == ["in.mkv"]


def test_streams_are_chosen_by_their_numbers(clip):
    assert run("interpolate", clip, clip.with_name("out.mkv"), "--streams", "2", "--quiet") == 0
    with av.open(str(clip.with_name("out.mkv"))) as container:
        assert [stream.type for stream in container.streams] == ["video", "subtitle"]


def test_two_and_a_half_times_the_frames_of_a_file(clip):
    assert run("interpolate", clip, "--multiplier", "2.5", "--quiet") == 0
    times = times_of(clip.with_name("in_x2.5.mkv"))
    assert len(times) == 60
    assert abs(times[1] - Fr(1, 60)) <= Fr(1, 1000)


def test_the_bar_counts_frames_and_knows_how_many_where_a_recording_begins_late(tmp_path, capsys):
    part = film(tmp_path / "part.mp4", sound="aac")
    source = odd_files.remux(part, tmp_path / "in.mkv", change=_an_hour_later)
    assert run("interpolate", source, tmp_path / "out.mp4") == 0
    said = capsys.readouterr().err
    assert "0frame" not in said
    # By the header, which in Matroska is that of the sound as well.
    assert int(said.rpartition("48/")[2].split()[0]) <= 50


def _an_hour_later(packet):
    packet.pts, packet.dts = (time + round(3600 / packet.time_base) for time in (packet.pts, packet.dts))
    return packet
