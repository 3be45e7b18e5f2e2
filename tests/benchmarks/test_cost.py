"""What a film costs on k workers: where one worker is the sum, and where more of them help no more."""

import json
from dataclasses import replace
from fractions import Fraction as Fr

import pytest
from clips import pictures, write_clip
from midframe import cli
from midframe.benchmarks.cost import Film, Worker, bounds, chunk_seconds, chunk_stages, simulate
from midframe.benchmarks.stages import Costs

FILM = Film(3600.0, Fr(24), Fr(60), 240)
COSTS = Costs(
    decode=0.01,
    encode=0.05,
    make=0.02,
    seek=0.5,
    load=10.0,
    join=2e-4,
    join_chunk=0.1,
    source_bytes=1e6,
    output_bytes=3e6,
)
GPU = Worker(8, False, 1e9)


def test_frames():
    assert (FILM.sources, FILM.made_share) == (86400, Fr(4, 5))
    assert replace(FILM, fps=Fr(48)).made_share == Fr(1, 2)
    assert replace(FILM, rate=Fr(24000, 1001)).made_share == 1 - Fr(1, 1001)
    assert sum(replace(FILM, pairs=7).chunks()) == FILM.sources
    assert replace(FILM, pairs=86000).chunks() == [86000, 400]


def test_stages_of_a_chunk():
    stages = chunk_stages(FILM, 240, COSTS, GPU, 10)
    assert stages["model"] == pytest.approx(480 * 0.02)
    assert stages["coding"] == pytest.approx((240 * 0.01 + 600 * 0.05) / 8)
    assert stages["storage"] == pytest.approx(10 * (10e6 + 2 * 30e6) / 1e9)
    assert chunk_seconds(stages, GPU) == (stages["model"], "model")
    shared = replace(GPU, model_on_cores=True)
    assert chunk_seconds(stages, shared) == (stages["model"] + stages["coding"], "model")
    assert chunk_seconds({"model": 1.0, "coding": 2.0, "storage": 9.0}, shared) == (9.0, "storage")


@pytest.mark.parametrize("worker", [GPU, replace(GPU, model_on_cores=True)])
def test_one_worker_is_the_sum(worker):
    film = replace(FILM, pairs=250)  # the last chunk is shorter
    chunks = [chunk_seconds(chunk_stages(film, n, COSTS, worker, 1), worker)[0] for n in film.chunks()]
    outcome = simulate(film, COSTS, worker, 1)
    assert outcome.seconds == pytest.approx(
        10 + 0.5 * len(chunks) + sum(chunks) + 216000 * 2e-4 + len(chunks) * 0.1
    )
    assert sum(outcome.stages.values()) == pytest.approx(outcome.seconds)
    assert outcome.stages["last chunks"] == pytest.approx(0, abs=1e-6)


def test_more_workers_are_faster_but_not_without_end():
    outcomes = [simulate(FILM, COSTS, GPU, k) for k in (1, 2, 4, 8, 360, 400)]
    seconds = [outcome.seconds for outcome in outcomes]
    assert seconds[:4] == sorted(seconds[:4], reverse=True)
    assert all(seconds[0] / o.seconds <= o.workers for o in outcomes)
    assert seconds[4] == seconds[5]  # there are 360 chunks
    for outcome in outcomes:
        assert sum(outcome.stages.values()) == pytest.approx(outcome.seconds)


@pytest.mark.parametrize(
    ("costs", "worker", "workers", "binds"),
    [
        (COSTS, GPU, 2, "model"),
        (COSTS, replace(GPU, cores=2), 2, "coding"),
        (COSTS, replace(GPU, storage=2e7), 8, "storage"),
        (replace(COSTS, load=1e4), GPU, 4, "start"),
        (replace(COSTS, join=0.1), GPU, 4, "join"),
        (replace(COSTS, seek=100.0), GPU, 2, "seek"),
    ],
)
def test_what_binds(costs, worker, workers, binds):
    assert simulate(FILM, costs, worker, workers).binds == binds


def test_one_chunk_more_than_workers():
    """All but one wait while it is made: nearly the time of a chunk."""
    outcome = simulate(FILM, COSTS, GPU, 359)
    alone, _ = chunk_seconds(chunk_stages(FILM, 240, COSTS, GPU, 359), GPU)
    assert outcome.stages["last chunks"] == pytest.approx((alone + 0.5) * 358 / 359)


def test_bounds():
    text = "\n".join(bounds(FILM, COSTS, GPU))
    assert "360 chunks" in text
    assert f"{(10 + 0.5 + 9.6 + 43.2 + 36) / 60:.1f} minutes" in text
    assert f"full at {10.1 / 0.07:.0f} workers" in text
    assert f"on {32.4 / 9.6:.1f} cores" in text


@pytest.mark.long  # encodes, cuts and joins a clip for real; what is made of the figures is tested above
def test_the_command(tmp_path, capsys):
    out, clip = tmp_path / "out.json", write_clip(tmp_path / "in.mp4", pictures(30, (64, 96)))
    assert cli.main(["estimate", "--clip", str(clip), "--hours", "0.1", "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["model_measured"]
    assert min(report["costs"].values()) > 0
    assert [o["workers"] for o in report["outcomes"]] == [1, 2, 4, 8, 16, 32]
    assert out.with_suffix(".md").read_text() == capsys.readouterr().out
    words = ["estimate", "--costs", str(out), "--seconds-per-frame", "0.05", "--workers", "4"]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert "0.050 s a made frame, given, not measured" in told
    assert [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| ")] == [
        "workers",
        "1",
        "4",
    ]
    for wrong in (["--hours", "0"], ["--fps", "12"], ["--size", "big"], ["--costs", str(clip)]):
        assert cli.main(["estimate", *wrong]) == 2
