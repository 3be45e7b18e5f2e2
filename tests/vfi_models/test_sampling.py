"""Frames made from made frames, as the older FILM nodes order them. The exact orders: goldens/film/schedule.json."""

import json
from fractions import Fraction as Fr

import pytest
import torch
from fakes import LerpModel, ListSink, RecordingHost
from midframe.errors import BadInputError
from midframe.parity.tolerances import bound
from midframe.vfi_models._sampling.peel import PeelSampler
from midframe.vfi_models._sampling.recursive import RecursiveSampler, schedule
from midframe.vfi_utils import Settings, by_fps, by_multiplier, run_timeline

BISECT = Settings(schedule="bisect")


def even(m):
    return [k / m for k in range(1, m)]


@pytest.mark.parametrize("m", [*range(2, 34), 60, 100])
def test_every_frame_is_made_once_from_neighbours_that_are_there(m):
    known = {0, m}
    for step in schedule(even(m)):
        between = [k for k in known if step.left < k < step.right]
        assert step.left in known
        assert step.right in known
        assert not between
        assert step.left < step.frame < step.right
        assert step.timestep == pytest.approx((step.frame - step.left) / (step.right - step.left), abs=1e-5)
        known.add(step.frame)
    assert known == set(range(m + 1))


def test_orders_of_the_older_node(root):
    table = json.loads((root / "parity" / "goldens" / "film" / "schedule.json").read_text())
    for m, expected in table.items():
        times = torch.tensor(even(int(m))).tolist()  # as a session gets them: rounded to float32
        assert [[s.frame, s.left, s.right, s.timestep] for s in schedule(times)] == expected


@pytest.mark.parametrize("m", [2, 4, 8, 16, 64])
def test_powers_of_two_only_ever_halve(m):
    assert {step.timestep for step in schedule(even(m))} == {0.5}


def test_uneven_times():
    steps = schedule([0.1, 0.45, 0.9])
    assert [(s.frame, s.left, s.right) for s in steps] == [(2, 0, 4), (1, 0, 2), (3, 2, 4)]
    assert [s.timestep for s in steps] == pytest.approx([0.45, 0.1 / 0.45, 0.45 / 0.55])
    assert schedule([]) == []


class Counting:
    """Features are positions in time; remembers what was asked for."""

    def __init__(self):
        self.asked, self.encoded = [], []

    def encode(self, frames):
        self.encoded.append(float(frames))
        return frames

    def between(self, left, right, timestep):
        self.asked.append((float(left), float(right), float(timestep)))
        return torch.lerp(left, right, timestep.view(-1, 1, 1, 1))


@pytest.mark.parametrize("m", [2, 3, 5, 6, 7, 12])
def test_the_recursion_takes_every_step_and_encodes_what_it_needs_again(m):
    session, checks = Counting(), []
    made = RecursiveSampler(session, lambda: checks.append(1)).between(
        torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor(even(m))
    )
    steps = schedule(even(m))
    torch.testing.assert_close(made.flatten(), torch.tensor(even(m)))
    assert len(session.asked) == len(checks) == m - 1
    expected = sorted((s.left / m, s.right / m, s.timestep) for s in steps)
    torch.testing.assert_close(torch.tensor(sorted(session.asked)), torch.tensor(expected))
    again = {s.left for s in steps} | {s.right for s in steps}
    assert sorted(round(x * m) for x in session.encoded) == sorted(again - {0, m})


def test_what_is_made_is_clamped_before_it_is_used_again():
    class Overshooting(Counting):
        def between(self, left, right, timestep):
            return super().between(left, right, timestep) + 3

    session = Overshooting()
    made = RecursiveSampler(session).between(
        torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor(even(4))
    )
    assert session.encoded == [1.0]
    assert made.max() == 1


# --- in the loop


@pytest.mark.parametrize(
    "timeline", [by_multiplier(5), by_multiplier([1, 7, 2]), by_fps(Fr(24000, 1001), 60)]
)
def test_every_time_is_met(timeline):
    frames, plain, sink = torch.rand(4, 5, 6, 4), ListSink(), ListSink()
    run_timeline(frames, timeline, LerpModel(), plain)
    model = LerpModel()
    run_timeline(frames, timeline, model, sink, settings=BISECT)
    torch.testing.assert_close(
        torch.stack(sink.frames), torch.stack(plain.frames), atol=bound("rounding"), rtol=0
    )
    assert set(model.batches) == {1}
    assert model.live == 0


def test_a_model_that_only_halves_takes_its_own_way():
    frames, sinks = torch.rand(2, 4, 4, 3), [ListSink(), ListSink()]
    for sink, settings in zip(sinks, [BISECT, Settings()], strict=True):
        run_timeline(frames, by_multiplier(3), LerpModel(any_timestep=False), sink, settings=settings)
    assert torch.equal(torch.stack(sinks[0].frames), torch.stack(sinks[1].frames))


