"""ComfyUI started with flags that touch a node: the same frames come out. What only a GPU can show: docs/comfyui_flags.md."""

import os
import subprocess
import sys

import numpy as np
import pytest
from comfyui import as_arrays, images_workflow, running

pytestmark = pytest.mark.skipif(
    not os.environ.get("COMFYUI_PATH"),
    reason="not run in a real ComfyUI: COMFYUI_PATH is not set (see the first lines of tests/support/comfyui.py)",
)
FLAGS = [
    "--cache-none --disable-smart-memory --deterministic --force-fp32 --disable-metadata --disable-mmap",
    "--cache-ram 0.5 --mmap-torch-files --multi-user --fp16-intermediates --reserve-vram 1",
]


@pytest.fixture(scope="module")
def known():
    """What this ComfyUI calls its flags."""
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    main = os.path.join(os.environ["COMFYUI_PATH"], "main.py")
    done = subprocess.run([python, main, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def expected(comfyui):
    """The frames of a server without flags: made once, as older ones name no files of what they have in their cache."""
    return as_arrays(comfyui.run(images_workflow(dtype="float32")))


def understood(flags, known):
    """Those of some flags, each with its values, that this version has."""
    words, kept = iter(flags.split()), []
    for word in words:
        if word.startswith("--"):
            there = f"{word} " in known or f"{word}\n" in known or f"{word}]" in known
        if there:
            kept.append(word)
    return kept


@pytest.mark.parametrize("flags", FLAGS)
def test_the_same_frames_come_out(root, expected, known, tmp_path, flags):
    with running(root, tmp_path / "flags", flags=understood(flags, known)) as server:
        first = as_arrays(server.run(images_workflow(dtype="float32")))
        again = as_arrays(server.run(images_workflow(dtype="float32", batch=2)))
    assert len(expected) == 5
    apart = np.abs(first - expected).max()
    assert apart <= ("--fp16-intermediates" in flags), apart
    assert np.array_equal(first, again)
