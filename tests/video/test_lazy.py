"""Videos that are described first and made later: whole, in part, one from another, out of memory."""

import itertools
import threading
from dataclasses import replace
from fractions import Fraction as Fr
from functools import partial
from io import BytesIO

import av
import numpy as np
import pytest
import torch
from clips import (
    KINDS,
    NTSC,
    UNEVEN,
    audio_packets,
    frames_of,
    h264,
    pictures,
    samples_of,
    times_of,
    write_clip,
)
from fakes import LerpModel, RecordingHost
from made_videos import lend
from midframe.errors import BadInputError
from midframe.memory.sinks import TensorSink
from midframe.memory.staging import as_dtype
from midframe.vfi_utils import States
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.read.clip import Waveform
from midframe.video.read.span import Span
from midframe.video.read.tensor import TensorClip
from midframe.video.read.trim import Trimmed
from midframe.video.stream.lazy import LazyVideo
from thin import thinned


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("midframe")] == []


def lazy(source, plan=None, model=None):
    opener = source if callable(source) else lambda alpha: open_clip(source, alpha=alpha)
    return LazyVideo(opener, plan or Plan(), partial(lend, model=model))


def made(video):
    return video.frames(TensorSink, None)


def tensors(frames, rate=24, **how):
    return lambda alpha: TensorClip(frames, Fr(rate), alpha=alpha, **how)


PLANS = {"x3": Plan(3), "fps": Plan(fps=NTSC * 2), "slower": Plan(fps=10, end="end_on_last")}
LISTED = {"list and states": Plan([3, 1, 4, 0, 2, 5, 1, 3], states=States({5, 9, 12, 13}))}


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        # Every kind of clip with one plan, in turn; `make test-all` has all of them.
        pytest.param(
            kind,
            plan,
            id=f"{kind}-{name}",
            marks=() if number % len(PLANS) == turn else pytest.mark.long,
        )
        for number, kind in enumerate(KINDS)
        for turn, (name, plan) in enumerate(PLANS.items())
    ],
)
def test_what_it_says_of_itself_is_what_comes_out(tmp_path, kind, plan):
    how = KINDS[kind]
    source = write_clip(tmp_path / kind, pictures(len(how.get("times", range(20))), (64, 96)), **how)
    video = lazy(source, plan)
    lossless = Coding("h264", crf=0)
    written = video.write(tmp_path / "out.mp4", lossless)
    interpolate_video(source, tmp_path / "same.mp4", LerpModel(), replace(plan, coding=lossless))
    assert np.array_equal(frames_of(tmp_path / "out.mp4"), frames_of(tmp_path / "same.mp4"))
    assert [moment.time for moment in video.moments] == times_of(tmp_path / "out.mp4")
    frames = made(video)
    assert len(frames) == written.frames == len(video.moments)
    with open_clip(tmp_path / "out.mp4") as clip:
        assert (clip.info.height, clip.info.width) == (64, 96)
        assert clip.info.rate == video.info.rate or "times" in how


@pytest.mark.parametrize("plan", [*PLANS.values(), *LISTED.values()], ids=[*PLANS, *LISTED])
@pytest.mark.parametrize("kind", thinned(["closed.mp4", "ntsc.mkv", "uneven.mp4"], (2,)))
def test_a_part_is_made_of_the_same_frames(tmp_path, kind, plan):
    how = KINDS[kind]
    video = lazy(write_clip(tmp_path / kind, pictures(len(how.get("times", range(30)))), **how), plan)
    frames, moments = made(video), video.moments
    for start, length in ((Fr(0), Fr(1, 2)), (Fr(1, 3), Fr(1, 2)), (Fr(1, 2), None)):
        part = video.part(start, length)
        begin, end = part.span.start, part.span.end
        wanted = [i for i, m in enumerate(moments) if m.time >= begin and (end is None or m.time < end)]
        assert torch.equal(made(part), frames[wanted])
        assert [m.time + begin for m in part.moments] == [moments[i].time for i in wanted]
        part.write(tmp_path / "part.mp4", Coding())
        assert times_of(tmp_path / "part.mp4") == [m.time for m in part.moments]
        again = part.part(Fr(1, 10), Fr(1, 10))
        kept = [i for i, m in enumerate(part.moments) if again.span.holds(m.time + begin)]
        assert torch.equal(made(again), made(part)[kept])
    assert not video.part(Fr(99), None).moments


