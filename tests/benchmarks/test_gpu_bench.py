"""The rows that need a GPU: that they are what the commands take, and that one that fails ends none."""

import argparse
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from midframe.benchmarks import bench, contest, gpu, pressure, profile, transfers
from midframe.benchmarks.long_clips import Blend
from midframe.errors import BadInputError
from midframe.vfi_models import activations_stored
from midframe.vfi_models._ops.convolution import memory_format
from midframe.vfi_models._ops.cuda_graphs import _FIRST


def test_rows_are_what_bench_takes():
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    todo = gpu.rows(Path("comfy"), Path("older"))
    assert len({row.name for row in todo}) == len(todo)
    asked = {}
    for row in todo:
        if row.arguments[1:2] == ("bench",):
            asked[row.name] = args = parser.parse_args([*row.arguments[2:], "--json", "x.json"])
            assert args.device == "cuda"
            bench._check(args)
            assert bench._works(args, "cuda")
    first = asked["rife_1080p_x2"]
    assert (first.model, first.size, first.multiplier) == (["rife-4.25"], ["1080x1920"], [2])
    assert (first.dtype, first.peer_dtype, first.against) == (["float16"], "float16", ["comfyui=comfy"])
    assert asked["rife_1080p_x4"].multiplier == [4]
    assert asked["rife_4k_8gib"].vram_gib == 8
    assert asked["older_1080p_float32"].peer_dtype == "float32"
    assert asked["older_1080p_float32"].dtype == ["float32"]
    switched = bench._works(asked["rife_1080p_graphs"], "cuda")
    assert [work.options for work in switched] == [{"graphs": True}, {"graphs": False}]
    assert all(work.made_frames >= 2 * _FIRST for work in switched)  # as many replays as passes before
    assert {"film_1080p_x2", "rife_720p_x2", "rife_1440p_x2", "rife_4k_x2"} <= asked.keys()
    alone = gpu.rows(None, None)
    assert not any("--against" in row.arguments for row in alone)


def test_a_row_that_fails_ends_none(tmp_path):
    ran, said = [], []

    def run(command, *, timeout, **_):
        name = Path(command[-1]).stem
        ran.append(name)
        assert command[1] == "-m"
        if name == "slow":
            raise subprocess.TimeoutExpired(command, timeout)
        if name == "gone":
            raise OSError("no such program")
        return subprocess.CompletedProcess(command, int(name == "broken"), "out\n", "trace\nthe reason\n")

    names = ["slow", "broken", "gone", "fine"]
    todo = [gpu.Row(name, ("nothing",)) for name in names]
    assert gpu.run_all(todo, tmp_path, said.append, seconds=1000, run=run) == names[:3]
    assert ran == names
    assert "the reason" in said[1]
    assert said[-1].startswith("fine: done, ")
    page = (tmp_path / "page.md").read_text()
    assert "| broken | failed: the reason |" in page
    assert "| slow | not done in " in page
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        assert set(archive.namelist()) == {"broken.log", "fine.log", "page.md"}
    assert (tmp_path / "broken.log").read_text() == "out\ntrace\nthe reason\n"
    assert gpu.run_all(todo, tmp_path, said.append, seconds=5, run=run) == names
    assert "left out" in said[-1]


def test_rows_are_processes_of_this_pack(root, tmp_path):
    assert gpu._PACK == "midframe"
    row = gpu.Row("one", ("there_is_no_such_module",))
    assert gpu.run_all([row], tmp_path, lambda line: None, seconds=60) == ["one"]
    assert "there_is_no_such_module" in (tmp_path / "one.log").read_text()


