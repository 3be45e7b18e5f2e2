"""Files of kinds that people have: nothing fails, nothing is lost without a word."""

import os
from fractions import Fraction as Fr
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition
from clips import audio_packets, pictures, planes_of, times_of, write_clip
from fakes import LerpModel
from midframe.errors import BadInputError, MidframeError
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from midframe.video.read.describe import _average_rate, _origin
from midframe.video.read.images import natural_key
from midframe.video.write.trial import _picture_refused, check_picture
from odd_files import film, joined, odd_channels, remux, two_films, with_matrix, with_times
from PIL import Image
from thin import thinned

OUTPUTS = ("mp4", "mov", "mkv", "webm")


def run(source, name, **plan):
    target = source.with_name(name)
    interpolate_video(source, target, LerpModel(), Plan(**plan))
    return target


def sounds_of(path):
    with av.open(str(path)) as container:
        return [(s.codec_context.name, s.codec_context.channels) for s in container.streams.audio]


CAMERAS = [
    ("cam.avi", "pcm_s16le", "stereo", 48000),
    ("cam.mov", "pcm_u8", "mono", 8000),
    ("cam.wmv", "wmav2", "stereo", 44100),
    ("cam.avi", "adpcm_ima_wav", "stereo", 44100),
    ("cam.mkv", "flac", "stereo", 96000),
    ("cam.mkv", "libopus", "5.1", 48000),
    ("cam.mkv", "ac3", "5.1(side)", 48000),
]


@pytest.mark.parametrize(
    ("name", "sound", "layout", "rate", "output"),
    # By turns: an output or two for each sound.
    thinned([(*sound, out) for sound, out in product(CAMERAS, OUTPUTS)], range(0, 28, 3)),
)
def test_sound_of_any_codec_comes_into_any_output(tmp_path, name, sound, layout, rate, output):
    codec = "mpeg4" if name.endswith(("avi", "wmv")) else "libx264"
    source = film(tmp_path / name, sound=sound, layout=layout, rate=rate, codec=codec, count=8)
    target = run(source, f"out.{output}", multiplier=1)
    ((_, channels),) = sounds_of(target)
    assert channels == av.AudioLayout(layout).nb_channels
    assert abs(audio_packets(target)[0][0]) < Fr(1, 7)  # an encoder's run-in


def test_sound_that_cannot_be_decoded_safely_is_copied_or_left_out(tmp_path, caplog):
    source = odd_channels(film(tmp_path / "in.mov", sound="pcm_s24le", layout="5.1"), tmp_path / "odd.mov")
    assert len(times_of(run(source, "out.webm"))) == 48
    assert "cannot decode safely" in caplog.text
    with av.open(str(tmp_path / "out.webm")) as container:
        assert not container.streams.audio
    run(source, "out.mov")
    assert b"".join(data for _, data in audio_packets(tmp_path / "out.mov")) == b"".join(
        data for _, data in audio_packets(source)
    )


