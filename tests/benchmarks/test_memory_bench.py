"""The command that measures memory: it runs, it sees memory, and it can say no."""

import json
import os
import subprocess
import sys

import pytest
import torch
from midframe.benchmarks import long_clips as streaming


@pytest.mark.long  # each of its rows is a process of its own, which imports torch
def test_the_command_measures_and_writes(root, tmp_path):
    (tmp_path / "midframe").symlink_to(root, target_is_directory=True)
    words = "memory --size 90x160 --frames 8 16 --default-frames 0 --disk-size 32x48 --disk-frames 6 12"
    subprocess.run(
        [sys.executable, "-m", "midframe", *words.split(), "--folder", ".", "--out", "results/memory"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
        timeout=300,
    )
    results = json.loads((tmp_path / "results" / "memory.json").read_text())
    rows = [(row["what"], row["model"], row["frames"], row["made"]) for row in results["rows"]]
    assert rows == [
        ("stream", "blend", 8, 16),
        ("stream", "blend", 16, 32),
        ("disk", "blend", 6, 6),
        ("disk", "blend", 12, 12),
    ]
    text = (tmp_path / "results" / "memory.md").read_text()
    assert text.count("\n| stream |") == 2
    assert all(100 < row["rss_mb"] < 1200 for row in results["rows"])
    assert {path.name for path in tmp_path.iterdir()} == {"midframe", "results"}


def row(what, frames, rss, anonymous, model="blend"):
    return {"what": what, "model": model, "frames": frames, "rss_mb": rss, "anonymous_mb": anonymous}


@pytest.mark.parametrize(
    ("rss", "anonymous", "kept"),
    [
        ((1000, 1090), (300, 320), [True, True, True]),
        ((1000, 1110), (300, 320), [False, True, True]),
        ((1190, 1210), (300, 320), [True, False, True]),
        ((1000, 1000), (300, 340), [True, True, False]),
    ],
)
def test_the_verdict_can_be_no(rss, anonymous, kept):
    rows = [row("stream", 40, 5000, 5000, "default")]
    rows += [row("stream", 200, rss[0], 1), row("stream", 2000, rss[1], 1)]
    rows += [row("disk", 100, 900, anonymous[0]), row("disk", 1000, 9000, anonymous[1])]
    assert [answer for _, answer in streaming._verdicts(rows)] == kept


@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is only told on Linux")
def test_memory_that_is_held_for_a_moment_is_seen():
    with streaming._watching() as seen:
        held = torch.ones(25_000_000)
        streaming.time.sleep(0.1)
        del held
    assert 90 <= seen["anonymous_mb"] - seen["anonymous_before_mb"] <= 130
