"""Chunks made by workers of a Ray cluster are those that are made here, whatever happens to a worker."""

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction as Fr
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from clips import frames_of, pictures, times_of, write_clip
from midframe import cli
from midframe.chunks import Farm, Inline, Job, ModelChoice, process, ray_executor
from midframe.chunks.documents import write_document
from midframe.chunks.store import Store
from midframe.chunks.worker import error_of, make_chunk, task_of
from midframe.errors import BadInputError, MidframeError
from midframe.vfi_utils import QuietHost, Settings, States
from midframe.video import Coding, Plan, open_clip

# One process runs them all: each would start a cluster of its own, and there are workers enough.
pytestmark = pytest.mark.xdist_group("ray")

LOSSLESS = Plan(coding=Coding("ffv1"))


class Host(QuietHost):
    """Notes progress; ``poll()`` is called whenever the run asks whether it is cancelled."""

    def __init__(self, poll=lambda: None):
        super().__init__()
        self.poll = poll
        self.seen = []

    def progress(self, done, total, preview):
        self.seen.append((done, total))

    def check_cancelled(self):
        self.poll()


@pytest.fixture
def clip(tmp_path):
    return write_clip(
        tmp_path / "in.mp4", pictures(47, (32, 48)), sound="aac", options={"qp": "8", "g": "12"}
    )


@pytest.fixture(autouse=True)
def _one_thread():
    """As each of two workers of two cores has: how many there are may change a made frame's last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster():
    """Two workers, for the tests that do not start their own."""
    ray = pytest.importorskip("ray", reason="Ray cannot be installed here")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield ray
    ray.shutdown()


@pytest.mark.parametrize(
    ("workers", "gpus", "at_once"),
    [(3, 2, 3), (5, 2, 5), (4, 2, 4), (2, 2, 2), (1, 2, 1), (7, 3, 7), (1, 1, 1)],
)
def test_all_workers_find_room_on_the_gpus(monkeypatch, workers, gpus, at_once):
    """Ray gives a worker its part of one GPU, never of two."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    resources = {"GPU": float(gpus), "CPU": 16.0}
    ray = SimpleNamespace(cluster_resources=lambda: resources, nodes=lambda: [{"Resources": resources}])
    here, told = ray_executor._share_here(workers, torch.device("cuda"))
    assert (told["num_gpus"], told["num_cpus"]) == (gpus, workers)
    for share in (here, ray_executor._share_there(ray, workers, None)):
        each = share.options()["num_gpus"]
        assert 0 < each <= 1
        assert gpus * int(1 / each + 1e-6) >= at_once
        assert share.at_once() >= at_once


def test_a_worker_without_a_gpu_asks_for_none():
    share, told = ray_executor._share_here(3, torch.device("cpu"))
    assert (share.options()["num_gpus"], told["num_gpus"]) == (0, 0)


def job_of(source, name="out.mkv", plan=LOSSLESS, pairs=5, **more):
    folder = source.parent
    return Job(source, folder / name, folder / f"{name}.work", plan=plan, pairs=pairs, **more)


def inline(source, **more):
    job = job_of(source, "inline.mkv", **more)
    process(job, Inline(job.model.load), host=QuietHost())
    return job.target


def same(left, right):
    made, wanted = ([frame.tobytes() for frame in frames_of(path)] for path in (left, right))
    return made == wanted and times_of(left) == times_of(right)


def leftovers(job):
    return [path.name for path in job.workdir.iterdir() if "tmp" in path.name]


def workers():
    """The processes that make chunks now, by their chunk."""
    busy = {}
    for worker in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, IndexError):  # it may end meanwhile
            title = worker.cmdline()[0]
            if title.startswith("ray::midframe chunk "):
                busy[int(title.split()[-1])] = worker
    return busy


class Killer:
    """Kills the process that makes a chunk while it writes it, until ``lost()``: it may be done by then."""

    def __init__(self, job, lost):
        self.job = job
        self.lost = lost
        self.killed = 0

    def __call__(self):
        if self.lost():
            return
        writing = {int(path.name[1:7]) for path in self.job.workdir.glob(".*.tmp*")}
        for chunk, worker in workers().items():
            if chunk in writing:
                worker.kill()
                self.killed += 1
                return


