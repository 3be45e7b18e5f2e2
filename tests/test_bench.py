import argparse
import importlib
import json
import sys
from types import ModuleType

import pytest
import torch
from midframe.benchmarks import bench, peers
from midframe.benchmarks.peers.peer import modules_of
from midframe.errors import BadInputError


class Copycat:
    """A peer that is our own network, or that network off by ``error``."""

    error = 0.0

    def __init__(self, checkout):
        pass

    def open(self, weights, folder, device, options):
        from midframe.api import interpolate
        from midframe.vfi_models import build, detect

        model = build(detect(weights))
        return lambda frames, multiplier: interpolate(frames, model, multiplier) + self.error

    def options(self, height, width):
        return {}


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setitem(peers.PEERS, "copycat", Copycat)
    monkeypatch.setattr(bench, "_peak_in_own_process", lambda work, who, against: 1.0)

    def call(*arguments):
        parser = argparse.ArgumentParser()
        bench.add_arguments(parser)
        words = ["--size", "40x56", "--frames", "3", "--rounds", "1", "--device", "cpu", *arguments]
        lines = []
        code = bench.run(parser.parse_args(words), lines.append)
        return code, "\n".join(lines)

    return call


def test_rows_say_what_was_compared(run, tmp_path):
    out = tmp_path / "rows.json"
    code, table = run("--against", f"copycat={tmp_path}", "--multiplier", "2", "4", "--json", str(out))
    rows = json.loads(out.read_text())["rows"]
    assert code == 0
    assert [row["multiplier"] for row in rows] == [2, 4]
    assert {row["against"] for row in rows} == {"copycat"}
    assert all(row["max_error"] < 1e-5 and row["speedup"] > 0 for row in rows)
    assert out.with_suffix(".md").read_text() == table + "\n"


def test_pictures_that_differ_are_no_comparison(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Copycat, "error", 0.01)
    code, table = run("--against", f"copycat={tmp_path}", "--multiplier", "2")
    assert code == 1
    assert "pictures differ" in table


def test_without_a_peer_ours_is_measured_alone(run):
    code, table = run("--model", "rife-4.6", "--multiplier", "2")
    assert code == 0
    assert "| rife-4.6 | 40x56 | 2 | float32 | nothing |" in table


def test_film_and_its_load_times(run, tmp_path):
    out = tmp_path / "rows.json"
    words = ["--model", "film-narrow", "--multiplier", "3", "--loading", "--json", str(out)]
    code, table = run("--against", f"copycat={tmp_path}", *words)
    report = json.loads(out.read_text())
    assert code == 0
    assert report["rows"][0]["processor_speedup"] > 0
    kinds = ["torch.save", "TorchScript archive", "converted", "converted, float16"]
    assert [row["file"] for row in report["loading"]] == kinds
    assert all(row["warm_seconds"] > 0 for row in report["loading"])
    assert all(f"| film-narrow | {kind} |" in table for kind in kinds)


def test_every_value_of_an_option_is_a_row(run):
    code, table = run("--model", "rife-4.6", "--multiplier", "2", "--option", "ensemble=false,true")
    assert code == 0
    assert "| rife-4.6 ensemble=False |" in table
    assert "| rife-4.6 ensemble=True |" in table


def test_modules_of_a_checkout_are_gone_afterwards(tmp_path, monkeypatch):
    mine = ModuleType("utils")
    monkeypatch.setitem(sys.modules, "utils", mine)
    (tmp_path / "utils.py").write_text("import deeper.model\nname = deeper.model.name")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "model.py").write_text("name = 'theirs'")
    before = list(sys.path)
    with modules_of(tmp_path):
        assert importlib.import_module("utils").name == "theirs"
    assert sys.modules["utils"] is mine
    assert not [name for name in sys.modules if name.partition(".")[0] == "deeper"]
    assert sys.path == before


@pytest.mark.parametrize(
    "words", [["--model", "rife-9"], ["--size", "big"], ["--against", "comfyui=/no/such/folder"]]
)
def test_what_cannot_be_measured(run, words):
    with pytest.raises(BadInputError):
        run(*words)


def test_the_clip_is_the_same_at_every_call():
    work = bench.Work("rife-4.25", (32, 48), 2, 3, "float32", "cpu")
    clip = work.clip()
    assert torch.equal(clip, work.clip())
    assert clip.shape == (3, 32, 48, 3)
    assert clip.min() >= 0
    assert clip.max() <= 1
    assert (clip[0] - clip[1]).abs().mean() > 1e-3
