"""Curves of speed: what people write, where it leads, and that nothing is lost on the way."""

from fractions import Fraction as Fr
from itertools import pairwise

import numpy as np
import pytest
import torch
from fakes import LerpModel
from hypothesis import given, settings
from hypothesis import strategies as st
from midframe import interpolate
from midframe.engine.curve import Curve
from midframe.engine.light import HLG, PQ, SRGB, light_of, stored_of
from midframe.engine.pieces import Retiming, pieces_of
from midframe.engine.playing import Playing
from midframe.engine.route import at_constant_rate, retimed, route_of
from midframe.engine.shutter import Shutter
from midframe.errors import BadInputError
from midframe.vfi_utils import States, by_fps, by_multiplier

RATE = 24
speeds = st.fractions(Fr(1, 10), 8, max_denominator=20)
places = st.integers(0, 40)


@st.composite
def curves(draw):
    """Curves that go forwards, stop, and turn."""
    keys, at, direction = [], 0, 1
    for _ in range(draw(st.integers(1, 5))):
        step = draw(st.integers(0, 12))
        at = max(at + direction * step, 0)
        if draw(st.booleans()):
            keys.append(f"{at}:0 for {draw(st.integers(1, 30))}")
        direction = -1 if draw(st.integers(0, 3)) == 0 and at > 2 else 1
        keys.append(f"{at}:{direction * draw(speeds)}")
    return keys


curves = curves().map(lambda keys: Curve.of(keys, "linear"))
ends = st.sampled_from(["end_on_last", "hold_last", "close_loop"])


def route(text, frames=12, ease="linear"):
    return route_of(Curve.of(text, ease), [Fr(i, RATE) for i in range(frames)], Fr(frames, RATE))


def shown(text, frames=12):
    return [visit.frame for visit in route(text, frames).visits]


def test_one_number_is_the_speed_of_the_clip():
    half = route("0.5")
    assert [visit.start * RATE for visit in half.visits] == list(range(0, 24, 2))
    assert half.end == Fr(24, RATE)
    assert route("50%").visits == half.visits
    assert shown("-1") == list(range(11, -1, -1))
    assert route("-1").end == Fr(12, RATE)
    assert Curve.of("1") is Curve.of(" ") is Curve.of(None) is Curve.of("0:1, 5s:1") is None


def test_a_ramp_takes_the_mean_of_its_two_paces():
    # From 1 to a quarter over 8 frames: 8 * (1 + 4) / 2 frames.
    assert route("0:1, 8:0.25").visits[8].start == Fr(20, RATE)
    assert route("0:1, 8:0.25", ease="eased").visits[8].start == Fr(20, RATE)
    assert route("0:1, 8:0.25", ease="steps").visits[8].start == Fr(8, RATE)
    # Half way an even ramp has taken 4 * (1 + 2.5) / 2 frames.
    assert route("0:1, 8:0.25").visits[4].start == Fr(7, RATE)


def test_positions_are_frames_seconds_and_parts_of_the_clip():
    assert route("0:1, 6:0.25") == route("0:1, 0.25s:0.25") == route("0:1, 50%:0.25")


def test_it_stops_for_the_time_that_is_said():
    stopped = route("0:1, 3:0 for 0.5s")
    assert shown("0:1, 3:0 for 0.5s") == [0, 1, 2, 3, 3, *range(4, 12)]
    assert stopped.end == Fr(24, RATE)
    assert stopped.visits[4].start - stopped.visits[3].start == Fr(1, 2)
    assert shown("100%:0 for 12") == [*range(12), 11]


