"""Held frames: a pair of equal source frames costs no pass and gives the source frame, bit for bit."""

import weakref
from fractions import Fraction as Fr

import numpy as np
import pytest
import torch
from clips import frames_of, pictures, write_clip
from fakes import QUICK, LerpModel, ListSink, RecordingHost
from midframe import NODE_CLASS_MAPPINGS, cli, interpolate, load_model
from midframe.analysis.timing import Timing
from midframe.chunks import Inline, Job, process
from midframe.nodes._timing import ClipTiming
from midframe.vfi_models import architectures, build, detect
from midframe.vfi_utils import Settings, States, by_fps, by_multiplier, run_timeline
from midframe.video import Coding, Plan, interpolate_video
from midframe.weights.synthetic import synthetic_state_dict

LOSSLESS = Coding("ffv1")


def bits(frames):
    """float32 frames as whole numbers: NaN equals itself, and 0 is not -0."""
    return frames.view(torch.int32)


def held(frame, after, count=3):
    """``count`` copies of ``frame``, then another one."""
    return torch.stack([*(frame.clone() for _ in range(count)), after])


def unusual():
    frame = torch.rand(6, 7, 3) * 4 - 2
    frame[0, 0] = torch.tensor([float("nan"), -0.0, float("inf")])
    return frame


