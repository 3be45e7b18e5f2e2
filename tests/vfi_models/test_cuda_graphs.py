import weakref

import pytest
import torch
from midframe.api import interpolate
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models._ops import cuda_graphs as recording
from midframe.vfi_models._ops.cuda_graphs import Recordings
from midframe.vfi_models.compact import shapes as compact_shapes
from midframe.vfi_models.compact.session import CompactOptions, CompactSession, Geometry
from midframe.vfi_models.rife import shapes
from midframe.vfi_models.rife.session import RifeOptions, RifeSession
from midframe.vfi_utils import Settings
from midframe.weights.synthetic import synthetic_state_dict
from torch.utils._python_dispatch import TorchDispatchMode


class Fake:
    """Records by keeping the work; a replay does it again, into the same memory."""

    def __init__(self, fails="", error=None, off=0.0, takes=0, free=1000):
        self.fails, self.error, self.off = fails, error, off
        self.takes, self.free = takes, free
        self.log = []

    def _maybe(self, step):
        self.log.append(step)
        if step == self.fails:
            raise self.error

    def measure(self, work):
        return work(), self.takes

    def free_bytes(self):
        return self.free

    def warm_up(self, work):
        self._maybe("warm_up")
        return work()

    def record(self, work):
        self._maybe("record")
        made = torch.full_like(work(), torch.nan)
        self.free -= self.takes
        return FakeReplay(self, work, made), made

    def release(self):
        self.log.append("release")


class FakeReplay:
    def __init__(self, recorder, work, made):
        self.recorder, self.work, self.made = recorder, work, made

    def replay(self):
        self.recorder._maybe("replay")
        self.made.copy_(self.work() + self.recorder.off)

    def reset(self):
        self.recorder.log.append("reset")
        self.recorder.free += self.recorder.takes
        self.work = self.made = None


class Owner:
    """Of a pass that keeps memory from call to call."""

    def __init__(self):
        self.calls, self.kept, self.forgot = 0, None, 0

    def work(self, x, t):
        self.calls += 1
        if self.kept is None:
            self.kept = torch.empty_like(x)
        return torch.mul(x, 2, out=self.kept) + t.view(-1, 1, 1, 1)

    def forget(self):
        self.kept, self.forgot = None, self.forgot + 1


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield
    recording._INVALID.clear()


def recordings_of(fake, **options):
    """That record at the second pass."""
    return Recordings(fake, first=2, **options)


def inputs(count=1):
    return torch.rand(1, 3, 4, 5), torch.rand(count)


def check(recordings, owner, count=1):
    given = inputs(count)
    before = [x.clone() for x in given]
    made = recordings.run(owner.work, given, owner.forget)
    assert torch.equal(made, given[0] * 2 + given[1].view(-1, 1, 1, 1))
    assert all(map(torch.equal, given, before))
    return made


def test_the_second_pass_is_recorded_and_later_ones_are_replayed():
    fake, owner = Fake(), Owner()
    recordings = recordings_of(fake)
    first = check(recordings, owner)
    assert not fake.log
    made = [check(recordings, owner) for _ in range(3)]
    assert fake.log == ["warm_up", "release", "record"] + 4 * ["replay"]
    assert len({x.data_ptr() for x in (first, *made)}) == 4  # none is written over
    assert made[0].is_contiguous(memory_format=torch.channels_last)


def test_what_the_owner_keeps_belongs_to_one_recording():
    fake, owner = Fake(), Owner()
    recordings = recordings_of(fake)
    check(recordings, owner)
    eager = weakref.ref(owner.kept)
    check(recordings, owner)
    assert eager() is None
    assert owner.forgot == 3


def test_each_count_has_its_own_and_there_is_a_bound():
    fake, owner = Fake(), Owner()
    recordings = recordings_of(fake, most=2)
    for _ in range(3):
        for count in (1, 2, 3):
            check(recordings, owner, count)
    assert fake.log.count("record") == 2
    recordings.close()
    assert fake.log[-3:] == ["reset", "reset", "release"]
    recordings.close()
    assert fake.log.count("reset") == 2
    for _ in range(2):
        check(recordings, owner, 3)
    assert fake.log.count("record") == 3


