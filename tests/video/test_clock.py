"""The clock of a clip with times is the timeline of frames without, and its parts are the whole."""

from fractions import Fraction as Fr
from itertools import accumulate, pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from midframe.vfi_utils import States, by_fps, by_multiplier
from midframe.video import ClipInfo, Plan
from midframe.video.read.clip import FrameTime
from midframe.video.read.span import Span

some = settings(max_examples=40, deadline=None)  # a shared machine has pauses
rates = st.fractions(1, 240, max_denominator=1001)
ends = st.sampled_from(["end_on_last", "hold_last"])
states = st.none() | st.builds(States, st.frozensets(st.integers(0, 30), max_size=9), st.booleans())
whole = st.integers(1, 6) | st.lists(st.integers(0, 5), max_size=9)
paces = st.fixed_dictionaries({"multiplier": whole | st.fractions(1, 6, max_denominator=9)}) | (
    st.fixed_dictionaries({"fps": rates})
)
plans = st.builds(lambda pace, end, states: Plan(**pace, end=end, states=states), paces, ends, states)
starts = st.fractions(0, 2, max_denominator=100)


class Times:
    """A clip of which nothing is there but when its frames are shown."""

    def __init__(self, times, rate):
        self.shown = [FrameTime(time, None) for time in times]
        self.info = ClipInfo(
            Path("x"), 8, 8, bits=8, alpha=False, rate=rate, tick=1 / rate, frames_estimate=len(times)
        )
        object.__setattr__(self.info, "start", times[0])
        self.asked = 0

    def times(self):
        self.asked += 1
        return iter(self.shown)


@st.composite
def constant(draw):
    rate, count, start = draw(rates), draw(st.integers(1, 25)), draw(starts)
    return Times([start + i / rate for i in range(count)], rate)


@st.composite
def variable(draw):
    gaps = draw(st.lists(st.fractions(Fr(1, 100), 1, max_denominator=120), min_size=1, max_size=20))
    times = list(accumulate(gaps, initial=draw(starts)))
    return Times(times, Fr(len(gaps)) / (times[-1] - times[0]))


def part_of(clip, span):
    """The frames that a part of the output is made of; see Part."""
    shown = clip.shown
    first = max([i for i, (pts, _) in enumerate(shown) if pts <= span.start], default=0)
    after = [i for i, (pts, _) in enumerate(shown) if span.end is not None and pts >= span.end and i >= first]
    return shown[first : after[0] + 1 if after else None]


def made(clip, plan, span=None):
    """What is shown of each source frame, by the frame's time, and when."""
    clock, made = plan.clock(clip, span), []
    frames = clip.shown if span is None else part_of(clip, span)
    for index, frame in enumerate(frames):
        clock.read(*frame)
        if index:
            made += [(frames[index - 1].pts, t) for t in clock.shown(index - 1, last=False)]
    made += [(frames[-1].pts, t) for t in clock.shown(len(frames) - 1, last=True)]
    return [(*step, *clock.next_moment()) for step in made]


@some
@given(constant() | variable(), plans)
def test_times_rise_and_are_as_many_as_the_frames(clip, plan):
    frames = made(clip, plan)
    times = [time for _, _, time, _ in frames]
    assert all(a < b for a, b in pairwise(times))
    assert all(0 <= t < 1 and duration > 0 for _, t, _, duration in frames)
    moments = plan.clock(clip).moments(clip.times())
    assert [tuple(moment) for moment in moments] == [(time, duration) for _, _, time, duration in frames]


@some
@given(constant() | variable(), plans, st.lists(st.fractions(0, 1, max_denominator=40), max_size=4))
def test_parts_partition_the_output(clip, plan, cuts):
    start, end = clip.shown[0].pts, clip.shown[-1].pts + 1
    bounds = [start, *sorted({start + cut * (end - start) for cut in cuts} - {start}), None]
    parts = [frame for a, b in pairwise(bounds) for frame in made(clip, plan, Span(a, b))]
    assert parts == made(clip, plan)


@some
@given(constant(), plans, st.lists(starts, min_size=1, max_size=3))
def test_the_estimate_of_a_constant_rate_is_exact(clip, plan, cuts):
    assert plan.frames_estimate(clip.info) == len(made(clip, plan))
    for start, end in pairwise([*sorted(cuts), None]):
        span = Span(clip.info.start + start, None if end is None else clip.info.start + end)
        assert plan.frames_estimate(clip.info, span) == len(made(clip, plan, span))


@some
@given(constant(), paces, ends, states)
def test_video_shows_what_frames_without_times_would(clip, pace, end, states):
    plan, rate, count = Plan(**pace, end=end, states=states), clip.info.rate, len(clip.shown)
    timeline = (
        by_multiplier(plan.multiplier, states=states, end=end)
        if plan.fps is None
        else by_fps(rate, plan.fps, states=states, end=end)
    )
    expected = [(i, t) for i in range(count) for t in timeline.shown(i, last=i == count - 1)]
    assert [((pts - clip.info.start) * rate, t) for pts, t, _, _ in made(clip, plan)] == expected
    assert plan.frames_estimate(clip.info) == timeline.count(count)


@some
@given(variable(), st.integers(1, 4), ends)
def test_a_frame_that_cannot_be_decoded_keeps_its_number(clip, gone, end):
    """Whatever is read, a pair's number in the list is that of its left frame in the file."""
    plan = Plan([5, 4, 3, 1, 6], end=end)
    times = list(clip.shown)
    del clip.shown[gone : gone + 1]
    frames, clip.shown = clip.shown, times
    clock = plan.clock(clip)
    for index, frame in enumerate(frames):
        clock.read(*frame)
        if index:
            number = times.index(frames[index - 1])
            expected = [5, 4, 3, 1, 6][number] if number < 5 else 2
            assert len(clock.shown(index - 1, last=False)) == expected


def test_packets_are_read_only_where_pairs_are_told_apart():
    clip = Times([Fr(i) for i in range(4)], Fr(1))
    for plan in (Plan(3), Plan(2.5), Plan(fps=60), Plan([2, 2])):
        plan.clock(clip)
    assert clip.asked == 0
    for plan in (Plan([2, 3]), Plan(2, states=States({1})), Plan(fps=60, states=States({1}))):
        plan.clock(clip)
    assert clip.asked == 3
