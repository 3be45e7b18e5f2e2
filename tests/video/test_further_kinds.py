"""Files whose header is silent or wrong about what is in them; each made by PyAV in small."""

import contextlib
from fractions import Fraction as Fr
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import audio_packets, pictures, times_of
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.chunks.join import _rising
from midframe.chunks.store import Record
from midframe.errors import BadInputError
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from midframe.video.read.opening import packets_of
from midframe.video.read.span import Span
from midframe.video.stream.expected import counted
from midframe.video.write.carry import Decision, Entry
from midframe.video.write.tracks import Encoded, Window
from odd_files import film, remux, with_matrix
from PIL import Image
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
    "program.mpg": lambda f: film(
        f / "in.mpg", count=12, codec="mpeg2video", sound="mp2", options={"g": "6"}
    ),
    "ended.avi": lambda f: _placeholder(film(f / "in.avi", count=12, codec="mpeg4")),
}


@pytest.mark.parametrize("kind", thinned([*SILENT], (0, 1, 5, 6, 7)))
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


@pytest.mark.parametrize(
    ("muxer", "codec"), [("m4v", "mpeg4"), ("mpeg2video", "mpeg2video"), ("h264", "libx264")]
)
def test_any_stream_without_a_container_has_its_own_rate(tmp_path, muxer, codec):
    """FFmpeg says 25 frames a second of all of them, and times some by that."""
    with open_clip(film(tmp_path / "in", muxer=muxer, codec=codec)) as clip:
        assert clip.info.rate == 24
        times = [frame.pts for frame in clip]
    assert len(times) == 24
    assert abs(times[-1] - times[0] - Fr(23, 24)) < Fr(1, 1000)


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


