"""Kinds of files that a sweep with ffmpeg over some 170 of them found wanting; each made by PyAV in small."""

import subprocess
from fractions import Fraction as Fr
from itertools import pairwise

import av
import pytest
from clips import audio_packets, times_of
from fakes import LerpModel
from midframe.video import Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from odd_files import film, remux
from PIL import Image, ImageCms


def run(source, name, **plan):
    target = source.with_name(name)
    return target, interpolate_video(source, target, LerpModel(), Plan(**plan))


def test_a_packet_without_bytes_is_no_end(tmp_path):
    """Theora repeats a picture by one, some muxers of MP4 end with one, and PyAV's decoders refuse it."""
    source = film(tmp_path / "in.mp4", codec="mpeg4", count=8, options={})
    data = bytearray(source.read_bytes())
    # The table of sizes: version, one size for all (0: none), how many, and each.
    table = data.index(b"stsz") + 4 + 4 + 4
    count = int.from_bytes(data[table : table + 4], "big")
    assert count == 8
    data[table + 4 * count : table + 4 * count + 4] = bytes(4)
    source.write_bytes(data)
    _, written = run(source, "out.mkv", multiplier=1)
    assert written.frames == 7


@pytest.mark.parametrize("output", ["mkv", "mp4"])
def test_reordered_pictures_in_asf_come_one_after_the_other(tmp_path, output):
    target, written = run(film(tmp_path / "in.asf", count=12), f"out.{output}", multiplier=1)
    assert written.frames == 12
    # Milliseconds in ASF: a 24th of a second is 41 or 42.
    assert all(Fr(40, 1000) <= b - a <= Fr(43, 1000) for a, b in pairwise(times_of(target)))


def _half_a_second_before(packet):
    back = round(Fr(1, 2) / packet.time_base)
    packet.pts, packet.dts = packet.pts - back, packet.dts - back
    return packet


@pytest.mark.parametrize("output", ["mkv", "ts"])
def test_sound_that_an_edit_list_hides_is_not_heard(tmp_path, output):
    """Programs that cut without encoding leave out the beginning of an MP4 so."""
    source = film(tmp_path / "whole.mp4", sound="aac", options={"g": "1", "bf": "0"})
    remux(source, tmp_path / "in.mp4", _half_a_second_before)
    target, written = run(tmp_path / "in.mp4", f"out.{output}", multiplier=1)
    assert written.frames == 12
    # One packet of AAC, 21 ms, reaches over the beginning.
    assert abs(audio_packets(target)[0][0] - times_of(target)[0]) < Fr(1, 40)


def test_sound_that_is_longer_than_the_picture_adds_no_frames_to_what_is_expected(tmp_path):
    def later(packet):
        if packet.stream.type == "audio":
            packet.pts += round(9 / packet.time_base)
            packet.dts = packet.pts
        return packet

    source = remux(film(tmp_path / "same.mkv", sound="flac"), tmp_path / "in.mkv", later)
    with open_clip(source) as clip:
        assert clip.info.frames_estimate in (24, 25)


def test_no_line_says_that_an_unknown_language_is_carried(tmp_path):
    lines = describe_output(film(tmp_path / "in.mp4"), tmp_path / "out.mkv", Plan())
    assert not any(line.what.startswith("tags") for line in lines)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("5.1(side)", "5.1"), ("6.1", "7.1"), ("octagonal", "7.1"), ("3.1", "5.1"), ("4.0", "4.0")],
)
def test_channels_in_aac_have_an_order_that_is_read_again(tmp_path, layout, expected):
    source = film(tmp_path / "in.mkv", count=4, sound="flac", layout=layout)
    target, _ = run(source, "out.mov", multiplier=1)
    with av.open(str(target)) as container:
        (sound,) = container.streams.audio
        assert (sound.codec_context.name, sound.codec_context.layout.name) == ("aac", expected)


def test_pictures_with_a_named_colour_profile_do_not_kill_the_process(tmp_path, command):
    """PyAV frees the profile's name twice where a frame is asked for what lies beside it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "in").mkdir()
    for number in range(2):
        picture = Image.new("RGB", (32, 32), (40 * number, 90, 120))
        picture.save(tmp_path / "in" / f"{number}.png", icc_profile=profile)
    copied = tmp_path / "in.mov"
    with av.open(str(copied), "w") as file:
        stream = file.add_stream("png", rate=24)
        stream.width = stream.height = 32
        stream.pix_fmt = "rgb24"
        for name in ("0.png", "1.png"):
            with av.open(str(tmp_path / "in" / name)) as one:
                packet = next(one.demux(video=0))
                packet.stream, packet.time_base, packet.pts = stream, Fr(1, 24), int(name[0])
                packet.dts = packet.pts
                file.mux(packet)
    for source in ("in", "in.mov"):
        words = ["interpolate", source, f"{source}.mkv", "-m", "1", "--quiet"]
        done = subprocess.run([*command, *words], check=False, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(times_of(tmp_path / f"{source}.mkv")) == 2
