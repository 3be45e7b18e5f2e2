from fractions import Fraction as Fr
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midframe.engine.timeline import Moment, Output, Policy, gap_at
from midframe.errors import BadInputError
from midframe.vfi_utils import States, Timeline, by_fps, by_multiplier

some = settings(max_examples=50, deadline=None)  # a shared machine has pauses
counts = st.integers(1, 40)
multipliers = st.integers(1, 12)
rates = st.fractions(min_value=1, max_value=240, max_denominator=1001)


def slots(timeline, frames):
    return [(i, t) for i in range(frames) for t in timeline.shown(i, last=i == frames - 1)]


ends = st.sampled_from(["end_on_last", "hold_last"])
lists = st.lists(st.integers(0, 6), max_size=12)
states = st.none() | st.builds(States, st.frozensets(st.integers(0, 40), max_size=12), st.booleans())
timelines = st.one_of(
    st.builds(by_multiplier, multipliers | lists, states=states, end=ends, source_fps=rates),
    st.builds(
        by_multiplier, st.fractions(1, 9, max_denominator=20), states=states, end=ends, source_fps=rates
    ),
    st.builds(by_fps, rates, rates, states=states, end=ends),
)


def outputs(timeline, frames):
    """The output frames of a clip at the timeline's own rate, one gap after the other."""
    gaps = [gap_at(i, timeline.source_fps) for i in range(frames)]
    return [out for gap in gaps for out in timeline.outputs(gap, last=gap.index == frames - 1)]


@some
@given(timelines, counts)
def test_times_rise_and_the_count_is_exact(timeline, frames):
    times = [output.moment.time for output in outputs(timeline, frames)]
    assert all(a < b for a, b in pairwise(times))
    assert timeline.count(frames) == len(times) == len(slots(timeline, frames))
    assert timeline.count(0) == 0


@some
@given(timelines, counts, st.lists(st.fractions(0, 3, max_denominator=50), min_size=2, max_size=4))
def test_counts_of_parts_are_exact(timeline, frames, cuts):
    times = [output.moment.time for output in outputs(timeline, frames)]
    for start, end in pairwise([*sorted(cuts), None]):
        within = [time for time in times if time >= start and (end is None or time < end)]
        assert timeline.count_between(start, end, frames) == len(within)


@some
@given(timelines, st.fractions(0, 1, max_denominator=50))
def test_what_is_not_known_is_counted_as_a_clip_that_goes_on(timeline, end):
    long = outputs(timeline, int(end * timeline.source_fps) + 2)
    assert timeline.count_between(Fr(0), end, None) == sum(out.moment.time < end for out in long)
    assert timeline.count_between(Fr(0), None, None) is None


@some
@given(timelines, counts, st.fractions(1, 50))
def test_times_are_multiples_of_the_tick(timeline, frames, part):
    source = 1 / timeline.source_fps / part.numerator
    tick = timeline.policy.tick(source)
    assert all((output.moment.time / tick).denominator == 1 for output in outputs(timeline, frames))


@some
@given(counts, multipliers | lists, states)
def test_the_average_rate_is_that_of_all_gaps(frames, multiplier, states):
    timeline = by_multiplier(multiplier, states=states, end="hold_last", source_fps=Fr(24))
    whole = Timeline(timeline.policy, "hold_last", Fr(24))
    gaps = sum(len(whole.shown(i, last=False)) for i in range(frames))
    assert timeline.average_fps(frames) == Fr(24 * gaps, frames)


@some
@given(counts, multipliers)
def test_count_laws(frames, m):
    assert by_multiplier(m).count(frames) == (frames - 1) * m + 1
    assert by_multiplier(m, end="hold_last").count(frames) == frames * m


@some
@given(counts, multipliers)
def test_multiplier_is_even_and_keeps_every_source_frame(frames, m):
    assert [i + t for i, t in slots(by_multiplier(m), frames)] == [
        Fr(k, m) for k in range((frames - 1) * m + 1)
    ]


@some
@given(counts, rates, rates, states)
def test_nothing_is_shown_after_the_last_frame_whatever_is_skipped(frames, source, target, skipped):
    timeline = by_fps(source, target, states=skipped)
    assert all(output.moment.time <= (frames - 1) / source for output in outputs(timeline, frames))
    assert timeline.count(frames) == by_fps(source, target).count(frames)