def test_joined_recordings_go_on_with_their_sound(tmp_path):
    source = joined(tmp_path)
    target = run(source, "out.mp4")
    times = times_of(target)
    assert [time - times[0] for time in times] == [Fr(k, 48) for k in range(96)]
    packets = audio_packets(target)
    assert all(a < b for (a, _), (b, _) in pairwise(packets))
    single = audio_packets(run(tmp_path / "part.ts", "single.mp4"))
    # The second recording's sound begins as long after its picture as the first one's.
    second = packets[len(packets) // 2][0] - 1
    assert abs(second - single[0][0]) < Fr(1, 20)


def test_a_part_of_joined_recordings_is_the_same_as_in_the_whole(tmp_path):
    source = joined(tmp_path, times=3)
    with open_clip(source) as clip:
        whole = [(f.pts, f.pixels) for f in clip]
    assert [pts for pts, _ in whole] == [Fr(k, 24) + whole[0][0] for k in range(72)]
    with open_clip(source) as clip:
        assert [time.pts for time in clip.times()] == [pts for pts, _ in whole]
        clip.start_at(Fr(5, 2))
        part = [(f.pts, f.pixels) for f in clip]
    assert part[0][0] <= Fr(5, 2)
    assert len(part) < 30
    expected = dict(whole)
    assert all(bool((expected[pts] == pixels).all()) for pts, pixels in part)


def test_a_recording_whose_clock_wraps_begins_at_zero(tmp_path):
    part = film(tmp_path / "part.mp4", sound="aac", count=48)
    source = remux(part, tmp_path / "in.ts", container_options={"output_ts_offset": "95443.2"})
    target = run(source, "out.mp4")
    times = times_of(target)
    assert times[0] < Fr(1, 10)
    assert [b - a for a, b in pairwise(times)] == [Fr(1, 48)] * 95
    sound = audio_packets(target)
    assert abs(sound[0][0] - times[0]) < Fr(1, 10)
    assert sound[-1][0] > Fr(19, 10)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        # A gap after the repeats takes them; without one they are squeezed in before the next true time.
        ([0, 1, 2, 3, 3, 3, 3, 7, 8, 9], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ([0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8], [0, 1, 2, 2.5, 3, 4, 4.5, 5, 6, 6.5, 7, 8]),
        ([0, 1, 2, 3, 3, 3, 3, 4, 5, 6], [0, 1, 2, 3, 3.25, 3.5, 3.75, 4, 5, 6]),
    ],
)
def test_a_repeated_time_moves_no_later_frame(tmp_path, times, expected):
    clip = film(tmp_path / "clip.mkv", count=len(times), codec="ffv1", pix_fmt="bgr0")
    source = with_times(clip, tmp_path / "in.mkv", times)
    with open_clip(source) as opened:
        shown = [float(frame.pts * 24) for frame in opened]
    assert shown == pytest.approx(expected, abs=0.05)
    # Whole ticks of the output's clock: no later frame is late, whatever came before.
    written = times_of(run(source, "out.mkv", multiplier=1))
    assert [float(time * 24) for time in written] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((0, -1, 1, 0), np.rot90),
        ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda p: p.swapaxes(0, 1)[::-1, ::-1]),
    ],
)
def test_turned_and_mirrored_pictures_come_out_upright(tmp_path, matrix, upright):
    plain = write_clip(tmp_path / "plain.mp4", pictures(2))
    with (
        open_clip(with_matrix(plain, tmp_path / "turned.mp4", matrix)) as clip,
        open_clip(plain) as reference,
    ):
        got, expected = next(iter(clip)).pixels.numpy(), next(iter(reference)).pixels.numpy()
    assert np.array_equal(got, upright(expected))


@pytest.mark.parametrize(
    ("source", "output"), [("mkv", "mp4"), ("mp4", "mkv"), ("mkv", "webm"), ("mkv", "mkv")]
)
def test_chapters_names_and_dispositions_are_carried(tmp_path, caplog, source, output):
    def prepare(out, picture):
        picture.metadata.update({"language": "deu", "title": "the film"})
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 500, "time_base": Fr(1, 1000), "metadata": {"title": "first"}}]
        )
        out.streams.audio[0].disposition = Disposition.comment
        out.streams.subtitles[0].disposition = Disposition.forced | Disposition.default

    texts = "subrip" if source == "mkv" else "mov_text"
    clip = film(tmp_path / f"in.{source}", sound="aac", texts=texts, prepare=prepare)
    with av.open(str(run(clip, f"out.{output}"))) as container, av.open(str(clip)) as given:
        for kind, mark in (("audio", Disposition.comment), ("subtitles", Disposition.forced)):
            (made,), (was,) = getattr(container.streams, kind), getattr(given.streams, kind)
            assert was.disposition & mark
            lost = output == "webm" and kind == "audio"
            assert bool(made.disposition & mark) != lost
            assert (f"that stream {was.index} is comment (webm has no such mark)" in caplog.text) == lost
        assert [c["metadata"]["title"] for c in container.chapters()] == ["first"]
        assert container.streams.video[0].metadata["language"] in ("deu", "ger")


def test_fonts_covers_and_a_second_picture_are_carried(tmp_path, caplog):
    def prepare(out, picture):
        out.add_attachment("font.ttf", "font/ttf", b"letters" * 9)

    clip = film(tmp_path / "in.mkv", sound="aac", prepare=prepare)
    with av.open(str(run(clip, "out.mkv"))) as container:
        (font,) = [s for s in container.streams if s.type == "attachment"]
        assert (font.name, font.mimetype, font.data) == ("font.ttf", "font/ttf", b"letters" * 9)
    assert "Left out" not in caplog.text
    run(clip, "out.mp4")
    assert caplog.text.count("Left out of in.mkv") == 1
    assert "font.ttf" in caplog.text


