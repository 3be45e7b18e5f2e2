from fractions import Fraction as Fr

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midframe.errors import BadInputError
from midframe.vfi_utils import (
    States,
    Timeline,
    by_fps,
    by_multiplier,
)

counts = st.integers(1, 40)
multipliers = st.integers(1, 12)
rates = st.fractions(min_value=1, max_value=240, max_denominator=1001)


def slots(timeline, frames):
    return [(i, t) for i in range(frames) for t in timeline.shown(i, last=i == frames - 1)]


@given(counts, multipliers)
def test_count_laws(frames, m):
    assert by_multiplier(m).count(frames) == (frames - 1) * m + 1
    assert by_multiplier(m, end="hold_last").count(frames) == frames * m


@given(counts, multipliers)
def test_multiplier_is_even_and_keeps_every_source_frame(frames, m):
    assert [i + t for i, t in slots(by_multiplier(m), frames)] == [
        Fr(k, m) for k in range((frames - 1) * m + 1)
    ]


@given(counts, rates, rates)
def test_fps_is_exact(frames, source, target):
    ended = [i + t for i, t in slots(by_fps(source, target), frames)]
    step = source / target
    assert all(a <= frames - 1 for a in ended)
    # Every output time up to the last source frame, none left out; the last frame itself only if hit.
    assert ended == [k * step for k in range(len(ended))]
    held = by_fps(source, target, end="hold_last").count(frames)
    assert held == -((-frames * target) // source)


@given(counts, rates)
def test_same_rate_touches_nothing(frames, rate):
    assert slots(by_fps(rate, rate), frames) == [(i, 0) for i in range(frames)]


def test_film_to_sixty():
    timeline = by_fps(Fr(24000, 1001), 60)
    assert [i + t for i, t in slots(timeline, 3)][:5] == [Fr(400 * k, 1001) for k in range(5)]
    assert by_fps(24, 60).times(1) == (Fr(1, 5), Fr(3, 5))


def test_list_of_multipliers():
    timeline = by_multiplier([0, 1, 3])
    assert [len(timeline.times(i)) for i in range(5)] == [1, 1, 3, 2, 2]
    assert by_multiplier([0, 2, 1, 1]).count(5) == 6


def test_states_skip_and_keep():
    skip, keep = States(frozenset({1})), States(frozenset({1}), skip=False)
    assert [len(by_multiplier(3, states=skip).times(i)) for i in range(3)] == [3, 1, 3]
    assert [len(by_multiplier(3, states=keep).times(i)) for i in range(3)] == [1, 3, 1]
    assert [len(by_multiplier([2, 5, 4], states=skip).times(i)) for i in range(3)] == [2, 1, 4]
    # A frame rate stays what it is: the left frame is held.
    assert by_fps(24, 60, states=skip).times(1) == (0, 0)
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


@pytest.mark.parametrize("times", [(Fr(1, 2), Fr(0)), (Fr(3, 2),), (Fr(-1, 2),)])
def test_impossible_times(times):
    with pytest.raises(BadInputError, match="impossible times"):
        Timeline(lambda index: times).shown(0, last=False)


def test_numbers_of_other_libraries_count_as_whole():
    assert by_multiplier(np.int64(3)).count(4) == 10
    with pytest.raises(BadInputError):
        by_multiplier(b"\x02")