def test_it_turns_at_a_frame_that_is_shown_once():
    assert shown("0:1, 4:-1, 2:1", 6) == [0, 1, 2, 3, 4, 3, 2, 3, 4, 5]
    assert shown("0:1, 4:0 for 1s, 4:-1, 0:1", 5) == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    assert shown("100%:-2, 0:0 for 1s", 3) == [2, 1, 0, 0]
    assert shown("0:1, 4:-1, 2:0 for 1s", 6) == [0, 1, 2, 3, 4, 3, 2, 2, 1, 0]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("0:1, 2s:fast, 3s:1", "0:1, >>2s:fast<<, 3s:1"),
        ("0:1, 2s:0", "0:1, >>2s:0<<"),
        ("now", ">>now<<"),
        ("0:1,\n-3:2", "0:1, >>-3:2<<"),
        ("0:1; 9:5000", "0:1; >>9:5000<<"),
        ("0:1 for 3", ">>0:1 for 3<<"),
    ],
)
def test_an_error_shows_the_place_in_the_text(text, place):
    with pytest.raises(BadInputError) as error:
        Curve.of(text)
    assert error.value.found == place
    assert "2s:0.25" in error.value.advice


def test_a_keyframe_that_is_not_reached_is_refused():
    for text in ("0:1, 8:2, 4:1", "0:1, 4:-1, 8:1", "0:1, 6:1, 3:0 for 1s"):
        with pytest.raises(BadInputError, match="not reached"):
            route(text)


def test_lists_and_curves_are_understood_too():
    assert Curve.of([1, 1, 0.5]).keys == Curve.of("0:1, 1:1, 2:0.5").keys
    for array in (torch.tensor([1, 1, 0.5]), np.array([1, 1, 0.5])):
        assert Curve.of(array).keys == Curve.of([1, 1, 0.5]).keys
    assert Curve.of(np.array([[0, 1], [48, 0.25]])).keys == Curve.of([(0, 1), (48, 0.25)]).keys
    for wrong in (torch.rand(2, 4, 4, 3), torch.tensor([1.0, float("nan")]), np.zeros((2, 3))):
        with pytest.raises(BadInputError):
            Curve.of(wrong)
    assert (
        Curve.of([("0", 1), ("2s", 0.25), (96, 0, "1s")]).keys == Curve.of("0:1, 2s:0.25, 96:0 for 1s").keys
    )
    assert Curve.of({0: 1, "2s": "1/4"}).keys == Curve.of("0:1, 2s:25%").keys
    curve = Curve.of("0:1, 1/3:0.3, 50%:0 for 7", "eased")
    assert Curve.from_data(curve.as_data()) == curve
    with pytest.raises(BadInputError):
        Curve.of([])


