"""What networks run in where nobody says, and what happens where 16 bits turn out to be too few."""

from copy import deepcopy
from fractions import Fraction

import pytest
import torch
from fakes import LerpModel, ListSink, RecordingHost
from midframe import interpolate
from midframe.engine import runner
from midframe.engine.timeline import by_multiplier
from midframe.vfi_models import architectures, build, detect
from midframe.vfi_models._sampling import midpoint as bisect
from midframe.vfi_models._sampling.midpoint import MidpointSampler
from midframe.vfi_models._sampling.recursive import RecursiveSampler
from midframe.vfi_models.precision import suited
from midframe.vfi_utils import FrameLoop, Settings
from midframe.weights.synthetic import synthetic_state_dict


def card(monkeypatch, capability, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)


@pytest.mark.parametrize(
    ("capability", "name", "dtype"),
    [
        ((5, 2), "NVIDIA GeForce GTX 980", torch.float32),
        ((6, 0), "Tesla P100-PCIE-16GB", torch.float32),
        ((6, 1), "NVIDIA GeForce GTX 1080 Ti", torch.float32),
        ((7, 0), "Tesla V100-SXM2-16GB", torch.float16),
        ((7, 5), "NVIDIA GeForce GTX 1630", torch.float32),
        ((7, 5), "NVIDIA GeForce GTX 1650 Ti with Max-Q Design", torch.float32),
        ((7, 5), "NVIDIA GeForce GTX 1660 SUPER", torch.float32),
        ((7, 5), "NVIDIA GeForce MX450", torch.float32),
        ((7, 5), "NVIDIA T1000 8GB", torch.float32),
        ((7, 5), "NVIDIA GeForce RTX 2060", torch.float16),
        ((7, 5), "Tesla T4", torch.float16),
        ((7, 5), "Quadro RTX 4000", torch.float16),
        ((8, 6), "NVIDIA RTX A2000", torch.float16),
        ((9, 0), "NVIDIA H100 80GB HBM3", torch.float16),
        ((12, 0), "NVIDIA GeForce RTX 5090", torch.float16),
    ],
)
def test_float16_is_chosen_where_it_is_fast_and_right(monkeypatch, capability, name, dtype):
    card(monkeypatch, capability, name)
    assert suited(torch.device("cuda:0")) == dtype


class Overflowing(LerpModel):
    """Makes what is no number as long as its weights are in 16 bits."""

    def __init__(self, dtype, value=float("nan"), before=lambda step: None, **changes):
        super().__init__(before, **changes)
        self.dtype = dtype
        self.value = value
        self.dtypes = []

    def __deepcopy__(self, memo):
        copy = Overflowing(torch.float16, self.value, self.before)
        copy.spec, copy.dtypes, copy.calls = self.spec, self.dtypes, self.calls
        return copy

    def between(self, left, right, timestep):
        dtype = self.dtype
        self.dtypes.append(dtype)
        frames = super().between(left, right, timestep)
        if dtype != torch.float32:
            frames[:, :, -1, -1] = self.value
        return frames


def clip(count):
    return torch.arange(count, dtype=torch.float32).div(8).view(-1, 1, 1, 1).expand(-1, 4, 5, 3).contiguous()


def frames_of(model, count=4, multiplier=3, **settings):
    sink = ListSink()
    with FrameLoop(by_multiplier(multiplier), settings=Settings(**settings)) as loop:
        loop.feed(clip(count), model, sink, last=True, host=RecordingHost())
    return torch.stack(sink.frames)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("value", "settings"),
    [
        (float("nan"), {}),
        (float("inf"), {}),
        (float("nan"), {"batch": 2}),
        (float("nan"), {"cpu_workers": 3}),
        (float("nan"), {"schedule": "bisect"}),
    ],
)
def test_a_run_whose_first_frame_is_no_number_goes_on_in_float32(caplog, dtype, value, settings):
    model = Overflowing(dtype, value)
    assert torch.equal(frames_of(model, **settings), frames_of(LerpModel(), **settings))
    assert len(caplog.records) == 1
    assert "float32" in caplog.text
    assert str(dtype).removeprefix("torch.") in caplog.text
    assert model.dtype == dtype  # it is others' too
    assert model.dtypes[-1] == torch.float32
    if "cpu_workers" not in settings:  # where a pair is under way in each lane before the first is looked at
        assert model.dtypes.count(dtype) == (2 if settings == {"schedule": "bisect"} else 1)


