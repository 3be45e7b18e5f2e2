import argparse
import json
import shutil
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from midframe import parity
from midframe.cli import parity as command
from midframe.errors import BadInputError
from safetensors.torch import load_file, save_file
from thin import thinned

HERE = torch.device("cpu"), torch.float32


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    lines = []
    return command.run(parser.parse_args([str(a) for a in arguments]), lines.append), lines


@pytest.fixture
def film(tmp_path):
    """The small FILM goldens, to be changed."""
    folder = tmp_path / "film"
    shutil.copytree(parity.BUNDLED / "film", folder, ignore=shutil.ignore_patterns("case_*", "recursion*"))
    return folder


@pytest.mark.long  # every case of every file; the three tests below run a part of them
@pytest.mark.parametrize(
    ("network", "cases", "skipped", "reason"),
    [
        ("film", 51, 1, "skipped: files of TensorFlow"),
        ("rife", 203, 3, "skipped: records a known defect"),
        ("tlbvfi", 110, 0, "skipped: "),
    ],
)
def test_every_bundled_golden(network, cases, skipped, reason):
    code, lines = run(parity.BUNDLED / network, "--device", "cpu")
    assert code == 0, [line for line in lines if "FAILED" in line]
    assert lines[-1].startswith(f"{cases} cases, 0 failed, {skipped} skipped, worst ")
    assert sum(reason in line for line in lines) == skipped


@pytest.mark.parametrize(
    "file",
    thinned(sorted((parity.BUNDLED / "rife").iterdir()), range(0, 40, 6)),
    ids=lambda file: file.stem,
)
def test_the_first_goldens_of_every_rife_family(file):
    """All of 4.0, which alone has a refinement and restarts; those of 4.5, 4.6 and 4.25 are all compared below."""
    most = None if file.stem == "4.0" else 3
    outcomes = list(islice(parity.compare([file], *HERE), most))
    assert len(outcomes) == (most or 13)
    assert not [str(outcome) for outcome in outcomes if outcome.failed]
    assert sum(bool(outcome.skipped) for outcome in outcomes) <= 1


@pytest.mark.long  # at its full size; what runs around the network is in test_tlbvfi
def test_the_goldens_of_the_whole_tlbvfi():
    """From two frames to the one between them, so that a wrong part shows too."""
    files = [parity.BUNDLED / "tlbvfi" / f"{name}.npz" for name in ("bright", "schedule")]
    code, lines = run(*files, "--device", "cpu")
    assert (code, lines[-1][:9]) == (0, "22 cases,"), lines


def test_the_small_goldens_of_film(film):
    """The network at its published widths is compared below, where its flows and features are changed."""
    code, lines = run(film, "--device", "cpu")
    assert (code, lines[-1][:9]) == (0, "42 cases,"), lines


def test_what_is_bundled_is_taken_without_a_path():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    first = next(parity.compare(parser.parse_args([]).paths or [parity.BUNDLED], *HERE))
    assert first.name.startswith("film/")
    assert {folder.name for folder in parity.BUNDLED.iterdir()} == {"README.md", "film", "rife", "tlbvfi"}


@pytest.mark.parametrize("name", thinned(["paper", "paper_m", "paper_2r"], (1,)))
def test_the_losses_and_steps_of_the_paper(name):
    """Pictures, an update that trains nothing, and two that do, with the parameters after them."""
    outcomes = list(parity.compare([parity.BUNDLED / "rife" / f"{name}.npz"], *HERE))
    assert not [str(outcome) for outcome in outcomes if outcome.failed or outcome.skipped]
    trained = [outcome for outcome in outcomes if "parameters after two steps" in outcome.name]
    assert len(trained) == (name != "paper_2r")


