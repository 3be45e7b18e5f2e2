import argparse
import json

import numpy as np
import pytest
import torch
from midframe import parity
from midframe.errors import BadInputError


def run(*arguments):
    parser = argparse.ArgumentParser()
    parity.add_arguments(parser)
    lines = []
    return parity.run(parser.parse_args([str(a) for a in arguments]), lines.append), lines


def test_every_bundled_golden():
    code, lines = run("--device", "cpu")
    assert code == 0, [line for line in lines if "FAILED" in line]
    assert lines[-1].startswith("143 cases, 0 failed, 3 skipped, worst ")
    assert sum("skipped: records a known defect" in line for line in lines) == 3


def test_the_networks_that_are_not_here_are_skipped_with_a_reason(shared):
    code, lines = run(shared / "goldens" / "rife" / "hdv3.npz", parity.BUNDLED / "rife" / "4.6.npz")
    assert code == 0
    assert sum(": skipped: " in line for line in lines) == 4


def test_nothing_compared_is_no_success(shared):
    assert run(shared / "goldens" / "rife" / "hdv3.npz")[0] == 1


def test_a_wrong_picture_fails(tmp_path):
    with np.load(parity.BUNDLED / "rife" / "4.25.npz") as archive:
        arrays = dict(archive)
    arrays["out_t50"] = arrays["out_t50"] + np.float32(2e-4)
    np.savez(tmp_path / "moved.npz", **arrays)
    code, lines = run(tmp_path, "--device", "cpu")
    assert code == 1
    assert [line.split()[1] for line in lines if "FAILED" in line] == ["t50:"]


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


@pytest.mark.parametrize("spoil", ["bytes", "other", "no cases", "no key", "other shape"])
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