@pytest.mark.parametrize(
    ("source", "texts", "output", "expected"),
    [
        ("mkv", "subrip", "mp4", "mov_text"),
        ("mp4", "mov_text", "mkv", "srt"),
        ("mkv", "subrip", "webm", "webvtt"),
        ("mp4", "mov_text", "webm", "webvtt"),
        ("mkv", "ass", "mp4", "mov_text"),
        ("mkv", "ass", "mkv", "ssa"),
    ],
)
def test_text_subtitles_are_converted(tmp_path, source, texts, output, expected):
    clip = film(tmp_path / f"in.{source}", texts=texts)
    with av.open(str(run(clip, f"out.{output}"))) as container:
        (stream,) = container.streams.subtitles
        assert stream.codec_context.name == expected
        shown = [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if b"words" in bytes(p)]
    assert [round(float(time), 2) for time, _ in shown] == [0.1, 0.5]
    assert all(b"words at" in text for _, text in shown)


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in names")
@pytest.mark.parametrize("name", ["12:30 clip.mp4", "http:clip.mkv"])
def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch, name):
    film(tmp_path / "plain.mp4", sound="aac").rename(tmp_path / name)
    # With a folder before it nothing is taken for a protocol: the name alone is.
    monkeypatch.chdir(tmp_path)
    assert len(times_of(f"file:{run(Path(name), 'out: x.mp4')}")) == 48


def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path):
    source = film(tmp_path / f"{'長' * 80}.mp4")
    assert len(times_of(run(source, f"{'名' * 80}.mp4"))) == 48


def test_a_partial_file_of_the_user_is_kept(tmp_path):
    source = film(tmp_path / "in.mp4")
    mine = tmp_path / "out.partial.mp4"
    mine.write_text("mine")

    with pytest.raises(MidframeError):
        interpolate_video(source, tmp_path / "out.mp4", LerpModel(_fail_late()), Plan())
    assert mine.read_text() == "mine"
    assert len(times_of(tmp_path / "out.partial-2.mp4")) > 4


def _fail_late():
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) > 12:
            raise MidframeError("It failed.", "a test", "Nothing.")

    return fail


def test_pictures_lie_as_exif_says(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    upright = np.zeros((48, 32, 3), np.uint8)
    upright[:8] = 255
    stored = np.ascontiguousarray(np.rot90(upright))
    exif = Image.Exif()
    exif[274] = 6
    for k in range(2):
        Image.fromarray(stored).save(folder / f"{k}.jpg", exif=exif, quality=95)
    with open_clip(folder) as clip:
        assert (clip.info.height, clip.info.width) == (48, 32)
        frame = next(iter(clip)).pixels.numpy().astype(int)
    assert abs(frame - upright).mean() < 4


def test_names_with_other_digits_are_sorted(tmp_path):
    assert sorted(["10.jpg", "1²3.jpg", "2.jpg"], key=natural_key) == ["1²3.jpg", "2.jpg", "10.jpg"]


def test_a_missing_number_is_said(tmp_path, caplog):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in (1, 2, 3, 5, 6):
        Image.new("RGB", (32, 32)).save(folder / f"f{k:03d}.png")
    with open_clip(folder):
        pass
    assert "picture 4 is missing" in caplog.text


def stored_as(path):
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return container.streams.video[0].codec_context.name, frame.format.name


@pytest.mark.parametrize(
    ("pix_fmt", "output", "codec", "expected"),
    [
        ("yuv444p", "mp4", None, "yuv444p"),
        ("yuv422p10le", "mp4", None, "yuv422p10le"),
        ("yuv420p10le", "mkv", "h265", "yuv420p10le"),
        ("yuv444p", "webm", None, "yuv444p"),
        ("yuv420p10le", "webm", None, "yuv420p10le"),
        ("yuv422p", "mkv", "av1", "yuv420p"),
        ("bgr0", "mp4", None, "yuv420p"),
        ("gray", "mp4", None, "yuv420p"),
        ("yuv411p", "mp4", None, "yuv420p"),
        ("yuv444p12le", "mkv", "h265", "yuv444p12le"),
        ("yuv444p12le", "mkv", "h264", "yuv444p10le"),
        ("yuv444p", "mov", "prores", "yuv444p12le"),
    ],
)
def test_depth_and_chroma_are_kept_or_it_is_said(tmp_path, caplog, pix_fmt, output, codec, expected):
    source = write_clip(tmp_path / "in.mkv", pictures(3, (64, 64)), codec="ffv1", pix_fmt=pix_fmt)
    target = run(source, f"out.{output}", multiplier=1, coding=Coding(codec))
    assert stored_as(target)[1] == expected
    lossy = f"4:2:0 of {pix_fmt}" if pix_fmt in ("yuv422p", "yuv411p") else ""
    if (pix_fmt, codec) == ("yuv444p12le", "h264"):
        lossy = "10 of 12 bits"
    assert ("keeps" in caplog.text) == bool(lossy)
    assert lossy in caplog.text


@pytest.mark.parametrize(("output", "codec"), [("mp4", "hevc"), ("mkv", "hevc"), ("webm", "libdav1d")])
def test_high_dynamic_range_stays(tmp_path, output, codec):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    params = f"log-level=none:hdr10=1:master-display={display}:max-cll=1000,400"
    source = write_clip(
        tmp_path / "in.mkv",
        pictures(3, (64, 64), bits=16),
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": params},
        colour=(9, 1, 9, 16),
    )
    with open_clip(source) as clip:
        mastering = clip.info.mastering
        assert mastering is not None
        assert mastering.light == (1000, 400)
        assert clip.info.high_dynamic_range
    target = run(source, f"out.{output}", multiplier=1)
    assert stored_as(target) == (codec, "yuv420p10le")
    with open_clip(target) as clip:
        assert clip.info.colour.transfer == 16
        assert clip.info.colour.primaries == 9
        assert clip.info.mastering.light == (1000, 400)
        near = zip(clip.info.mastering.display, mastering.display, strict=True)
        assert all(abs(a - b) <= b / 500 + Fr(1, 5000) for a, b in near)


@pytest.mark.parametrize(
    ("coding", "match"),
    [
        (Coding(crf=-5), "no such quality"),
        (Coding(crf=99), "no such quality"),
        (Coding(crf=20, bitrate=10**6), "both given"),
        (Coding(pixel_format="nonsense"), "no such pixel format"),
        (Coding("h264_nvenc"), "no such hardware encoder"),
    ],
)
def test_what_an_encoder_cannot_do_is_said_before_anything_is_made(tmp_path, coding, match):
    source = film(tmp_path / "in.mp4", count=4)
    with pytest.raises(BadInputError, match=match):
        interpolate_video(source, tmp_path / "out.mp4", LerpModel(), Plan(coding=coding))
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    "coding",
    [Coding(preset="ultrafast"), Coding(bitrate=500_000), Coding("h265", lossless=True), Coding("source")],
)
def test_options_of_the_encoder_are_taken(tmp_path, coding):
    source = write_clip(tmp_path / "in.mp4", pictures(3, (64, 64)))
    target = run(source, "out.mkv", multiplier=1, coding=coding)
    assert len(times_of(target)) == 3
    if coding.lossless:
        assert [a.tolist() for a in planes_of(target)] == [a.tolist() for a in planes_of(source)]