@pytest.mark.long  # builds and trains the network once more
def test_a_step_that_is_not_taken_is_found(monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    outcomes = parity.compare([parity.BUNDLED / "rife" / "paper_m.npz"], *HERE)
    failed = [outcome.name for outcome in outcomes if outcome.failed]
    assert {"rife/paper_m train2 loss_l1", "rife/paper_m train2 loss_tea"} <= set(failed)


def test_without_the_training_room_its_cases_are_skipped(monkeypatch):
    """As in the package for ComfyUI. The pictures are compared all the same."""
    for module in ("training.model", "training.paper_losses"):
        monkeypatch.setitem(sys.modules, f"midframe.{module}", None)
    files = [parity.BUNDLED / "rife" / f"{name}.npz" for name in ("paper_2r", "losses")]
    code, lines = run(*files, "--device", "cpu")
    assert code == 0
    assert lines[-1].startswith("7 cases, 0 failed, 2 skipped")
    assert sum("this installation has no training" in line for line in lines) == 2


def test_nothing_compared_is_no_success(monkeypatch):
    monkeypatch.setitem(sys.modules, "midframe.training.paper_losses", None)
    assert run(parity.BUNDLED / "rife" / "losses.npz")[0] == 1


@pytest.mark.long  # the whole of TLBVFI or FILM, again
def test_every_film_golden(shared):
    code, lines = run(shared / "goldens" / "film", "--device", "cpu")
    assert code == 0, [line for line in lines if "FAILED" in line]
    read = {line.split()[0].rstrip(":") for line in lines[:-1]}
    files = (shared / "goldens" / "film").iterdir()
    assert {name.partition("/")[2].partition(".")[0] for name in read} == {f.stem for f in files} - {"README"}


def test_a_wrong_picture_fails(tmp_path):
    with np.load(parity.BUNDLED / "rife" / "4.25.npz") as archive:
        arrays = dict(archive)
    arrays["out_t50"] = arrays["out_t50"] + np.float32(2e-4)
    np.savez(tmp_path / "moved.npz", **arrays)
    code, lines = run(tmp_path, "--device", "cpu")
    assert code == 1
    assert [line.split()[1] for line in lines if "FAILED" in line] == ["t50:"]


def failed(folder):
    code, lines = run(folder, "--device", "cpu")
    assert code == 1
    return [line.split(":")[0] for line in lines if "FAILED" in line]


@pytest.mark.long  # a whole network; a wrong picture of it is found below
def test_one_timestep_for_a_batch(tmp_path, shared):
    with np.load(shared / "goldens" / "film" / "case_batch2_64x80.npz") as archive:
        arrays = {name: archive[name] for name in archive if name != "dt_1"}
    np.savez(tmp_path / "case.npz", **{**arrays, "dt_0": arrays["dt_0"][:1]})
    assert run(tmp_path, "--device", "cpu")[0] == 0


@pytest.mark.long  # the whole of TLBVFI or FILM, again
def test_the_number_of_steps_is_the_files(tmp_path, shared):
    with np.load(shared / "goldens" / "tlbvfi" / "whole.npz") as archive:
        arrays = {name: archive[name] for name in archive if name.startswith("square_full_flow.")}
        meta = json.loads(str(archive["meta"]))
    for steps in (10, 3):
        meta["config"]["BB"]["params"]["sample_step"] = steps
        np.savez(tmp_path / "x.npz", **arrays, meta=np.array(json.dumps(meta)))
        assert run(tmp_path, "--device", "cpu")[0] == (steps != 10)


@pytest.mark.long  # the whole of TLBVFI or FILM, again
def test_several_tlbvfi_pairs(tmp_path, shared):
    with np.load(shared / "goldens" / "tlbvfi" / "whole.npz") as archive:
        one = {name: archive[name] for name in archive if name.startswith("square.") and ".out." not in name}
        meta = json.loads(str(archive["meta"]))
    axes = {"square.noise": 1, "square.scale": None, "square.code_margin": None}
    two = {
        name: value if axes.get(name, 0) is None else np.stack((value, value)) if ".frame" in name
        else np.concatenate((value, value), axes.get(name, 0))
        for name, value in one.items()
    }  # fmt: skip
    np.savez(tmp_path / "two.npz", **two, meta=np.array(json.dumps(meta)))
    code, lines = run(tmp_path, "--device", "cpu")
    assert (code, lines[-1][:8]) == (0, "3 cases,")


@pytest.mark.parametrize("array", ["out_0", "out_fp16_weights", "dt_0", "x1"])
def test_a_wrong_film_picture_fails(film, array):
    with np.load(film / "tiny.npz") as archive:
        arrays = dict(archive)
    arrays[array] = arrays[array] + arrays[array].dtype.type(1 if array == "x1" else 0.01)
    np.savez(film / "tiny.npz", **arrays)
    halves = ["film/tiny_core_fp16.safetensors picture", "film/tiny_torchscript_fp16.pt picture"]
    floats = ["film/tiny dt_0", "film/tiny_torchscript_v100.pt picture"]
    wanted = {"out_0": floats, "out_fp16_weights": halves}.get(array, halves + floats)
    assert sorted(failed(film)) == sorted(wanted)


def test_another_order_another_name_and_another_weight_fail(film):
    orders = json.loads((film / "schedule.json").read_text())
    orders["5"][1:3] = reversed(orders["5"][1:3])
    orders["6"].pop()
    orders["7"][0][3] += 1e-7
    (film / "schedule.json").write_text(json.dumps(orders))
    names = json.loads((film / "keys.json").read_text())
    names["rows"][0][1], names["rows"][2][1] = names["rows"][2][1], names["rows"][0][1]
    names["rows"][3][2] = "fuse.something.else"
    (film / "keys.json").write_text(json.dumps(names))
    state = load_file(film / "tiny_core_fp16.safetensors")
    state["fuse.output_conv.bias"][0] += 0.01
    save_file(state, film / "tiny_core_fp16.safetensors")
    core = "film/tiny_core_fp16.safetensors"
    assert set(failed(film)) == {
        "film/schedule x5",
        "film/schedule x6",
        "film/schedule x7",
        "film/keys v1.0.0",
        "film/keys comfyui core",
        f"{core} tensors",
        f"{core} picture",
    }


@pytest.mark.long  # FILM at its published widths
def test_flows_and_features_are_compared(tmp_path):
    with np.load(parity.BUNDLED / "film" / "case_64x96.npz") as archive:
        arrays = dict(archive)
    arrays["backward_flow_3"] = arrays["backward_flow_3"] + np.float32(0.01)
    arrays["feat0_5_mean_over_channels"] = arrays["feat0_5_mean_over_channels"] + np.float32(0.001)
    np.savez(tmp_path / "case.npz", **arrays)
    assert [name.split()[1] for name in failed(tmp_path)] == ["flows", "features"]


def test_not_a_number_fails(tmp_path):
    with np.load(parity.BUNDLED / "rife" / "4.25.npz") as archive:
        arrays = dict(archive)
    arrays["out_t50"] = arrays["out_t50"] * np.float32("nan")
    meta = json.loads(str(arrays["meta"]))
    meta["cases"] = meta["cases"][:1]
    arrays["meta"] = np.array(json.dumps(meta))
    np.savez(tmp_path / "nan.npz", **arrays)
    assert run(tmp_path, "--device", "cpu")[0] == 1


def test_nothing_to_run_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match="no goldens"):
        run(tmp_path)


