"""What careless scripts pass to the Python API: numbers and frames of every kind, and things that are neither."""

from decimal import Decimal
from fractions import Fraction as Fr

import midframe
import numpy as np
import pytest
import torch
from careless import NO_FRAMES, NO_MULTIPLIER, TWO, F, named
from clips import frames_of, pictures, times_of, write_clip
from fakes import LerpModel, ListSink
from midframe import cli
from midframe.chunks import Inline, Job, process
from midframe.cli import options
from midframe.errors import BadInputError
from midframe.vfi_utils import FrameLoop, QuietHost, Settings, States, by_fps, by_multiplier
from midframe.video import Coding, Plan, interpolate_video


def clip(n=3, size=(6, 7), channels=3):
    return torch.rand(n, *size, channels)


def shown(timeline, frames):
    return [i + t for i in range(frames) for t in timeline.shown(i, last=i == frames - 1)]


# --- numbers

TWO_AND_A_HALF = [
    2.5,
    "2.5",
    " 5/2 ",
    Fr(5, 2),
    Decimal("2.5"),
    np.float32(2.5),
    torch.tensor(2.5),
    torch.tensor([2.5], dtype=torch.bfloat16),
]


@pytest.mark.parametrize("value", TWO, ids=repr)
def test_whatever_equals_a_whole_number_is_one(value):
    assert by_multiplier(value).count(5) == 9
    assert Plan(value).multiplier == 2
    frames = clip()
    assert torch.equal(
        midframe.interpolate(frames, LerpModel(), value), midframe.interpolate(frames, LerpModel(), 2)
    )
    assert Settings(batch=value).batch == 2


@pytest.mark.parametrize("value", TWO_AND_A_HALF, ids=repr)
def test_two_and_a_half_times_is_a_timeline_like_any_other(value):
    assert shown(by_multiplier(value), 5) == [Fr(2 * k, 5) for k in range(11)]
    assert by_multiplier(value, end="hold_last").count(4) == 10
    assert by_multiplier(value, end="hold_last").count(5) == 13
    assert Plan(value).multiplier == Fr(5, 2)


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        (2.4, Fr(12, 5)),
        (np.float32(2.4), Fr(12, 5)),
        (torch.tensor(2.4), Fr(12, 5)),
        (torch.tensor(2.4, dtype=torch.float16), Fr(12, 5)),
        (7 / 3, Fr(7, 3)),
        (np.float32(7 / 3), Fr(7, 3)),
        ("2.12345", Fr(42469, 20000)),
        ("1e1", 10),
    ],
    ids=repr,
)
def test_a_float_is_the_decimals_that_it_is_shown_as(value, exact):
    assert Plan(value).multiplier == exact


@pytest.mark.parametrize("value", NO_MULTIPLIER, ids=named)
def test_what_is_no_multiplier_is_refused_in_one_way(value):
    for call in (by_multiplier, lambda m: midframe.interpolate(clip(), LerpModel(), m), Plan):
        with pytest.raises(BadInputError, match="multiplier") as caught:
            call(value)
        assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    "each", [(3, 1), np.array([3, 1]), torch.tensor([3.0, 1.0]), ["3", 1.0], [Fr(3), np.int8(1)]]
)
def test_a_list_of_any_numbers_sets_each_pair(each):
    assert [len(by_multiplier(each).shown(i, last=False)) for i in range(3)] == [3, 1, 2]


def test_a_rate_holds_the_frame_where_nothing_is_made():
    states = States([1.0, np.int64(3)])
    assert states.indices == {1, 3}
    assert by_multiplier(2.5, states=states).shown(1, last=False) == (0, 0)
    assert by_multiplier(2.5, states=states).count(6) == by_multiplier(2.5).count(6)


def test_the_frames_of_two_and_a_half_times_are_at_their_moments():
    frames = clip(5)
    made = midframe.interpolate(frames, LerpModel(), 2.5)
    assert torch.equal(made[[0, 5, 10]], frames[[0, 2, 4]])
    for k in range(10):
        i, t = divmod(Fr(2 * k, 5), 1)
        torch.testing.assert_close(made[k], torch.lerp(frames[i], frames[i + 1], float(t)))


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        (23.976, Fr(24000, 1001)),
        (24000 / 1001, Fr(24000, 1001)),
        (np.float32(24000 / 1001), Fr(24000, 1001)),
        (np.float32(23.976), Fr(24000, 1001)),
        (torch.tensor(29.97), Fr(30000, 1001)),
        ("24000/1001", Fr(24000, 1001)),
        ("23.976", Fr(24000, 1001)),
        (Decimal("59.94"), Fr(60000, 1001)),
        ("23.976023976", Fr(24000, 1001)),
        ("59.940059940059942", Fr(60000, 1001)),
        (Decimal("29.97002997"), Fr(30000, 1001)),
        ("pal", Fr(25)),
        (np.float64(12.5), Fr(25, 2)),
        (torch.tensor([30]), Fr(30)),
    ],
    ids=repr,
)
def test_rates_of_any_kind_mean_the_same(value, exact):
    assert by_fps(value, 60).shown(3, last=False) == by_fps(exact, 60).shown(3, last=False)
    assert Plan(fps=value).fps == exact