@pytest.mark.parametrize("kind", ["closed.mp4", "ntsc.mkv", "uneven.mp4"])
def test_one_out_of_another(tmp_path, kind):
    how = KINDS[kind]
    first = lazy(write_clip(tmp_path / kind, pictures(len(how.get("times", range(30)))), **how))
    second = lazy(first.opened, Plan(fps=50))
    between = as_dtype(made(first), torch.uint8)
    moments = [moment.time for moment in first.moments]
    ends = [*moments[1:], moments[-1] + first.moments[-1].duration]
    wanted = []
    for k in range(len(second.moments)):
        i = max(j for j, m in enumerate(moments) if m <= Fr(k, 50))
        t = (Fr(k, 50) - moments[i]) / (ends[i] - moments[i])
        right = min(i + 1, len(between) - 1)
        wanted.append(torch.lerp(between[i] / 255, between[right] / 255, float(t)))
    assert second.plan.timeline(first.info).end == "hold_last"
    assert abs(made(second) - torch.stack(wanted)).max() < 1e-6
    second.write(tmp_path / "out.mp4", Coding())
    assert times_of(tmp_path / "out.mp4") == [Fr(k, 50) for k in range(len(wanted))]
    assert torch.equal(made(second.part(Fr(1, 2), Fr(1, 5))), made(second)[25:35])


def test_one_out_of_another_ends_when_it_is_cancelled_or_fails(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(40), sound="aac")

    class Cancel(RecordingHost):
        def check_cancelled(self):
            self.checks += 1
            if self.checks > 20:
                raise KeyboardInterrupt

    def fail(step):
        if step == "between":
            raise BadInputError("wrong", "inner", "advice")

    second = lazy(lazy(source).opened)
    with pytest.raises(KeyboardInterrupt):
        second.write(tmp_path / "out.mp4", Coding(), host=Cancel())
    with pytest.raises(BadInputError, match="inner"):
        lazy(lazy(source, model=LerpModel(fail)).opened).write(tmp_path / "out.mp4", Coding())
    with second.source(True) as clip:  # and when it is not read to its end
        assert next(iter(clip)).pts == 0
    assert [p.name for p in tmp_path.iterdir() if "partial" not in p.name] == ["in.mp4"]


def test_frames_in_memory_come_through_untouched(tmp_path):
    frames = torch.rand(5, 32, 48, 4) * 1.2 - 0.1
    video = lazy(tensors(frames, NTSC))
    out = made(video)
    assert out.shape == (10, 32, 48, 4)
    assert torch.equal(out[::2], frames)
    video.write(tmp_path / "out.mov", Coding())
    with open_clip(tmp_path / "out.mov") as clip:
        assert clip.info.alpha
        assert [frame.pts for frame in clip] == [k / (2 * NTSC) for k in range(10)]
    video.write(tmp_path / "out.mkv", Coding("ffv1"))
    assert torch.equal(
        torch.tensor(frames_of(tmp_path / "out.mkv", "rgba")[2]), as_dtype(frames[1], torch.uint8)
    )
    deep = lazy(tensors(frames[..., :3], bits=10))
    deep.write(tmp_path / "out.mp4", Coding())
    with open_clip(tmp_path / "out.mp4") as clip:
        assert clip.info.bits == 10
    deep.write(tmp_path / "out.mp4", Coding(bits=8))
    with open_clip(tmp_path / "out.mp4") as clip:
        assert clip.info.bits == 8
    assert made(lazy(tensors(frames[..., :1]))).shape == (10, 32, 48, 3)
    for wrong in (frames[:0], frames[0], frames[..., :2]):
        with pytest.raises(BadInputError):
            lazy(tensors(wrong)).info  # noqa: B018


def test_a_file_in_memory_is_the_file(tmp_path):
    source = write_clip(tmp_path / "in.mkv", pictures(30), **h264(6), sound="aac")
    held = BytesIO(source.read_bytes())
    lazy(source, Plan(fps=60)).write(tmp_path / "a.mp4", Coding("h264", 0))
    held.seek(100)
    video = lazy(held, Plan(fps=60))
    video.write(tmp_path / "b.mp4", Coding("h264", 0))
    assert np.array_equal(frames_of(tmp_path / "a.mp4"), frames_of(tmp_path / "b.mp4"))
    assert audio_packets(tmp_path / "a.mp4") == audio_packets(tmp_path / "b.mp4")
    assert held.tell() == 100
    assert torch.equal(made(video.part(Fr(1, 2), Fr(1, 4))), made(video)[30:45])


