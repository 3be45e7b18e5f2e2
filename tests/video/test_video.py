import struct
import threading
import time
from fractions import Fraction as Fr
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from clips import audio_packets, frames_of, pictures, planes_of, times_of, write_clip
from fakes import LerpModel, RecordingHost
from midframe.engine.timeline import Moment, by_multiplier
from midframe.errors import BadInputError, MidframeError
from midframe.memory.staging import as_dtype
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.read.images import natural_key
from midframe.video.stream import workers
from midframe.video.stream.clock import Clock
from midframe.video.stream.pipe import AbandonedError, Pipe
from PIL import Image

NTSC = Fr(24000, 1001)


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("midframe")] == []


def residue(folder):
    return sorted(p.name for p in folder.iterdir() if "tmp" in p.name or "partial" in p.name)


@pytest.mark.parametrize(
    ("rate", "plan", "count"),
    [
        (24, Plan(2), 14),
        (NTSC, Plan(3), 21),
        (24, Plan(2, end="end_on_last"), 13),
        (24, Plan(1), 7),
        (25, Plan(fps=60), 17),
        (NTSC, Plan(fps=60), 18),
    ],
)
def test_every_timestamp_is_exact(tmp_path, rate, plan, count):
    source = write_clip(tmp_path / "in.mp4", pictures(7), rate=rate)
    written = interpolate_video(source, tmp_path / "out.mp4", LerpModel(), plan)
    step = 1 / Fr(plan.fps or rate * plan.multiplier)
    assert times_of(written.path) == [k * step for k in range(count)]
    assert (written.frames, written.source_frames) == (count, 7)
    with av.open(str(written.path)) as container:
        assert container.streams.video[0].average_rate == 1 / step


def test_frames_are_the_right_ones(tmp_path):
    source = write_clip(tmp_path / "in.mkv", pictures(5), codec="ffv1", pix_fmt="bgr0", rate=NTSC)
    interpolate_video(
        source, tmp_path / "out.mkv", LerpModel(), Plan(fps=60, coding=Coding("ffv1"), end="end_on_last")
    )
    frames = np.stack(frames_of(source)).astype(float)
    made = frames_of(tmp_path / "out.mkv")
    assert len(made) == 11
    for k, got in enumerate(made):
        position = k * NTSC / 60
        i, t = int(position), float(position % 1)
        wanted = frames[i] if t == 0 else (1 - t) * frames[i] + t * frames[i + 1]
        assert abs(got - wanted).max() <= 0.51, k
    # Matroska rounds to milliseconds; what was meant is read back.
    with open_clip(tmp_path / "out.mkv") as clip:
        assert [f.pts for f in clip] == [Fr(k, 60) for k in range(11)]
        assert clip.info.rate == 60


def test_a_variable_rate_is_honoured(tmp_path):
    times = [Fr(n, 120) for n in (0, 4, 12, 15, 35)]
    source = write_clip(tmp_path / "in.mp4", pictures(5), times=times)
    interpolate_video(source, tmp_path / "x3.mp4", LerpModel(), Plan(3, end="end_on_last"))
    assert times_of(tmp_path / "x3.mp4") == [
        a + (b - a) * Fr(k, 3) for a, b in pairwise(times) for k in range(3)
    ] + [times[-1]]
    interpolate_video(
        source, tmp_path / "30.mkv", LerpModel(), Plan(fps=30, coding=Coding("ffv1"), end="end_on_last")
    )
    with open_clip(source) as clip:
        frames = [frame.pixels.numpy().astype(float) for frame in clip]
    made = frames_of(tmp_path / "30.mkv")
    assert len(made) == 9
    for k, i, t in ((1, 1, 0), (2, 1, 0.5), (3, 2, 0), (6, 3, 9 / 20)):
        assert abs(made[k] - ((1 - t) * frames[i] + t * frames[min(i + 1, 4)])).max() <= 0.51


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv"])
def test_sound_is_copied_packet_by_packet(tmp_path, extension):
    source = write_clip(tmp_path / "in.mp4", pictures(24), sound="aac")
    interpolate_video(source, tmp_path / f"out.{extension}", LerpModel())
    was, now = audio_packets(source), audio_packets(tmp_path / f"out.{extension}")
    assert [data for _, data in now] == [data for _, data in was]
    assert all(
        abs((a - now[0][0]) - (b - was[0][0])) <= Fr(1, 1000) for (a, _), (b, _) in zip(now, was, strict=True)
    )