@pytest.mark.parametrize(
    "value",
    [
        0,
        -24,
        float("nan"),
        float("inf"),
        1e9,
        1e-9,
        Fr(1, 10**12),
        "fast",
        "",
        None,
        True,
        [24, 25],
        {},
        1j,
        "1/0",
    ],
    ids=repr,
)
def test_what_is_no_rate_is_refused_in_one_way(value):
    for call in (lambda rate: by_fps(rate, 60), lambda rate: by_fps(60, rate)):
        with pytest.raises(BadInputError, match="must be positive numbers"):
            call(value)
    if value is not None:
        with pytest.raises(BadInputError, match="must be positive numbers"):
            Plan(fps=value)


def test_a_target_rate_that_would_fill_any_memory_is_refused():
    with pytest.raises(BadInputError, match="too far"):
        by_fps(Fr(1, 100), 1000)


# --- x2.5 through video and chunks


def test_a_video_and_its_chunks_are_what_the_frames_are(tmp_path):
    source = write_clip(tmp_path / "in.mkv", pictures(8), codec="ffv1", pix_fmt="bgr0", rate=Fr(24000, 1001))
    plan = Plan("2.5", coding=Coding("ffv1"))
    interpolate_video(source, tmp_path / "whole.mkv", LerpModel(), plan)
    job = Job(source, tmp_path / "parts.mkv", tmp_path / "work", plan=plan, pairs="3")
    process(job, Inline(LerpModel), host=QuietHost())
    frames = torch.from_numpy(np.stack(frames_of(source))) / 255
    timeline = by_multiplier(Fr(5, 2), end="hold_last")
    with FrameLoop(timeline) as loop:
        sink = ListSink()
        loop.feed(frames, LerpModel(), sink, last=True)
        expected = torch.stack(sink.frames)
    for name in ("whole.mkv", "parts.mkv"):
        made = torch.from_numpy(np.stack(frames_of(tmp_path / name))) / 255
        assert len(made) == len(expected) == 20
        assert (made - expected).abs().max() <= 0.51 / 255
    assert times_of(tmp_path / "whole.mkv") == times_of(tmp_path / "parts.mkv")


def test_timestamps_of_two_and_a_half_times_are_exact(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(5), rate=Fr(24000, 1001))
    written = interpolate_video(source, tmp_path / "out.mp4", LerpModel(), Plan(2.5))
    assert times_of(written.path) == [Fr(k * 1001, 60000) for k in range(13)]


@pytest.mark.parametrize(
    "pace", [{"multiplier": 2**0.5}, {"fps": Fr(10**12 + 1, 10**11)}, {"fps": Fr(1, 1000)}], ids=repr
)
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.gif"])
def test_a_rate_that_no_file_can_name_exactly_is_written_as_the_nearest(tmp_path, pace, name):
    source = write_clip(tmp_path / "in.mp4", pictures(5), rate=25)
    plan = Plan(**pace)
    rate = plan.fps or 25 * plan.multiplier
    written = interpolate_video(source, tmp_path / name, LerpModel(), plan)
    assert written.frames == by_fps(25, rate, end="hold_last").count(5)
    times = times_of(written.path)
    assert times == pytest.approx([k / rate for k in range(len(times))], abs=0.011)


def test_the_command_line_takes_it_too(tmp_path, capsys):
    source = write_clip(tmp_path / "in.mp4", pictures(4))
    assert cli.main(["interpolate", str(source), "--multiplier", "2.5", "--quiet"]) == 0
    assert len(times_of(tmp_path / "in_x2.5.mp4")) == 10
    assert cli.main(["chunks", str(source), str(tmp_path / "c.mp4"), "-m", "5/2", "--quiet"]) == 0
    assert times_of(tmp_path / "c.mp4") == times_of(tmp_path / "in_x2.5.mp4")
    folder = tmp_path / "shots"
    folder.mkdir()
    assert options.default_target(folder, Fr(5, 2), None).suffix == ""
    assert options.default_target(folder, 2, Fr(24000, 1001)).suffix == ""
    for text in ("abc", "nan", "0", "1e9", "[2, 3]"):
        capsys.readouterr()
        assert cli.main(["interpolate", str(source), "--multiplier", text]) == 2
        assert capsys.readouterr().err.startswith("Error: The multiplier")


