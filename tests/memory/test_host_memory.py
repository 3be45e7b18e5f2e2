"""Input, output and little else: measured in a process of its own, because a peak cannot be taken back."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
sys.path[:0] = sys.argv[1:]
import psutil, torch
from packs import load_pack
load_pack()
from fakes import LerpModel
from midframe.api import interpolate
from midframe.memory.peak import peak_resident_bytes
# Two shots that become brighter: one cut is searched for motion, where 159 would take a minute.
frames = torch.rand(2, 256, 320, 3).repeat_interleave(80, 0) * torch.linspace(0.5, 1, 160).view(-1, 1, 1, 1)
interpolate(frames[:2], LerpModel(), 2)
before = psutil.Process().memory_info().rss
made = interpolate(frames, LerpModel(), 4)
peak = peak_resident_bytes()
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


def test_a_peak_is_not_the_parents(root):
    held = bytearray(200 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    # The file by itself: with the pack comes torch, five seconds and 300 MB.
    program = "import runpy, sys; print(runpy.run_path(sys.argv[1])['peak_resident_bytes']())"
    done = subprocess.run(
        [sys.executable, "-c", program, str(root / "memory" / "peak.py")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert 5 * 2**20 < int(done.stdout.splitlines()[-1]) < len(held)
