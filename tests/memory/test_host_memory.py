"""Input, output and little else: measured in a process of its own, because a peak cannot be taken back."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="peak memory of a process is read the Unix way")

PROGRAM = """
import json, resource, sys
sys.path[:0] = sys.argv[1:]
import conftest, psutil, torch
from fakes import LerpModel
from midframe.api import interpolate
frames = torch.rand(160, 256, 320, 3)
interpolate(frames[:2], LerpModel(), 2)
before = psutil.Process().memory_info().rss
made = interpolate(frames, LerpModel(), 4)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([peak - before, made.nbytes]))
"""


def test_a_run_takes_its_output_and_at_most_256_mb(root):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root / "tests"), str(root / "tests" / "support")],
        check=True,
        capture_output=True,
        text=True,
    )
    rise, output = json.loads(done.stdout.splitlines()[-1])
    assert output > 550 * 2**20  # a second copy of it would not fit under the bound
    assert rise <= output + 256 * 2**20