STEPS = ["warm_up", "record", "replay"]
OUT_OF_MEMORY = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")]


def records(fake=None):
    """Whether passes of a session that is opened now are recorded."""
    fake = fake or Fake()
    recordings, owner = recordings_of(fake), Owner()
    for _ in range(4):
        check(recordings, owner)
    return "record" in fake.log


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_where_memory_runs_out_this_session_lets_go_of_its_recordings(caplog, step, error):
    fake, owner = Fake(takes=10), Owner()
    recordings = recordings_of(fake)
    for _ in range(3):
        check(recordings, owner, 2)
    fake.fails, fake.error, fake.log = step, error, []
    for count in (1, 1, 1, 2, 2, 2):
        check(recordings, owner, count)
    assert fake.log.count("record") == (step != "warm_up")
    assert fake.log.count("reset") == 1 + (step == "replay")
    assert fake.log[-1] == "release"
    assert recordings.held_bytes == 0
    assert len(caplog.records) == 1
    assert str(error) in caplog.text
    assert "restart" not in caplog.text
    assert records()  # another session


@pytest.mark.parametrize("step", STEPS)
def test_after_any_other_failure_nothing_is_recorded_in_this_process(caplog, step):
    # What torch says of a pass that waits, as one with an .item() in it does.
    error = RuntimeError("operation failed due to a previous error during capture\nmore")
    fake, other = Fake(step, error), Fake()
    recordings, earlier = recordings_of(fake), recordings_of(other)
    for _ in range(3):
        check(earlier, Owner(), 3)
    for _ in range(4):
        check(recordings, Owner())
    assert fake.log.count(step) == 1
    assert fake.log.count("reset") == (step == "replay")
    # To empty the cache of an allocator that is still recording may hit an assertion of torch's.
    assert fake.log[-1] in {step, "reset"}
    assert len(caplog.records) == 1
    assert str(error).partition("\n")[0] in caplog.text
    assert "a restart clears that" in caplog.text
    assert not records()
    replays = other.log.count("replay")
    check(earlier, Owner(), 3)
    assert other.log.count("replay") == replays + 1  # what was recorded before is right
    assert len(caplog.records) == 1


def test_ctrl_c_in_the_middle_of_a_recording_ends_the_run_and_all_recording():
    fake = Fake("record", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        records(fake)
    assert not records()


def test_the_24th_pass_is_the_first_that_is_recorded():
    fake, owner = Fake(), Owner()
    recordings = Recordings(fake)
    for _ in range(23):
        check(recordings, owner)
        check(recordings, owner, 2)
    assert "record" not in fake.log
    check(recordings, owner)
    assert fake.log.count("record") == 1


def test_a_pass_is_recorded_only_where_twice_what_it_takes_is_free():
    fake, owner = Fake(takes=100, free=200), Owner()
    recordings = recordings_of(fake, most=3)
    for _ in range(4):
        check(recordings, owner)
    assert not fake.log
    assert recordings.held_bytes == 0
    fake.free = 301
    for _ in range(4):
        check(recordings, owner)
    for _ in range(4):
        check(recordings, owner, 2)
    assert fake.log.count("record") == 2  # 201 were left for the second
    for _ in range(4):
        check(recordings, owner, 3)
    assert (recordings.held_bytes, fake.free) == (200, 101)
    recordings.close()
    assert (recordings.held_bytes, fake.free) == (0, 301)


def test_recordings_that_were_dropped_are_not_made_again():
    fake, owner = Fake(takes=100), Owner()
    recordings = recordings_of(fake)
    assert not recordings.drop()
    recordings = recordings_of(fake)
    for _ in range(3):
        check(recordings, owner)
    assert (recordings.drop(), recordings.held_bytes, fake.free) == (True, 0, 1000)
    assert fake.log[-2:] == ["reset", "release"]
    assert not recordings.drop()
    for _ in range(3):
        check(recordings, owner)
    assert fake.log.count("record") == 1


@pytest.mark.parametrize(
    ("kind", "backend", "hip", "safe"),
    [
        ("cuda", "native", None, True),
        ("cuda", "cudaMallocAsync", None, False),
        ("cuda", "native", "6.4", False),
        ("cpu", "native", None, False),
        ("mps", "native", None, False),
    ],
)
def test_only_torchs_own_allocator_records(monkeypatch, kind, backend, hip, safe):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.memory, "get_allocator_backend", lambda: backend)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(recording, "CudaRecorder", lambda device: device)
    device = torch.device(kind)
    assert recording.recorder_for(device) == (device if safe else None)