@pytest.mark.parametrize(
    ("coding", "count"), [(Coding(sound="none"), 0), (Coding(sound="ac3"), 1), (Coding(streams=()), 0)]
)
def test_the_sound_can_be_chosen(tmp_path, coding, count):
    source = film(tmp_path / "in.mp4", sound="aac", count=8)
    found = sounds_of(run(source, "out.mkv", coding=coding))
    assert len(found) == count
    assert not coding.sound or not found or found[0][0] == coding.sound


def loops_of(path):
    with open_clip(path) as clip:
        return clip.info.loops


@pytest.mark.parametrize(
    ("own", "asked", "expected"), [("-1", None, 1), ("0", None, 0), ("2", None, 3), ("0", 1, 1)]
)
def test_a_gif_is_played_as_often_as_its_source(tmp_path, own, asked, expected):
    source = film(
        tmp_path / "in.gif", codec="gif", pix_fmt="rgb8", count=3, container_options={"loop": own}, options={}
    )
    assert loops_of(run(source, "out.gif", coding=Coding(loops=asked))) == expected
    assert loops_of(run(source, "out.apng", coding=Coding(loops=asked))) == expected


def test_avi_and_transport_streams_are_written(tmp_path):
    source = film(tmp_path / "in.mp4", sound="aac")
    for name in ("out.avi", "out.ts"):
        times = times_of(run(source, name))
        assert len(times) == 48
        # AVI counts 600 a second, and FFmpeg gives the last frame the time of its end.
        assert all(abs(b - a - Fr(1, 48)) <= Fr(1, 300) for a, b in pairwise(times[:-1]))
        assert len(sounds_of(tmp_path / name)) == 1


