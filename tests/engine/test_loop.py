from fractions import Fraction as Fr

import pytest
import torch
from fakes import LerpModel, ListSink, RecordingHost
from midframe.api import interpolate
from midframe.errors import BadInputError, OutOfMemoryError
from midframe.memory.sinks import TensorSink
from midframe.vfi_utils import Settings, by_fps, by_multiplier, run_timeline


def clip(n=5, channels=3, size=(6, 7), dtype=torch.float32):
    return torch.rand(n, *size, channels).to(dtype)


def lerp(frames, position):
    i = min(int(position), len(frames) - 1)
    t = float(position - i)
    return frames[i] if t == 0 else torch.lerp(frames[i], frames[i + 1], t)


@pytest.mark.parametrize(
    "timeline", [by_multiplier(3), by_multiplier([1, 0, 4]), by_fps(Fr(24000, 1001), 60), by_fps(30, 12)]
)
def test_frames_are_where_the_timeline_says(timeline):
    frames, sink = clip(), ListSink()
    count = run_timeline(frames, timeline, LerpModel(), sink)
    expected = [i + t for i in range(5) for t in timeline.shown(i, last=i == 4)]
    assert count == len(sink.frames) == len(expected) == timeline.count(5)
    for got, position in zip(sink.frames, expected, strict=True):
        torch.testing.assert_close(got, lerp(frames, position))


def test_source_frames_come_out_untouched():
    frames = clip() * 4 - 2
    frames[1, 0, 0, 0] = float("nan")
    before = frames.clone()
    made = interpolate(frames, LerpModel(), 3)
    assert torch.equal(made[::3].nan_to_num(7), before.nan_to_num(7))
    assert torch.equal(frames.nan_to_num(7), before.nan_to_num(7))
    between = made[torch.arange(13) % 3 != 0]
    assert between.isfinite().all()
    assert between.min() >= 0
    assert between.max() <= 1


def test_each_source_frame_is_read_and_encoded_once():
    reads = []

    def source():
        for i, frame in enumerate(clip(6)):
            reads.append(i)
            yield frame

    model = LerpModel()
    run_timeline(source(), by_multiplier(5), model, ListSink())
    assert reads == list(range(6))
    assert model.calls["encode"] == 6
    assert model.calls["open"] == 1
    assert model.live == 0


def test_frames_that_nothing_is_made_of_are_not_encoded():
    model = LerpModel()
    run_timeline(clip(6), by_multiplier(1), model, ListSink())
    assert not model.calls
    run_timeline(clip(6), by_multiplier([1, 1, 2, 1, 1]), model, ListSink())
    assert model.calls["encode"] == 2


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_batches_do_not_change_the_picture(batch):
    frames = clip()
    model = LerpModel()
    made = interpolate(frames, model, 7, settings=Settings(batch=batch))
    assert max(model.batches) == min(batch, 6)
    assert torch.equal(made, interpolate(frames, LerpModel(), 7, settings=Settings(batch=1)))


@pytest.mark.parametrize(
    ("frames", "close"),
    [
        (clip().half(), 1e-6),
        (clip().double(), 1e-6),
        (clip(size=(7, 6)).transpose(1, 2), 0),
        (clip(10)[::2], 0),
        ((clip() * 255).to(torch.uint8), 1e-6),
        ((clip() * 65535).to(torch.uint16), 1e-6),
        (clip(channels=1), 1e-6),
        (clip(channels=4), 0),
        (clip(channels=6), 0),
        (clip(size=(1, 1)), 0),
    ],
)
def test_any_picture_goes_in_and_float32_comes_out(frames, close):
    scale = {torch.uint8: 255, torch.uint16: 65535}.get(frames.dtype, 1)
    as_float = frames.float() / scale
    made = interpolate(frames, LerpModel(), 2)
    assert made.dtype == torch.float32
    assert made.is_contiguous()
    assert torch.equal(made[::2], as_float)
    torch.testing.assert_close(made[1::2], (as_float[1:] + as_float[:-1]) / 2, atol=close or 1e-6, rtol=0)


@pytest.mark.parametrize(("frames", "m", "count"), [(clip(0), 2, 0), (clip(1), 2, 1), (clip(2), 1, 2)])
def test_nothing_to_make(frames, m, count):
    model = LerpModel()
    made = interpolate(frames, model, m)
    assert torch.equal(made, frames[:count])
    assert not model.calls


def test_channels_that_the_model_cannot_move_are_blended():
    frames = clip(channels=5)
    made = interpolate(frames, LerpModel(follows_extra=False), 4)
    torch.testing.assert_close(made, interpolate(frames, LerpModel(), 4))


