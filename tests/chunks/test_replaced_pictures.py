"""A picture of a folder is replaced while its job is half done."""

import contextlib

import pytest
from clips import pictures
from fakes import LerpModel, RecordingHost
from midframe.analysis.timing import Timing
from midframe.chunks import Inline, Job, process
from midframe.errors import BadInputError
from midframe.video import Plan, interpolate_video
from PIL import Image

COUNT, PAIRS, BROKEN = 20, 4, 17
PLAN = Plan(timing=Timing(cuts="interpolate"))


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "shots"
    source.mkdir()
    for number, picture in enumerate(pictures(COUNT, (32, 48))):
        Image.fromarray(picture).save(source / f"{number:04d}.png")
    return source


def run(folder, plan=PLAN, expected=None):
    """Run the job; return the chunks that were made."""
    made = []
    job = Job(folder, folder.parent / "out", folder.parent / "work", plan=plan, pairs=PAIRS)
    with expected or contextlib.nullcontext():
        process(job, Inline(LerpModel), host=RecordingHost(), report=lambda report: made.append(report.chunk))
    return set(made)


@pytest.fixture
def begun(folder):
    """A job that ended at a broken picture, which is mended; and the chunks that were finished."""
    file = folder / f"{BROKEN:04d}.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    finished = run(folder, expected=pytest.raises(BadInputError, match=file.name))
    file.write_bytes(whole)
    assert {0, 1} <= finished < set(range(5))
    return folder, finished


def same_as_in_one_pass(folder):
    interpolate_video(folder, folder.parent / "whole", LerpModel(), PLAN)
    expected, made = (
        {file.name: file.read_bytes() for file in (folder.parent / name).iterdir()}
        for name in ("whole", "out")
    )
    return made == expected


def another(folder, number):
    """Put another picture into the place of one."""
    Image.fromarray(pictures(1, (32, 48))[0][::-1].copy()).save(folder / f"{number:04d}.png")


def test_a_broken_picture_that_is_replaced_costs_no_finished_chunk(begun, caplog):
    folder, finished = begun
    assert run(folder) == set(range(5)) - finished
    assert "no finished chunk shows them" in caplog.text
    assert same_as_in_one_pass(folder)


@pytest.mark.parametrize(("number", "again"), [(1, {0}), (4, {0, 1}), (5, {0, 1})])
def test_chunks_that_show_another_picture_now_are_made_again(begun, number, again):
    folder, finished = begun
    another(folder, number)
    assert run(folder) - (set(range(5)) - finished) == again
    assert same_as_in_one_pass(folder)


@pytest.mark.parametrize("change", ["first", "name", "setting"])
def test_another_first_picture_name_or_setting_is_another_job(begun, change):
    folder, _ = begun
    plan = PLAN
    if change == "first":
        another(folder, 0)
    elif change == "name":
        (folder / "0019.png").rename(folder / "0020.png")
    else:
        plan = Plan(3, timing=PLAN.timing)
    assert run(folder, plan, expected=pytest.raises(BadInputError, match="another job")) == set()