# --- trimming and sound


def flash(path, at, count=48, **how):
    """A clip of two seconds that is bright in one frame, with a click of sound at its time."""
    frames = [np.full((64, 64, 3), 250 if i == at else 20, np.uint8) for i in range(count)]
    wave = np.zeros(count * 2000, np.int16)
    wave[at * 2000 : at * 2000 + 100] = 30000
    return write_clip(path, frames, wave=wave, **{"sound": "aac", **h264(12), **how})


def flash_and_click(path):
    """When a file is bright and when it is loud, seconds."""
    with av.open(str(path)) as file:
        means = {f.pts * f.time_base: samples_of(f.planes[0], f.format).mean() for f in file.decode(video=0)}
    with av.open(str(path)) as file:
        loudest = (0.0, None)
        for f in file.decode(audio=0):
            levels = abs(f.to_ndarray()).max(0)
            if levels.max() > loudest[0]:
                loudest = levels.max(), f.pts * f.time_base + Fr(int(levels.argmax()), f.sample_rate)
    return max(means, key=means.get), loudest[1]


def trimmed(path, start, end=None):
    window = Span(Fr(start), None if end is None else Fr(end))
    return lambda alpha: Trimmed(lambda: open_clip(path, alpha=alpha), window)


@pytest.mark.parametrize(
    ("extension", "sound"),
    thinned([("mp4", "aac"), ("mkv", "aac"), ("mkv", "libopus"), ("ts", "aac")], (2, 3)),
)
@pytest.mark.parametrize("output", thinned(["mp4", "mkv", "webm"], (0,)))
def test_sound_stays_with_the_picture(tmp_path, extension, sound, output):
    source = flash(tmp_path / f"in.{extension}", 30, sound=sound)
    bright, click = flash_and_click(source)
    apart, origin = click - bright, float(offset(source))
    for window, video in {
        None: lazy(source, Plan(2)),
        (0.5, 1.5): lazy(trimmed(source, 0.5 + origin, 1.5 + origin), Plan(2)),
        (0.71, 1.61): lazy(trimmed(source, 0.71 + origin, 1.61 + origin), Plan(2)),
        "part": lazy(source, Plan(2)).part(Fr(7, 10), Fr(9, 10)),
    }.items():
        video.write(tmp_path / f"out.{output}", Coding())
        bright, click = flash_and_click(tmp_path / f"out.{output}")
        assert abs(click - bright - apart) < Fr(3, 1000), window
        wave = video.sound()
        heard = Fr(int(wave.samples[0].abs().argmax()), wave.rate)
        assert abs(heard - bright - apart) < Fr(3, 1000), window
        if window:
            last = audio_packets(tmp_path / f"out.{output}")[-1][0]
            assert abs(last - video.duration) < Fr(1, 10)
            assert abs(Fr(wave.samples.shape[1], wave.rate) - video.duration) < Fr(1, 10)


def offset(path):
    with open_clip(path) as clip:
        return clip.info.origin


def test_trimming_takes_whole_frames_and_looks_at_nothing_beyond(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(48), **h264(10))
    with open_clip(source) as clip:
        frames = torch.stack([frame.pixels for frame in clip]) / 255
    # A float a little above or below a frame's time means that frame.
    for start, end, first, last in ((0.5, 1.0, 12, 24), (0.5 + 1e-9, 1 - 1e-9, 12, 24), (0.51, 1.01, 13, 25)):
        video = lazy(trimmed(source, start, end))
        assert [m.time for m in video.moments] == [Fr(k, 48) for k in range(2 * (last - first))]
        out = made(video)
        assert torch.equal(out[::2], frames[first:last])
        assert torch.equal(out[-1], frames[last - 1])
        assert video.info.frames_estimate in range(2 * (last - first) - 1, 2 * (last - first) + 2)
        assert torch.equal(made(video.part(Fr(1, 4), Fr(1, 6))), out[12:20])
    with pytest.raises(BadInputError, match="Nothing is left"):
        lazy(trimmed(source, 5)).info  # noqa: B018
    assert len(made(lazy(trimmed(source, 1.5)))) == 24