def test_frames_are_looked_at_once_a_run_and_never_in_float32(monkeypatch):
    looks = []

    def are_finite(frames):
        looks.append(frames)
        return bool(frames.isfinite().all())

    monkeypatch.setattr(runner, "are_finite", are_finite)
    frames_of(LerpModel())
    assert not looks
    model = LerpModel()
    model.to(dtype=torch.float16)
    frames_of(model)
    assert len(looks) == 1


@pytest.mark.parametrize(("name", "family"), [("compact", "v2"), ("film", "narrow"), ("rife", "4.25")])
def test_every_network_goes_on_in_float32(monkeypatch, name, family):
    architecture = next(one for one in architectures() if one.name == name)
    model = build(detect(synthetic_state_dict(architecture.shapes(family), 0, 0.7)))
    frames = torch.rand(2, 24, 32, 3)
    rounded = deepcopy(model)
    rounded.module.to(torch.bfloat16).float()
    expected = interpolate(frames, rounded)
    model.module.to(torch.bfloat16)
    monkeypatch.setattr(runner, "are_finite", lambda frames: False)
    assert torch.equal(interpolate(frames, model), expected)
    assert {p.dtype for p in model.module.parameters()} == {torch.bfloat16}


def test_a_run_in_parts_goes_on_in_float32_and_encodes_what_it_kept_anew():
    model, sink = Overflowing(torch.float16), ListSink()
    with FrameLoop(by_multiplier(2)) as loop:
        loop.feed(clip(5)[:2], model, sink, host=RecordingHost())
        start = len(sink.frames)
        later = ListSink()
        loop.feed(clip(5)[2:], model, later, last=True, host=RecordingHost())
    assert start == 3
    assert torch.equal(torch.stack(sink.frames + later.frames), frames_of(LerpModel(), 5, 2))
    assert model.dtypes.count(torch.float16) == 1
    # Both frames of the first pair twice, all others once.
    assert model.calls["encode"] == 2 + 5


def test_memory_that_runs_out_later_is_no_way_back():
    def before(step):
        if step == "between" and len(model.dtypes) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = Overflowing(torch.float16, before=before)
    assert torch.equal(frames_of(model), frames_of(LerpModel()))
    assert model.dtypes.count(torch.float16) == 1


class Unread(torch.Tensor):
    """A timestep that nobody may read, as one on a device."""

    def tolist(self):
        pytest.fail("waits for the device")

    item = tolist


@pytest.mark.parametrize("divided", [MidpointSampler, RecursiveSampler])
def test_times_that_are_known_are_not_read_off_the_device(divided):
    times = [Fraction(1, 5), Fraction(1, 3), Fraction(1, 2), Fraction(3, 4)]
    timestep = torch.tensor([float(t) for t in times])
    left, right = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    session = LerpModel().open(2, 2)
    expected = divided(session).between(left, right, timestep)
    unread = timestep.as_subclass(Unread)
    assert torch.equal(divided(session, times=times).between(left, right, unread), expected)


@pytest.mark.parametrize("any_timestep", [True, False])
def test_the_loop_reads_no_time_off_a_device(monkeypatch, any_timestep):
    asked = []
    real = bisect.float32_values

    def watched(timestep, times):
        asked.append(times)
        return real(timestep, times)

    for module in ("midpoint", "recursive"):
        monkeypatch.setattr(f"midframe.vfi_models._sampling.{module}.float32_values", watched)
    frames_of(LerpModel(any_timestep=any_timestep), 3, 4, schedule="bisect")
    assert len(asked) == 2
    assert None not in asked
