import argparse
import contextlib
import importlib
import json
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import midframe
import pytest
import torch
from checkpoints import save
from clips import pictures, write_clip
from midframe.api import interpolate
from midframe.benchmarks import bench, contest, footprint, peers, sixteen_bits
from midframe.benchmarks.machine import Rates
from midframe.benchmarks.network import Counts, Stopwatch, TimedModel, counts
from midframe.benchmarks.peers.peer import Checkout
from midframe.benchmarks.report import write
from midframe.benchmarks.work import Work
from midframe.errors import BadInputError
from midframe.report.quality import difference, ssim
from midframe.vfi_models import build, detect
from midframe.vfi_models.rife import shapes
from midframe.weights.find import find
from midframe.weights.synthetic import synthetic_state_dict

# In one process with test_launches.py, for what the first fake tensor imports.
pytestmark = pytest.mark.xdist_group("counting")


class Copycat:
    """A peer that is our own network, or that network off by ``error``."""

    error = 0.0
    failure = None

    def __init__(self, checkout):
        pass

    def open(self, task):
        model = build(detect(task.weights))
        model.module.to(task.dtype)

        def run(frames, multiplier):
            if self.failure:
                raise self.failure
            return interpolate(frames, model, multiplier) + self.error

        return run

    def options(self, network, height, width):
        return {}


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setitem(peers.PEERS, "copycat", Copycat)
    monkeypatch.setattr(
        footprint, "in_own_process", lambda *_: {"host": 1.0, "device": None, "reserved": None}
    )

    def call(*arguments):
        parser = argparse.ArgumentParser()
        bench.add_arguments(parser)
        out = tmp_path / "rows.json"
        words = ["--size", "40x56", "--frames", "3", "--rounds", "1", "--device", "cpu", "--json", str(out)]
        lines = []
        code = bench.run(parser.parse_args([*words, *arguments]), lines.append)
        return code, json.loads(out.read_text()), "\n".join(lines)

    return call


@pytest.fixture
def copycat(tmp_path):
    return f"copycat={tmp_path}"


def test_rows_say_what_was_compared(run, copycat, tmp_path):
    code, report, table = run("--model", "rife-4.6", "--against", copycat, "--multiplier", "3")
    rows = report["rows"]
    assert code == 0
    assert [row["multiplier"] for row in rows] == [3]
    assert {row["against"] for row in rows} == {"copycat"}
    for row in rows:
        assert row["reference"] == "copycat"
        assert row["max_error"] < 1e-5
        assert row["ssim"] > 0.9999
        assert row["psnr"] > 90
        assert row["speedup"] > 0
        assert 0 < row["network_seconds_per_made_frame"] < row["seconds_per_made_frame"]
        assert 0 < row["load_cached_seconds"] < row["load_warm_seconds"]
    assert table.endswith((tmp_path / "rows.md").read_text().strip())
    drawn = ElementTree.parse(tmp_path / "rows.svg").getroot()
    assert len([1 for part in drawn if part.tag.endswith("rect")]) == 1 + 2 * len(rows)
    assert not list(tmp_path.glob("*.part"))


def test_pictures_that_differ_are_no_comparison(run, copycat, monkeypatch):
    monkeypatch.setattr(Copycat, "error", 0.01)
    code, report, table = run("--model", "rife-4.6", "--against", copycat, "--multiplier", "2")
    assert code == 1
    assert report["rows"][0]["speedup"] is None
    assert "pictures differ" in table


@pytest.mark.long  # rows of ours, as test_rows_say_what_was_compared has them
def test_without_a_peer_ours_is_measured_alone(run):
    code, report, table = run("--model", "rife-4.6", "--multiplier", "2")
    assert code == 0
    assert report["rows"][0]["pictures_agree"] is None
    assert "| rife-4.6 40x56 x2 float32 | - |" in table


def test_another_network_is_compared_in_speed_alone(run, copycat):
    argument = copycat.replace("=", ":rife-4.6=")
    code, report, table = run("--model", "default", "--multiplier", "2", "--against", argument)
    row = report["rows"][0]
    assert code == 0
    assert (row["against"], row["their_network"]) == ("copycat:rife-4.6", "rife-4.6")
    assert row["pictures_agree"] is None
    assert "psnr" not in row
    assert row["speedup"] > 0
    assert "copycat:rife-4.6 (another network)" in table