@pytest.mark.parametrize("sound", ["aac", "mp2", "pcm_s16le"])
def test_sound_that_begins_late_begins_late_in_avi(tmp_path, sound):
    """AVI has no times: silence comes first."""

    def later(packet):
        wait = round(Fr(1, 2) / packet.time_base) if packet.stream.type == "audio" else 0
        packet.pts, packet.dts = packet.pts + wait, packet.dts + wait
        return packet

    clip = film(tmp_path / "plain.mkv", sound=sound, options={"bf": "0"})
    target = run(remux(clip, tmp_path / "in.mkv", change=later), "out.avi", multiplier=1)
    with av.open(str(target)) as container:
        loud = [np.abs(frame.to_ndarray().astype(float)).mean() for frame in container.decode(audio=0)]
        (stream,) = container.streams.audio
        length = stream.duration * stream.time_base
    assert 1.4 < length < 1.6
    begins = next(index for index, level in enumerate(loud) if level > max(loud) / 4) / len(loud) * length
    assert 0.45 < begins < 0.56


@pytest.mark.parametrize("sound", ["eac3", "wavpack", "ac3"])
def test_sound_in_avi_keeps_its_time(tmp_path, sound):
    """AVI has a type for E-AC-3, and then counts its time wrong: 0.07 s for half a second."""
    source = film(tmp_path / "in.mkv", sound=sound, count=12)
    packets = audio_packets(run(source, "out.avi", multiplier=1))
    assert 0.4 < packets[-1][0] < 0.55


def test_an_animated_webp_is_read_with_its_times(tmp_path):
    source = film(tmp_path / "in.mp4", count=6)
    made = run(source, "made.webp")
    with open_clip(made) as clip:
        frames = list(clip)
        assert clip.info.loops == 0
    assert len(frames) == 11  # two that are the same are one
    assert abs(frames[-1].pts - Fr(10, 48)) < Fr(1, 100)
    again = run(made, "again.mp4")
    assert len(times_of(again)) in (21, 22)


def test_a_rate_that_matroska_cannot_tell_apart_is_refused(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(4), rate=1000)
    with pytest.raises(BadInputError, match="count milliseconds"):
        run(source, "out.mkv")
    assert times_of(run(source, "out.mp4"))[1] == Fr(1, 2000)


def test_a_file_that_was_cut_short_is_said(tmp_path, caplog):
    source = film(tmp_path / "in.mkv", count=72, options={"g": "8", "qp": "0"})
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 6 // 10])
    target = run(source, "out.mp4")
    assert len(times_of(target)) < 130
    assert "is cut short" in caplog.text


SOUNDS = [
    ("mkv", "aac", "5.1", 48000),
    ("mkv", "ac3", "5.1(side)", 48000),
    ("mkv", "eac3", "stereo", 48000),
    ("mkv", "flac", "7.1", 96000),
    ("mkv", "libopus", "quad", 48000),
    ("mkv", "libmp3lame", "mono", 22050),
    ("mkv", "pcm_s24le", "5.0", 48000),
    ("mkv", "pcm_f32le", "stereo", 44100),
    ("mov", "alac", "stereo", 44100),
    ("mov", "pcm_u8", "mono", 8000),
    ("avi", "adpcm_ima_wav", "stereo", 44100),
    ("avi", "mp2", "stereo", 48000),
    ("wmv", "wmav2", "stereo", 44100),
]


@pytest.mark.long
@pytest.mark.parametrize("output", [*OUTPUTS, "m4v", "avi", "ts"])
@pytest.mark.parametrize(("kind", "sound", "layout", "rate"), SOUNDS)
def test_the_whole_matrix_of_sounds_and_outputs(tmp_path, kind, sound, layout, rate, output):
    codec = "mpeg4" if kind in ("avi", "wmv") else "libx264"
    source = film(tmp_path / f"in.{kind}", sound=sound, layout=layout, rate=rate, codec=codec, count=12)
    assert len(sounds_of(run(source, f"out.{output}", multiplier=1))) == 1


PICTURES = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le"]
PICTURES += ["yuv444p12le", "gray", "gray16le", "bgr0", "gbrp14le"]


@pytest.mark.long
@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores", "ffv1"])
@pytest.mark.parametrize("pix_fmt", PICTURES)
def test_the_whole_matrix_of_pictures_and_codecs(tmp_path, caplog, pix_fmt, codec):
    source = write_clip(tmp_path / "in.mkv", pictures(2, (64, 64)), codec="ffv1", pix_fmt=pix_fmt)
    target = run(source, "out.mkv" if codec != "prores" else "out.mov", multiplier=1, coding=Coding(codec))
    with open_clip(source) as before, open_clip(target) as after:
        shallow = after.info.bits < min(before.info.bits, 12)
        assert shallow <= ("keeps" in caplog.text)
        first, second = next(iter(before)).pixels.double(), next(iter(after)).pixels.double()
    scale = [255 if info.bits <= 8 else 65535 for info in (before.info, after.info)]
    assert (first / scale[0] - second / scale[1]).abs().mean() < 0.02


