"""Lists, states and rates reach videos and chunks: both are what the frames alone would be."""

import os
from fractions import Fraction as Fr

import numpy as np
import pytest
import torch
from clips import frames_of, pictures, times_of, write_clip
from fakes import LerpModel, ListSink
from midframe import cli
from midframe.chunks import Inline, Job, ModelChoice, process
from midframe.chunks.store import Store
from midframe.chunks.worker import make_chunk, task_of
from midframe.engine.timeline import Timeline
from midframe.errors import BadInputError
from midframe.vfi_utils import FrameLoop, QuietHost, States
from midframe.video import Coding, Plan, interpolate_video, open_clip
from thin import thinned

NTSC = Fr(24000, 1001)
UNEVEN = [Fr(n, 120) for n in (0, 4, 12, 15, 35, 36, 60, 61, 62, 64, 90, 100)]
LOSSLESS = Coding("ffv1")
SKIP, ONLY = States({1, 4, 5, 9}), States({0, 3, 4, 8}, skip=False)
PACES = {
    "list": {"multiplier": [3, 1, 4, 0, 2, 5, 1, 1, 3]},
    "list, skip": {"multiplier": [3, 1, 4, 0, 2, 5], "states": SKIP, "end": "end_on_last"},
    "x3, skip": {"multiplier": 3, "states": SKIP},
    "x2.5, only": {"multiplier": 2.5, "states": ONLY},
    "to 60, skip": {"fps": 60, "states": SKIP},
    "to 10, only, end_on_last": {"fps": 10, "states": ONLY, "end": "end_on_last"},
}


@pytest.fixture(params=["constant.mkv", "uneven.mkv"])
def clip(request, tmp_path):
    constant = request.param == "constant.mkv"
    how = {"rate": NTSC} if constant else {"times": UNEVEN, "base": Fr(1, 1000)}
    return write_clip(tmp_path / request.param, pictures(12), codec="ffv1", pix_fmt="bgr0", **how)


def job_of(source, plan, **more):
    folder = source.parent
    return Job(source, folder / "parts.mkv", folder / "work", plan=plan, **{"pairs": 3, **more})


def of_file(path):
    return times_of(path), [frame.tobytes() for frame in frames_of(path)]


@pytest.mark.parametrize("pace", thinned([*PACES], (0, 3, 5)))
def test_chunks_joined_are_the_whole_run(clip, pace):
    plan = Plan(**PACES[pace], coding=LOSSLESS)
    written = interpolate_video(clip, clip.with_name("whole.mkv"), LerpModel(), plan)
    with open_clip(clip) as opened:
        moments = plan.clock(opened).moments(opened.times())
    assert len(moments) == written.frames
    assert times_of(written.path) == pytest.approx([moment.time for moment in moments], abs=1e-3)
    job = job_of(clip, plan)
    job.workdir.mkdir()
    for chunk in ("000001.json", "000003.json"):  # made again, each in a run that begins in the middle
        process(job, Inline(LerpModel), host=QuietHost(), keep_chunks=True)
        os.unlink(job.target)
        os.unlink(job.workdir / chunk)
    process(job, Inline(LerpModel), host=QuietHost())
    assert of_file(job.target) == of_file(written.path)


@pytest.mark.parametrize("pace", PACES)
def test_a_video_is_what_the_frames_are(tmp_path, pace):
    source = write_clip(tmp_path / "in.mkv", pictures(12), codec="ffv1", pix_fmt="bgr0", rate=NTSC)
    plan = Plan(**PACES[pace], coding=LOSSLESS)
    with open_clip(source) as opened:
        timeline = plan.timeline(opened.info)
        frames = torch.stack([frame.pixels for frame in opened]) / 255
    interpolate_video(source, tmp_path / "out.mkv", LerpModel(), plan)
    with FrameLoop(Timeline(timeline.policy, timeline.end, NTSC)) as loop:
        sink = ListSink()
        loop.feed(frames, LerpModel(), sink, last=True)
    pixels = torch.from_numpy(np.stack(frames_of(tmp_path / "out.mkv"))) / 255
    assert len(pixels) == len(sink.frames)
    assert (pixels - torch.stack(sink.frames)).abs().max() <= 0.51 / 255