@pytest.mark.long  # in the short run pictures that differ are found in float32
@pytest.mark.parametrize(("error", "agree"), [(0.0, True), (0.02, False)])
def test_sixteen_bits_are_held_to_our_own_float32(run, copycat, monkeypatch, error, agree):
    monkeypatch.setattr(Copycat, "error", error)
    monkeypatch.setattr(contest, "_GOOD", 10.0)
    code, report, _ = run("--dtype", "bfloat16", "--multiplier", "2", "--against", copycat)
    row = report["rows"][0]
    assert row["reference"] == "midframe float32"
    assert row["psnr"] < 80
    assert row["their_max_error"] == pytest.approx(error, abs=1e-5)
    assert (row["pictures_agree"], code) == (agree, int(not agree))
    assert (row["speedup"] is not None) == agree


@pytest.mark.long  # another reference, as above
def test_sixteen_bits_too_far_from_float32_count_for_nothing(run, monkeypatch):
    monkeypatch.setattr(contest, "_GOOD", 200.0)
    code, report, _ = run("--dtype", "bfloat16", "--multiplier", "2")
    assert code == 1
    assert report["rows"][0]["pictures_agree"] is False


def test_a_peer_without_enough_memory_is_out_and_ours_goes_on(run, copycat, monkeypatch):
    monkeypatch.setattr(Copycat, "failure", torch.OutOfMemoryError("no"))
    code, report, table = run("--model", "rife-4.6", "--against", copycat, "--multiplier", "2")
    row = report["rows"][0]
    assert code == 0
    assert row["their_failure"] == "out of memory"
    assert row["seconds_per_made_frame"] > 0
    assert "| out of memory |" in table


@pytest.mark.long  # rows as test_rows_say_what_was_compared has them
def test_film_and_its_load_times(run, copycat):
    code, report, table = run(
        "--against", copycat, "--model", "film-narrow", "--multiplier", "3", "--loading"
    )
    assert code == 0
    assert report["rows"][0]["processor_speedup"] > 0
    kinds = ["torch.save", "TorchScript archive", "converted", "converted, float16"]
    assert [row["file"] for row in report["loading"]] == kinds
    assert all(row["warm_seconds"] > 0 for row in report["loading"])
    assert all(f"| film-narrow | {kind} |" in table for kind in kinds)


ENSEMBLE = ["--model", "rife-4.6", "--multiplier", "2", "--option", "ensemble=false,true"]


@pytest.mark.long  # rows as test_rows_say_what_was_compared has them
def test_every_value_of_an_option_is_a_row(run):
    code, report, _ = run(*ENSEMBLE)
    assert code == 0
    assert [row["options"] for row in report["rows"]] == [{"ensemble": False}, {"ensemble": True}]


@pytest.mark.long  # on a device that is not there; launches are counted in test_launches too
def test_launches_are_told_of_every_row(run):
    code, report, table = run(*ENSEMBLE, "--launches")
    assert code == 0
    single, twice = report["rows"]
    assert 100 < single["launches_per_made_frame"] < twice["launches_per_made_frame"] < 1000
    assert 0 < single["moved_gb_per_made_frame"] < twice["moved_gb_per_made_frame"] < 0.1
    assert f"| {single['launches_per_made_frame']:.0f} |" in table


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "rife-9"],
        ["--size", "big"],
        ["--against", "comfyui=/no/such/folder"],
        ["--weights", "/no/such/file"],
        ["--vram-gib", "8"],
        ["--multiplier", "1"],
        ["--model", "tlbvfi-small", "--dtype", "float16"],
    ],
)
def test_what_cannot_be_measured(run, words):
    with pytest.raises(BadInputError):
        run(*words)


def test_the_built_in_model_needs_another_network_to_compare_with(run, copycat):
    with pytest.raises(BadInputError, match=r"copycat:rife-4\.6=FOLDER"):
        run("--model", "default", "--against", copycat)


