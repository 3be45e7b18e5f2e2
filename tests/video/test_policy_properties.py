"""Any notes of a clip and anything done about them: no time is lost, and a pair that is not named stays as it is."""

from fractions import Fraction as Fr
from functools import partial
from itertools import pairwise

import pytest
import torch
from fakes import PanModel
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_videos import lend
from midframe import interpolate
from midframe.analysis.notes import Analysis, PairNote
from midframe.analysis.timing import Timing
from midframe.memory.sinks import TensorSink
from midframe.vfi_utils import FrameLoop, Settings, States, by_fps, by_multiplier
from midframe.video import Plan
from midframe.video.read.tensor import TensorClip
from midframe.video.stream.lazy import LazyVideo

RATE = 10
FRAMES = 14
ENDS = ["end_on_last", "hold_last", "close_loop"]
notes = st.builds(
    lambda cuts, held: Analysis(
        tuple(
            PairNote(i, cut=i in cuts, held="" if i in cuts else "alike" if i % 2 else "equal")
            for i in sorted(cuts | held)
        )
    ),
    st.frozensets(st.integers(0, FRAMES), max_size=4),
    st.frozensets(st.integers(0, FRAMES), max_size=7),
)
timings = st.builds(
    Timing,
    st.sampled_from(["hold", "blend", "extrapolate", "interpolate"]),
    st.sampled_from(["keep", "keep", "retime"]),
)
states = st.none() | st.builds(States, st.frozensets(st.integers(0, FRAMES), max_size=4), st.booleans())
rates = st.integers(1, 5) | st.fractions(Fr(1, 2), 5, max_denominator=7)
cases = st.tuples(notes, timings, st.integers(1, FRAMES), rates, st.sampled_from(ENDS), states)


def shown(timesteps, frames):
    return [timesteps.shown(i, last=i == frames - 1) for i in range(frames)]


def check_times(case):
    analysis, timing, frames, rate, end, states = case
    if isinstance(rate, int):
        plain = by_multiplier(rate, states=states, end=end, source_fps=Fr(RATE))
    else:
        plain = by_fps(RATE, rate * RATE, states=states, end=end)
    keyed = timing.timesteps(plain, lambda: analysis)
    before, after = shown(plain, frames), shown(keyed, frames)
    # As many come out, and each time is an exact part of its pair.
    assert sum(map(len, after)) == sum(map(len, before))
    assert all(type(t) in (Fr, int) and 0 <= t < 1 for times in after for t in times)
    # A source frame that stands is shown several times; between two the times rise.
    assert all(a < b or a == b == 0 for times in after for a, b in pairwise(times))
    cuts = {note.index for note in analysis.pairs if note.cut}
    if timing.cuts == "interpolate" and timing.held == "keep":
        assert after == before
    elif timing.held == "keep":
        named = cuts if timing.cuts == "hold" else set()
        # What is held until the middle of a cut is shown by both of its frames.
        assert all(after[i] == before[i] for i in range(frames) if not {i, i - 1} & named)


def check_frames(case, chosen, cut):
    analysis, timing, frames, rate, end, states = case
    clip = torch.rand(frames, 4, 4, 3, generator=torch.Generator().manual_seed(frames))
    clip[:, :2] = torch.linspace(0, 1, 4)[:, None]
    fps = rate * RATE
    known = {"timing": timing, "analysis": analysis}
    timeline = by_fps(RATE, fps, end=end, states=states)
    made = interpolate(clip, PanModel(), timeline=timeline, settings=chosen, **known)
    plan = Plan(fps=fps, end=end, states=states, **known)
    source = partial(TensorClip, clip, Fr(RATE))
    lazy = LazyVideo(
        lambda alpha: plan.at_speed(partial(source, alpha=alpha)),
        plan,
        partial(lend, model=PanModel()),
        chosen,
    )
    whole = lazy.frames(TensorSink, None)
    assert torch.equal(whole, made)
    times = [moment.time for moment in lazy.moments]
    assert times == [k / Fr(fps) for k in range(len(made))]
    for time, frame in zip(times, made, strict=True):
        pair = int(time * RATE)
        if states and pair < frames - 1 and states.is_frame_skipped(pair):
            assert any(torch.equal(frame, source_frame) for source_frame in clip), f"made in pair {pair}"
    parts = [part for part in (lazy.part(Fr(0), cut), lazy.part(cut, None)) if part.moments] if cut else []
    if parts:
        assert torch.equal(torch.cat([part.frames(TensorSink, None) for part in parts]), whole)
    assert torch.equal(in_batches(clip, timing.timesteps(timeline, lambda: analysis), chosen), made)


def in_batches(clip, timesteps, chosen):
    """Return the frames of a clip that comes in two batches."""
    half, model, made = len(clip) // 2, PanModel(), []
    with FrameLoop(timesteps, settings=chosen) as loop:
        for batch, last in ((clip[:half], False), (clip[half:], True)):
            if len(batch):
                sink = TensorSink(loop.count(len(batch), last=last), tuple(clip.shape[1:]))
                loop.feed(batch, model, sink, last=last)
                made.append(sink.frames)
    return torch.cat(made)


kept = st.builds(Settings, levels=st.sampled_from(["keep", "match"]), guard=st.sampled_from(["off", "auto"]))
with_frames = given(cases, kept, st.fractions(0, 2, max_denominator=30))
quiet = partial(settings, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Notes that go on past the end, as where a part of the clip is made: the hold would have ended later.
past_the_end = Analysis(tuple(PairNote(i, held="equal") for i in range(4)))


@quiet(max_examples=100)
@given(cases)
@example((past_the_end, Timing(held="retime"), 1, 1, "close_loop", None))
def test_no_time_is_lost_and_pairs_that_are_not_named_stay(case):
    check_times(case)


@pytest.mark.long
@quiet(max_examples=4000)
@given(cases)
def test_no_time_is_lost_thousands_of_times(case):
    check_times(case)


# Drawings on twos, and a pair in the middle of one, or at its end, in which nothing is to be made.
on_twos = Analysis(tuple(PairNote(i, held="equal") for i in (0, 2, 4, 6)))
retimed_and_skipped = [
    (on_twos, Timing(held="retime"), 9, Fr(5, 2), "hold_last", States({i})) for i in (2, 3)
]


@quiet(max_examples=8)
@with_frames
@example(retimed_and_skipped[0], Settings(), Fr(1, 2))
@example(retimed_and_skipped[1], Settings(), Fr(0))
def test_every_way_gives_the_same_frames_under_every_policy(case, chosen, cut):
    check_frames(case, chosen, cut)


@pytest.mark.long
@quiet(max_examples=1000)
@with_frames
def test_every_way_gives_the_same_frames_under_every_policy_a_thousand_times(case, chosen, cut):
    check_frames(case, chosen, cut)