@pytest.mark.parametrize("off", [0.01, float("nan")])
def test_a_replay_that_makes_something_else_is_not_used(caplog, off):
    fake, owner = Fake(off=off), Owner()
    recordings = recordings_of(fake)
    for _ in range(3):
        check(recordings, owner)
    assert fake.log == ["warm_up", "release", "record", "replay", "reset", "release"]
    assert "off by" in caplog.text


def test_no_recorder_no_recording():
    owner = Owner()
    for _ in range(3):
        check(Recordings(None), owner)
    assert owner.calls == 3


def session(model, recordings=None, **options):
    return RifeSession(
        model.module, (40, 50), padded=(64, 64), options=RifeOptions(**options), recordings=recordings
    )


def rife(family="4.25"):
    return build(detect(synthetic_state_dict(shapes(family), 0, 0.7)))


@pytest.mark.parametrize(
    ("family", "channels"),
    [
        ("4.6", 4),
        ("4.25", 3),
        # The same network with other channels, which only the warp sees.
        pytest.param("4.6", 3, marks=pytest.mark.long),
        pytest.param("4.25", 4, marks=pytest.mark.long),
    ],
)
def test_rife_replayed_is_rife(family, channels):
    fake, model = Fake(), rife(family)
    ours, plain = session(model, recordings_of(fake)), session(model)
    frames = torch.rand(4, 1, channels, 40, 50)
    features = [ours.encode(frame) for frame in frames]
    made = []
    for i in range(3):
        for times in ([0.5], [0.2, 0.7]):
            expected = plain.between(features[i], features[i + 1], torch.tensor(times))
            made.append((expected, ours.between(features[i], features[i + 1], torch.tensor(times))))
    assert fake.log.count("record") == 2
    for expected, got in made:
        torch.testing.assert_close(got, expected, atol=bound("rounding"), rtol=0)


def compact(**options):
    model = build(detect(synthetic_state_dict(compact_shapes("v2"), 0, 0.7)))

    def opened(recordings=None):
        chosen = CompactOptions(**options)
        geometry = Geometry.of(40, 50, chosen.flow_scale)
        return CompactSession(model.module, geometry, chosen, recordings)

    return model, opened


@pytest.mark.parametrize(
    "options",
    [
        {"ensemble": True, "flow_scale": 0.5},
        # Every option is above.
        pytest.param({}, marks=pytest.mark.long),
    ],
)
def test_the_built_in_model_replayed_is_the_built_in_model(options):
    fake, (_, opened) = Fake(takes=8), compact(**options)
    ours, plain = opened(recordings_of(fake)), opened()
    features = [ours.encode(frame) for frame in torch.rand(4, 1, 4, 40, 50)]
    frames = []
    for i in range(3):
        for times in ([0.5], [0.2, 0.7]):
            expected = plain.between(features[i], features[i + 1], torch.tensor(times))
            frames.append((expected, ours.between(features[i], features[i + 1], torch.tensor(times))))
    assert fake.log.count("record") == 2
    for expected, replayed in frames:
        assert torch.equal(replayed, expected)
    assert ours.held_bytes() == 16
    assert ours.drop_recordings()
    assert ours.held_bytes() == 0
    assert not ours.drop_recordings()


def test_the_built_in_model_with_other_weights_is_recorded_anew():
    fake, (model, opened) = Fake(), compact()
    ours = opened(recordings_of(fake))
    sides = [ours.encode(frame) for frame in torch.rand(2, 1, 3, 40, 50)]
    for _ in range(3):
        ours.between(*sides, torch.tensor([0.5]))
    leave = model.module.fine.leave
    leave.weight = torch.nn.Parameter(leave.weight * 0.9, requires_grad=False)
    expected = opened().between(*sides, torch.tensor([0.5]))
    assert torch.equal(ours.between(*sides, torch.tensor([0.5])), expected)
    assert fake.log.count("reset") == 1
    ours.between(*sides, torch.tensor([0.5]))
    ours.close()
    assert fake.log.count("record") == fake.log.count("reset") == 2


