import weakref

import pytest
import torch
from midframe.api import interpolate
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models._core.recording import Recordings
from midframe.vfi_models._core.synthetic import synthetic_state_dict
from midframe.vfi_models.rife import shapes
from midframe.vfi_models.rife.session import RifeOptions, RifeSession
from midframe.vfi_utils import Settings


class Fake:
    """Records by keeping the work; a replay does it again, into the same memory."""

    def __init__(self, fails="", error=None, off=0.0):
        self.fails, self.error, self.off = fails, error, off
        self.log = []

    def _maybe(self, step):
        self.log.append(step)
        if step == self.fails:
            raise self.error

    def warm_up(self, work):
        self._maybe("warm_up")
        return work()

    def record(self, work):
        self._maybe("record")
        made = torch.full_like(work(), torch.nan)
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
    recordings = Recordings(fake)
    first = check(recordings, owner)
    assert not fake.log
    made = [check(recordings, owner) for _ in range(3)]
    assert fake.log == ["warm_up", "record"] + 4 * ["replay"]
    assert len({x.data_ptr() for x in (first, *made)}) == 4  # none is written over
    assert made[0].is_contiguous(memory_format=torch.channels_last)


def test_what_the_owner_keeps_belongs_to_one_recording():
    fake, owner = Fake(), Owner()
    recordings = Recordings(fake)
    check(recordings, owner)
    eager = weakref.ref(owner.kept)
    check(recordings, owner)
    assert eager() is None
    assert owner.forgot == 3


def test_each_count_has_its_own_and_there_is_a_bound():
    fake, owner = Fake(), Owner()
    recordings = Recordings(fake, most=2)
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


@pytest.mark.parametrize("step", ["warm_up", "record", "replay"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("no")])
def test_what_fails_runs_as_it_is_for_good(caplog, step, error):
    fake, owner = Fake(step, error), Owner()
    recordings = Recordings(fake)
    for _ in range(4):
        check(recordings, owner)
    assert fake.log.count(step) == 1
    assert fake.log.count("reset") == (step == "replay")
    assert fake.log[-1] == "release"
    assert len(caplog.records) == 1
    assert str(error) in caplog.text


@pytest.mark.parametrize("off", [0.01, float("nan")])
def test_a_replay_that_makes_something_else_is_not_used(caplog, off):
    fake, owner = Fake(off=off), Owner()
    recordings = Recordings(fake)
    for _ in range(3):
        check(recordings, owner)
    assert fake.log == ["warm_up", "record", "replay", "reset", "release"]
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


@pytest.mark.parametrize("family", ["4.6", "4.25"])
@pytest.mark.parametrize("channels", [3, 4])
def test_rife_replayed_is_rife(family, channels):
    fake, model = Fake(), rife(family)
    ours, plain = session(model, Recordings(fake)), session(model)
    frames = torch.rand(5, 1, channels, 40, 50)
    features = [ours.encode(frame) for frame in frames]
    made = []
    for i in range(4):
        for times in ([0.5], [0.2, 0.7]):
            wanted = plain.between(features[i], features[i + 1], torch.tensor(times))
            made.append((wanted, ours.between(features[i], features[i + 1], torch.tensor(times))))
    assert fake.log.count("record") == 2
    for wanted, got in made:
        torch.testing.assert_close(got, wanted, atol=bound("rounding"), rtol=0)


@pytest.mark.parametrize("schedule", ["any_t", "bisect"])
def test_the_loop_over_replays_gives_the_frames_of_the_loop_without(schedule):
    fake, model = Fake(), rife()

    class Recorded:
        spec, module, lighter, activation_bytes = model.spec, model.module, None, model.activation_bytes

        def open(self, height, width, options=None):
            return session(model, Recordings(fake))

    frames, settings = torch.rand(5, 40, 50, 3), Settings(batch=4, schedule=schedule)
    wanted = interpolate(frames, model, 4, settings=settings)
    torch.testing.assert_close(interpolate(frames, Recorded(), 4, settings=settings), wanted)
    assert fake.log.count("record") == fake.log.count("reset") == 1  # nothing outlives the loop


def test_rife_with_other_weights_is_recorded_anew():
    fake, model = Fake(), rife()
    ours = session(model, Recordings(fake))
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
    ours = session(model, Recordings(fake), **options)
    sides = [ours.encode(frame) for frame in torch.rand(2, 1, 3, 40, 50)]
    for _ in range(3):
        ours.between(*sides, torch.tensor([0.5]))
    assert not fake.log
