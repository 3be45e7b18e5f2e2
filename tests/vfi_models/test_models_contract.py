"""Every architecture of the registry keeps the promises of the interface. A new model is tested by being there.

pytest tests/vfi_models/test_models_contract.py --device cuda --dtype float16
"""

import threading

import pytest
import torch
import torch.nn.functional as F
from fakes import QUICK, RecordingHost
from midframe import interpolate, load_model
from midframe.errors import BadInputError
from midframe.parity.tolerances import bound
from midframe.vfi_models import architectures, build, detect
from midframe.vfi_models.interruption import interruptible
from midframe.vfi_models.torch_interpolator import without_storage
from midframe.vfi_utils import Settings
from midframe.weights.synthetic import synthetic_state_dict
from thin import thinned
from torch.utils._python_dispatch import TorchDispatchMode

ALL = [(a.name, family) for a in architectures() for family in a.families]
ONE_EACH = [
    # The paper's networks, blocks of RIFE 4.0 without an encoder, are ten times as large as most.
    pytest.param(a.name, a.families[-1], marks=pytest.mark.long if a.name == "rife_paper" else ())
    for a in architectures()
]
# What a network of 3 channels by 256 x 256 pixels, padded to that from any size, shows as well with the others.
SMALL_ONES = [
    pytest.param(*each.values, marks=pytest.mark.long if each.values[0] == "tlbvfi" else each.marks)
    for each in ONE_EACH
]
SIZES = [(1, 1), (3, 70), (64, 64), (45, 37)]


def shapes_of(name, family):
    return next(a for a in architectures() if a.name == name).shapes(family)


def synthetic(name, family):
    return build(detect(synthetic_state_dict(shapes_of(name, family), 0, 0.7)))


def smooth(*shape):
    """Pictures without the steps of white noise."""
    *channels, height, width = shape
    coarse = torch.rand(*channels, height // 4, width // 4)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def models(device, dtype):
    """By architecture and family, on the device that is asked for, in the dtype where the model runs in it."""
    kept = {}

    def get(name, family):
        if (name, family) not in kept:
            model = synthetic(name, family)
            kept[name, family] = model.to(device, dtype if dtype in model.spec.dtypes else torch.float32)
        return kept[name, family]

    return get


def run(model, left, right, timestep, options=None):
    with torch.inference_mode():
        session = model.open(*left.shape[-2:], options or QUICK.get(model.spec.architecture))
        features = [session.encode(side.to(model.device)) for side in (left, right)]
        made = session.between(*features, torch.tensor(timestep, device=model.device))
        session.close()
        session.close()
    return made.cpu()


@pytest.mark.parametrize(("name", "family"), thinned(ALL, range(0, len(ALL), 3)))
def test_state_dict_round_trip(name, family):
    state = synthetic_state_dict(shapes_of(name, family), 3, 0.7)
    detection = detect(state)
    assert (detection.architecture, detection.family) == (name, family)
    model = build(detection)
    assert (model.spec.architecture, model.spec.family) == (name, family)
    kept = model.module.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in state.items())
    assert not model.module.training
    assert not any(p.requires_grad for p in model.module.parameters())
    assert model.spec.licence
    assert model.spec.source


@pytest.mark.parametrize(("name", "family"), SMALL_ONES)
@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=() if size in SIZES[::3] else pytest.mark.long) for size in SIZES]
)
def test_any_size_and_any_channels(models, name, family, size):
    model = models(name, family)
    left, right = torch.rand(2, 1, 5, *size)
    kept = left.clone(), right.clone()
    channels = 5 if model.spec.follows_extra else 3
    made = run(model, left[:, :channels], right[:, :channels], [0.5])
    assert made.shape == (1, channels, *size)
    assert made.dtype == torch.float32
    assert made.isfinite().all()
    assert torch.equal(left, kept[0])
    assert torch.equal(right, kept[1])


@pytest.mark.parametrize(("name", "family"), SMALL_ONES)
def test_a_batch_is_what_its_samples_are_alone(models, name, family):
    model = models(name, family)
    times = [0.5, 0.25, 0.8] if model.spec.any_timestep else [0.5, 0.5]
    left, right = torch.rand(2, len(times), 3, 40, 72)
    alone = torch.cat([run(model, left[i : i + 1], right[i : i + 1], [t]) for i, t in enumerate(times)])
    shared = torch.cat([run(model, left[:1], right[:1], [t]) for t in times])
    kind = str(model.dtype).removeprefix("torch.")
    most = bound("batch" if model.dtype == torch.float32 else f"golden {kind}")
    torch.testing.assert_close(run(model, left, right, times), alone, atol=most, rtol=0)
    torch.testing.assert_close(run(model, left[:1], right[:1], times), shared, atol=most, rtol=0)