class Watching(TorchDispatchMode):
    """Sees what a recording cannot repeat: values of the host that go to the device, and the way back."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in {torch.ops.aten.lift_fresh, torch.ops.aten._local_scalar_dense}:
            self.waits.append(str(func))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("flow_scale", [0.5, 1.0, 2.0])
def test_a_pass_of_the_built_in_model_asks_nothing_of_the_host(flow_scale):
    _, opened = compact(flow_scale=flow_scale)
    ours = opened()
    sides = [ours.encode(frame) for frame in torch.rand(2, 1, 3, 40, 50)]
    timestep = torch.tensor([0.5])
    ours.between(*sides, timestep)  # what is tried once is tried
    with Watching() as watching:
        ours.between(*sides, timestep)
    assert not watching.waits


def test_a_session_says_what_its_recordings_hold_and_lets_go_of_them():
    fake, model = Fake(takes=8), rife()
    ours = session(model, recordings_of(fake))
    sides = [ours.encode(frame) for frame in torch.rand(2, 1, 3, 40, 50)]
    assert ours.held_bytes() == 0
    for _ in range(2):
        ours.between(*sides, torch.tensor([0.5]))
    assert ours.held_bytes() == 8
    assert ours.drop_recordings()
    assert ours.held_bytes() == 0
    assert not ours.drop_recordings()


@pytest.mark.parametrize("schedule", ["any_t", "bisect"])
def test_the_loop_over_replays_gives_the_frames_of_the_loop_without(schedule):
    fake, model = Fake(), rife()

    class Recorded:
        spec, activation_bytes = model.spec, model.activation_bytes
        device, dtype, weight_bytes = model.device, model.dtype, model.weight_bytes

        def open(self, height, width, options=None):
            return session(model, recordings_of(fake))

    frames, settings = torch.rand(5, 40, 50, 3), Settings(batch=4, schedule=schedule)
    expected = interpolate(frames, model, 4, settings=settings)
    torch.testing.assert_close(interpolate(frames, Recorded(), 4, settings=settings), expected)
    assert fake.log.count("record") == fake.log.count("reset") == 1  # nothing outlives the loop


def test_rife_with_other_weights_is_recorded_anew():
    fake, model = Fake(), rife()
    ours = session(model, recordings_of(fake))
    frames = torch.rand(2, 1, 3, 40, 50)

    def made(one):
        return one.between(*map(one.encode, frames), torch.tensor([0.5]))

    for _ in range(3):
        made(ours)
    for name, parameter in list(model.module.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        changed = torch.nn.Parameter(parameter * 0.9, requires_grad=False)
        setattr(model.module.get_submodule(owner), leaf, changed)
    torch.testing.assert_close(made(ours), made(session(model)))
    assert fake.log.count("reset") == 1
    made(ours)
    ours.close()
    assert fake.log.count("record") == fake.log.count("reset") == 2


@pytest.mark.parametrize(("family", "options"), [("4.0", {}), ("4.6", {"plain": True})])
def test_rife_as_published_is_never_recorded(family, options):
    fake, model = Fake(), rife(family)
    ours = session(model, recordings_of(fake), **options)
    sides = [ours.encode(frame) for frame in torch.rand(2, 1, 3, 40, 50)]
    for _ in range(3):
        ours.between(*sides, torch.tensor([0.5]))
    assert not fake.log


@pytest.mark.parametrize(("share", "left"), [(1.0, 6), (0.75, 4), (0.25, 0)])
def test_a_cap_on_this_process_counts_as_less_free_memory(monkeypatch, share, left):
    figures = {
        "mem_get_info": (6, 16),
        "memory_reserved": 8,
        "get_per_process_memory_fraction": share,
        "Stream": None,
    }
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda device=None, value=value: value)
    assert recording.CudaRecorder(torch.device("cuda", 0)).free_bytes() == left