@pytest.mark.parametrize("spoil", thinned(["bytes", "other", "no cases", "no key", "other shape"], (0, 4)))
def test_a_file_that_is_no_golden_fails_and_the_others_run(tmp_path, spoil):
    with np.load(parity.BUNDLED / "rife" / "4.6.npz") as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays["meta"]))
    if spoil == "no cases":
        meta["cases"] = []
    if spoil == "no key":
        del meta["cases"][0]["scale"]
    if spoil == "other shape":
        arrays["out_t50"] = arrays["out_t50"][..., 1:]
    arrays["meta"] = np.array(json.dumps(meta))
    if spoil == "bytes":
        (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 half a file")
    else:
        np.savez(tmp_path / "a.npz", **({"x": np.zeros(3)} if spoil == "other" else arrays))
    code, lines = run(tmp_path, parity.BUNDLED / "rife" / "4.5.npz", "--device", "cpu")
    assert code == 1
    assert sum("FAILED" in line for line in lines) == 1
    assert any(line.startswith("rife/4.5 t50: ok") for line in lines)


def test_grad_mode_is_the_callers_between_two_cases():
    outcomes = parity.compare([parity.BUNDLED / "rife" / "4.6.npz"], torch.device("cpu"), torch.float32)
    next(outcomes)
    assert not torch.is_inference_mode_enabled()


def test_a_device_that_is_not_here():
    with pytest.raises(BadInputError, match="no such device"):
        run("--device", "banana")