class Seconds:
    """Packets of a second of sound, which a decoder gives as frames of which only the first has a time."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        for second in range(self.count):
            frames = []
            for part in range(50):
                wave = np.full((1, 160), 1000 * (second + 1), np.int16)
                frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                frame.sample_rate, frame.time_base = 8000, Fr(1, 8000)
                frame.pts = second * 8000 if part == 0 else None
                frames.append(frame)
            yield SimpleNamespace(decode=lambda frames=frames: frames, dts=second, pts=second, size=1)


@pytest.mark.parametrize(("kind", "end", "expected"), [("mkv", Fr(3, 2), 1.5), ("avi", None, 3)])
def test_frames_that_only_follow_one_with_a_time_have_theirs(tmp_path, kind, end, expected):
    """AMR of phones: fifty of them were heard past the end of a part, and silence was put between them in AVI."""
    source = film(tmp_path / "in.mkv", sound="pcm_s16le", layout="mono", rate=8000, count=2)
    with av.open(str(source)) as given, av.open(str(tmp_path / f"out.{kind}"), "w") as out:
        (stream,) = given.streams.audio
        span = None if end is None else Span(Fr(0), end)
        decision = Decision(1, Entry("", "encoded"), "pcm_s16le", "mono")
        track = Encoded(stream, out, Fr(0), decision, window=Window(stream, span, edited=False))
        for packet in Seconds(3):
            out.mux(track(packet))
        out.mux(track.end())
    with av.open(str(tmp_path / f"out.{kind}")) as made:
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in made.decode(audio=0)])
    assert len(samples) == pytest.approx(expected * 8000, abs=160)
    assert (samples != 0).all()


def later(seconds):
    """Return a change of packets by which sound begins so much later."""

    def change(packet):
        if packet.stream.type == "audio":
            ticks = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return packet

    return change


@pytest.mark.parametrize(("kind", "sound"), [("ts", "aac"), ("mpg", "mp2")])
@pytest.mark.parametrize("output", ["mkv", "mp4"])
def test_sound_that_begins_long_after_the_picture_is_carried(tmp_path, kind, sound, output):
    """FFmpeg looks at a few seconds: runs failed, or kept 40 ms of ten seconds."""
    codec = "libx264" if kind == "ts" else "mpeg2video"
    film(tmp_path / "plain.mkv", sound=sound, codec=codec, count=24)
    slow = [24 * number for number in range(24)]
    film(tmp_path / "slow.mkv", sound=sound, codec=codec, times=slow, options={})
    source = remux(tmp_path / "slow.mkv", tmp_path / f"in.{kind}", later(20))
    (_, line, *_) = describe_output(source, tmp_path / f"out.{output}", Plan(1))
    assert line.fate == "copied"
    interpolate_video(source, tmp_path / f"out.{output}", LerpModel(), Plan(1))
    packets = audio_packets(tmp_path / f"out.{output}")
    first = times_of(tmp_path / f"out.{output}")[0]
    assert abs(packets[0][0] - first - 20) < Fr(1, 10)
    assert packets[-1][0] - packets[0][0] > Fr(9, 10)


@pytest.mark.parametrize("output", ["mkv", "mp4"])
def test_a_packet_of_sound_that_no_muxer_takes_costs_no_more_than_itself(tmp_path, caplog, output):
    source = film(tmp_path / "in.ts", sound="aac")
    data = bytearray(source.read_bytes())
    # The beginning of a frame of ADTS: a sync word, and that no checksum follows.
    place = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xf1"][7]
    data[place : place + 2] = bytes(2)
    source.write_bytes(data)
    assert interpolate_video(source, tmp_path / f"out.{output}", LerpModel()).frames == 48
    assert "damaged packet of stream 1 is left out" in caplog.text
    assert len(audio_packets(tmp_path / f"out.{output}")) > 30


def test_a_stream_that_appears_in_the_middle_of_a_file_ends_nothing():
    """PyAV has no place for it in its list, and may fail at the end where it looks there."""

    class Late:
        streams = (1,)

        def demux(self, *streams):
            yield from (1, 2, 3)
            raise IndexError("list index out of range")

    assert list(packets_of(Late())) == [1, 2, 3]


@pytest.mark.skipif(
    "avif" not in {suffix[1:] for suffix in Image.registered_extensions()}, reason="no AVIF here"
)
@pytest.mark.parametrize("box", [b"pitm", b"iloc", b"av1C", b"hdlr", b"meta", b"trak", b"stsz"])
def test_a_damaged_avif_is_refused_in_our_words(tmp_path, box):
    """Pillow raises RuntimeError at some of these."""
    frames = [Image.fromarray(picture) for picture in pictures(3)]
    (tmp_path / "folder").mkdir()
    for source in (tmp_path / "in.avif", tmp_path / "folder" / "0.avif"):
        frames[0].save(source, save_all=source.parent == tmp_path, append_images=frames[1:])
        source.write_bytes(source.read_bytes().replace(box, b"free"))
    for source in (tmp_path / "in.avif", tmp_path / "folder"):
        # What can be read all the same is; any other error would end the test.
        with contextlib.suppress(BadInputError), open_clip(source) as clip:
            assert len(list(clip)) >= 1


def written(times):
    """Times as a writer has them, see `VideoWriter.write`: each is later than the one before."""
    made = []
    for time in times:
        made.append(max(time, made[-1] + 1) if made else time)
    return tuple(made)


@pytest.mark.parametrize("border", range(1, 9))
def test_times_that_were_repaired_rise_where_two_chunks_meet(border):
    """Two frames of a file whose clock counts whole seconds had one time in Matroska."""
    rounded = [2, 3, 4, 4, 4, 5, 9, 9, 10]
    parts = written(rounded[:border]), written(rounded[border:])
    joined = _rising(Record(chunk, "", times, (1,) * len(times), False) for chunk, times in enumerate(parts))
    assert tuple(time for record in joined for time in record.times) == written(rounded)


@pytest.mark.parametrize("kind", ["nut", "flv", "mkv", "ts"])
def test_a_recording_that_begins_after_an_hour_is_not_cut_short(tmp_path, caplog, kind):
    """NUT says when a file ends, and not how long it is: 3601 s were expected of one."""

    def an_hour_later(packet):
        ticks = round(3600 / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return packet

    source = remux(film(tmp_path / "plain.mp4", sound="aac"), tmp_path / f"in.{kind}", an_hour_later)
    with open_clip(source) as clip:
        assert abs(counted(clip).frames_estimate - 24) <= 3
        assert len(list(clip)) == 24
    assert "cut short" not in caplog.text


def test_a_matrix_that_shows_nothing_turns_nothing(tmp_path, caplog):
    """A file of zeros was said to be turned by -2147483648 degrees."""
    source = with_matrix(film(tmp_path / "plain.mp4", count=2), tmp_path / "in.mp4", (0, 0, 0, 0))
    with open_clip(source) as clip:
        assert (clip.info.height, clip.info.width) == (48, 64)
        assert len(list(clip)) == 2
    assert "turned" not in caplog.text