def test_sound_that_the_format_cannot_hold_is_encoded_again(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(24), sound="aac")
    interpolate_video(source, tmp_path / "out.webm", LerpModel())
    with av.open(str(tmp_path / "out.webm")) as container:
        assert container.streams.audio[0].codec_context.name == "opus"
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        assert abs(len(sound) / 48000 - 1.0) < 0.05
        assert 0.1 < np.abs(sound).max() < 1
    interpolate_video(source, tmp_path / "out.gif", LerpModel())
    with av.open(str(tmp_path / "out.gif")) as container:
        assert not container.streams.audio


@pytest.mark.parametrize(
    ("pix_fmt", "matrix", "level", "bound"),
    [
        ("yuv420p", 1, 1, 0.05),
        ("yuv420p", 5, 1, 0.05),
        ("yuv420p", None, None, 0.05),
        ("yuvj420p", 5, 2, 0.6),
        ("yuv420p10le", 9, 1, 0.3),
    ],
)
def test_colours_of_source_frames_do_not_shift(tmp_path, pix_fmt, matrix, level, bound):
    deep = "10" in pix_fmt
    source = write_clip(
        tmp_path / "in.mp4",
        pictures(3, (48, 64), bits=16 if deep else 8),
        pix_fmt=pix_fmt,
        colour=matrix and (matrix, level),
    )
    interpolate_video(
        source, tmp_path / "out.mkv", LerpModel(), Plan(coding=Coding("h264", crf=0), end="end_on_last")
    )
    for was, now in zip(planes_of(source), planes_of(tmp_path / "out.mkv")[::2], strict=True):
        for part in (slice(0, 48 * 64), slice(48 * 64, None)):  # luma, chroma
            assert abs((now - was)[part].mean()) < bound
        assert abs(now - was).max() <= (8 if deep else 2)
    with open_clip(source) as a, open_clip(tmp_path / "out.mkv") as b:
        assert (a.info.colour, a.info.bits) == (b.info.colour, b.info.bits)
        assert next(iter(a)).pixels.dtype == (torch.uint16 if deep else torch.uint8)


def test_folder_of_sixteen_bit_pictures(tmp_path):
    from midframe.video.write.pictures import FolderWriter

    frames = pictures(11, bits=16, channels=4)
    writer = FolderWriter(tmp_path / "in", 16)
    for frame in frames:
        writer.write(torch.from_numpy(frame), Moment(Fr(0), Fr(1)))
    for i in range(11):
        (tmp_path / "in" / f"{i:08d}.png").rename(tmp_path / "in" / f"shot{i}.png")
    written = interpolate_video(
        tmp_path / "in", tmp_path / "out", LerpModel(), Plan(end="end_on_last", source_fps=Fr(10))
    )
    assert written.frames == 21
    with open_clip(tmp_path / "out") as clip:
        made = [frame.pixels.numpy().astype(float) for frame in clip]
    frames = np.stack(frames).astype(float)
    assert abs(np.stack(made[::2]) - frames).max() == 0
    assert abs(np.stack(made[1::2]) - (frames[1:] + frames[:-1]) / 2).max() <= 0.6
    interpolate_video(tmp_path / "in", tmp_path / "out.mp4", LerpModel(), Plan(source_fps=Fr(10)))
    assert times_of(tmp_path / "out.mp4") == [Fr(k, 20) for k in range(22)]
    with open_clip(tmp_path / "out.mp4") as clip:
        assert clip.info.bits == 10


