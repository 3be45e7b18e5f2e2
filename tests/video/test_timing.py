"""Cuts, held frames and loops of files: found, corrected, and the same by every way to a frame."""

from dataclasses import replace
from fractions import Fraction as Fr
from functools import partial
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from clips import frames_of, times_of, write_clip
from fakes import LerpModel, RecordingHost
from made_videos import lend
from midframe import cli, interpolate
from midframe.analysis.notes import Analysis
from midframe.analysis.timing import Timing
from midframe.chunks import Inline, Job, process
from midframe.chunks.looking import ANALYSIS
from midframe.engine.timeline import by_multiplier
from midframe.errors import MidframeError
from midframe.memory.sinks import TensorSink
from midframe.memory.staging import as_dtype
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.read.decode import VideoFile
from midframe.video.stream.lazy import LazyVideo
from midframe.video.stream.looking import analysis_of
from thin import thinned

LOSSLESS = Coding("ffv1")
SHOTS, SHOT = 3, 12


def scene(shot, at, size=(96, 128)):
    """A picture of a shot: waves in a direction and colour of its own, that move slowly."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    angle = 0.7 + 1.1 * shot
    across = x * np.cos(angle) + y * np.sin(angle)
    rng = np.random.default_rng(shot)
    blocks = np.kron(rng.random((6, 8)), np.ones((16, 16)))
    wave = (
        0.5 + 0.25 * np.sin((across - 1.5 * at) / (3 + shot)) + 0.25 * (np.roll(blocks, round(at), 1) - 0.5)
    )
    return np.stack([wave * level for level in rng.uniform(0.5, 1.0, 3)], -1)


def pixels(times):
    return [np.rint(scene(*time) * 255).astype(np.uint8) for time in times]


@pytest.fixture
def shots(tmp_path):
    """Three shots of 12 frames; the second is drawn on twos."""
    times = [(s, i // 2 * 2 if s == 1 else i) for s in range(SHOTS) for i in range(SHOT)]
    return write_clip(tmp_path / "in.mkv", pixels(times), rate=16, codec="ffv1", pix_fmt="bgr0")


def run(*words):
    return cli.main([*map(str, words)])


def test_at_a_cut_no_frame_is_of_two_shots(shots):
    out = shots.with_name("out.mkv")
    interpolate_video(shots, out, LerpModel(), Plan(4, coding=LOSSLESS))
    source, made = frames_of(shots), frames_of(out)
    for cut in (SHOT, 2 * SHOT):
        left, right = source[cut - 1], source[cut]
        between = made[(cut - 1) * 4 : cut * 4]
        assert all(np.array_equal(frame, left) for frame in between[:2])
        assert all(np.array_equal(frame, right) for frame in between[2:])
    # Everywhere else it is as it would be without looking.
    interpolate_video(
        shots,
        shots.with_name("plain.mkv"),
        LerpModel(),
        Plan(4, coding=LOSSLESS, timing=Timing("interpolate")),
    )
    plain = frames_of(shots.with_name("plain.mkv"))
    near = {i for cut in (SHOT, 2 * SHOT) for i in range((cut - 1) * 4, cut * 4)}
    assert all(np.array_equal(made[i], plain[i]) for i in range(len(plain)) if i not in near)
    assert times_of(out) == times_of(shots.with_name("plain.mkv"))


@pytest.mark.parametrize(
    "timing",
    thinned([Timing(), Timing("blend"), Timing(held="retime"), Timing("interpolate", "retime")], (0, 2)),
)
def test_a_tensor_a_file_and_chunks_agree_frame_for_frame(shots, timing):
    plan = Plan(3, coding=LOSSLESS, timing=timing)
    interpolate_video(shots, shots.with_name("file.mkv"), LerpModel(), plan)
    job = Job(shots, shots.with_name("chunks.mkv"), shots.with_name("work"), plan=plan, pairs=7)
    process(job, Inline(LerpModel), host=RecordingHost())
    source = torch.from_numpy(np.stack(frames_of(shots)))
    made = interpolate(source, LerpModel(), timeline=by_multiplier(3, end="hold_last"), timing=timing)
    whole = frames_of(shots.with_name("file.mkv"))
    assert len(whole) == 3 * SHOTS * SHOT
    assert all(np.array_equal(a, b) for a, b in zip(whole, frames_of(job.target), strict=True))
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(whole, as_dtype(made, torch.uint8), strict=True))


def test_drawings_on_twos_move_on_every_frame_when_they_are_re_timed(shots):
    for held in ("keep", "retime"):
        plan = Plan(2, coding=LOSSLESS, timing=Timing(held=held))
        interpolate_video(shots, shots.with_name(f"{held}.mkv"), LerpModel(), plan)
    still = {}
    for held in ("keep", "retime"):
        second = frames_of(shots.with_name(f"{held}.mkv"))[2 * SHOT : 4 * SHOT]
        still[held] = sum(np.array_equal(a, b) for a, b in pairwise(second))
    assert still["keep"] == 12  # of the four frames of each drawing three are the same
    assert still["retime"] <= 4  # the last drawing, which nothing of its shot follows
    assert times_of(shots.with_name("keep.mkv")) == times_of(shots.with_name("retime.mkv"))


def test_what_was_found_can_be_read_corrected_and_given(shots, capsys):
    notes = shots.with_name("notes.json")
    assert run("analyse", shots, notes, "--quiet") == 0
    assert "cuts before frames: 12 (0.75 s), 24 (1.50 s)" in capsys.readouterr().out
    assert run("analyse", shots, notes) == 2
    found = Analysis.load(notes)
    # There is no cut before frame 12 after all; and there is one before 20.
    changed = notes.read_text().replace('"index": 11, "cut": true', '"index": 11')
    notes.write_text(
        changed.replace('{"index": 23', '{"index": 19, "cut": true},\n{"index": 23', 1)
        if '"index": 19' not in changed
        else changed.replace('"index": 19', '"index": 19, "cut": true')
    )
    given = Analysis.load(notes)
    assert [note.index for note in found.pairs if note.cut] == [11, 23]
    assert [note.index for note in given.pairs if note.cut] == [19, 23]
    interpolate_video(
        shots, shots.with_name("out.mkv"), LerpModel(), Plan(2, coding=LOSSLESS, analysis=given)
    )
    source, made = frames_of(shots), frames_of(shots.with_name("out.mkv"))
    assert np.array_equal(made[39], source[20])
    assert not any(np.array_equal(made[23], source[i]) for i in (11, 12))
    assert (
        run("interpolate", shots, shots.with_name("bad.mkv"), "--analysis", shots.with_name("none.json")) == 2
    )


def test_a_loop_closes(tmp_path):
    # The waves of shot 0 repeat after 6 pi pixels: twelve frames of a twelfth of that.
    y, x = np.mgrid[0:64, 0:96]
    pictures = [
        np.repeat(np.rint(127 + 100 * np.sin(x / 6 + i * 2 * np.pi / 12 + 0 * y))[..., None], 3, 2).astype(
            np.uint8
        )
        for i in range(12)
    ]
    clip = write_clip(tmp_path / "in.mkv", pictures, rate=12, codec="ffv1", pix_fmt="bgr0")
    for pairs in (None, 5):
        out = tmp_path / f"out{pairs}.mkv"
        plan = Plan(4, end="close_loop", coding=LOSSLESS)
        if pairs is None:
            interpolate_video(clip, out, LerpModel(), plan)
        else:
            process(
                Job(clip, out, tmp_path / "work", plan=plan, pairs=pairs),
                Inline(LerpModel),
                host=RecordingHost(),
            )
        made = np.stack(frames_of(out)).astype(float)
        assert len(made) == 48
        assert abs(times_of(out)[-1] - Fr(47, 48)) < Fr(1, 1000)
        steps = [np.abs(np.roll(made, -1, 0)[i] - made[i]).mean() for i in range(48)]
        assert max(steps) < 1.5 * np.mean(steps)


def test_a_job_that_goes_on_does_not_look_again(shots, monkeypatch):
    job = Job(
        shots, shots.with_name("out.mkv"), shots.with_name("work"), plan=Plan(2, coding=LOSSLESS), pairs=7
    )
    process(job, Inline(LerpModel), host=RecordingHost())
    assert (job.workdir / ANALYSIS).exists()
    with monkeypatch.context() as patch:
        patch.setattr("midframe.video.stream.looking.analyse", lambda *_, **__: 1 / 0)
        process(job, Inline(LerpModel), host=RecordingHost())
        # Held frames were not looked for: that is another question to the clip.
        other = Job(
            shots,
            shots.with_name("other.mkv"),
            shots.with_name("work"),
            plan=Plan(2, timing=Timing(held="retime")),
        )
        with pytest.raises(ZeroDivisionError):
            process(other, Inline(LerpModel), host=RecordingHost())
    (job.workdir / ANALYSIS).write_text("{")
    process(job, Inline(LerpModel), host=RecordingHost())


def test_looking_is_cancelled_at_once_and_shown(shots):
    class Stop(RecordingHost):
        seen = 0

        def looked(self, done, total):
            assert total == SHOTS * SHOT
            self.seen = done

        def check_cancelled(self):
            if self.seen >= 5:
                raise KeyboardInterrupt

    host, model = Stop(), LerpModel()
    plan = Plan(2, timing=Timing(held="retime"))
    with pytest.raises(KeyboardInterrupt):
        interpolate_video(shots, shots.with_name("out.mkv"), model, plan, host=host)
    assert host.seen == 5
    assert not model.calls["encode"]
    assert [path.name for path in shots.parent.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("cuts", ["hold", "blend"])
@pytest.mark.parametrize("end", ["hold_last", thinned(["close_loop"], ())[0]])
def test_a_file_is_decoded_once_and_its_cuts_are_those_of_a_first_look(shots, monkeypatch, cuts, end):
    plan = Plan(Fr(5, 2), coding=LOSSLESS, timing=Timing(cuts), end=end)
    with open_clip(shots) as opened:
        known = analysis_of(opened, RecordingHost(), only_cuts=True)
    assert [note.index for note in known.pairs if note.cut] == [SHOT - 1, 2 * SHOT - 1]
    first, second = shots.with_name("known.mkv"), shots.with_name("found.mkv")
    interpolate_video(shots, first, LerpModel(), replace(plan, analysis=known))
    decoded = []
    decode = VideoFile.__iter__
    monkeypatch.setattr(
        VideoFile, "__iter__", lambda clip: (decoded.append(frame.pts) or frame for frame in decode(clip))
    )
    interpolate_video(shots, second, LerpModel(), plan)
    assert len(decoded) == SHOTS * SHOT
    assert times_of(first) == times_of(second)
    assert all(np.array_equal(a, b) for a, b in zip(frames_of(first), frames_of(second), strict=True))


def test_frames_before_damage_are_not_lost_to_the_look_ahead(shots, monkeypatch):
    decode = VideoFile.__iter__

    def damaged(clip):
        yield from islice(decode(clip), 20)
        raise MidframeError("The file cannot be read on.", "damage", "Mend it.")

    monkeypatch.setattr(VideoFile, "__iter__", damaged)
    kept = {}
    for cuts in ("hold", "interpolate"):
        plan = Plan(2, coding=LOSSLESS, timing=Timing(cuts))
        with pytest.raises(MidframeError, match="read on"):
            interpolate_video(shots, shots.with_name(f"{cuts}.mkv"), LerpModel(), plan)
        kept[cuts] = times_of(shots.with_name(f"{cuts}.partial.mkv"))
    assert len(kept["hold"]) >= 2 * 18
    assert kept["hold"] == kept["interpolate"]


def test_two_pictures_are_no_cut(tmp_path):
    a, b = pixels([(0, 0), (2, 5)])
    clip = write_clip(tmp_path / "in.mkv", [a, b], rate=2, codec="ffv1", pix_fmt="bgr0")
    interpolate_video(clip, tmp_path / "out.mkv", LerpModel(), Plan(2, coding=LOSSLESS))
    made = frames_of(tmp_path / "out.mkv")
    mean = (a.astype(float) + b) / 2
    assert np.abs(made[1] - mean).max() <= 1
    with open_clip(clip) as opened:
        assert opened.info.frames_estimate == 2


@pytest.mark.parametrize("first", [2, 3, Fr(5, 2)])
def test_a_video_out_of_another_keeps_its_cuts_and_makes_nothing_twice(shots, first):
    models = [LerpModel(), LerpModel()]
    one = LazyVideo(lambda alpha: open_clip(shots, alpha=alpha), Plan(first), partial(lend, model=models[0]))
    two = LazyVideo(one.opened, Plan(2), partial(lend, model=models[1]))
    made = two.frames(TensorSink, None)
    inner = one.frames(TensorSink, None)
    calls = models[0].calls["between"]
    one.frames(TensorSink, None)
    # Once for the second video, once each for the two reads of the first by itself.
    assert models[0].calls["between"] * 2 == calls * 3
    source = torch.from_numpy(np.stack(frames_of(shots))).float() / 255
    for cut in (SHOT, 2 * SHOT):
        ends = [i for i in range(len(inner) - 1) if torch.equal(inner[i], source[cut - 1])]
        last = ends[-1]
        assert torch.equal(inner[last + 1], source[cut])
        assert torch.equal(made[2 * last], inner[last])
        assert torch.equal(made[2 * last + 1], inner[last + 1])
    assert len(made) == 2 * len(inner)