def test_memory_is_that_of_the_run():

    def holds_64_mib():
        return torch.ones(2**24).add_(1)[:1].clone()

    found = footprint._rise(holds_64_mib, "cpu")
    assert 60 < found["host"] < 80
    assert found["device"] is None
    assert found["reserved"] is None


def test_memory_of_a_device_is_told_as_used_and_as_reserved(monkeypatch):
    figures = {
        "memory_allocated": 10,
        "max_memory_allocated": 50,
        "memory_reserved": 20,
        "max_memory_reserved": 99,
    }
    for name, mib in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda mib=mib: mib * 2**20)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    found = footprint._rise(lambda: torch.zeros(1), "cuda")
    assert (found["device"], found["reserved"]) == (40.0, 79.0)


def test_modules_of_a_checkout_are_there_only_inside(tmp_path, monkeypatch):
    mine = ModuleType("utils")
    monkeypatch.setitem(sys.modules, "utils", mine)
    (tmp_path / "utils.py").write_text("name = 'theirs'")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "model.py").write_text(
        "import utils\ndef late():\n    import utils as u\n    return u"
    )
    before = list(sys.path)
    checkout = Checkout(tmp_path)
    with checkout:
        model = importlib.import_module("deeper.model")
        theirs = model.late()
        assert theirs.name == "theirs"
    assert sys.modules["utils"] is mine
    assert not [name for name in sys.modules if name.partition(".")[0] == "deeper"]
    assert sys.path == before
    with checkout:  # the same ones again
        assert model.late() is theirs
        assert importlib.import_module("deeper.model") is model


def test_a_checkout_without_init_files_is_found_from_inside_this_project(tmp_path, monkeypatch):
    (tmp_path / "vfi_models" / "theirs").mkdir(parents=True)
    (tmp_path / "vfi_models" / "theirs" / "net.py").write_text("name = 'theirs'")
    monkeypatch.syspath_prepend(str(Path(midframe.__file__).parent))
    with Checkout(tmp_path):
        assert importlib.import_module("vfi_models.theirs.net").name == "theirs"


def test_the_clip_is_the_same_at_every_call():
    work = Work("rife-4.25", (32, 48), 2, 3, "float32", "cpu")
    clip = work.clip()
    assert torch.equal(clip, work.clip())
    assert clip.shape == (3, 32, 48, 3)
    assert clip.min() >= 0
    assert clip.max() <= 1
    assert (clip[0] - clip[1]).abs().mean() > 1e-3


def test_similarity_is_that_of_its_definition():
    a, b = torch.rand(2, 11, 11, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    line = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / 4.5)
    window = torch.outer(line, line).unsqueeze(-1)
    window /= window.sum()
    ma, mb = (window * a).sum(), (window * b).sum()
    va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
    cov = (window * (a - ma) * (b - mb)).sum()
    expected = ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    assert ssim(a, b) == pytest.approx(float(expected), abs=1e-12)
    assert ssim(a, a) == pytest.approx(1)


def test_only_made_frames_are_compared():
    reference = torch.zeros(5, 16, 16, 3)
    ours = reference.clone()
    ours[2] = 1  # a source frame
    ours[1, 0, 0, 0] = 0.5
    found = difference(ours, reference, 2)
    assert found.max_error == 0.5
    assert found.psnr == pytest.approx(-10 * torch.log10(torch.tensor(0.25 / (2 * 768))).item(), abs=1e-4)


def test_the_arithmetic_of_a_network_is_counted():
    """RIFE 4.25 at 1080p has 46.4 GMAC with both frames' encoders (convolutions alone), 3.2 of them each."""
    work = Work("rife-4.25", (64, 64), 2, 2, "float32", "cpu")
    found = counts(work, {})
    of_1080p = found.flops * (1088 * 1920) / 64**2
    assert of_1080p / 2 == pytest.approx(46.4e9 - 3.2e9, rel=0.01)
    assert found.made == 1
    four = counts(Work("rife-4.25", (64, 64), 4, 2, "float32", "cpu"), {})
    assert four.flops < found.flops  # one encoder for three frames