@pytest.mark.parametrize("output", ["mp4", "mkv"])
def test_reordered_pictures_in_avi_come_one_after_the_other(tmp_path, output):
    source = film(tmp_path / "in.avi", sound="adpcm_ima_wav")
    times = times_of(run(source, f"out.{output}"))
    assert len(times) == 48
    assert all(abs((b - a) - Fr(1, 48)) < Fr(1, 500) for a, b in pairwise(times))


def test_a_part_of_reordered_pictures_in_avi_is_the_same_as_in_the_whole(tmp_path):
    source = film(tmp_path / "in.avi", count=48)
    with open_clip(source) as clip:
        whole = {frame.pts: frame.pixels for frame in clip}
    with open_clip(source) as clip:
        clip.start_at(Fr(1))
        assert all(bool((whole[frame.pts] == frame.pixels).all()) for frame in clip)


def test_a_stream_without_a_container_has_its_own_rate(tmp_path):
    film(tmp_path / "in.h264", muxer="h264")
    with open_clip(tmp_path / "in.h264") as opened:
        assert opened.info.rate == 24
        shown = [frame.pts for frame in opened]
    assert [pts - shown[0] for pts in shown] == [Fr(k, 24) for k in range(24)]


def test_matroska_with_sound_that_was_cut_short_is_said(tmp_path, caplog):
    source = film(tmp_path / "in.mkv", count=72, sound="flac", options={"g": "8", "qp": "0"})
    # The muxer of `film` writes all sound last: as recorders do it, both end at the same time.
    mixed = run(source, "mixed.mkv", multiplier=1)
    caplog.clear()
    data = mixed.read_bytes()
    mixed.write_bytes(data[: len(data) * 6 // 10])
    with open_clip(mixed) as clip:
        assert len(list(clip)) < 65
    assert "is cut short" in caplog.text


def test_a_picture_that_begins_after_its_sound_is_not_cut_short(tmp_path, caplog):
    def later(packet):
        wait = round(Fr(1, 2) / packet.time_base) if packet.stream.type == "video" else 0
        packet.pts, packet.dts = packet.pts + wait, packet.dts + wait
        return packet

    source = remux(
        film(tmp_path / "plain.mp4", sound="aac", options={"bf": "0"}), tmp_path / "in.mkv", change=later
    )
    with open_clip(source) as clip:
        assert clip.info.frames_estimate == 24
        assert len(list(clip)) == 24
        assert clip.info.start >= Fr(1, 2)
    assert "cut short" not in caplog.text


@pytest.mark.parametrize(
    ("codec", "output"), [("prores", "mp4"), ("av1", "mov"), ("vp9", "mov"), ("ffv1", "mov")]
)
def test_a_codec_that_a_format_does_not_take_is_said_first(tmp_path, codec, output):
    source = film(tmp_path / "in.mp4", count=4)
    with pytest.raises(BadInputError, match=f"files hold no {codec}"):
        run(source, f"out.{output}", coding=Coding(codec))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_sound_that_overlaps_where_recordings_are_joined_is_written(tmp_path):
    part = film(tmp_path / "part.mp4", sound="aac", rate=44100, count=23)
    ts = remux(part, tmp_path / "part.ts")
    source = tmp_path / "in.ts"
    source.write_bytes(ts.read_bytes() * 2)
    assert len(times_of(run(source, "out.mp4"))) == 92


def test_a_cover_that_a_muxer_would_drop_is_said(tmp_path, caplog):
    Image.new("RGB", (16, 16)).save(tmp_path / "cover.jpg")
    clip = film(
        tmp_path / "in.mkv",
        sound="aac",
        prepare=lambda out, _: out.add_attachment(
            "cover.jpg", "image/jpeg", (tmp_path / "cover.jpg").read_bytes()
        ),
    )
    run(clip, "out.mp4")
    assert "Left out" not in caplog.text
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.video) == 2
    run(clip, "tagged.mp4", metadata={"prompt": "{}"})
    run(clip, "out.mov")
    run(clip, "out.avi")
    assert caplog.text.count("holds no cover") == 3


@pytest.mark.skipif(
    "avif" not in {suffix[1:] for suffix in Image.registered_extensions()}, reason="no AVIF here"
)
def test_an_animated_avif_has_exact_times(tmp_path):
    frames = [Image.fromarray(picture) for picture in pictures(6)]
    frames[0].save(tmp_path / "in.avif", save_all=True, append_images=frames[1:], duration=41)
    with open_clip(tmp_path / "in.avif") as clip:
        assert [frame.pts for frame in clip] == [Fr(41 * k, 1000) for k in range(6)]


@pytest.mark.skipif("avif" not in av.formats_available, reason="no AVIF here")
def test_an_animated_avif_is_written(tmp_path, caplog):
    source = film(tmp_path / "in.mkv", count=4, codec="ffv1", pix_fmt="bgra", sound="flac")
    (picture, sound, *_) = describe_output(source, tmp_path / "out.avif", Plan())
    assert all(text in picture.why for text in ("libsvtav1", "no transparency"))
    assert sound.fate == "left out"
    target = run(source, "out.avif")
    assert all(text in caplog.text for text in ("no transparency", "nothing but the picture"))
    with open_clip(target) as clip:
        assert [(frame.pts, *frame.pixels.shape) for frame in clip] == [
            (Fr(k, 48), 48, 64, 3) for k in range(8)
        ]


def test_what_a_picture_loses_is_in_its_line(tmp_path):
    source = film(tmp_path / "in.mkv", count=2, pix_fmt="yuv444p10le")
    assert "keeps 8 of 10 bits and 4:2:0 of" in describe_output(source, tmp_path / "out.webp", Plan())[0].why


def test_an_mp4_of_variable_rate_is_as_long_as_its_last_picture_says(tmp_path):
    source = film(tmp_path / "in.mkv", count=8, times=[0, 1, 2, 3, 4, 8, 9, 20])
    target = run(source, "out.mp4", multiplier=1)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert abs(stream.duration * stream.time_base - Fr(21, 24)) < Fr(1, 100)


def test_a_picture_is_shown_when_its_first_frame_is_and_not_when_the_stream_is_said_to_begin(tmp_path):
    """Of Matroska with AAC, FFmpeg says that both streams begin at 21 ms, and gives frames from 0 on."""
    path = write_clip(tmp_path / "in.mkv", pictures(6, (64, 96)), sound="aac")
    with open_clip(path) as clip:
        assert [frame.pts for frame in clip] == [Fr(i, 24) for i in range(6)]
    said = SimpleNamespace(start_time=21, time_base=Fr(1, 1000))
    assert _origin(said, Fr(0), (said,)) == 0
    assert _origin(said, Fr(42, 1000), (said,)) == Fr(21, 1000)


def test_a_last_picture_that_is_shown_for_no_time_is_shown_as_long_as_the_others(tmp_path):
    """Phones write a last frame of one tick: both of its pictures had one time in Matroska."""
    clip = film(tmp_path / "in.mp4", count=6, options={"bf": "0"})
    source = remux(clip, tmp_path / "short.mp4", change=_with_a_short_end)
    times = times_of(run(source, "out.mkv"))
    assert len(times) == 12
    # By the header six frames come in five 24ths of a second: that is how long the last one is taken for.
    assert abs(times[-1] - times[-2] - Fr(5, 24 * 12)) < Fr(1, 500)


def _with_a_short_end(packet):
    packet.duration = packet.duration if packet.pts * packet.time_base < Fr(5, 24) else 1
    return packet


def test_a_rate_as_fast_as_the_clock_is_none():
    stream = SimpleNamespace(average_rate=Fr(1000), guessed_rate=Fr(60))
    assert _average_rate(stream, Fr(1, 1000)) == 60
    assert _average_rate(SimpleNamespace(average_rate=Fr(24), guessed_rate=Fr(24)), Fr(1, 24)) == 24


def test_a_stream_of_no_known_codec_is_left_out_and_said(tmp_path, caplog):
    source = film(tmp_path / "in.mkv", texts="subrip", count=8)
    data = source.read_bytes()
    assert data.count(b"S_TEXT/UTF8") == 1
    source.write_bytes(data.replace(b"S_TEXT/UTF8", b"S_TEXT/XYZ8"))
    assert len(times_of(run(source, "out.mkv"))) == 16
    assert "subtitle of no known codec" in caplog.text


def named_tags(stream):
    """Tags of a stream by the names that all formats share."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return {
        "title": tags.get("title", tags.get("name")),
        **{key: tags.get(key) for key in ("language", "timecode")},
    }


@pytest.mark.parametrize(
    ("kind", "output"),
    thinned(
        [(kind, output) for kind in ("mov", "mp4", "mkv", "mxf") for output in ("mov", "mp4", "mkv")],
        (1, 5, 6, 9),
    ),
)
def test_the_timecode_is_carried(tmp_path, caplog, kind, output):
    codec, sound = ("mpeg2video", "pcm_s16le") if kind == "mxf" else ("libx264", "aac")
    source = film(
        tmp_path / f"in.{kind}",
        sound=sound,
        codec=codec,
        count=12,
        prepare=lambda out, picture: picture.metadata.update({"timecode": "01:00:00:00"}),
    )
    with av.open(str(run(source, f"out.{output}", multiplier=1))) as container:
        # MXF has it of the file, and Matroska takes it where it is.
        owners = (container, *container.streams)
        assert "01:00:00:00" in [
            value for owner in owners for key, value in owner.metadata.items() if key.lower() == "timecode"
        ]
    assert "Left out" not in caplog.text


@pytest.mark.parametrize(
    ("output", "lost"),
    [("ts", "timecode"), ("avi", "timecode"), ("gif", "timecode"), ("pictures", "timecode")],
)
def test_a_timecode_that_a_format_does_not_hold_is_said(tmp_path, caplog, output, lost):
    source = film(
        tmp_path / "in.mov",
        count=3,
        prepare=lambda out, picture: picture.metadata.update({"timecode": "01:00:00:00"}),
    )
    target = run(source, "out" if output == "pictures" else f"out.{output}")
    (said,) = [record.message for record in caplog.records if "Left out" in record.message]
    assert "tags timecode (" in said
    if output == "avi":
        with av.open(str(target)) as container:
            assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize(
    ("kind", "output"),
    thinned(
        [(kind, output) for kind in ("mkv", "mov", "mp4") for output in ("mkv", "mov", "mp4", "webm", "avi")],
        (1, 7, 10, 14),
    ),
)
def test_a_second_picture_is_carried_with_its_name_or_named(tmp_path, caplog, kind, output):
    source = two_films(
        film(tmp_path / "plain.mp4", count=12),
        tmp_path / f"in.{kind}",
        title="first",
        language="ger" if kind == "mov" else "deu",
    )
    with av.open(str(run(source, f"out.{output}"))) as container:
        first, *others = container.streams.video
        tags = named_tags(first)
        assert tags["title"] == "first"
        if output in ("webm", "avi"):
            assert not others
            assert "stream 1, picture h264" in caplog.text
        else:
            assert [named_tags(other)["title"] for other in others] == ["second"]
            assert sum(1 for packet in container.demux(others[0]) if packet.size) == 12
            assert "Left out" not in caplog.text
        assert tags["language"] == (None if output == "avi" else "ger" if "mov" in (kind, output) else "deu")


@pytest.mark.parametrize(
    ("pix_fmt", "output"), [("bgra", "mp4"), ("yuva420p", "ts"), ("bgra", "mkv"), ("bgr0", "mp4")]
)
def test_transparency_that_is_lost_is_said_once(tmp_path, caplog, pix_fmt, output):
    channels = 4 if "a" in pix_fmt else 3
    source = write_clip(tmp_path / "in.mkv", pictures(3, channels=channels), codec="ffv1", pix_fmt=pix_fmt)
    run(source, f"out.{output}", multiplier=1)
    assert caplog.text.count("transparency") == (channels == 4 and output != "mkv")


@pytest.mark.parametrize("output", ["mp4", "mov"])
def test_a_gap_that_an_output_cannot_hold_is_named_and_what_was_made_is_kept(tmp_path, output):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level, milliseconds in enumerate((0, 40, 80, 3 * 10**9, 3 * 10**9 + 40)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = milliseconds, Fr(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(MidframeError, match="shown for longer") as caught:
        run(source, f"out.{output}")
    assert "disk" not in str(caught.value)
    assert "mkv" in caught.value.advice
    kept = times_of(tmp_path / f"out.partial.{output}")
    assert [time - kept[0] for time in kept] == [Fr(k, 50) for k in range(4)]
    assert len(times_of(run(source, "out.mkv"))) == 10


def test_av1_says_nothing_by_itself(monkeypatch):
    """SVT-AV1 reads this once: it must be there before the encoder is tried, which is before it is used."""
    monkeypatch.delenv("SVT_LOG", raising=False)
    _picture_refused.cache_clear()
    check_picture(Path("out.mkv"), "av1", muxer="matroska", encoder="libsvtav1", pixel_format="yuv420p")
    assert os.environ["SVT_LOG"] == "1"