@some
@given(counts, rates, rates)
def test_fps_is_exact(frames, source, target):
    ended = [i + t for i, t in slots(by_fps(source, target), frames)]
    step = source / target
    assert all(a <= frames - 1 for a in ended)
    # Every output time up to the last source frame, none left out; the last frame itself only if hit.
    assert ended == [k * step for k in range(len(ended))]
    held = by_fps(source, target, end="hold_last").count(frames)
    assert held == -((-frames * target) // source)


@some
@given(counts, rates)
def test_same_rate_touches_nothing(frames, rate):
    assert slots(by_fps(rate, rate), frames) == [(i, 0) for i in range(frames)]


def test_film_to_sixty():
    timeline = by_fps(Fr(24000, 1001), 60)
    assert [i + t for i, t in slots(timeline, 3)][:5] == [Fr(400 * k, 1001) for k in range(5)]
    assert by_fps(24, 60).shown(1, last=False) == (Fr(1, 5), Fr(3, 5))


def test_list_of_multipliers():
    timeline = by_multiplier([0, 1, 3])
    assert [len(timeline.shown(i, last=False)) for i in range(5)] == [1, 1, 3, 2, 2]
    assert by_multiplier([0, 2, 1, 1]).count(5) == 6


def test_states_skip_and_keep():
    skip, keep = States(frozenset({1})), States(frozenset({1}), skip=False)
    for multiplier, states, counts in (
        (3, skip, [3, 1, 3]),
        (3, keep, [1, 3, 1]),
        ([2, 5, 4], skip, [2, 1, 4]),
    ):
        timeline = by_multiplier(multiplier, states=states)
        assert [len(timeline.shown(i, last=False)) for i in range(3)] == counts
    # A frame rate stays what it is: the left frame is held.
    assert by_fps(24, 60, states=skip).shown(1, last=False) == (0, 0)
    assert by_fps(24, 60, states=skip).count(9) == by_fps(24, 60).count(9)


def test_hold_last_shows_the_last_frame():
    timeline = by_multiplier(4, end="hold_last")
    assert timeline.shown(7, last=True) == (0, 0, 0, 0)
    assert timeline.shown(7, last=False) == (0, Fr(1, 4), Fr(1, 2), Fr(3, 4))


@pytest.mark.parametrize("wrong", [0, -1, 0.5, True, [2, -1], [2, 2.5], ["x"]])
def test_wrong_multipliers(wrong):
    with pytest.raises(BadInputError, match="multiplier"):
        by_multiplier(wrong)


def test_wrong_rates_and_law():
    with pytest.raises(BadInputError, match="positive"):
        by_fps(24, 0)
    with pytest.raises(BadInputError, match="end law"):
        by_multiplier(2, end="ends_on_last")


@pytest.mark.parametrize("rates", [(float("nan"), 60), (float("inf"), 60), ("fast", 60), (None, 60)])
def test_rates_that_are_no_numbers(rates):
    with pytest.raises(BadInputError, match="positive numbers"):
        by_fps(*rates)


class Given(Policy):
    """Shows timesteps at times that it is given."""

    def __init__(self, steps, times):
        self.steps, self.times = steps, times

    def outputs(self, gap):
        moments = [Moment(gap.start + time, Fr(1)) for time in self.times]
        return [Output(*both) for both in zip(map(Fr, self.steps), moments, strict=True)]

    def tick(self, source):
        return source


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        ((Fr(1, 2), 0), (0, Fr(1, 2))),
        ((Fr(3, 2),), (0,)),
        ((Fr(-1, 2),), (0,)),
        ((0, Fr(1, 2)), (Fr(1, 2), Fr(1, 2))),
        ((0,), (1,)),
        ((0,), (Fr(-1, 2),)),
    ],
)
def test_impossible_times(steps, times):
    with pytest.raises(BadInputError, match="impossible times after source frame 3"):
        Timeline(Given(steps, times)).shown(3, last=False)


def test_a_policy_of_ones_own_needs_outputs_and_tick_alone():
    timeline = Timeline(Given((0, Fr(1, 3)), (0, Fr(3, 4))), "hold_last", Fr(1, 2))
    assert timeline.shown(5, last=False) == (0, Fr(1, 3))
    assert timeline.shown(5, last=True) == (0, 0)
    assert timeline.count(4) == 8
    assert timeline.average_fps(4) == timeline.average_fps(None) == 1
    assert timeline.count_between(Fr(1, 2), Fr(4), 7) == 3
    assert timeline.policy.needs_index


def test_numbers_of_other_libraries_count_as_whole():
    assert by_multiplier(np.int64(3)).count(4) == 10
    with pytest.raises(BadInputError):
        by_multiplier(b"\x02")


class OlderStates:
    """As older packs hand them on."""

    frame_indices, is_skip_list = [3, 1], False

    def is_frame_skipped(self, frame_index):
        return frame_index not in self.frame_indices


def test_states_are_plain_data():
    older = States.of(OlderStates())
    assert older == States(frozenset({1, 3}), skip=False)
    assert [older.is_frame_skipped(i) for i in range(4)] == [True, False, True, False]
    assert States.of(older) == older

    class Neither:
        def is_frame_skipped(self, frame_index):
            return True

    with pytest.raises(BadInputError, match="do not list"):
        States.of(Neither())