FRAMES = {
    "float32": lambda: torch.rand(6, 7, 3),
    "float64": lambda: torch.rand(6, 7, 3).double(),
    "float16": lambda: torch.rand(6, 7, 3).half(),
    "bfloat16": lambda: torch.rand(6, 7, 3).bfloat16(),
    "uint8": lambda: torch.randint(256, (6, 7, 3), dtype=torch.uint8),
    "uint16": lambda: (torch.rand(6, 7, 3) * 65535).to(torch.uint16),
    "grey": lambda: torch.rand(6, 7, 1),
    "alpha": lambda: torch.rand(6, 7, 4),
    "masks": lambda: torch.rand(6, 7, 6),
    "columns first": lambda: torch.rand(7, 6, 3).transpose(0, 1),
    "out of range": unusual,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_held_frame_costs_no_pass_and_no_encoding(kind):
    a, b, model = FRAMES[kind](), FRAMES[kind](), LerpModel()
    frames = held(a, b)
    made = interpolate(frames, model, 4)
    shown = interpolate(frames, LerpModel(), 1)[0]
    assert torch.equal(bits(made[:9]), bits(shown).expand(9, -1, -1, -1))
    alone = LerpModel()
    assert torch.equal(bits(made[8:]), bits(interpolate(torch.stack([a, b]), alone, 4)))
    assert model.calls == alone.calls


def test_what_the_model_knows_of_a_frame_lasts_while_it_is_held():
    a, b, c = torch.rand(3, 6, 7, 3)
    model, sink = LerpModel(), ListSink()
    source = [frame.clone() for frame in (a, a, b, b, b, c, c, a)]
    run_timeline(source, by_multiplier(2), model, sink)
    assert model.calls["encode"] == 4
    assert model.calls["between"] == 3
    # Also where nothing is made between the copies in any case.
    model = LerpModel()
    run_timeline(source, by_multiplier(2, states=States(frozenset({3}))), model, ListSink())
    assert model.calls["encode"] == 4


@pytest.mark.parametrize(
    "settings", [{"schedule": "bisect"}, {"batch": 1}, {"cpu_workers": 2}, {"clear_every": 1}]
)
@pytest.mark.parametrize("any_timestep", [True, False])
def test_with_every_schedule(settings, any_timestep):
    a, b = torch.rand(2, 6, 7, 3)
    frames, model = held(a, b), LerpModel(any_timestep=any_timestep)
    made = interpolate(frames, model, 4, settings=Settings(**settings))
    assert torch.equal(made[:9], a.expand(9, -1, -1, -1))
    alone = LerpModel(any_timestep=any_timestep)
    assert torch.equal(made[8:], interpolate(frames[2:], alone, 4, settings=Settings(**settings)))
    assert model.calls["encode"] == alone.calls["encode"]
    assert model.calls["between"] == alone.calls["between"]


@pytest.mark.parametrize(
    "timeline",
    [
        by_multiplier([3, 1, 0, 5, 2], end="hold_last"),
        by_multiplier(3, states=States(frozenset({0, 3}))),
        by_fps(Fr(24000, 1001), 60, end="hold_last"),
        by_fps(24, 60, states=States(frozenset({1}))),
        by_fps(30, 12),
    ],
)
def test_every_timeline_keeps_its_frames_and_their_places(timeline):
    a, b, c = (i / 4 + torch.rand(6, 7, 3) / 4 for i in range(3))
    frames, sink, host = [a, a.clone(), b, b.clone(), b.clone(), c], ListSink(), RecordingHost()
    run_timeline(frames, timeline, LerpModel(), sink, host=host)
    places = [(i, t) for i in range(6) for t in timeline.shown(i, last=i == 5)]
    expected = [
        frames[i]
        if t == 0 or torch.equal(frames[i], frames[i + 1])
        else torch.lerp(*frames[i : i + 2], float(t))
        for i, t in places
    ]
    torch.testing.assert_close(torch.stack(sink.frames), torch.stack(expected))
    assert [done for done, _, _ in host.seen][-1] == len(sink.frames) == timeline.count(6)
    assert {total for _, total, _ in host.seen} == {timeline.count(6)}


def test_only_equal_bits_are_equal():
    a = torch.rand(6, 7, 3)
    almost = a.clone()
    almost[5, 6, 2] += 2**-20
    zero, minus_zero = torch.zeros(2, 6, 7, 3)
    minus_zero.neg_()
    whole = torch.randint(2, (6, 7, 3), dtype=torch.uint8)
    for left, right in ((a, almost), (zero, minus_zero), (whole, whole.float())):
        model, sink = LerpModel(), ListSink()
        run_timeline([left, right], by_multiplier(2), model, sink)
        assert model.calls["between"] == 1
        assert torch.equal(bits(sink.frames[2].float()), bits(right.float()))


def test_frames_that_torch_negates_when_they_are_read_are_frames():
    frames = torch.complex(torch.zeros(3, 6, 7, 3), -torch.rand(3, 6, 7, 3)[[0, 1, 1]]).conj().imag
    assert frames.is_neg()
    model = LerpModel()
    assert torch.equal(interpolate(frames, model, 2), interpolate(frames.resolve_neg(), LerpModel(), 2))
    assert model.calls["between"] == 1


def test_one_tensor_shown_again_is_a_held_frame():
    frame, model = torch.rand(6, 7, 3), LerpModel()
    assert torch.equal(interpolate(frame.expand(4, -1, -1, -1), model, 3), frame.expand(10, -1, -1, -1))
    assert not model.calls


def test_held_frames_can_be_cancelled_and_end_where_a_run_is_cancelled():
    frames = torch.rand(6, 7, 3).repeat(9, 1, 1, 1)
    for at in (1, 5, 20):
        sink = ListSink()
        with pytest.raises(KeyboardInterrupt):
            run_timeline(frames, by_multiplier(4), LerpModel(), sink, host=RecordingHost(cancel_at=at))
        assert len(sink.frames) == at - 1


def test_a_long_hold_keeps_no_copies():
    frame, alive, most = torch.rand(6, 7, 3), weakref.WeakSet(), []

    def source():
        for _ in range(8):
            copy = frame.clone()
            alive.add(copy)
            most.append(len(alive))
            yield copy
            del copy

    model = LerpModel()
    run_timeline(source(), by_multiplier(3), model, ListSink())
    assert not model.calls
    assert max(most) <= 3  # the held one, the one before, the one that is being read


@pytest.mark.parametrize(
    "name",
    # The large ones with `make test-all`.
    [
        pytest.param(a.name, marks=pytest.mark.long if a.name in ("rife_paper", "tlbvfi") else ())
        for a in architectures()
    ],
)
def test_with_every_architecture(name, monkeypatch):
    architecture = next(a for a in architectures() if a.name == name)
    model = build(detect(synthetic_state_dict(architecture.shapes(architecture.families[-1]), 0, 0.7)))
    settings = Settings(options=QUICK.get(name, {}))
    a, b = torch.rand(2, 33, 41, 4)
    # Two pictures of noise: a cut, which is held unless it is asked not to be.
    made = interpolate(held(a, b), model, 2, settings=settings, timing=Timing("interpolate"))
    assert torch.equal(made[:5], a.expand(5, -1, -1, -1))
    assert torch.equal(made[4:], interpolate(torch.stack([a, b]), model, 2, settings=settings))
    monkeypatch.setattr(model, "open", lambda *_: pytest.fail("opened for nothing"))
    interpolate(held(a, a), model, 3, settings=settings)


@pytest.fixture
def clip(tmp_path):
    """A video of 10 frames of which 5 are held."""
    a, b, c, d, e = pictures(5, (64, 96))
    order = [a, a, b, c, c, c, d, e, e, e]
    return write_clip(tmp_path / "in.mp4", order)


def test_a_video_is_made_without_passes_for_held_frames(clip):
    model = LerpModel()
    interpolate_video(clip, clip.with_name("out.mkv"), model, Plan(3, coding=LOSSLESS))
    assert sum(model.batches) == 4 * 2
    assert model.calls["encode"] == 5
    made = frames_of(clip.with_name("out.mkv"))
    assert len(made) == 30
    for first, count in ((0, 4), (9, 7), (21, 9)):
        assert all(np.array_equal(made[first], frame) for frame in made[first : first + count])


def test_chunks_whose_edges_lie_in_a_hold_are_the_whole_run(clip):
    plan = Plan(3, coding=LOSSLESS)
    interpolate_video(clip, clip.with_name("whole.mkv"), LerpModel(), plan)
    for pairs in (1, 2, 4):
        model, folder = LerpModel(), clip.with_name(f"work {pairs}")
        job = Job(clip, clip.with_name(f"out {pairs}.mkv"), folder, plan=plan, pairs=pairs)
        process(job, Inline(lambda model=model: model), host=RecordingHost())
        assert sum(model.batches) == 4 * 2
        made, whole = frames_of(job.target), frames_of(clip.with_name("whole.mkv"))
        assert all(np.array_equal(*both) for both in zip(made, whole, strict=True))


def test_the_command_line_and_the_node_with_the_built_in_model(clip):
    target = clip.with_name("out.mkv")
    assert cli.main(["interpolate", str(clip), str(target), "--codec", "ffv1", "--quiet"]) == 0
    made = frames_of(target)
    assert all(np.array_equal(made[0], frame) for frame in made[1:3])
    assert not np.array_equal(made[2], made[3])

    a, b = torch.rand(2, 24, 40, 3)
    timing = ClipTiming(Timing("interpolate"))
    frames = NODE_CLASS_MAPPINGS["MidframeRIFE"]().interpolate(held(a, b), "default", timing=timing)[0]
    assert torch.equal(frames[:5], a.expand(5, -1, -1, -1))
    assert torch.equal(frames[4:], interpolate(torch.stack([a, b]), load_model("default")))