def test_steps_before_the_rows_have_what_they_need(root, tmp_path):
    steps = {row.name: row for row in gpu.checks()}
    assert steps["tests_async"].environment == {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    for row in (*steps.values(), *gpu.rehearsal()):
        for word in row.arguments:
            assert not word.endswith((".py", ".npz")) or (root / word).is_file(), word
    seen = {}

    def run(command, *, env, cwd, **_):
        seen.update(command=command, async_=env.get("PYTORCH_CUDA_ALLOC_CONF"), cwd=cwd)
        return subprocess.CompletedProcess(command, 0, "", "")

    assert gpu.run_all([steps["tests_async"]], tmp_path, lambda line: None, seconds=60, run=run) == []
    assert seen["async_"] == "backend:cudaMallocAsync"
    assert seen["cwd"] == root
    assert "--json" not in seen["command"]


@pytest.mark.long  # four processes that each import torch
def test_the_rehearsal_runs(tmp_path, capsys):
    assert gpu.main(["--rehearse", "--out", str(tmp_path), "--minutes", "9"]) == 0, capsys.readouterr().out
    page = (tmp_path / "page.md").read_text()
    assert page.count("| done, ") == 4
    assert "| rife-4.6 64x96 x2 float32 |" in page
    assert "cases, 0 failed" in page
    assert (tmp_path / "results.zip").stat().st_size < 2**20


def test_without_a_gpu_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "results")]) == 2
    assert "no CUDA device" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    with pytest.raises(BadInputError):
        pressure.main(["--json", str(tmp_path / "x.json")])


def test_clearings_are_counted():
    host = pressure.CountingHost(torch.device("cpu"))
    host.clear_cache()
    assert host.cleared == 1


def test_pictures_are_compared_without_tf32_and_timed_as_torch_is_set(monkeypatch):
    seen = []

    def contender(clip, multiplier):
        seen.append(torch.backends.cudnn.allow_tf32)
        return clip

    work = SimpleNamespace(device="cuda", multiplier=2)  # the switch works without a GPU
    contest._first_runs({"midframe": contender}, torch.zeros(1), work)
    assert seen == [False]
    monkeypatch.setattr(contest, "synchronise", lambda kind: None)
    watch = SimpleNamespace(taken=lambda: 0.0)
    contest._interleaved({"midframe": contender}, torch.zeros(1), work, contest.Limits(1), watch)
    assert seen == [False, True]


def test_a_frame_that_holds_another_is_found(monkeypatch, capsys):
    assert transfers.main(["--device", "cpu", "--small", "--frames", "5"]) == 0
    assert capsys.readouterr().out.count("9 frames, all the same") == 4
    between, frames = Blend.between, []

    def late(self, left, right, timestep):
        frames.append(between(self, left, right, timestep))
        return frames[max(len(frames) - 2, 0)].clone()

    monkeypatch.setattr(Blend, "between", late)
    assert transfers.main(["--device", "cpu", "--small", "--frames", "5"]) == 1
    assert "wrong: [3, 5, 7]" in capsys.readouterr().out


@pytest.mark.long  # the profiler itself is slow; the rehearsal above runs this row, too
def test_profiles_put_both_layouts_side_by_side(capsys):
    layouts = next(row for row in gpu.rehearsal() if row.name == "layouts")
    assert profile.main(layouts.arguments[1:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| ms a made frame | rife-4.6 float32 planes | rife-4.6 float32 channels_last |"
    convolutions = next(line for line in lines if line.startswith("| convolutions |"))
    assert all(float(value) > 0 for value in convolutions.strip("|").split("|")[1:])
    asked = next(row for row in gpu.rows(None, None) if row.name == "layouts").arguments
    assert asked[1:3] == ("--device", "cuda")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("void cudnn::ops::nchwToNhwcKernel<__half, float>", "changes of layout"),
        ("sm90_xmma_fprop_implicit_gemm_f16f16_f16f32", "convolutions"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("_warp", "sampling"),
        ("Memcpy DtoH (Device -> Pinned)", "joins and copies"),
        ("void at::native::CatArrayBatchedCopy<float>", "joins and copies"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::AddFunctor>", "arithmetic"),
    ],
)
def test_kernels_have_a_kind(name, kind):
    assert profile.kind_of(name) == kind


def test_activations_are_stored_as_asked_and_only_inside():
    device = torch.device("cpu")
    before = memory_format(device)
    with activations_stored(torch.contiguous_format):
        assert memory_format(device) == torch.contiguous_format
    assert memory_format(device) == before