@pytest.mark.long  # a cluster of its own; chunks whose worker is killed are made again in test_chunk_kills too
def test_a_worker_is_killed_in_the_middle(clip, caplog):
    pytest.importorskip("ray", reason="Ray cannot be installed here")
    before = signal.getsignal(signal.SIGTERM)
    job, made = job_of(clip), []
    killer = Killer(job, lambda: "is made again" in caplog.text)
    host = Host(killer)
    written = process(job, Farm(workers=2), host=host, report=made.append)
    assert killer.killed >= 1
    assert killer.lost()
    assert sorted(report.chunk for report in made) == list(range(10))
    assert written.frames == 94
    assert host.seen[0] == (0, 94)
    assert host.seen[-1] == (94, 94)
    assert same(job.target, inline(clip))
    assert sorted(path.name for path in job.workdir.iterdir()) == [
        "analysis.json",
        "done.json",
        "job.json",
        "lock",
    ]
    assert not [p for p in psutil.Process().children(recursive=True) if "ray" in p.name()]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_no_cluster_there(clip, address):
    pytest.importorskip("ray", reason="Ray cannot be installed here")
    with pytest.raises(MidframeError, match="no connection"):
        process(job_of(clip), Farm(address=address), host=Host())


@pytest.mark.long  # three runs with workers that each import torch
@pytest.mark.parametrize("estimate", [None, 12, 200])
def test_a_header_need_not_be_right(clip, cluster, estimate):
    job = job_of(clip, plan=Plan(1, coding=Coding("ffv1")), pairs=4)
    job.workdir.mkdir()
    store = Store(job.workdir, job.identity())
    with open_clip(clip) as opened:
        info = replace(opened.info, frames_estimate=estimate)
    Farm(workers=2)(job, store, info, host=Host(), done=lambda record: None)
    assert store.complete
    assert store.frames == 47
    assert not leftovers(job)


def test_an_error_comes_out_as_it_is(clip, cluster):
    job = job_of(clip, settings=Settings(options={"flow_scale": -1.0}))
    errors = []
    for executor in (Inline(job.model.load), Farm(workers=2)):
        with pytest.raises(BadInputError) as caught:
            process(job, executor, host=Host())
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    assert "flow_scale" in str(errors[0])
    assert not leftovers(job)


