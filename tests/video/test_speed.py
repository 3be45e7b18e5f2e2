"""Clips that play at another speed, and with an open shutter: the same by every way to a frame."""

from fractions import Fraction as Fr
from functools import partial
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from clips import UNEVEN, frames_of, h264, pictures, times_of, write_clip
from fakes import LerpModel
from made_videos import lend
from midframe import cli, interpolate
from midframe.analysis.notes import Analysis, PairNote
from midframe.analysis.timing import Timing
from midframe.chunks import Inline, Job, process
from midframe.engine.curve import Curve
from midframe.engine.shutter import Shutter
from midframe.errors import BadInputError
from midframe.memory.sinks import TensorSink
from midframe.memory.staging import as_dtype
from midframe.vfi_utils import QuietHost, States, by_fps
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from midframe.video.read import retimed
from midframe.video.read.clip import Waveform
from midframe.video.read.tensor import TensorClip
from midframe.video.stream.lazy import LazyVideo
from thin import thinned

RATE = 24
LOSSLESS = Coding("ffv1")
CURVES = [
    "0.5",
    "0:1, 8:0.25, 16:2",
    "0:1, 10:0 for 0.5s",
    "-1",
    "0:1, 14:-1, 4:2",
    "0:1, 50%:0 for 3, 50%:-0.5",
]


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "in.mkv", pictures(20), rate=RATE, codec="ffv1", pix_fmt="bgr0")


def arrays(frames):
    return [frame.numpy() for frame in as_dtype(frames[..., :3], torch.uint8)]