def check_route(curve, frames, multiplier, end, states):
    """What must be true of every curve."""
    timeline = at_constant_rate(by_multiplier(multiplier, states=states, end=end, source_fps=Fr(RATE)))
    try:
        steps = retimed(timeline, curve, frames)
    except BadInputError as error:
        assert "not reached" in str(error)  # noqa: PT017 -- most curves are reached
        return
    visits, last = steps.route.visits, len(steps.route.visits) - 1
    assert all(a.start < b.start for a, b in pairwise(visits))
    assert visits[-1].start < steps.route.end
    # Nothing is jumped over: neighbours follow each other, or one is held.
    assert all(abs(a.frame - b.frame) <= 1 for a, b in pairwise(visits))
    assert all(type(visit.start) is Fr for visit in visits)
    gaps = [steps.route.gap(i) for i in range(last + 1)]
    outputs = [out for gap in gaps for out in steps.timeline.outputs(gap, last=gap.index == last)]
    times = [out.moment.time for out in outputs]
    grid = multiplier * RATE
    assert times == [Fr(k, grid) for k in range(len(times))]
    if end != "end_on_last":
        assert len(times) == -(-steps.route.end * grid // 1)
    playing = Playing.of(
        by_multiplier(multiplier, states=states, end=end, source_fps=Fr(RATE)), frames, speed=curve
    )
    assert playing.count(frames) == len(times)
    assert [t for i in range(last + 1) for t in steps.shown(i, last=i == last)] == [
        o.timestep for o in outputs
    ]


some = settings(max_examples=60, deadline=None)
some_states = st.none() | st.builds(States, st.frozensets(st.integers(0, 20), max_size=5), st.booleans())
whole = given(curves, st.integers(1, 30), st.integers(1, 3), ends, some_states)


@some
@whole
def test_times_rise_evenly_and_the_count_is_as_promised(curve, frames, multiplier, end, states):
    if curve is not None:
        check_route(curve, frames, multiplier, end, states)


@pytest.mark.long
@settings(max_examples=4000, deadline=None)
@whole
def test_times_rise_evenly_and_the_count_is_as_promised_thousands_of_times(
    curve, frames, multiplier, end, states
):
    if curve is not None:
        check_route(curve, frames, multiplier, end, states)


@some
@given(st.lists(speeds, min_size=1, max_size=4), st.integers(2, 40))
def test_the_pieces_of_a_route_pass_all_of_its_frames(numbers, frames):
    curve = Curve.of([(i * 7, speed) for i, speed in enumerate(numbers)])
    if curve is None:
        return
    times, end = [Fr(i, RATE) for i in range(frames)], Fr(frames, RATE)
    way = route_of(curve, times, end)
    pieces = pieces_of(way, times, end, Fr(0))
    assert all(a.source[1] == b.source[0] and a.shown[1] == b.shown[0] for a, b in pairwise(pieces))
    assert (pieces[0].shown[0], pieces[-1].shown[1]) == (0, way.end)
    retiming = Retiming(pieces)
    assert all(abs(retiming.time(times[v.frame]) - v.start) <= 0.005001 for v in way.visits)
    # A clip at one speed has one piece, and its sound is whole.
    assert len(pieces) == 1 or len(set(numbers)) > 1


def ramp(frames=8):
    """Frames whose brightness says when they are shown."""
    return torch.linspace(0, 1, frames).view(-1, 1, 1, 1).expand(-1, 16, 16, 3).contiguous()


def levels(frames):
    return frames[:, 0, 0, 0]


def test_slow_motion_shows_the_frames_of_the_curve():
    slow = interpolate(ramp(), LerpModel(), 1, speed=0.5)
    assert torch.allclose(levels(slow), torch.linspace(0, 1, 15))
    fast = interpolate(ramp(9), LerpModel(), 1, speed=2)
    assert torch.allclose(levels(fast), torch.linspace(0, 1, 5))
    back = interpolate(ramp(), LerpModel(), 2, speed=-1)
    assert torch.allclose(levels(back), torch.linspace(1, 0, 15))
    held = interpolate(ramp(), LerpModel(), 1, speed="3:0 for 4")
    assert torch.equal(held, ramp()[[0, 1, 2, 3, 3, 3, 3, 3, 4, 5, 6, 7]])


def test_seconds_need_a_rate_and_a_list_of_multipliers_is_refused():
    with pytest.raises(BadInputError, match="counts in seconds"):
        interpolate(ramp(), LerpModel(), 2, speed="0:1, 1s:0.5")
    made = interpolate(ramp(), LerpModel(), timeline=by_fps(8, 8), speed="0.5s:0 for 0.25s")
    assert torch.equal(made, ramp()[[0, 1, 2, 3, 4, 4, 4, 5, 6, 7]])
    with pytest.raises(BadInputError, match="list of multipliers"):
        interpolate(ramp(), LerpModel(), [2, 3], speed=0.5)
    with pytest.raises(BadInputError, match="list of multipliers"):
        interpolate(ramp(), LerpModel(), [2, 3], shutter=Shutter())


# --- shutter


def edge(at, width=64):
    """A bright field whose left edge lies at a place, in light: what a lens would see."""
    x = torch.arange(width, dtype=torch.float32)
    return (x + 1 - at).clamp(0, 1).view(1, width, 1).expand(8, width, 3)


def stored(light):
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


def light(frames):
    return torch.where(frames <= 0.04045, frames / 12.92, ((frames + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("angle", [360, 180])
def test_an_edge_that_moves_is_blurred_as_by_a_shutter(angle):
    # 60 source frames a second, the edge moves 2 pixels in each; 12 come out.
    clip = torch.stack([stored(edge(4 + 2 * i)) for i in range(25)])
    samples = 5 * angle // 360 if angle == 360 else 5
    made = interpolate(
        clip, LerpModel(), timeline=by_fps(60, 12, end="hold_last"), shutter=Shutter(angle, samples)
    )
    assert len(made) == 5
    seen = light(made[1, 0, :, 0])
    if angle == 360:
        # The mean over the frames 5 to 9: each pixel is as bright as the part of the time that it is lit.
        exact = torch.stack([edge(4 + 2 * i)[0, :, 0] for i in range(5, 10)]).mean(0)
        # Rounding of a mean of five and of both curves; 6e-8 was seen.
        assert torch.allclose(seen, exact, atol=1e-6)
    # The box of an open shutter: the edge runs from 14 to 14 + 10 * angle / 360, within a sample.
    middle = 14 + 10 * angle / 360 / 2
    place = 64 - float(seen.sum())
    assert abs(place - middle) <= 10 * angle / 360 / samples / 2 + 0.25


def test_a_clip_that_stands_stays_as_it_is_and_the_last_frame_is_of_what_is_there():
    still = torch.rand(1, 8, 8, 3).expand(7, -1, -1, -1).contiguous()
    made = interpolate(still, LerpModel(), 1, shutter=Shutter(180, 4))
    assert made.shape == still.shape
    # Rounding: into light, the mean of four equal values, and back.
    assert torch.allclose(made, still, atol=1e-6)


def test_what_is_transparent_does_not_colour_the_mean():
    clip = torch.zeros(2, 4, 4, 4)
    clip[0, ..., 0] = 1.0  # red, and not there
    clip[1, ..., 1] = clip[1, ..., 3] = 1.0  # green
    # In float32, rounding alone.
    made = interpolate(clip, LerpModel(), timeline=by_fps(2, 1, end="hold_last"), shutter=Shutter(360, 2))
    assert torch.allclose(made[0, 0, 0], torch.tensor([0.0, 1.0, 0.0, 0.5]), atol=1e-6)


@pytest.mark.parametrize("transfer", [SRGB, PQ, HLG, 1])
def test_light_and_what_is_stored_are_inverse(transfer):
    stored = torch.linspace(0, 1, 4096)[:, None, None].expand(-1, 1, 4).clone()
    stored[..., 3] = 0.5
    light = light_of(stored, transfer)
    # The powers of PQ (78.8 and 6.3) multiply the rounding of float32 by some hundred.
    assert torch.allclose(stored_of(light, transfer), stored, atol=2e-5)
    assert (light[1:, 0, 0] > light[:-1, 0, 0]).all()
    # Half of the stored range: far less than half of the light.
    assert {PQ: 0.0092, HLG: 1 / 12}.get(transfer, 0.2140) == pytest.approx(
        2 * float(light_of(torch.full((1, 1, 4), 0.5), transfer)[0, 0, 0]), rel=0.01
    )


@pytest.mark.parametrize("wrong", [{"angle": 0}, {"angle": 400}, {"angle": "wide"}, {"samples": 1}])
def test_a_shutter_that_cannot_be(wrong):
    with pytest.raises(BadInputError):
        Shutter(**wrong)


@some
@given(
    st.integers(1, 20), st.integers(2, 6), st.sampled_from([90, 180, 360]), ends, st.fractions(5, 60), speeds
)
def test_a_shutter_makes_as_many_frames_as_there_are_without(frames, samples, angle, end, target, speed):
    timeline = by_fps(RATE, target, end=end)
    curve = Curve.of(speed)
    plain = Playing.of(timeline, frames, speed=curve)
    assert Playing.of(timeline, frames, speed=curve, shutter=Shutter(angle, samples)).count(
        frames
    ) == plain.count(frames)
