"""The benchmarks of cuts and held frames: what they make is what they say, and a wrong detector is seen."""

import itertools
import json
import os
import signal
import sys
from functools import partial

import numpy as np
import pytest
import torch
from midframe.benchmarks import cut_cases, cuts, held
from midframe.errors import BadInputError
from PIL import Image


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three folders of pictures of moving blocks."""
    folder = tmp_path_factory.mktemp("clips")
    for shot in range(3):
        (folder / f"s{shot}").mkdir()
        side = 12 + 7 * shot
        blocks = np.kron(
            np.random.default_rng(shot).random((260 // side + 1, 300 // side + 1)), np.ones((side, side))
        )
        blocks = blocks[:256, :288]
        for i in range(16):
            picture = np.repeat(np.roll(blocks, i, 1)[..., None], 3, 2)
            Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(
                folder / f"s{shot}" / f"{i:02d}.png"
            )
    return cut_cases.footage([folder], held_out=True, left_out=frozenset())


def test_cuts_are_where_they_are_said_to_be(clips):
    made = list(cut_cases.cases(clips, 6, 1))
    assert sum(len(case.cuts) for case in made) >= 6
    assert [case.kind for case in made] == [case.kind for case in cut_cases.cases(clips, 6, 1)]
    for case in made:
        assert case.frames.dtype == torch.uint8
        steps = [
            float((a.float() - b.float()).abs().mean())
            for a, b in zip(case.frames, case.frames[1:], strict=False)
        ]
        assert all(steps[cut] >= 8 for cut in case.cuts)
        if case.cuts and case.kind != "similar":
            others = [step for i, step in enumerate(steps) if i not in case.cuts]
            assert max(others) < min(steps[cut] for cut in case.cuts)


def everything(frames):
    return set(range(len(frames) - 1))


def nothing(frames):
    return set()


def crashes(frames):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_detector_is_counted_by_what_it_says_and_a_crash_costs_its_own_row(clips, monkeypatch):
    said = {
        "all": everything,
        "crashes": crashes,
        "none": nothing,
    }
    # A test has no name in a process that begins anew.
    monkeypatch.setattr(cuts, "Apart", partial(cuts.Apart, method="fork"))
    monkeypatch.setattr(cuts, "detectors", lambda: said)
    figures = cuts.run(clips, 4, 1, None)
    rows = figures["detectors"]
    assert rows["none"]["recall"] == 0
    assert rows["none"]["missed"] == figures["cuts"] >= 4
    assert rows["all"]["recall"] == 1
    assert rows["all"]["false"] == figures["pairs that are none"]
    assert figures["crashed"] == {"crashes": -signal.SIGKILL}
    assert "crashes" not in rows
    assert "| all | 100.00% |" in cuts.table(figures)
    assert "- crashes crashed (exit code -9)" in cuts.table(figures)
    json.dumps(figures)


def test_ours_is_right_on_blocks(clips):
    detector = cuts.detectors()["midframe (default)"]
    for case in cut_cases.cases(clips, 4, 1):
        # Two parts of a clip that only moves sideways look like one fast move.
        said = detector(case.frames)
        assert said == case.cuts or (case.kind == "similar" and said < case.cuts)


def test_too_few_clips(tmp_path):
    with pytest.raises(BadInputError, match="too few"):
        cut_cases.footage([tmp_path], held_out=False, left_out=frozenset())


def test_repeats_are_where_they_are_said_to_be(clips):
    clip = clips.clip(0)
    frames, repeats = held.on_beat(clip, 3)
    equal = {i for i in range(len(frames) - 1) if torch.equal(frames[i], frames[i + 1])}
    assert equal == repeats
    kinds = {kind for kind, _, _ in held.cases(clips)}
    assert {"as it is", "crf 28", "grain 3, crf 23", "drift 0.1"} <= kinds
    moved = held.drifting(clip, 0.4)
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(moved))


def test_the_command(clips, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        held,
        "cases",
        lambda _: [("held", lambda: held.on_beat(clips.clip(0), 2)[0], held.on_beat(clips.clip(0), 2)[1])],
    )
    folder = clips.paths[0].parent
    monkeypatch.setattr(
        sys, "argv", ["held", "--clips", str(folder), "--held-out", "--out", str(tmp_path / "x")]
    )
    held.main()
    assert "| held | 18 | 17 | 100.0% | 0.0% |" in capsys.readouterr().out
    assert json.loads((tmp_path / "x.json").read_text())["clips"] == 3
