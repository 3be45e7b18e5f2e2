"""Chunk jobs that are killed, or run out of disk, and go on."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction as Fr
from pathlib import Path

import pytest
from clips import frames_of, pictures, times_of, write_clip
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.errors import MidframeError
from midframe.video import Coding, Plan

resource = pytest.importorskip("resource", reason="limits of a process are a matter of Unix")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows knows no fork and no SIGKILL")
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture
def clip(tmp_path):
    options = {"qp": "8", "g": "9", "bf": "2"}
    return write_clip(
        tmp_path / "in.mp4", pictures(45, (64, 96)), rate=Fr(24000, 1001), sound="aac", options=options
    )


def same(a, b):
    assert times_of(a) == times_of(b)
    made, wanted = frames_of(a), frames_of(b)
    assert len(made) == len(wanted)
    assert all((x == y).all() for x, y in zip(made, wanted, strict=True))


MANY = 20


@pytest.mark.parametrize("moments", [1, pytest.param(MANY, marks=pytest.mark.long)])
def test_killed_at_random_moments(tmp_path, moments):
    count = 45 if moments == MANY else 23
    options = {"qp": "8", "g": "9", "bf": "2"}
    clip = write_clip(tmp_path / "in.mp4", pictures(count, (64, 96)), sound="aac", options=options)
    program = [sys.executable, str(Path(__file__).parents[1] / "support" / "kill_loop.py")]
    done = subprocess.run(
        [*program, str(clip), str(clip.parent), str(moments)],
        capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["states"]) >= moments
    # The first output is of the run that nobody killed.
    uninterrupted, *others = report["outputs"]
    assert others
    assert len(frames_of(uninterrupted)) == 2 * count
    for output in others:
        same(output, uninterrupted)
    assert report["remade"] == []
    if moments == MANY:  # enough to hit different stages of the work, half a segment too
        assert len({tuple(state) for state in report["states"]}) > 3
        assert any(half for _, half in report["states"])


@pytest.mark.long  # three processes; its shorter sister is the one above
def test_the_command_goes_on_after_a_kill(clip, command):
    words = [*command, "chunks", str(clip), "OUT", "--codec", "ffv1", "--pairs-per-chunk", "4"]

    def start(name):
        return subprocess.Popen(
            [word.replace("OUT", str(clip.parent / name)) for word in words],
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip

    whole = start("whole.mkv")
    assert whole.wait(120) == 0
    process_ = start("out.mkv")
    work = clip.parent / "out.mkv.chunks"
    until = time.monotonic() + 60
    while len(list(work.glob("0*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.005)
    process_.send_signal(signal.SIGKILL)
    process_.wait()
    assert not (clip.parent / "out.mkv").exists()
    again = start("out.mkv")
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "chunk 0 " not in said
    same(clip.parent / "out.mkv", clip.parent / "whole.mkv")


def run(job):
    return process(job, Inline(LerpModel), host=RecordingHost())


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(size, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("where", ["work", pytest.param("output", marks=pytest.mark.long)])
def test_a_full_disk_costs_nothing_that_is_finished(clip, tmp_path, small_disk, where):
    plan = Plan(2, coding=Coding("ffv1"))
    job = Job(clip, tmp_path / "whole.mkv", tmp_path / "whole", plan=plan, pairs=4)
    run(job)
    target = (small_disk if where == "output" else tmp_path) / "out.mkv"
    work = (small_disk if where == "work" else tmp_path) / "chunks"
    job = Job(clip, target, work, plan=plan, pairs=4)
    with pytest.raises(MidframeError, match=r"written|kept|joined") as caught:
        run(job)
    assert "No space left" in caught.value.found
    assert not target.exists()
    finished = len(list(work.glob("0*.json")))
    assert finished == 12 if where == "output" else 0 < finished < 12
    assert not [path for folder in (work, target.parent) for path in folder.iterdir() if ".tmp" in path.name]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    model = LerpModel()
    process(job, Inline(lambda: model), host=RecordingHost())
    assert model.calls["between"] == max(0, 44 - 4 * finished)
    same(target, tmp_path / "whole.mkv")


def test_a_file_that_may_not_grow(clip, tmp_path):
    """The same without a right to mount: the system refuses to write more than so many bytes to a file."""
    job = Job(clip, tmp_path / "out.mkv", tmp_path / "work", plan=Plan(2, coding=Coding("ffv1")), pairs=4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    try:
        with pytest.raises(MidframeError, match=r"written|kept|joined"):
            run(job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not job.target.exists()
    assert run(job).frames == 90
