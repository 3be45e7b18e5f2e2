"""What recorded passes hold: no free memory, no cache, and the first thing to go."""

import pytest
import torch
from fake_cuda import Cuda
from fakes import LerpModel, ListSink, RecordingHost
from midframe import vfi_utils
from midframe.api import interpolate
from midframe.engine.runner import ModelRunner
from midframe.vfi_utils import Settings, by_multiplier, run_timeline


class HoldingModel(LerpModel):
    """Its sessions hold ``held`` bytes from the first pass on, until they are told to drop their recordings."""

    def __init__(self, held, fails_at=()):
        super().__init__(self.fail, options={"graphs": True})
        self.held, self.fails_at, self.asked, self.steps = held, fails_at, [], 0

    def fail(self, step):
        self.steps += 1
        if self.steps in self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def open(self, height, width, options=None):
        self.asked.append((options or {}).get("graphs", True))
        session = super().open(height, width)
        session.held_bytes = lambda: self.held if self.calls["between"] else 0
        session.drop_recordings = self.drop
        return session

    def drop(self):
        self.calls["drop"] += bool(self.held)
        dropped, self.held = bool(self.held), 0
        return dropped


def clip(count):
    return torch.rand(count, 6, 7, 3)


def run(model, multiplier, *, frames=None, host=None, **settings):
    sink = ListSink()
    frames = clip(4) if frames is None else frames
    run_timeline(frames, by_multiplier(multiplier), model, sink, settings=Settings(**settings), host=host)
    return sink.frames


def test_recordings_go_before_a_batch_is_halved():
    model, host = HoldingModel(100, fails_at=[6]), RecordingHost()  # open, 2 encodes, pass, encode, pass
    frames = clip(4)
    made = run(model, 5, frames=frames, host=host, batch=4)
    assert (model.calls["drop"], set(model.batches)) == (1, {4})
    assert (host.cleared, model.calls["open"]) == (0, 1)
    torch.testing.assert_close(torch.stack(made), interpolate(frames, LerpModel(), 5))


def test_a_batch_is_halved_where_there_are_none_left():
    model = HoldingModel(100, fails_at=[6, 7])
    run(model, 5, batch=4)
    assert (model.calls["drop"], model.batches[:3]) == (1, [4, 2, 2])


def test_what_is_opened_after_that_records_none():
    model, host = HoldingModel(100, fails_at=[6, 7]), RecordingHost()
    run(model, 2, host=host)
    assert host.cleared == 1
    assert model.asked == [True, False]


@pytest.mark.parametrize(("held", "drops"), [(0, 0), (500, 0), (600, 1), (5000, 1)])
def test_what_they_hold_is_not_free(monkeypatch, held, drops):
    """4 timesteps take 400 bytes, 0.8 of 500. Where the rest is not enough, recordings go, not timesteps."""
    monkeypatch.setattr(vfi_utils, "same_bits", lambda left, right: False)
    model, host = HoldingModel(held), RecordingHost()
    model.activation_bytes = lambda *_: 100
    host.free = 1000
    with Cuda(monkeypatch):
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 400)
        model.device = torch.device("cuda:0")
        run(model, 5, frames=[torch.empty((6, 7, 3)) for _ in range(4)], host=host)
    assert set(model.batches) == {4}
    assert model.calls["drop"] == drops


def test_they_are_no_cache():
    runner, host = ModelRunner(HoldingModel(30), Settings()), RecordingHost()
    host.free, host.cached = 100, 40
    assert runner.room(host) == (60, 40)
    interpolate(clip(3), runner.model, 2)
    left, right = clip(2)
    runner.infer(runner.pair(left, right), [0.5], lambda: None, host.free_bytes)
    assert runner.held_bytes() == 30
    assert runner.room(host) == (60, 10)
    host.free = host.cached = 20  # a host that counts otherwise
    assert runner.room(host) == (0, 0)


def test_pressure_is_not_met_by_clearing_what_they_hold():
    model, host = HoldingModel(70), RecordingHost()
    host.free = host.cached = 70
    interpolate(clip(8), model, 2, host=host)
    assert host.cleared == 0
    host.free = host.cached = 90
    interpolate(clip(8), model, 2, host=host)
    assert host.cleared > 0


def test_sessions_that_record_nothing_need_not_say_so():
    model = LerpModel()
    runner = ModelRunner(model, Settings())
    left, right = clip(2)
    runner.infer(runner.pair(left, right), [0.5], lambda: None, lambda device: 0)
    assert runner.held_bytes() == 0
    assert runner.drop_recordings() is None