def test_a_worker_makes_the_chunk_that_is_made_here(clip):
    plan = Plan([3, 1, 4, 0, 2, 5], states=SKIP, coding=LOSSLESS)
    choice = ModelChoice("default", "cpu", "float32")
    whole = interpolate_video(clip, clip.with_name("whole.mkv"), choice.load(), plan).path
    job = job_of(clip, plan, model=choice)
    job.workdir.mkdir()
    store = Store(job.workdir, job.identity())
    for chunk in (3, 1):
        assert make_chunk(task_of(job, store), chunk) is None
    reports = []
    process(job, Inline(choice.load), host=QuietHost(), report=reports.append)
    assert {report.chunk for report in reports}.isdisjoint({1, 3})
    assert of_file(job.target) == of_file(whole)


class OlderStates:
    """As an older pack hands them on."""

    frame_indices, is_skip_list = [5, 2], True

    def is_frame_skipped(self, frame_index):
        return frame_index in self.frame_indices


def test_a_job_knows_its_timeline_as_data(clip):
    jobs = [job_of(clip, Plan(**pace)) for pace in (*PACES.values(), {"states": OlderStates()})]
    assert all(Job.from_data(job.as_data()) == job for job in jobs)
    names = [job.identity() for job in jobs]
    assert all(names.count(name) == 1 for name in names)
    assert names[0]["multiplier"] == [3, 1, 4, 0, 2, 5, 1, 1, 3]
    assert names[-1]["skipped pairs"] == [2, 5]
    assert names[3]["only pairs"] == [0, 3, 4, 8]
    assert not {"skipped pairs", "only pairs"} & job_of(clip, Plan()).identity().keys()

    class Neither:
        def is_frame_skipped(self, frame_index):
            return True

    with pytest.raises(BadInputError, match="do not list"):
        job_of(clip, Plan(states=Neither()))


def test_another_list_or_other_states_are_another_job(clip):
    process(job_of(clip, Plan([2, 3])), Inline(LerpModel), host=QuietHost(), keep_chunks=True)
    os.unlink(clip.with_name("parts.mkv"))
    for plan, found in (
        (Plan([2, 3, 4]), r"multiplier was \[2, 3\], is now \[2, 3, 4\]"),
        (Plan([2, 3], states=SKIP), "skipped pairs was None"),
    ):
        with pytest.raises(BadInputError, match=found):
            process(job_of(clip, plan), Inline(LerpModel), host=QuietHost())


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
def test_the_command_line_takes_lists_and_pairs(tmp_path, command, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "in.mkv", pictures(6), codec="ffv1", pix_fmt="bgr0")

    def run(*words):
        return cli.main([command, "in.mkv", *words, "--codec", "ffv1", "--device", "cpu", "--quiet"])

    assert run("-m", "3,1, 4,0", "--skip", "2, 5-7") == 0
    assert len(times_of("in_x0-4.mkv")) == 3 + 1 + 1 + 1 + 2 + 1
    assert run("only.mkv", "-m", "3,3", "--only", "0-1") == 0
    assert len(times_of("only.mkv")) == 3 + 3 + 1 + 1 + 1 + 1
    for wrong in (["--skip", "1", "--only", "2"], ["--skip", "5-2"], ["--only", "x"]):
        with pytest.raises(SystemExit) as caught:
            run("no.mkv", *wrong)
        assert caught.value.code == 2
    assert "from low to high" in capsys.readouterr().err
    assert run("no.mkv", "-m", "2,2.5") == 2
    assert "Error: The multiplier" in capsys.readouterr().err
    assert not os.path.exists("no.mkv")
