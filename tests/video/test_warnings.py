"""Each warning is said once in a run, however often the clip is opened for it."""

import logging
from collections import Counter
from contextlib import nullcontext
from fractions import Fraction as Fr

import numpy as np
import pytest
from clips import pictures, write_clip
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.engine.remarks import Remarks
from midframe.video import Coding, Plan, interpolate_video
from midframe.video.stream.lazy import LazyVideo
from PIL import Image

LOG = logging.getLogger("midframe.video.read.decode")


def cut_short(folder):
    clip = write_clip(folder / "in.mkv", pictures(72, (64, 96)), options={"g": "8", "qp": "0"})
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 6 // 10])
    return clip, "out.mp4", Plan(2)


def missing_picture(folder):
    (folder / "in").mkdir()
    for index in (0, 1, 3, 4):
        Image.fromarray(np.full((64, 96, 3), 20 * index, np.uint8)).save(folder / "in" / f"{index}.png")
    return folder / "in", "out.mp4", Plan(2)


def another_rate(folder):
    clip = write_clip(folder / "in.mp4", pictures(12, (64, 96)), rate=Fr(24), sound="aac")
    return clip, "out.mp4", Plan(2, source_fps=Fr(12))


def odd_size(folder):
    clip = write_clip(folder / "in.mkv", pictures(12, (63, 95)), codec="ffv1", pix_fmt="bgr0")
    return clip, "out.mp4", Plan(2, coding=Coding("h264"))


CASES = {function.__name__: function for function in (cut_short, missing_picture, another_rate, odd_size)}


def run(kind, source, target, plan):
    if kind == "file":
        interpolate_video(source, target, LerpModel(), plan)
    elif kind == "chunks":
        job = Job(source, target, target.with_name("work"), plan=plan, pairs=4)
        process(job, Inline(LerpModel), host=RecordingHost())
    else:
        lazy = LazyVideo(
            lambda alpha: plan.open(source, alpha=alpha), plan, lambda *_: nullcontext(LerpModel())
        )
        assert lazy.info.width
        assert lazy.duration
        assert lazy.part(Fr(0), Fr(1, 8)).info.width
        lazy.write(target, plan.coding)


@pytest.mark.parametrize("kind", ["file", "chunks", "lazy"])
@pytest.mark.parametrize("case", CASES)
def test_a_warning_is_said_once_in_a_run(tmp_path, caplog, case, kind):
    source, name, plan = CASES[case](tmp_path)
    run(kind, source, tmp_path / name, plan)
    said = Counter(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert said, "this clip is warned of"
    assert set(said.values()) <= {1}, said


def test_the_next_run_says_it_again(tmp_path, caplog):
    source, name, plan = another_rate(tmp_path)
    for index in range(2):
        interpolate_video(source, tmp_path / f"{index}{name}", LerpModel(), plan)
    assert caplog.text.count("gets another rate") == 2


def test_runs_inside_runs_and_errors_leave_no_filter_behind(caplog):
    before = list(LOG.filters)

    @Remarks()
    def inner():
        LOG.warning("inside")
        LOG.warning("inside")
        raise KeyError

    remarks = Remarks()
    for _ in range(2):
        with pytest.raises(KeyError), remarks:
            inner()
    assert caplog.messages.count("inside") == 1
    assert LOG.filters == before
    with remarks:
        LOG.error("errors are not counted")
        LOG.error("errors are not counted")
    assert caplog.messages.count("errors are not counted") == 2
