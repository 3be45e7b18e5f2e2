import argparse
import json

import numpy as np
import pytest
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
    assert lines[-1].startswith("253 cases, 0 failed, 3 skipped, worst ")
    assert sum("skipped: records a known defect" in line for line in lines) == 3


def test_the_networks_that_are_not_here_are_skipped_with_a_reason(shared):
    code, lines = run(shared / "goldens" / "rife" / "hdv3.npz", shared / "goldens" / "film")
    assert code == 0
    assert all("skipped: " in line for line in lines[:-1])


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
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(BadInputError, match="cannot be read"):
        run(tmp_path)