def test_a_batch_of_pictures_with_the_shipped_weights():
    model = load_model("default", "cpu", torch.float32)
    left, right = smooth(2, 3, 40, 72).split(1)
    times = [0.5, 0.25, 0.8]
    alone = torch.cat([run(model, left, right, [t]) for t in times])
    torch.testing.assert_close(run(model, left, right, times), alone, atol=bound("batch"), rtol=0)


@pytest.mark.parametrize(("name", "family"), SMALL_ONES)
def test_features_are_values(models, name, family):
    """Kept features serve any later pair, whatever the session did in between."""
    model = models(name, family)
    frames = torch.rand(3, 1, 3, 40, 40).to(model.device)
    half = torch.tensor([0.5], device=model.device)
    with torch.inference_mode():
        session = model.open(40, 40, QUICK.get(name))
        a, b, c = (session.encode(frame) for frame in frames)
        session.between(a, b, half)
        session.between(c, a, half)
        kept = session.between(b, c, half)
    assert torch.equal(kept.cpu(), run(model, frames[1], frames[2], [0.5]))


@pytest.mark.parametrize(("name", "family"), ONE_EACH)
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_sixteen_bits_stay_near(models, name, family, half):
    if half not in models(name, family).spec.dtypes:
        pytest.skip("the model says that it does not run in this dtype")
    model = synthetic(name, family).to(models(name, family).device, half)
    left, right = torch.rand(2, 1, 3, 64, 64)
    made, exact = run(model, left, right, [0.5]), run(synthetic(name, family), left, right, [0.5])
    assert made.dtype == torch.float32
    assert (made - exact).abs().mean() < bound(f"golden {str(half).removeprefix('torch.')}")


@pytest.mark.parametrize(("name", "family"), ONE_EACH)
def test_options(models, name, family):
    model = models(name, family)
    with pytest.raises(BadInputError, match="option"):
        model.open(8, 8, {"no_such_option": 1})
    for option, default in model.spec.options.items():
        wrong = {bool: (1, "no", None), int: (1.5, "1", True, None), float: ("0.5", True, None)}
        for value in wrong.get(type(default), ()):
            with pytest.raises(BadInputError, match=f"value of {option}"):
                model.open(8, 8, {option: value})
        assert model.open(8, 8, {option: default}) is not None
    assert model.activation_bytes(64, 128) > 64 * 128
    assert model.activation_bytes(1024, 1024) > model.activation_bytes(64, 64)
    lighter = model.low_memory({})
    if lighter is not None:
        assert model.open(8, 8, lighter) is not None


@pytest.mark.parametrize(("name", "family"), ONE_EACH)
def test_no_global_switch_is_touched(models, name, family):
    def switches():
        cudnn = torch.backends.cudnn
        return (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            cudnn.benchmark,
            cudnn.allow_tf32,
            cudnn.deterministic,
        )

    before = switches()
    run(models(name, family), *torch.rand(2, 1, 3, 32, 32), [0.5])
    assert switches() == before


@pytest.mark.parametrize(("name", "family"), ONE_EACH)
def test_cancel_ends_a_frame_that_is_being_made(models, name, family):
    model, frames = models(name, family), torch.rand(2, 24, 40, 3)
    if model.device.type != "cpu":
        pytest.skip("elsewhere layers are queued, and a frame takes milliseconds")
    quiet, settings = RecordingHost(), Settings(QUICK.get(name, {}), cpu_workers=1)
    interpolate(frames, model, host=quiet, settings=settings)
    assert quiet.checks > 10, "oftener than before each forward pass"
    for at in (quiet.checks // 2, quiet.checks):
        host = RecordingHost(at)
        with pytest.raises(KeyboardInterrupt):
            interpolate(frames, model, host=host, settings=settings)
        assert host.checks == at
    run(model, *torch.rand(2, 1, 3, 24, 40), [0.5])
    assert host.checks == at, "nobody asks once the run is over"


def test_another_threads_run_is_not_ended(models):
    model, made = synthetic(*ONE_EACH[0].values), []
    frames = torch.rand(2, 1, 3, 24, 40)
    host = RecordingHost(1)
    with interruptible(model.module, torch.device("cpu"), host.check_cancelled):
        other = threading.Thread(target=lambda: made.append(run(model, *frames, [0.5])))
        other.start()
        other.join()
        assert (len(made), host.checks) == (1, 0)
        with pytest.raises(KeyboardInterrupt):
            run(model, *frames, [0.5])


def test_a_network_without_storage_is_not_initialised():
    """Its values come from a file; on the meta device torch would import its decompositions for nothing."""
    ran = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            ran.append(func._schema.name)
            return func(*args, **(kwargs or {}))

    with Watching():
        net = without_storage(lambda: torch.nn.Sequential(torch.nn.Embedding(3, 4), torch.nn.Conv2d(2, 2, 3)))
    assert {value.device.type for value in net.state_dict().values()} == {"meta"}
    assert ran
    assert not any("normal" in name or "uniform" in name for name in ran)