def test_a_variable_rate_is_trimmed_by_time(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(len(UNEVEN)), times=UNEVEN, **h264(4))
    video = lazy(trimmed(source, 0.25, 0.8), Plan(1))
    kept = [t for t in UNEVEN if 0.25 <= t < 0.8]
    assert [m.time for m in video.moments] == [t - kept[0] for t in kept]
    video.write(tmp_path / "out.mp4", Coding())
    assert times_of(tmp_path / "out.mp4") == [t - kept[0] for t in kept]


SOUNDS = list(itertools.product(("mp4", "webm"), (48000, 44100, 22050, 12345), (1, 2, 6)))


@pytest.mark.parametrize(
    ("output", "rate", "channels"),
    # Each rate into each file, with 1, 2 and 6 channels in turn.
    [
        pytest.param(*sound, marks=() if i // 3 % 3 == i % 3 else pytest.mark.long)
        for i, sound in enumerate(SOUNDS)
    ],
)
def test_sound_in_memory(tmp_path, channels, rate, output):
    samples = torch.zeros(channels, rate * 3)
    samples[:, rate : rate + 40] = 0.9  # at one second, in frame 24; longer than the picture
    frames = torch.full((48, 16, 16, 3), 0.1)
    frames[24] = 0.95
    video = lazy(tensors(frames, 24, sound=Waveform(samples, rate)))
    for start, part in ((Fr(0), video), (Fr(1, 2), video.part(Fr(1, 2), Fr(1)))):
        part.write(tmp_path / f"out.{output}", Coding())
        bright, click = flash_and_click(tmp_path / f"out.{output}")
        assert bright == 1 - start
        assert abs(click - bright) < Fr(8, 1000)
        packets = audio_packets(tmp_path / f"out.{output}")
        assert abs(packets[-1][0] - part.duration) < Fr(1, 10)
        wave = part.sound()
        assert wave.samples.shape == (channels, pytest.approx(float(part.duration * rate), abs=1))
        assert abs(int(wave.samples[0].argmax()) - (1 - start) * rate) < 1


def test_tags_of_any_name_are_kept(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(3))
    tags = {"workflow": '{"nodes": []}', "title": "a title"}
    lazy(source).write(tmp_path / "a.mp4", Coding(), metadata=tags)
    lazy(tmp_path / "a.mp4").write(tmp_path / "b.mp4", Coding(), metadata={"workflow": "new"})
    for name, wanted in (("a.mp4", tags), ("b.mp4", {**tags, "workflow": "new"})):
        with av.open(str(tmp_path / name)) as file:
            assert wanted.items() <= dict(file.metadata).items()


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_tags_of_another_encoding_fail_nothing(tmp_path, suffix):
    title = "Grüße"
    source = write_clip(tmp_path / f"in{suffix}", pictures(3))
    lazy(source).write(tmp_path / f"a{suffix}", Coding(), metadata={"title": title})
    encoded = title.encode()
    # As long as before, so that the file stays whole; of Latin 1, which is no UTF-8.
    foreign = title.encode("latin-1").replace(b"\xfc", b"\xfc\xfc").replace(b"\xdf", b"\xdf\xdf")
    whole = (tmp_path / f"a{suffix}").read_bytes()
    assert encoded in whole
    (tmp_path / f"b{suffix}").write_bytes(whole.replace(encoded, foreign))
    foreign_clip = lazy(tmp_path / f"b{suffix}")
    assert foreign_clip.info.metadata["title"] == "Gr\ufffd\ufffd\ufffd\ufffde"
    foreign_clip.write(tmp_path / f"c{suffix}", Coding())
    assert "e" in lazy(tmp_path / f"c{suffix}").info.metadata["title"]


def test_the_name_may_leave_the_format_open(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(3))
    (tmp_path / "there.webm").write_text("before")
    for name, suffix, wanted in (
        ("plain", None, "mp4"),
        ("there.webm", None, "webm"),
        ("a.bin", ".mkv", "matroska"),
    ):
        lazy(source).write(tmp_path / name, Coding(), suffix=suffix)
        with av.open(str(tmp_path / name)) as file:
            assert wanted in file.format.name
