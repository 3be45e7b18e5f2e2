"""Files whose header is silent or wrong about what is in them; each made by PyAV in small."""

from fractions import Fraction as Fr

import av
import pytest
from clips import pictures, times_of
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from odd_files import film
from thin import thinned


def _placeholder(path):
    """Put what FFmpeg puts into the header of an AVI before it knows how many frames there will be."""
    data = bytearray(path.read_bytes())
    for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        data[at : at + 4] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    return path


SILENT = {
    "live.mkv": lambda f: film(f / "in.mkv", count=12, container_options={"live": "1"}),
    "raw.h264": lambda f: film(f / "in.h264", count=12, muxer="h264"),
    "raw.m2v": lambda f: film(f / "in.m2v", count=12, muxer="mpeg2video", codec="mpeg2video"),
    "raw.m4v": lambda f: film(f / "in.m4v", count=12, muxer="m4v", codec="mpeg4"),
    "loop.apng": lambda f: film(f / "in.apng", count=12, codec="apng", pix_fmt="rgb24"),
    "pieces.mp4": lambda f: film(f / "in.mp4", count=12, container_options={"movflags": "frag_keyframe"}),
    "ended.avi": lambda f: _placeholder(film(f / "in.avi", count=12, codec="mpeg4")),
}


@pytest.mark.parametrize("kind", thinned([*SILENT], (0, 1, 5, 6)))
def test_the_number_of_frames_is_known_where_the_header_is_silent(tmp_path, caplog, kind):
    source = SILENT[kind](tmp_path)
    assert "about 24 frames" in describe_output(source, tmp_path / "out.mp4", Plan())[0].why
    hosts = RecordingHost(), RecordingHost()
    interpolate_video(source, tmp_path / "out.mp4", LerpModel(), host=hosts[0])
    job = Job(source, tmp_path / "chunked.mp4", tmp_path / "work", pairs=5)
    totals = []
    process(job, Inline(LerpModel), host=hosts[1], report=lambda report: totals.append(report.total))
    assert len(times_of(tmp_path / "out.mp4")) == 24
    assert {total for host in hosts for _, total, _ in host.seen} == {24}
    assert set(totals) == {24}
    assert "cut short" not in caplog.text


@pytest.mark.parametrize(("muxer", "codec"), [("m4v", "mpeg4"), ("mpeg2video", "mpeg2video")])
def test_any_stream_without_a_container_has_its_own_rate(tmp_path, muxer, codec):
    """FFmpeg gives the times of all of them at 25 frames a second."""
    with open_clip(film(tmp_path / "in", muxer=muxer, codec=codec)) as clip:
        assert clip.info.rate == 24
        assert len(list(clip)) == 24


def still_first(path, codec="mjpeg", pix_fmt="yuvj420p", stills=1):
    """A file whose first stream of pictures is a single one, which nothing says to be a cover."""
    with av.open(str(path), "w") as out:
        streams = [out.add_stream(name, rate=24) for name in (codec, "mpeg4")]
        for stream, fmt in zip(streams, (pix_fmt, "yuv420p"), strict=True):
            stream.width, stream.height, stream.pix_fmt = 64, 48, fmt
        for count, stream in zip((stills, 24), streams, strict=True):
            for number, picture in enumerate(pictures(count, (48, 64))):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fr(1, 24)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("kind", "codec", "pix_fmt"),
    [
        ("mkv", "mjpeg", "yuvj420p"),
        ("mp4", "mjpeg", "yuvj420p"),
        ("avi", "png", "rgb24"),
        ("nut", "gif", "rgb8"),
    ],
)
def test_a_still_picture_before_the_film_is_not_the_film(tmp_path, caplog, kind, codec, pix_fmt):
    source = still_first(tmp_path / f"in.{kind}", codec, pix_fmt)
    (first, still, *_) = describe_output(source, tmp_path / "out.mov", Plan())
    assert "mpeg4" in first.what
    assert still.what.startswith("stream 0, picture")
    assert interpolate_video(source, tmp_path / "out.mov", LerpModel()).source_frames == 24
    job = Job(source, tmp_path / "chunked.mov", tmp_path / "work", pairs=7)
    assert process(job, Inline(LerpModel), host=RecordingHost()).frames == 48
    assert times_of(tmp_path / "out.mov") == times_of(tmp_path / "chunked.mov")
    assert "one frame" not in caplog.text


def test_a_first_film_of_two_frames_is_the_film(tmp_path):
    source = still_first(tmp_path / "in.mkv", stills=2)
    assert interpolate_video(source, tmp_path / "out.mkv", LerpModel()).source_frames == 2


@pytest.mark.parametrize("channels", [9, 12, 16])
@pytest.mark.parametrize("output", ["mp4", "webm", "mkv"])
def test_many_channels_in_no_order_are_kept_or_the_first_eight_are(tmp_path, channels, output):
    source = film(tmp_path / "in.mkv", count=6, sound="pcm_s16le", layout=f"{channels} channels")
    (sound,) = (
        line for line in describe_output(source, tmp_path / f"out.{output}", Plan()) if "audio" in line.what
    )
    interpolate_video(source, tmp_path / f"out.{output}", LerpModel())
    with av.open(str(tmp_path / f"out.{output}")) as made:
        layout = made.streams.audio[0].codec_context.layout
        assert sum(frame.samples for frame in made.decode(audio=0)) >= 12000
    if output == "mkv":
        assert (sound.fate, layout.nb_channels) == ("copied", channels)
    else:
        assert (sound.fate, layout.name) == ("encoded", "7.1")
        assert f"the first 8 of {channels} channels" in sound.why


def test_an_encoder_that_takes_many_channels_gets_all(tmp_path):
    source = film(tmp_path / "in.mkv", count=6, sound="pcm_s16le", layout="9 channels")
    plan = Plan(coding=Coding(sound="pcm_s24le"))
    interpolate_video(source, tmp_path / "out.mkv", LerpModel(), plan)
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert made.streams.audio[0].codec_context.layout.nb_channels == 9
