"""Whatever is done about cuts, held frames, states and speed: chunks on the disk, a file and frames in memory agree."""

import tempfile
from fractions import Fraction as Fr
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import frames_of, write_clip
from fakes import PanModel
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from midframe import interpolate
from midframe.analysis.notes import Analysis, PairNote
from midframe.analysis.timing import Timing
from midframe.chunks import Inline, Job, process
from midframe.vfi_utils import QuietHost, States, by_fps
from midframe.video import Coding, Plan, interpolate_video

RATE = 10
FRAMES = 12
LAWS = ["hold", "blend", "extrapolate", "interpolate"]
pairs = st.frozensets(st.integers(0, FRAMES - 2), max_size=3)
notes = st.builds(
    lambda cuts, held: Analysis(
        tuple(PairNote(i, cut=i in cuts, held="" if i in cuts else "alike") for i in sorted(cuts | held))
    ),
    pairs,
    pairs,
)
cases = st.fixed_dictionaries(
    {
        "analysis": notes,
        "timing": st.builds(Timing, st.sampled_from(LAWS), st.sampled_from(["keep", "retime"])),
        "states": st.none() | st.builds(States, pairs, st.booleans()),
        "end": st.sampled_from(["end_on_last", "hold_last", "close_loop"]),
        "fps": st.sampled_from([Fr(5), Fr(12), Fr(20), Fr(25), Fr(35)]),
        "speed": st.sampled_from([None, None, "0.5", "0:1, 6:0.25, 9:2", "0:1, 8:-1"]),
    }
)


def check(case, length):
    """Compare the three ways for chunks of so many pairs."""
    still = torch.rand(FRAMES, 16, 16, 3, generator=torch.Generator().manual_seed(length))
    frames = ((still + torch.linspace(0, 1, FRAMES)[:, None, None, None]) * 127).to(torch.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_clip(folder / "in.mkv", [*frames.numpy()], codec="ffv1", pix_fmt="bgr0", rate=Fr(RATE))
        plan = Plan(coding=Coding("ffv1"), **case)
        file = interpolate_video(source, folder / "whole.mkv", PanModel(), plan).path
        job = Job(source, folder / "parts.mkv", folder / "work", plan=plan, pairs=length)
        process(job, Inline(PanModel), host=QuietHost())
        whole, parts = (np.stack(frames_of(path)) for path in (file, job.target))
    assert np.array_equal(whole, parts)
    known = {name: case[name] for name in ("analysis", "timing", "speed")}
    timeline = by_fps(RATE, case["fps"], end=case["end"], states=case["states"])
    made = interpolate(frames.float() / 255, PanModel(), timeline=timeline, **known)
    assert len(made) == len(whole)
    assert (torch.from_numpy(whole) / 255 - made).abs().max() <= 0.51 / 255


def cut_and_skipped(law):
    analysis = Analysis((PairNote(1, held="equal"), PairNote(5, cut=True), PairNote(8, held="alike")))
    timing = Timing(law, "retime")
    return {"analysis": analysis, "timing": timing, "states": States({2}), "end": "hold_last", "fps": Fr(25), "speed": None}  # fmt: skip


quiet = partial(settings, deadline=None, suppress_health_check=[HealthCheck.too_slow])
lengths = st.integers(1, 5)


@quiet(max_examples=1)
@given(st.just(cut_and_skipped("extrapolate")), st.just(3))
@example(cut_and_skipped("hold") | {"speed": "0:1, 6:0.25, 9:2"}, 5)
def test_chunks_a_file_and_frames_agree(case, length):
    check(case, length)


@pytest.mark.long
@quiet(max_examples=300)
@given(cases, lengths)
def test_chunks_a_file_and_frames_agree_hundreds_of_times(case, length):
    check(case, length)