def test_midpoint_models_reach_every_time_by_halving():
    frames = clip(3)
    model = LerpModel(any_timestep=False)
    torch.testing.assert_close(interpolate(frames, model, 4), interpolate(frames, LerpModel(), 4))
    assert model.calls["between"] == 6
    thirds = interpolate(frames, LerpModel(any_timestep=False), 3)
    torch.testing.assert_close(thirds, interpolate(frames, LerpModel(), 3), atol=0.5 / 64, rtol=0)


@pytest.mark.parametrize(
    "frames",
    [
        torch.rand(4, 4, 3),
        torch.rand(2, 3, 4, 4, 3),
        torch.rand(2, 4, 4, 2),
        torch.rand(2, 4, 0, 3),
        torch.ones(2, 4, 4, 3).long(),
    ],
)
def test_what_is_no_picture_is_refused(frames):
    with pytest.raises(BadInputError):
        interpolate(frames, LerpModel(), 2)


def test_a_frame_of_another_size_ends_the_run_and_keeps_what_is_finished():
    sink = ListSink()
    with pytest.raises(BadInputError, match="Source frame 3") as caught:
        run_timeline([*clip(3), torch.rand(8, 8, 3)], by_multiplier(2), LerpModel(), sink)
    assert caught.value.finished == len(sink.frames) == 4


def test_progress_and_preview():
    host, frames = RecordingHost(), clip(4)
    made = interpolate(frames, LerpModel(), 3, host=host)
    dones = [done for done, _, _ in host.seen]
    assert dones == sorted(dones)
    assert dones[-1] == 10
    assert {total for _, total, _ in host.seen} == {10}
    assert all(torch.equal(preview, made[done - 1]) for done, _, preview in host.seen)
    run_timeline(iter(frames), by_multiplier(2), LerpModel(), ListSink(), host=(unknown := RecordingHost()))
    assert {total for _, total, _ in unknown.seen} == {None}


def test_cancel_at_every_check_leaves_nothing_open():
    frames = clip(3)
    quiet = RecordingHost()
    interpolate(frames, LerpModel(), 3, host=quiet)
    assert quiet.checks >= 3 + 4  # before each encode and each forward pass
    for at in range(1, quiet.checks + 1):
        model = LerpModel()
        with pytest.raises(KeyboardInterrupt):
            interpolate(frames, model, 3, host=RecordingHost(cancel_at=at))
        assert model.live == 0


class FailsAt:
    """Out of memory at the n-th time that any step is begun, and at the ``more`` after it."""

    def __init__(self, at, more=0, error=None):
        self.begun, self.range = 0, range(at, at + more + 1)
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def __call__(self, step):
        self.begun += 1
        if self.begun in self.range:
            raise self.error


def run_failing(fails, *, settings=None, m=5):
    frames = clip(4)
    model, sink, host = LerpModel(fails), ListSink(), RecordingHost()
    try:
        run_timeline(frames, by_multiplier(m), model, sink, settings=settings or Settings(batch=4), host=host)
    finally:
        assert model.live == 0
    torch.testing.assert_close(torch.stack(sink.frames), interpolate(frames, LerpModel(), m))
    return model, host


def test_out_of_memory_once_at_every_step_still_ends_with_the_right_frames():
    count = FailsAt(10**9)
    run_failing(count)
    assert count.begun == 1 + 4 + 3  # open, encodes, forward passes
    for at in range(1, count.begun + 1):
        for error in (
            torch.OutOfMemoryError("out of memory"),
            MemoryError(),
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        ):
            run_failing(FailsAt(at, error=error))


def test_out_of_memory_for_good_keeps_the_finished_frames():
    count = FailsAt(10**9)
    run_failing(count)
    frames = clip(4)
    expected = interpolate(frames, LerpModel(), 5)
    for at in range(1, count.begun + 1):
        fails = FailsAt(at, more=10**9)
        model = LerpModel(fails)
        sink = TensorSink(16, (6, 7, 3))
        fill = sink.put
        sink.put = lambda index, made, fails=fails, fill=fill: (fails("put"), fill(index, made))
        with pytest.raises(OutOfMemoryError) as caught:
            run_timeline(frames, by_multiplier(5), model, sink, settings=Settings(batch=4))
        assert model.live == 0
        done = caught.value.finished
        torch.testing.assert_close(sink.frames[:done], expected[:done])
        assert "cleared" in str(caught.value) or "outside the network" in str(caught.value)


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("disk full"), BadInputError("a", "b", "c"), KeyboardInterrupt()]
)
def test_a_sink_never_gets_a_frame_twice(error):
    """Also not after out of memory: a video would have the frame twice."""
    frames = clip(4)
    expected = interpolate(frames, LerpModel(), 3)
    for at in range(1, 8):
        sink = ListSink(FailsAt(at, error=error))
        with pytest.raises((type(error), OutOfMemoryError)):
            run_timeline(frames, by_multiplier(3), LerpModel(), sink)
        torch.testing.assert_close(
            torch.stack([*sink.frames, expected[0]]), expected[[*range(len(sink.frames)), 0]]
        )


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("decoder"), OSError("gone"), KeyboardInterrupt()]
)
def test_what_is_on_its_way_is_not_lost_with_the_source(error):
    def source():
        yield from clip(3)
        raise error

    sink = ListSink()
    with pytest.raises((type(error), OutOfMemoryError)):
        run_timeline(source(), by_multiplier(2), LerpModel(), sink)
    assert len(sink.frames) == 4