def raw_tiff(path, pixels, order):
    """A TIFF of 16 bit as simple as can be, in either order of bytes ('<' or '>')."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, 8 + len(data)),
        (259, 3, 1, 1),  # not compressed
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        *([(338, 3, 1, 2)] if channels == 4 else []),  # alpha, not premultiplied
    ]
    fields = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + struct.pack(
            f"{order}HH" if kind == 3 and count == 1 else f"{order}I",
            *([value, 0] if kind == 3 and count == 1 else [value]),
        )
        for tag, kind, count, value in tags
    )
    start = 8 + len(data) + len(bits)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    path.write_bytes(head + data + bits + struct.pack(f"{order}H", len(tags)) + fields + bytes(4))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_tiff_is_read(tmp_path, order, channels):
    frames = pictures(3, (31, 47), bits=16, channels=channels)
    for i, pixels in enumerate(frames):
        raw_tiff(tmp_path / f"{i}.tif", pixels, order)
    with open_clip(tmp_path) as clip:
        assert (clip.info.bits, clip.info.alpha) == (16, channels == 4)
        assert np.array_equal([frame.pixels.numpy() for frame in clip], frames)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("images", ["png", "tiff"])
def test_folders_of_pictures(tmp_path, bits, channels, images):
    """Source frames come back bit for bit, made ones rounded."""
    (tmp_path / "in").mkdir()
    frames = np.stack(pictures(3, (31, 47), bits=bits, channels=channels))
    for i, pixels in enumerate(frames):
        if bits == 16:
            raw_tiff(tmp_path / "in" / f"{i}.tif", pixels, "<")
        else:
            Image.fromarray(pixels).save(tmp_path / "in" / f"{i}.png")
    interpolate_video(
        tmp_path / "in", tmp_path / "out", LerpModel(), Plan(coding=Coding(images=images), end="end_on_last")
    )
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == [f"{k:08d}.{images}" for k in range(5)]
    with open_clip(tmp_path / "out") as clip:
        assert clip.info.bits == bits
        made = np.stack([frame.pixels.numpy() for frame in clip])
    assert np.array_equal(made[::2], frames)
    middle = (frames[1:].astype(np.int64) + frames[:-1] + 1) // 2
    halves = (frames[1:].astype(np.int64) + frames[:-1]) % 2 == 1
    assert np.array_equal(made[1::2][~halves], middle[~halves])  # truncation would be one less on many
    assert abs(made[1::2].astype(np.int64) - middle)[halves].max() <= 1
    if bits == 8:  # as another reader sees them
        theirs = [np.asarray(Image.open(tmp_path / "out" / name)) for name in names]
        assert np.array_equal(theirs, made)
    with pytest.raises(BadInputError, match="bmp"):
        Coding(images="bmp")


@pytest.mark.parametrize(
    ("mode", "extension", "alpha"),
    [
        ("L", "png", False),
        ("P", "png", True),
        ("LA", "png", True),
        ("1", "png", False),
        ("RGB", "tiff", False),
        ("RGB", "jpg", False),
        ("I;16", "png", False),
    ],
)
def test_every_kind_of_image_is_read(tmp_path, mode, extension, alpha):
    wanted = []
    for i, pixels in enumerate(pictures(2)):
        image = Image.fromarray(pixels)
        image = (
            Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
        )
        image.save(tmp_path / f"{i}.{extension}")
        wanted.append(pixels[..., :1].repeat(3, 2) if mode == "I;16" else np.asarray(image.convert("RGB")))
    with open_clip(tmp_path) as clip:
        assert clip.info.alpha == alpha
        got = [as_dtype(frame.pixels, torch.uint8)[..., :3].int().numpy() for frame in clip]
    assert abs(np.stack(got) - np.stack(wanted)).max() <= (10 if extension == "jpg" else 0)


def test_rounding_not_truncation():
    values = torch.tensor([0.0, 0.4, 0.6, 127.49, 127.51, 254.6, 255.0, 300.0, -3.0])
    assert as_dtype(values / 255, torch.uint8).tolist() == [0, 0, 1, 127, 128, 255, 255, 255, 0]
    every = torch.arange(65536).float() / 65535
    assert torch.equal(as_dtype(every, torch.uint16).int(), torch.arange(65536, dtype=torch.int32))
    assert as_dtype(torch.tensor([7, 255], dtype=torch.uint8), torch.uint16).tolist() == [7 * 257, 65535]
    assert as_dtype(as_dtype(torch.tensor([7], dtype=torch.uint8), torch.uint16), torch.uint8).tolist() == [7]


@pytest.mark.parametrize("extension", ["webm", "mov", "mkv", "apng", "gif"])
def test_transparency_is_carried(tmp_path, extension):
    source = write_clip(
        tmp_path / "in.mov", pictures(3, channels=4), codec="prores_ks", pix_fmt="yuva444p10le"
    )
    interpolate_video(source, tmp_path / f"out.{extension}", LerpModel())
    with open_clip(source) as a, open_clip(tmp_path / f"out.{extension}") as b:
        assert a.info.alpha
        assert b.info.alpha
        was, now = [as_dtype(f.pixels, torch.uint8) for f in a], [as_dtype(f.pixels, torch.uint8) for f in b]
    assert len(now) == 6
    bound = 80 if extension == "gif" else 4  # in a GIF a pixel is there or not
    assert abs(was[1][..., 3].float() - now[2][..., 3].float()).mean() < bound
    interpolate_video(source, tmp_path / "out.mp4", LerpModel())
    with open_clip(tmp_path / "out.mp4") as clip:
        assert not clip.info.alpha


def test_animated_image_in_and_out(tmp_path):
    source = write_clip(tmp_path / "in.gif", pictures(6), rate=10, codec="gif", pix_fmt="rgb8")
    interpolate_video(source, tmp_path / "out.gif", LerpModel())
    assert times_of(tmp_path / "out.gif") == [Fr(k, 20) for k in range(12)]
    interpolate_video(source, tmp_path / "out.webp", LerpModel())
    image = pytest.importorskip("PIL.Image").open(tmp_path / "out.webp")
    assert image.is_animated
    assert image.n_frames >= 11


@pytest.mark.parametrize("size", [(33, 48), (31, 47), (1, 1)])
def test_odd_sizes_are_not_cropped(tmp_path, size):
    source = write_clip(tmp_path / "in.mkv", pictures(3, size), codec="ffv1", pix_fmt="bgr0")
    for name in ("out.mp4", "out.webm") if size != (1, 1) else ("out.mp4",):
        interpolate_video(source, tmp_path / name, LerpModel())
        assert [f.shape[:2] for f in frames_of(tmp_path / name)] == [size] * 6


def test_a_turned_picture_comes_out_upright(tmp_path):
    frames = pictures(3)
    source = write_clip(tmp_path / "in.mp4", frames)
    with av.open(str(source)) as container, av.open(str(tmp_path / "turned.mp4"), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(90)
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with av.open(str(tmp_path / "turned.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 90
    interpolate_video(tmp_path / "turned.mp4", tmp_path / "out.mp4", LerpModel())
    upright = frames_of(tmp_path / "out.mp4")[0].astype(float)
    assert upright.shape == (48, 32, 3)
    assert abs(upright - np.rot90(frames[0])).mean() < 6


def test_metadata_and_subtitles_are_carried(tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", pictures(6), sound="aac")
    (tmp_path / "lines.srt").write_text("1\n00:00:00,050 --> 00:00:00,200\nhello\n")
    with (
        av.open(str(clip)) as a,
        av.open(str(tmp_path / "lines.srt")) as b,
        av.open(str(tmp_path / "in.mkv"), "w") as out,
    ):
        streams = {(c, s.index): out.add_stream_from_template(s) for c in (a, b) for s in c.streams}
        streams[a, 1].metadata["language"] = "fin"
        out.metadata["title"] = "a title"
        for container in (a, b):
            for packet in container.demux():
                if packet.dts is not None:
                    packet.stream = streams[container, packet.stream.index]
                    out.mux(packet)
    interpolate_video(tmp_path / "in.mkv", tmp_path / "out.mkv", LerpModel())
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.metadata["title"] == "a title"
        assert container.streams.audio[0].metadata["language"] == "fin"
        assert [bytes(p) for p in container.demux(container.streams.subtitles[0]) if p.dts is not None] == [
            b"hello"
        ]


def test_sound_starts_where_the_picture_starts(tmp_path):
    """A transport stream begins at 1.4 seconds; the output begins at 0 with both."""
    clip = write_clip(tmp_path / "clip.mp4", pictures(24), sound="aac", options={"qp": "0", "bf": "0"})
    source = tmp_path / "in.ts"
    with (
        av.open(str(clip)) as container,
        av.open(str(source), "w", container_options={"output_ts_offset": "1.4"}) as out,
    ):
        streams = [out.add_stream_from_template(stream) for stream in container.streams]
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    before = times_of(source)[0] - audio_packets(source)[0][0]
    assert times_of(source)[0] > 1
    interpolate_video(source, tmp_path / "out.mp4", LerpModel())
    times = times_of(tmp_path / "out.mp4")
    assert times[0] < Fr(1, 10)
    assert abs(times[0] - audio_packets(tmp_path / "out.mp4")[0][0] - before) < Fr(1, 100)
    assert [b - a for a, b in pairwise(times)] == [Fr(1, 48)] * 47


class Failing(LerpModel):
    def __init__(self, at, error):
        super().__init__(self.fail)
        self.at, self.error = at, error

    def fail(self, step):
        if step == "between" and self.calls["between"] == self.at:
            raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), BadInputError("wrong", "found", "advice"), MemoryError()]
)
def test_a_failure_keeps_the_finished_frames(tmp_path, error):
    source = write_clip(tmp_path / "in.mp4", pictures(12), sound="aac")
    lasting = isinstance(error, MemoryError)
    model = Failing(8, error)
    if lasting:
        model.fail = None
        model.before = lambda step: (
            (_ for _ in ()).throw(error) if step == "between" and model.calls["between"] >= 8 else None
        )
    with pytest.raises((RuntimeError, MidframeError)) as caught:
        interpolate_video(source, tmp_path / "out.mp4", model)
    partial = tmp_path / "out.partial.mp4"
    assert residue(tmp_path) == [partial.name]
    assert times_of(partial) == [Fr(k, 48) for k in range(15)]
    if isinstance(caught.value, MidframeError):
        assert caught.value.finished == 15
        assert str(partial) in str(caught.value)
    else:
        assert caught.value is error
        assert "fail" in [frame.name for frame in caught.traceback]


def test_a_folder_that_fails_is_kept_too(tmp_path):
    interpolate_video(
        write_clip(tmp_path / "in.mp4", pictures(6)), tmp_path / "pictures", LerpModel(), Plan(1)
    )
    with pytest.raises(RuntimeError):
        interpolate_video(tmp_path / "pictures", tmp_path / "out", Failing(3, RuntimeError("broken")))
    assert len(list((tmp_path / "out.partial").iterdir())) == 5
    assert not (tmp_path / "out").exists()


def test_nothing_finished_leaves_nothing(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(3))
    broken = LerpModel(lambda step: (_ for _ in ()).throw(RuntimeError(step)) if step == "open" else None)
    with pytest.raises(RuntimeError, match="open"):
        interpolate_video(source, tmp_path / "out.mp4", broken, Plan(fps=Fr(24000, 1001)))
    assert not residue(tmp_path)


class Cancelling(RecordingHost):
    """Cancels at a check, with an ordinary exception as older hosts do or with one that is none."""

    def __init__(self, at, kind):
        super().__init__()
        self.at, self.kind = at, kind

    def check_cancelled(self):
        self.checks += 1
        if self.checks >= self.at:
            raise self.kind("cancelled")


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Interrupt, Exception])
def test_cancel_leaves_no_residue(tmp_path, kind):
    source = write_clip(tmp_path / "in.mp4", pictures(6), sound="aac")
    quiet = Cancelling(10**9, kind)
    interpolate_video(source, tmp_path / "whole.mp4", LerpModel(), host=quiet)
    for at in (1, 2, 5, 9, quiet.checks - 1):
        with pytest.raises(kind, match="cancelled"):
            interpolate_video(source, tmp_path / "out.mp4", LerpModel(), host=Cancelling(at, kind))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "whole.mp4"]


def test_cancel_is_heard_while_the_other_side_is_slow(tmp_path, monkeypatch):
    source = write_clip(tmp_path / "in.mp4", pictures(4))
    stuck = threading.Event()
    monkeypatch.setattr(workers.DecodeThread, "_run", lambda self: stuck.wait(20))
    cancel = Cancelling(3, KeyboardInterrupt)
    stopper = threading.Timer(1.0, stuck.set)
    stopper.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interpolate_video(source, tmp_path / "out.mp4", LerpModel(), host=cancel)
    assert time.monotonic() - began < 5
    assert cancel.checks == 3


def test_what_the_encoder_raises_comes_out_with_its_traceback(tmp_path, monkeypatch):
    from midframe.video.write.encode import VideoWriter

    write = VideoWriter.write

    def full(self, pixels, moment):
        if moment.time >= Fr(1, 4):
            raise OSError(28, "No space left on device")
        write(self, pixels, moment)

    monkeypatch.setattr(VideoWriter, "write", full)
    source = write_clip(tmp_path / "in.mp4", pictures(12))
    with pytest.raises(OSError, match="No space") as caught:
        interpolate_video(source, tmp_path / "out.mp4", LerpModel())
    assert "full" in [frame.name for frame in caught.traceback]
    assert residue(tmp_path) == ["out.partial.mp4"]
    assert len(times_of(tmp_path / "out.partial.mp4")) == 12


def test_a_damaged_packet_does_not_end_the_clip(tmp_path):
    source = write_clip(tmp_path / "in.mkv", pictures(9), codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(source.read_bytes())
    marks = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    assert len(marks) == 9
    data[marks[4] : marks[5] - 30] = bytes(marks[5] - 30 - marks[4])
    source.write_bytes(data)
    written = interpolate_video(source, tmp_path / "out.mp4", LerpModel(), Plan(end="end_on_last"))
    assert written.source_frames == 8
    assert times_of(tmp_path / "out.mp4")[-1] == Fr(8, 24)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_what_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(BadInputError, match="cannot be read"):
        interpolate_video(tmp_path / "in.mp4", tmp_path / "out.mp4", LerpModel())
    assert not residue(tmp_path)


def test_refusals(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(2))
    there = tmp_path / "there.mp4"
    there.write_text("mine")
    other = tmp_path / "folder"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    model = LerpModel()
    for target, plan, match in [
        (source, Plan(overwrite=True), "are the same"),
        (there, Plan(), "there already"),
        (other, Plan(overwrite=True), "more than numbered pictures"),
        (tmp_path / "none" / "out.mp4", Plan(), "does not exist"),
        (tmp_path / "out.xyz", Plan(), "cannot be written"),
        (tmp_path / "out.mp4", Plan(coding=Coding("mp3")), "no such codec"),
        (tmp_path / "out.mp4", Plan(coding=Coding("h265")), "as small as this"),
        (tmp_path / "out.gif", Plan(coding=Coding("h264")), "hold no h264"),
    ]:
        with pytest.raises(BadInputError, match=match):
            interpolate_video(source, target, model, plan)
    with pytest.raises(BadInputError, match="must be positive"):
        Plan(fps=0)
    with pytest.raises(BadInputError, match="multiplier"):
        Plan(0)
    with pytest.raises(BadInputError, match="no such file"):
        interpolate_video(tmp_path / "nothing.mp4", tmp_path / "out.mp4", model)
    with pytest.raises(BadInputError, match="no images"):
        interpolate_video(other, tmp_path / "out.mp4", model)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "in.mp4", "there.mp4"]
    assert there.read_text() == "mine"
    interpolate_video(source, there, model, Plan(overwrite=True))
    assert len(times_of(there)) == 4


def test_progress_has_an_estimate_of_the_total(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(10))
    host = RecordingHost()
    interpolate_video(source, tmp_path / "out.mp4", LerpModel(), host=host)
    assert [(done, total) for done, total, _ in host.seen] == [(k, 20) for k in range(1, 21)]


def test_a_pipe_is_bounded_in_bytes():
    pipe, put = Pipe(100), []

    def fill():
        for i in range(6):
            pipe.put(i, 40)
            put.append(i)
        pipe.finish(ValueError("end"))

    thread = threading.Thread(target=fill)
    thread.start()
    time.sleep(0.3)
    assert put == [0, 1]
    got = []
    with pytest.raises(ValueError, match="end"):
        got.extend(pipe.get())
    thread.join()
    items, large = [], Pipe(10)
    large.put("larger than the pipe", 1000)
    large.abandon()
    with pytest.raises(AbandonedError):
        items.extend(large.get())
    with pytest.raises(AbandonedError):
        large.put("late", 1)


def test_the_clock_asks_for_nothing_beyond_what_is_read():
    clock = Clock(by_multiplier(2, end="hold_last", source_fps=Fr(10)))
    clock.read(Fr(0), None)
    clock.read(Fr(1, 10), None)
    assert clock.shown(0, last=False) == (0, Fr(1, 2))
    assert clock.shown(1, last=True) == (0, 0)
    assert [clock.next_moment().time for _ in range(4)] == [0, Fr(1, 20), Fr(1, 10), Fr(3, 20)]


def test_natural_order():
    names = ["b2", "a10", "a9", "A1", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "A1", "a9", "a10", "b2"]


@pytest.mark.parametrize("count", [1, 2])
def test_h265_of_fewer_frames_than_the_encoder_reorders_is_written_every_time(tmp_path, count):
    source = write_clip(tmp_path / "in.mkv", pictures(count, (64, 64)), codec="ffv1")
    for attempt in range(6):
        target = tmp_path / f"{attempt}.mkv"
        interpolate_video(source, target, LerpModel(), Plan(1, coding=Coding("h265")))
        assert len(times_of(target)) == count