def test_cancel_within_one_forward_pass():
    for cancel_at in range(1, 9):
        model, host = LerpModel(), RecordingHost(cancel_at)
        with pytest.raises(KeyboardInterrupt):
            run_timeline(
                torch.rand(2, 4, 4, 3), by_multiplier(8), model, ListSink(), settings=BISECT, host=host
            )
        assert model.calls["between"] <= cancel_at
        assert model.live == 0


def test_no_such_schedule():
    with pytest.raises(BadInputError, match="any_t"):
        Settings(schedule="backwards")


# --- sessions with motion


class MovingModel(LerpModel):
    """A model that computes something once a pair."""

    def open(self, height, width, options=None):
        session = super().open(height, width, options)
        session.motion, session.between = self.motion, self.moved
        return session

    def motion(self, left, right):
        self.step("motion")
        return left, right

    def moved(self, left, right, timestep, motion=None):
        assert motion is None or (torch.equal(motion[0], left) and torch.equal(motion[1], right))
        self.calls["with motion"] += motion is not None
        return self.between(left, right, timestep)


def test_motion_is_computed_once_a_pair_however_many_batches():
    model, sink = MovingModel(), ListSink()
    run_timeline(torch.rand(4, 5, 6, 3), by_multiplier(6), model, sink, settings=Settings(batch=2))
    assert model.batches == [2, 2, 1] * 3
    assert model.calls["motion"] == 3
    assert model.calls["with motion"] == 9


def test_motion_of_another_pair_is_never_used():
    a, b = torch.rand(2, 5, 6, 3)
    source = [a, b, b, b, a, b]  # the same tensors again: features may be kept, motion may not
    model, sink = MovingModel(), ListSink()
    run_timeline(source, by_multiplier(4), model, sink, settings=Settings(batch=1))
    plain = ListSink()
    run_timeline([frame.clone() for frame in source], by_multiplier(4), LerpModel(), plain)
    assert torch.equal(torch.stack(sink.frames), torch.stack(plain.frames))


def test_motion_survives_out_of_memory():
    done = []

    def fail_once(step):
        if step == "between" and len(done) < 1:
            done.append(step)
            raise torch.OutOfMemoryError

    frames, model, sink, plain = torch.rand(3, 5, 6, 3), MovingModel(fail_once), ListSink(), ListSink()
    run_timeline(frames, by_multiplier(3), model, sink)
    run_timeline(frames, by_multiplier(3), LerpModel(), plain)
    assert torch.equal(torch.stack(sink.frames), torch.stack(plain.frames))


def test_at_most_two_frames_are_held_while_a_third_is_encoded():
    import weakref

    alive, most = weakref.WeakSet(), []

    class Held(LerpModel):
        def encode(self, frames):
            most.append(len(alive))
            features = super().encode(frames)
            alive.add(features)
            return features

    run_timeline(torch.rand(5, 5, 6, 3), by_multiplier(2), Held(), ListSink())
    assert max(most) == 1


def test_the_last_frame_of_a_timeline_that_holds():
    timeline = by_multiplier(3, end="hold_last")
    sink = ListSink()
    run_timeline(torch.rand(2, 4, 4, 3), timeline, LerpModel(), sink, settings=BISECT)
    assert len(sink.frames) == 6


class Positions:
    """Features are positions in time; remembers from which two each was made."""

    def __init__(self):
        self.asked = []

    def encode(self, frames):
        return frames

    def between(self, left, right, timestep):
        self.asked.append((round(float(left.mean()), 4), round(float(right.mean()), 4)))
        return left + (right - left) * timestep.view(-1, 1, 1, 1)


@pytest.mark.parametrize("times", [[0.5], [0.25, 0.75], [0.2, 0.4, 0.6, 0.8], [0.1, 0.2, 0.45, 0.7, 0.9]])
def test_peeling_makes_frames_from_the_outside_in_at_their_own_times(times):
    session = Positions()
    frames = PeelSampler(session).between(
        torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.tensor(times)
    )
    assert frames[:, 0, 0, 0].tolist() == pytest.approx(times, abs=1e-6)
    outer = [(0.0, 1.0), *((times[i], times[-1 - i]) for i in range(len(times) // 2))]
    expected = [outer[min(i, len(times) - 1 - i)] for i in range(len(times))]
    # Pair by pair: older versions of pytest compare no nested lists.
    asked, wanted = sorted(session.asked), sorted(expected)
    assert len(asked) == len(wanted)
    assert all(a == pytest.approx(b) for a, b in zip(asked, wanted, strict=True))


def test_names_of_the_ways_to_several_frames():
    assert Settings(schedule="direct") == Settings()
    frames, timeline = [torch.rand(16, 16, 3) for _ in range(3)], by_multiplier(5)
    made = {}
    for way in ("any_t", "bisect", "peel"):
        sink = ListSink()
        assert run_timeline(frames, timeline, LerpModel(), sink, settings=Settings(schedule=way)) == 11
        made[way] = torch.stack(sink.frames)
    # A mean of means is the mean at its time but for rounding, once a level.
    assert torch.allclose(made["any_t"], made["peel"], atol=1e-6)
    assert torch.allclose(made["any_t"], made["bisect"], atol=1e-6)