def test_a_preview_that_fails_does_not_repeat_a_frame():
    class Careless(RecordingHost):
        def progress(self, done, total, preview):
            raise MemoryError

    sink = ListSink()
    with pytest.raises(OutOfMemoryError):
        run_timeline(clip(3), by_multiplier(2), LerpModel(), sink, host=Careless())
    assert len(sink.frames) == 1


@pytest.mark.parametrize("wrong", [{"batch": -1}, {"batch": 1.5}, {"batch": "x"}, {"clear_every": -2}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(BadInputError, match="whole number"):
        Settings(**wrong)


def test_the_ladder_halves_before_it_clears():
    model, host = run_failing(FailsAt(4, more=1), m=9, settings=Settings(batch=8))
    assert host.cleared == 0
    assert max(model.batches) == 2
    model, host = run_failing(FailsAt(4, more=2), m=5)
    assert host.cleared == 1


@pytest.mark.parametrize(("option", "plenty"), [("graphs", True), ("strips", False)])
def test_memory_is_given_up_where_it_is_short(option, plenty):
    """Recorded passes go, and levels are made in strips: in the next session, the picture as it was."""

    class Recording(LerpModel):
        def open(self, height, width, options=None):
            self.asked = [*getattr(self, "asked", []), (options or {}).get(option, plenty)]
            return super().open(height, width)

    for at, expected in ((10**9, [plenty]), (4, [plenty, not plenty])):
        model = Recording(FailsAt(at), options={option: plenty})
        interpolate(clip(4), model, 2)
        assert model.asked == expected


def test_a_changed_picture_only_where_it_is_allowed():
    class NeedsLess(FailsAt):
        def __call__(self, step):
            if step == "between" and model.opened[-1].get("flow_scale", 1.0) > 0.25:
                raise self.error

    model = LerpModel(NeedsLess(0))
    with pytest.raises(OutOfMemoryError):
        interpolate(clip(3), model, 2)
    made = interpolate(clip(3), model, 2, settings=Settings(allow_changed_picture=True))
    assert len(made) == 5
    assert [o.get("flow_scale", 1.0) for o in model.opened[-3:]] == [1.0, 0.5, 0.25]


def test_partial_frames_come_with_the_error():
    frames = clip(4)
    fails = FailsAt(8, more=10**9)
    with pytest.raises(OutOfMemoryError) as caught:
        interpolate(frames, LerpModel(fails), 2)
    assert caught.value.finished == len(caught.value.partial) > 0
    expected = interpolate(frames, LerpModel(), 2)
    torch.testing.assert_close(caught.value.partial, expected[: caught.value.finished])


def test_other_errors_are_not_taken_for_memory():
    def broken(step):
        if step == "between":
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        interpolate(clip(2), LerpModel(broken), 2)


def test_clearing_after_every_n_pairs():
    host = RecordingHost()
    interpolate(clip(8), LerpModel(), 2, settings=Settings(clear_every=3), host=host)
    assert host.cleared == 2


def test_adaptive_clearing_only_under_pressure():
    ample, tight, stuck = RecordingHost(), RecordingHost(), RecordingHost()
    for host in (tight, stuck):
        host.free = host.cached = 1

    def give_back():
        RecordingHost.clear_cache(tight)
        tight.cached = 0

    tight.clear_cache = give_back
    tight.progress = lambda *_: setattr(tight, "cached", 1)  # a pair takes it again
    for host in (ample, tight, stuck):
        interpolate(clip(40), LerpModel(), 2, host=host)
    assert ample.cleared == 0
    assert tight.cleared == 39  # each gave back what there was
    # Clearing that gives nothing back is tried ever less often: after 1, 2, 4, 8, 16 pairs.
    assert stuck.cleared == 5
