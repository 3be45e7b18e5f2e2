"""The command that measures memory: it runs, it sees memory, and it can say no."""

import json
import mmap
import os
import subprocess
import sys
import time

import pytest
from midframe.benchmarks import beside
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
        # From the system itself: an allocator may hand out what an earlier test has left resident.
        held = mmap.mmap(-1, 100_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for _ in range(100):
            held.write(bytes(1_000_000))
        before = seen["samples"]
        # On a busy machine the thread that looks may get no turn for a while; one look may have begun before.
        deadline = time.monotonic() + 30
        while seen["samples"] < before + 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        held.close()
    assert 90 <= seen["anonymous_mb"] - seen["anonymous_before_mb"] <= 130


def test_beside_another_checkout_the_better_run_counts():
    def run(speed, peak):
        return [{"frames": n, "made": 2 * n, "seconds": 2 * n / speed, "rss_mb": peak} for n in (10, 50)]

    other, this = (
        beside._best([run(9.0, 600), run(10.0, 610)]),
        beside._best([run(10.0, 500), run(8.0, 480)]),
    )
    assert [(round(row["speed"], 6), row["peak"]) for row in this] == [(10, 480), (10, 480)]
    assert all(held for _, held in beside._verdicts({"other": other, "this": this}))
    slow = beside._best([run(9.0, 480), run(9.4, 480)])
    assert [held for _, held in beside._verdicts({"other": other, "this": slow})] == [True, False, False]