def equal(one, other):
    assert len(one) == len(other)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def all_ways(clip, plan):
    """The frames of a file, of a lazy video, of chunks, and of the lazy video written in two parts."""
    out = clip.with_name("whole.mkv")
    interpolate_video(clip, out, LerpModel(), plan)
    made = [frames_of(out)]
    lazy = LazyVideo(lambda alpha: plan.at_speed(partial(open_clip, clip, alpha=alpha)), plan, lend)
    made.append(arrays(lazy.frames(TensorSink, None)))
    half = lazy.moments[len(lazy.moments) // 2].time
    parts = [lazy.part(Fr(0), half), lazy.part(half, None)]
    made.append([frame for part in parts for frame in arrays(part.frames(TensorSink, None))])
    job = Job(clip, clip.with_name("joined.mkv"), clip.with_name("chunks"), plan=plan, pairs=7)
    process(job, Inline(LerpModel), host=QuietHost())
    assert times_of(job.target) == times_of(out)
    made.append(frames_of(job.target))
    return made, times_of(out)


@pytest.mark.parametrize(
    ("shutter", "curve"),
    # Three of the curves, one of them with a shutter.
    thinned([(shutter, curve) for shutter in (None, Shutter(180, 2)) for curve in CURVES], (0, 4, 9)),
)
def test_image_video_and_chunks_agree(clip, curve, shutter):
    plan = Plan(fps=Fr(30), speed=curve, shutter=shutter, coding=LOSSLESS)
    made, times = all_ways(clip, plan)
    for other in made[1:]:
        equal(made[0], other)
    assert all(abs(time - Fr(k, 30)) < Fr(1, 1000) for k, time in enumerate(times))
    frames = torch.from_numpy(np.stack(frames_of(clip)))
    timeline = by_fps(RATE, 30, end="hold_last")
    equal(made[0], arrays(interpolate(frames, LerpModel(), timeline=timeline, speed=curve, shutter=shutter)))


@pytest.mark.parametrize(
    "more",
    thinned(
        [
            {"end": "close_loop"},
            {"end": "end_on_last"},
            {"states": States({2, 9})},
            {
                "timing": Timing("blend", "retime"),
                "analysis": Analysis((PairNote(3, held="equal"), PairNote(6, cut=True))),
            },
            {"start": Fr(1, 8), "stop": Fr(3, 4)},
            {"deinterlace": True, "width": 32},
        ],
        (0, 2, 3),
    ),
    ids=",".join,
)
def test_speed_and_shutter_go_with_everything_else(clip, more):
    curve, shutter = "0:1, 10:0 for 4, 12:-0.5, 6:2", Shutter(270, 3)
    plan = Plan(fps=Fr(25), speed=curve, shutter=shutter, coding=LOSSLESS, **more)
    out = clip.with_name("whole.mkv")
    interpolate_video(clip, out, LerpModel(), plan)
    job = Job(clip, clip.with_name("joined.mkv"), clip.with_name("chunks"), plan=plan, pairs=7)
    process(job, Inline(LerpModel), host=QuietHost())
    equal(frames_of(job.target), frames_of(out))
    assert times_of(job.target) == times_of(out)


def test_a_variable_rate_becomes_constant_and_keeps_its_moments(tmp_path):
    clip = write_clip(tmp_path / "in.mp4", pictures(len(UNEVEN)), times=UNEVEN, **h264(4))
    plan = Plan(fps=Fr(30), speed="0:0.5, 1s:2", coding=LOSSLESS)
    made, times = all_ways(clip, plan)
    for other in made[1:]:
        equal(made[0], other)
    with plan.open(clip, alpha=False) as opened:
        assert len(times) == -(-opened.route.end * 30 // 1)


def test_frames_in_memory_with_their_sound(tmp_path):
    tone = torch.sin(torch.arange(48000) * 0.06)[None].repeat(2, 1)
    frames = torch.from_numpy(np.stack(pictures(24))).float() / 255
    plan = Plan(1, speed="0.5", coding=LOSSLESS)
    source = partial(TensorClip, frames, Fr(24), sound=Waveform(tone, 48000))
    lazy = LazyVideo(lambda alpha: plan.at_speed(partial(source, alpha=alpha)), plan, lend)
    written = lazy.write(tmp_path / "out.mkv", Coding("ffv1"))
    assert written.frames == len(lazy.moments) == 48
    assert abs(beeps(tmp_path / "out.mkv")[1] - 2) < 0.05
    assert abs(lazy.sound().samples.shape[1] - 96000) < 100
    silent = Plan(1, speed="0.5", sound_speed="drop")
    assert (
        LazyVideo(lambda alpha: silent.at_speed(partial(source, alpha=alpha)), silent, lend).sound() is None
    )


def test_a_clip_that_plays_backwards_is_read_in_parts_that_fit(clip, monkeypatch):
    monkeypatch.setattr(retimed, "_BACKWARD_BYTES", 3 * 32 * 48 * 3)  # three frames
    out = clip.with_name("back.mkv")
    interpolate_video(clip, out, LerpModel(), Plan(1, speed=-1, coding=LOSSLESS))
    equal(frames_of(out), frames_of(clip)[::-1])


@pytest.mark.parametrize("name", ["in.mp4", "in.webm"])
def test_files_with_few_key_frames_play_backwards(tmp_path, name, monkeypatch):
    monkeypatch.setattr(retimed, "_BACKWARD_BYTES", 4 * 32 * 48 * 3)
    how = h264(250) if name.endswith("mp4") else {"codec": "libvpx-vp9", "options": {"g": "30"}}
    clip = write_clip(tmp_path / name, pictures(20), rate=RATE, **how)
    out = tmp_path / "back.mkv"
    interpolate_video(clip, out, LerpModel(), Plan(1, speed="0:1, 100%:-1", coding=LOSSLESS))
    forwards = tmp_path / "there.mkv"
    interpolate_video(clip, forwards, LerpModel(), Plan(1, coding=LOSSLESS))
    there = frames_of(forwards)
    equal(frames_of(out), [*there, *there[-2::-1]])


def test_states_and_notes_are_of_the_frames_of_the_source(clip):
    analysis = Analysis((PairNote(5, cut=True), PairNote(18)))
    plan = Plan(2, speed="0:1, 10:-1", analysis=analysis, coding=LOSSLESS)
    out = clip.with_name("cut.mkv")
    interpolate_video(clip, out, LerpModel(), plan)
    made, source = frames_of(out), frames_of(clip)
    # 0 to 10 and back: the cut between 5 and 6 is passed twice, and nothing is mixed there.
    assert np.array_equal(made[11], source[6])
    assert np.array_equal(made[29], source[5])
    assert not any(np.array_equal(made[9], frame) for frame in source)


# --- sound


def flashes(path, at=(12, 36, 60, 84, 108)):
    """A clip of 5 seconds that flashes for a frame at a time, with a beep at each."""
    frames = [np.full((32, 48, 3), 255 if i in at else 10, np.uint8) for i in range(120)]
    wave = np.zeros(48000 * 5)
    for i in at:
        wave[i * 2000 : (i + 1) * 2000] = np.sin(np.arange(2000) * 2 * np.pi * 1000 / 48000) * 20000
    return write_clip(
        path,
        frames,
        rate=RATE,
        codec="ffv1",
        pix_fmt="bgr0",
        sound="aac",
        wave=wave.astype(np.int16),
    )


def beeps(path):
    """When each beep begins, seconds; and how long the sound is."""
    with av.open(str(path)) as container:
        resample = av.AudioResampler(format="flt", layout="mono", rate=48000)
        parts = [part for frame in container.decode(audio=0) for part in resample.resample(frame)]
        start = float(parts[0].pts * parts[0].time_base)
        samples = np.concatenate([part.to_ndarray().ravel() for part in parts])
    loud = np.flatnonzero(np.abs(samples) > 0.15)
    first = loud[np.flatnonzero(np.diff(loud, prepend=-48000) > 12000)]
    return first / 48000 + start, start + len(samples) / 48000


@pytest.mark.parametrize(
    ("speed", "late"),
    thinned(
        [
            ("0.5", 1 / 48),
            ("2", 1 / 48),
            ("1.1", 1 / 48),
            ("0:1, 40:0 for 1s, 60:0.5", 1 / 48),
            ("0.25", 1 / 24),
            ("0:1, 1s:0.25, 4s:1", 1 / 24),
        ],
        (0, 3),
    ),
)
def test_sound_stays_with_the_picture(tmp_path, speed, late):
    source, out = flashes(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    interpolate_video(source, out, LerpModel(), Plan(1, speed=speed, coding=LOSSLESS))
    plan = Plan(1, speed=speed)
    with plan.open(source, alpha=False) as opened:
        expected = [float(v.start) for v in opened.route.visits if v.frame in (12, 36, 60, 84, 108)]
        end = float(opened.route.end)
    heard, length = beeps(out)
    assert len(heard) == 5
    # Half a frame of the output, but at a quarter of the speed, where two filters follow each other.
    assert np.abs(heard - expected).max() <= late
    assert abs(length - end) < 0.05


def test_sound_is_dropped_or_kept_as_it_is(tmp_path):
    source = flashes(tmp_path / "in.mkv")
    kept, dropped = tmp_path / "kept.mkv", tmp_path / "dropped.mkv"
    interpolate_video(source, kept, LerpModel(), Plan(1, speed="0.5", sound_speed="keep", coding=LOSSLESS))
    assert np.allclose(beeps(kept)[0], beeps(source)[0], atol=1e-3)
    interpolate_video(source, dropped, LerpModel(), Plan(1, speed=2, sound_speed="drop", coding=LOSSLESS))
    with av.open(str(dropped)) as container:
        assert not container.streams.audio
    short = tmp_path / "short.mkv"
    interpolate_video(source, short, LerpModel(), Plan(1, speed=2, sound_speed="keep", coding=LOSSLESS))
    assert abs(beeps(short)[1] - 2.5) < 0.05


def test_a_clip_that_plays_backwards_is_silent_and_says_so(tmp_path, caplog):
    source, out = flashes(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    plan = Plan(1, speed=-1, coding=LOSSLESS)
    assert any("plays backwards" in str(entry) for entry in describe_output(source, out, plan))
    interpolate_video(source, out, LerpModel(), plan)
    assert "plays backwards" in caplog.text
    with av.open(str(out)) as container:
        assert not container.streams.audio


def test_the_sound_of_a_lazy_video_is_stretched_too(tmp_path):
    source = flashes(tmp_path / "in.mkv")
    plan = Plan(1, speed="0.5")
    lazy = LazyVideo(lambda alpha: plan.at_speed(partial(open_clip, source, alpha=alpha)), plan, lend)
    sound = lazy.sound()
    assert abs(sound.samples.shape[1] / sound.rate - 10) < 0.05
    later = lazy.part(Fr(4), Fr(4)).sound()
    # The same samples by way of 32 bits of float.
    assert torch.allclose(later.samples, sound.samples[:, 4 * sound.rate : 8 * sound.rate], atol=1e-6)


def test_subtitles_and_chapters_move_with_the_picture(tmp_path):
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    clip = write_clip(tmp_path / "plain.mkv", pictures(48), rate=RATE, codec="ffv1", pix_fmt="bgr0")
    (tmp_path / "lines.srt").write_text("1\n00:00:00,500 --> 00:00:00,750\nhello\n")
    with (
        av.open(str(clip)) as plain,
        av.open(str(tmp_path / "lines.srt")) as lines,
        av.open(str(source), "w") as container,
    ):
        container.set_chapters(
            [{"id": 1, "start": 500, "end": 1000, "time_base": Fr(1, 1000), "metadata": {"title": "One"}}]
        )
        streams = [plain.streams.video[0], lines.streams.subtitles[0]]
        targets = [container.add_stream_from_template(stream, opaque=True) for stream in streams]
        for given, stream, target in zip((plain, lines), streams, targets, strict=True):
            for packet in given.demux(stream):
                if packet.size:
                    packet.stream = target
                    container.mux(packet)
    interpolate_video(source, out, LerpModel(), Plan(1, speed="0.5", coding=LOSSLESS))
    with av.open(str(out)) as container:
        (shown,) = [p for p in container.demux(container.streams.subtitles[0]) if p.size]
        assert (shown.pts * shown.time_base, shown.duration * shown.time_base) == (1, Fr(1, 2))
        (chapter,) = container.chapters()
        assert [chapter[key] * chapter["time_base"] for key in ("start", "end")] == [1, 2]


# --- the command line


@pytest.mark.long  # a process of its own; test_file_options has the options
def test_the_command_line(clip, capsys):
    out = clip.with_name("out.mkv")
    words = ["interpolate", clip, out, "--fps", "24", "--codec", "ffv1", "--model", "default"]
    curve = ["--speed", "0:1,10:0.5", "--ease", "eased", "--shutter", "180", "--samples", "2"]
    assert cli.main([*map(str, [*words, *curve])]) == 0
    times = times_of(out)
    assert all(abs(time - Fr(k, 24)) < Fr(1, 1000) for k, time in enumerate(times))
    # 10 frames at a mean pace of 1.5, and 10 at 2.
    assert len(times) == 35
    assert cli.main([*map(str, [*words, "--overwrite", "--speed", "0:1,2s:slow"])]) != 0
    assert ">>2s:slow<<" in capsys.readouterr().err


def test_what_cannot_be_is_refused_before_anything_is_opened():
    with pytest.raises(BadInputError, match="list of multipliers"):
        Plan([2, 3], speed=0.5)
    with pytest.raises(BadInputError, match="law for sound"):
        Plan(speed=0.5, sound_speed="loud")


def test_a_job_with_a_curve_is_plain_data_and_knows_its_chunks(clip, tmp_path):
    plan = Plan(speed="0:1, 10:0 for 7", shutter=Shutter(90, 3))
    job = Job(clip, tmp_path / "out.mkv", tmp_path / "chunks", plan=plan)
    assert Job.from_data(job.as_data()) == job
    other = Job(clip, tmp_path / "out.mkv", tmp_path / "chunks", plan=Plan())
    assert job.identity() != other.identity()
    assert "speed" not in other.identity()


def test_the_estimate_is_what_comes_out(clip):
    for curve in CURVES:
        plan = Plan(fps=Fr(25), speed=curve)
        with plan.open(clip, alpha=False) as opened:
            moments = plan.clock(opened).moments(opened.times())
            assert plan.frames_estimate(opened.info) == len(moments)
            assert all(a.time < b.time for a, b in pairwise(moments))
            assert Curve.of(curve) == plan.speed