@pytest.mark.long  # workers that each import torch; an error comes out of one above
def test_a_fault_comes_out_too(clip, cluster, monkeypatch):
    monkeypatch.setattr(ray_executor, "portable", lambda: lambda root, task, chunk: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        process(job_of(clip), Farm(workers=2), host=Host())


def test_a_chunk_that_kills_its_worker_ends_the_run(clip, cluster, monkeypatch):
    die = signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM
    monkeypatch.setattr(ray_executor, "portable", lambda: lambda root, task, chunk: os.kill(os.getpid(), die))
    monkeypatch.setattr(ray_executor, "TRIES", 2)
    job = job_of(clip, pairs=40)
    with pytest.raises(MidframeError, match="lost with its worker") as caught:
        process(job, Farm(workers=2), host=Host())
    assert "2 times" in caught.value.found


@pytest.mark.long  # two runs with workers that each import torch; cancelling a job here is in test_chunks
def test_cancel_ends_it_and_the_next_run_goes_on(clip, cluster):
    job, made = job_of(clip), []

    def poll():
        if made:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process(job, Farm(workers=2), host=Host(poll), report=made.append)
    ended = time.monotonic()
    kept = len(list(job.workdir.glob("0*.json")))
    assert 1 <= len(made) <= kept < 10
    assert not leftovers(job)
    assert not job.target.exists()
    while workers():
        assert time.monotonic() - ended < 10
        time.sleep(0.1)
    again = []
    process(job, Farm(workers=2), host=Host(), report=again.append)
    assert len(again) == 10 - kept
    assert same(job.target, inline(clip))


@pytest.mark.long  # workers that each import torch; a run is cancelled above
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be asked to end there")
def test_a_request_to_end_comes_out_as_it_is(clip, cluster):
    """Ray's own waiting would turn it into another."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    request = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))

    def begin(report):
        if not request.ident:
            request.start()

    try:
        with pytest.raises(SystemExit) as caught:
            process(job_of(clip), Farm(workers=2), host=Host(), report=begin)
        assert caught.value.code == 143
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.long  # workers that each import torch; in the short run they load the pack by its path too
def test_the_pack_has_any_name(clip, cluster, renamed):
    chunks, video = (importlib.import_module(f"{renamed}.{room}") for room in ("chunks", "video"))
    plan = video.Plan(coding=video.Coding("ffv1"))
    job = chunks.Job(clip, clip.parent / "out.mkv", clip.parent / "work", plan=plan)
    chunks.process(job, chunks.Farm(workers=2), host=Host())
    assert same(job.target, inline(clip))


@pytest.mark.long  # workers that each import torch; the same job without the command is above
def test_the_command(clip, cluster, monkeypatch, capsys):
    monkeypatch.chdir(clip.parent)  # which is not the workers' folder
    words = ["chunks", "in.mp4", "out.mkv", "--codec", "ffv1", "--pairs-per-chunk", "20"]
    words += ["--multiplier", "2,3,1", "--skip", "20-22, 45"]
    assert cli.main([*words, "--workers", "2"]) == 2
    assert "--executor ray" in capsys.readouterr().err
    assert cli.main([*words, "--executor", "ray", "--workers", "2"]) == 0
    assert "90 frames" in capsys.readouterr().out
    plan = replace(LOSSLESS, multiplier=[2, 3, 1], states=States({20, 21, 22, 45}))
    assert same(Path("out.mkv"), inline(clip, plan=plan, pairs=20))


def test_without_ray(clip, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["chunks", str(clip), "--executor", "ray"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in err] == ["Error", "Found", "What to do"]
    assert "pip install ray" in err[2]
    assert [path.name for path in clip.parent.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(("workers", "model"), [(0, ModelChoice()), (None, ModelChoice(device="cuda:1"))])
def test_what_cannot_be_is_refused(clip, workers, model):
    pytest.importorskip("ray", reason="Ray cannot be installed here")
    with pytest.raises(BadInputError):
        process(job_of(clip, model=model), Farm(workers=workers), host=Host())


class TestWithoutACluster:
    """What a worker does, done here."""

    def test_a_job_is_data(self, clip):
        job = job_of(clip, plan=Plan(fps=Fr(60000, 1001)), settings=Settings(options={"ensemble": True}))
        assert Job.from_data(job.as_data()) == job

    def test_a_folder_that_is_not_shared(self, clip):
        job = job_of(clip)
        job.workdir.mkdir()
        store = Store(job.workdir, job.identity())
        os.unlink(job.workdir / "job.json")
        error = error_of(make_chunk(task_of(job, store), 0))
        assert isinstance(error, BadInputError)
        assert str(job.workdir) in error.found
        assert "share" in error.advice

    @pytest.mark.parametrize("what", ["source", pytest.param("model", marks=pytest.mark.long)])
    def test_another_source_or_model(self, clip, what):
        job = job_of(clip)
        job.workdir.mkdir()
        store = Store(job.workdir, {**job.identity(), what: "another"})
        error = error_of(make_chunk(task_of(job, store), 0))
        assert f"The {what} is not the same" in error.wrong

    @pytest.mark.long  # test_damage_costs_only_what_is_damaged finds the same in this process
    def test_a_chunk_is_believed_only_as_it_is_on_disk(self, clip):
        job = job_of(clip)
        job.workdir.mkdir()
        store = Store(job.workdir, job.identity())
        assert store.read(2) is None
        assert make_chunk(task_of(job, store), 2) is None
        assert len(store.read(2).times) == 10
        (job.workdir / "000002.mkv").write_bytes(b"half")
        again = Store(job.workdir, job.identity())
        assert again.read(2) is None
        assert again.records == []
        write_document(job.workdir / "000002.json", {"job": "another"})
        assert again.read(2) is None