def test_convolutions_of_the_built_in_model_are_counted():
    """At 1/4 of the picture 48 channels to 48, four times; and much besides."""
    found = counts(Work("default", (128, 128), 2, 2, "float32", "cpu"), {})
    assert found.flops > 4 * 2 * 9 * 48 * 48 * 32 * 32
    assert 40e3 < found.flops / 128**2 < 60e3


def test_time_that_two_threads_are_inside_counts_once():
    watch, met = Stopwatch(), threading.Barrier(2, timeout=20)

    def inside():
        with watch.running():
            met.wait()
            time.sleep(0.05)

    begun = time.perf_counter()
    threads = [threading.Thread(target=inside) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.05 <= watch.taken() <= time.perf_counter() - begun


def test_the_bound_is_the_slower_of_computing_and_moving():
    counted = Counts(((1000, 10), (10, 1000)), 400, 2)
    rates = Rates(flops=10.0, bytes=100.0)
    assert counted.bound(rates, 4) == (1000 / 10 + 4 * 1000 / 100 + 400 / 100) / 2
    assert counted.traffic(2) == (2 * 1010 + 400) / 2


def test_what_a_model_does_itself_is_watched():
    work = Work("film-narrow", (48, 64), 4, 3, "float32", "cpu")
    model, watch, calls = work.build(), Stopwatch(), []

    @contextlib.contextmanager
    def around():
        calls.append(1)
        with watch.running():
            yield

    clip = work.clip()
    begun = time.perf_counter()
    made = interpolate(clip, TimedModel(model, around), work.multiplier)
    assert 0 < watch.taken() < time.perf_counter() - begun
    assert watch.taken() == 0
    assert len(calls) >= 3 + 2 + 2  # three frames encoded, the motion and the frames of two pairs
    assert torch.equal(made, interpolate(clip, model, work.multiplier))


def test_a_report_without_rows_can_be_written(tmp_path):
    about = {"name": "<&>", "cores": 1, "torch": "2"}
    write({"machine": about, "rows": []}, tmp_path / "a.json")
    assert "&lt;&amp;&gt;" in (tmp_path / "a.svg").read_text()
    ElementTree.parse(tmp_path / "a.svg")


def test_a_peer_is_given_the_networks_own_parameters(tmp_path):
    """A peer that loads strictly, as vs-rife's does, refuses prefixes and a teacher that only training uses."""
    state = {f"module.{name}": value for name, value in synthetic_state_dict(shapes("4.25")).items()}
    state["module.teacher.block0.conv0.0.0.weight"] = torch.zeros(1)
    path = save(tmp_path / "flownet.pkl", state, "legacy")
    work = Work("rife-4.25", (8, 8), 2, 2, "float32", "cpu", file=str(path))
    assert work.weights().keys() == shapes("4.25").keys()


def test_sixteen_bits_are_compared_pair_by_pair(tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", pictures(6))
    words = ["--weights", str(find("default")), "--clips", str(clip), "--out", str(tmp_path / "out.md")]
    assert sixteen_bits.main(words) == 0
    table = (tmp_path / "out.md").read_text()
    assert table == capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert rows[0][2:] == list(sixteen_bits.KINDS)
    assert [row[:2] for row in rows[2:]] == [["clip 1", "32x48"], ["clip 3", "32x48"]]
    for row in rows[2:]:
        rounded, half, brain = map(float, row[2:])
        assert 120 >= rounded > brain > 30
        assert 120 > half > brain


def test_a_clip_without_pairs_is_refused(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", pictures(3))
    with pytest.raises(BadInputError, match="too short"):
        sixteen_bits.pairs_of(clip, sixteen_bits.PairSelection())


@pytest.mark.long  # a process of its own with another copy of the pack
def test_another_checkout_of_this_project_is_a_peer(run, root, tmp_path):
    code, report, _ = run("--model", "default", "--multiplier", "2", "--against", f"midframe={root}")
    row = report["rows"][0]
    assert code == 0
    assert row["max_error"] == 0
    assert row["speedup"] > 0
    with pytest.raises(BadInputError, match="no checkout of Midframe"):
        run("--multiplier", "2", "--against", f"midframe={tmp_path}")