@pytest.mark.parametrize(
    "wrong",
    [{"multiplier": [2, 2.5]}, {"states": [1]}, {"fps": "fast"}, {"source_fps": 0}, {"end": "at once"}],
    ids=repr,
)
def test_plans_that_cannot_be(wrong):
    with pytest.raises(BadInputError):
        Plan(**wrong)


def test_an_equal_list_is_one_multiplier_for_a_video():
    assert Plan([3, 3.0, "3"]).multiplier == 3
    assert Plan([2.5, "5/2"]).multiplier == Fr(5, 2)
    assert shown(by_multiplier([2.5, "5/2"]), 5) == shown(by_multiplier(2.5), 5)


# --- frames

ITERABLES = {"list", "tuple", "empty list"}


@pytest.mark.parametrize("name", NO_FRAMES)
def test_what_is_no_clip_is_refused_before_anything_runs(name):
    frames, model = NO_FRAMES[name], LerpModel()
    calls = [
        lambda: midframe.interpolate(frames, model),
        lambda: midframe.api.interpolate_part(
            frames, FrameLoop(by_multiplier(2)), model, last=True, sink=ListSink()
        ),
    ]
    if name not in ITERABLES:
        calls.append(lambda: FrameLoop(by_multiplier(2)).feed(frames, model, ListSink(), last=True))
    for call in calls:
        with pytest.raises(BadInputError) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 3
    assert not model.calls


@pytest.mark.parametrize("bad", [F.numpy()[0], F[0].permute(2, 0, 1).repeat(1, 2, 2), F[0, 0], None, "x", 1])
def test_a_frame_among_others_that_is_no_picture_is_named(bad):
    with pytest.raises(BadInputError, match="Source frame 1 is not a picture"):
        FrameLoop(by_multiplier(2)).feed(iter([F[0], bad]), LerpModel(), ListSink(), last=True)


@pytest.mark.parametrize(
    "frames", [torch.nn.Parameter(F.clone()), F.to(torch.float8_e4m3fn), torch.rand(2, 6, 7, 16)]
)
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_pictures_of_rarer_kinds_are_taken(frames, place, tmp_path):
    storage = midframe.memory.sinks.Storage(place, folder=tmp_path)
    made = midframe.interpolate(frames, LerpModel(), storage=storage)
    assert torch.equal(made[::2], frames.detach().float())
    assert not made.requires_grad


# --- objects


@pytest.mark.parametrize(
    "call",
    [
        lambda: midframe.interpolate(F, object()),
        lambda: midframe.interpolate(F, torch.nn.Linear(1, 1)),
        lambda: midframe.interpolate(F, LerpModel),
        lambda: midframe.interpolate(F[:1], {}),
        lambda: midframe.interpolate(F, LerpModel(), timeline=2),
        lambda: midframe.interpolate(F, LerpModel(), timeline=[]),
        lambda: midframe.interpolate(F, LerpModel(), timeline=by_multiplier),
        lambda: midframe.interpolate(F, LerpModel(), settings={"batch": 2}),
        lambda: Settings(options=["flow_scale"]),
        lambda: by_multiplier(2, states={"skip": [1]}),
        lambda: by_multiplier(2.5, states=[1, 2]),
        lambda: by_multiplier(2, states="1, 2"),
        lambda: by_multiplier(2, states=(1,)),
        lambda: by_multiplier(2, states=States),
        lambda: by_fps(24, 60, states=[1]),
        lambda: States("12"),
        lambda: States({1.5}),
        lambda: States(3),
        lambda: interpolate_video(None, "out.mp4", LerpModel()),
        lambda: interpolate_video("in.mp4", b"out.mp4", LerpModel()),
        lambda: interpolate_video("in.mp4", "out.mp4", object()),
        lambda: interpolate_video("in.mp4", "out.mp4", LerpModel(), {"multiplier": 2}),
    ],
)
def test_things_of_another_kind_are_refused(call):
    with pytest.raises(BadInputError):
        call()


def test_a_video_of_one_frame_says_why_nothing_was_made(tmp_path, caplog):
    source = write_clip(tmp_path / "in.mp4", pictures(1))
    interpolate_video(source, tmp_path / "out.mp4", LerpModel())
    assert "in.mp4 has one frame: nothing was made" in caplog.text
