"""Any curve, rate, shutter and end: frames in memory, a video and any two parts of it are the same frames."""

from fractions import Fraction as Fr
from functools import partial

import pytest
import torch
from fakes import LerpModel
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from made_videos import lend
from midframe import interpolate
from midframe.engine.shutter import Shutter
from midframe.errors import BadInputError
from midframe.memory.sinks import TensorSink
from midframe.vfi_utils import States, by_fps
from midframe.video import Plan
from midframe.video.read.tensor import TensorClip
from midframe.video.stream.lazy import LazyVideo

RATE = 10
speeds = st.fractions(Fr(1, 4), 4, max_denominator=9)
keys = st.tuples(st.integers(0, 12), speeds, st.integers(0, 5), st.sampled_from([1, 1, -1]))
cases = st.tuples(
    st.lists(keys, min_size=1, max_size=4),
    st.integers(1, 12),
    st.fractions(4, 30, max_denominator=7),
    st.none() | st.builds(Shutter, st.sampled_from([90, 200, 360]), st.integers(2, 4)),
    st.sampled_from(["end_on_last", "hold_last", "close_loop"]),
    st.none() | st.builds(States, st.frozensets(st.integers(0, 12), max_size=4)),
    st.fractions(0, 4, max_denominator=30),
)


def curve_of(listed):
    """Keyframes from what hypothesis draws: some stop, some turn."""
    curve = []
    for at, speed, stop, sign in listed:
        curve += [f"{at}:0 for {stop}"] if stop else []
        curve.append(f"{at}:{sign * speed}")
    return ", ".join(curve)


def check(case):
    listed, frames, fps, shutter, end, states, cut = case
    clip = torch.rand(frames, 4, 4, 3, generator=torch.Generator().manual_seed(frames))
    speed = curve_of(listed)
    timeline = by_fps(RATE, fps, end=end, states=states)
    try:
        made = interpolate(clip, LerpModel(), timeline=timeline, speed=speed, shutter=shutter)
    except BadInputError as error:
        assume("not reached" not in str(error))
        raise
    plan = Plan(fps=fps, speed=speed, shutter=shutter, end=end, states=states)
    source = partial(TensorClip, clip, Fr(RATE))
    lazy = LazyVideo(lambda alpha: plan.at_speed(partial(source, alpha=alpha)), plan, lend)
    whole = lazy.frames(TensorSink, None)
    assert torch.equal(whole, made)
    assert [moment.time for moment in lazy.moments] == [k / fps for k in range(len(made))]
    info = plan.at_speed(partial(source, alpha=False)).info
    # States may name the last frame as if it was a pair: then it is held for its time under any end law.
    if states is None or end != "end_on_last":
        assert plan.frames_estimate(info) == len(made)
    parts = (
        [part for part in (lazy.part(Fr(0), cut), lazy.part(cut, None)) if part.moments] if cut else [lazy]
    )
    assert torch.equal(torch.cat([part.frames(TensorSink, None) for part in parts]), whole)


@settings(max_examples=10, deadline=None)
@given(cases)
def test_every_way_gives_the_same_frames(case):
    check(case)


# A case takes a tenth of a second: in quarters, which workers share, and each of which ends on a busy machine.
@pytest.mark.long
@pytest.mark.parametrize("quarter", range(4))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases)
def test_every_way_gives_the_same_frames_a_thousand_times(quarter, case):
    check(case)
