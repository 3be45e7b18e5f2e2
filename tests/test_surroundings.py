"""The picture is the same whatever other packs and scripts have switched on, and nothing is switched for them."""

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import midframe
import numpy as np
import pytest
import torch
from clips import pictures, write_clip
from fakes import QUICK, RecordingHost
from midframe import NODE_CLASS_MAPPINGS
from midframe.memory.cache import MODELS
from midframe.memory.sinks import Storage
from midframe.parity.tolerances import bound
from midframe.vfi_models import architectures, build, detect
from midframe.vfi_models._ops.convolution import _fuses
from midframe.vfi_models.surroundings import exact_convolutions, undisturbed
from midframe.vfi_models.tlbvfi import session as tlbvfi_session
from midframe.vfi_utils import Settings
from midframe.video import Plan, interpolate_video
from midframe.weights.synthetic import synthetic_state_dict
from packs import ROOT
from thin import thinned
from torch.overrides import TorchFunctionMode

# The published widths of FILM and TLBVFI run the same code as these and take minutes.
WIDE = {("film", "film"), ("tlbvfi", "vimeo"), ("tlbvfi", "vimeo-autoencoder")}
ALL = [(a.name, family) for a in architectures() for family in a.families if (a.name, family) not in WIDE]
ONE_EACH = [("compact", "v2"), ("film", "narrow"), ("rife", "4.25"), ("tlbvfi", "small")]
VARIANTS = [
    ("compact", "v2", Settings({"ensemble": True, "flow_scale": 0.5}, cpu_workers=2)),
    ("film", "narrow", Settings({"align": True}, schedule="bisect")),
    ("rife", "4.6", Settings({"ensemble": True, "flow_scale": 2.0}, batch=2)),
    ("rife", "4.25", Settings({"plain": True, "padding": "reflect"}, cpu_workers=2)),
    ("rife", "4.0", Settings({"restart": True})),
    pytest.param(  # several tiles; in the short run TLBVFI is the same with everything switched on, untiled
        "tlbvfi",
        "small",
        Settings({**QUICK["tlbvfi"], "tile": 256, "overlap": 0, "seed": 3}),
        marks=pytest.mark.long,
    ),
]
DTYPES = [torch.float16, torch.bfloat16, torch.float64]


@contextmanager
def switched(get, put, value):
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


def default_dtype(dtype):
    return switched(torch.get_default_dtype, torch.set_default_dtype, dtype)


def default_device(device):
    return switched(lambda: None, torch.set_default_device, device)


@contextmanager
def alarmed():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        yield


class Watching(TorchFunctionMode):
    """Sees every function of torch, as profilers and other packs' patches do."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **kwargs or {})


def deterministic():
    return switched(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True)


def precision(name):
    return switched(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, name)


def flushed():
    return switched(lambda: False, torch.set_flush_denormal, True)


SURROUNDINGS = {
    **{f"default {dtype}": lambda dtype=dtype: default_dtype(dtype) for dtype in DTYPES},
    "default device": lambda: default_device("meta"),
    "inside a device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "deterministic": deterministic,
    "medium precision": lambda: precision("medium"),
    "high precision": lambda: precision("high"),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "flushed denormals": flushed,
    "watched": Watching,
    "alarmed": alarmed,
}


@contextmanager
def everything(dtype):
    """All of it at once, with one default dtype."""
    with ExitStack() as stack:
        stack.enter_context(default_dtype(dtype))
        for name in ("default device", "autocast", "deterministic", "medium precision", "watched", "alarmed"):
            stack.enter_context(SURROUNDINGS[name]())
        yield


def switches():
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.empty(0).device,  # torch 2.7 cannot be asked once one has been set and unset
        "autocast": torch.is_autocast_enabled("cpu"),
        "autocast dtype": torch.get_autocast_dtype("cpu"),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "flushed": sys.float_info.min / 2 == 0,
    }


@pytest.fixture(autouse=True)
def _as_it_was():
    before = switches()
    yield
    MODELS.clear()
    assert switches() == before


def clip(frames=2, height=12, width=20, channels=4):
    """Smooth, with something in every channel."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(frames, channels, 4, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return fine.permute(0, 2, 3, 1).contiguous()


FRAMES = clip()


def made_by(model, settings=None, frames=FRAMES):
    settings = settings or Settings(QUICK.get(model.spec.architecture, {}))
    return midframe.interpolate(frames, model, settings=settings)


def weights_of(name, family):
    architecture = next(a for a in architectures() if a.name == name)
    return synthetic_state_dict(architecture.shapes(family), 0, 0.7)


@pytest.fixture(scope="module")
def models():
    """Models by name, each with the frames that it makes where nothing is switched on."""
    kept = {}

    def get(name, family):
        if (name, family) not in kept:
            model = build(detect(weights_of(name, family)))
            kept[name, family] = model, made_by(model)
        return kept[name, family]

    return get


@pytest.mark.parametrize(
    ("name", "family", "dtype"),
    [
        # Every second model in one default dtype, in turn; `make test-all` has all of them.
        pytest.param(*pair, dtype, marks=() if number % (2 * len(DTYPES)) == 2 * turn else pytest.mark.long)
        for number, pair in enumerate(ALL)
        for turn, dtype in enumerate(DTYPES)
    ],
)
def test_every_model_makes_the_same_picture_with_everything_switched_on(models, name, family, dtype):
    model, expected = models(name, family)
    with everything(dtype):
        made = made_by(model)
    assert made.dtype == torch.float32
    assert torch.equal(made, expected)


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
@pytest.mark.parametrize(
    ("name", "family"),
    # With everything switched on at once, each of the others is there above.
    thinned([pair for pair in ONE_EACH if pair[0] != "tlbvfi"], (0, 2)),
)
def test_every_switch_alone_leaves_the_picture_as_it_is(models, name, family, surrounding):
    model, expected = models(name, family)
    with SURROUNDINGS[surrounding]():
        made = made_by(model)
    assert torch.equal(made, expected)


@pytest.mark.parametrize(("name", "family", "settings"), VARIANTS)
def test_every_way_to_run_makes_the_same_picture(models, name, family, settings):
    model, _ = models(name, family)
    frames = clip(height=20, width=300) if name == "tlbvfi" else FRAMES
    multiplier = 4 if model.spec.any_timestep else 2
    expected = midframe.interpolate(frames, model, multiplier, settings=settings)
    with everything(torch.float16):
        made = midframe.interpolate(frames, model, multiplier, settings=settings)
    assert torch.equal(made, expected)


@pytest.mark.parametrize(("name", "family"), [pair for pair in ONE_EACH if pair[0] != "tlbvfi"])
def test_a_model_in_sixteen_bits_makes_the_same_picture(name, family):
    model = build(detect(weights_of(name, family)))
    for dtype in (torch.bfloat16, torch.float16):
        model.module.to(dtype)
        expected = made_by(model)
        with everything(torch.float64):
            made = made_by(model)
        assert torch.equal(made, expected), dtype


@pytest.mark.parametrize(("name", "family"), ONE_EACH)
def test_a_thread_of_its_own_makes_the_same_picture(models, name, family):
    model, expected = models(name, family)
    made = []
    thread = threading.Thread(target=lambda: made.append(made_by(model)))
    with torch.autocast("cpu", torch.bfloat16):
        thread.start()
        thread.join()
    assert torch.equal(made[0], expected)


@pytest.mark.parametrize("threads", thinned([1, 2, 3, 8], (1, 3)))
@pytest.mark.parametrize(("name", "family"), ONE_EACH)
def test_any_number_of_threads_makes_the_same_picture_to_a_hundred_thousandth(models, name, family, threads):
    model, expected = models(name, family)
    with switched(torch.get_num_threads, torch.set_num_threads, threads):
        made = made_by(model)
        assert torch.get_num_threads() == threads
    assert (made - expected).abs().max() <= bound("threads")


@pytest.mark.parametrize(("name", "family"), ONE_EACH)
def test_a_network_is_built_in_float32_on_the_cpu(models, name, family):
    weights = models(name, family)[0].module.state_dict()
    for dtype in DTYPES:
        with everything(dtype):
            state = build(detect(weights)).module.state_dict()
        assert {(value.dtype, value.device.type) for value in state.values()} == {(torch.float32, "cpu")}
        assert all(torch.equal(state[key], value) for key, value in weights.items())


def test_weights_made_of_names_are_the_same():
    expected = weights_of("film", "narrow")
    for dtype in DTYPES:
        with everything(dtype):
            made = weights_of("film", "narrow")
        assert all(torch.equal(made[key], value) for key, value in expected.items())


FILES = ["default", *sorted(ROOT.glob("parity/goldens/film/tiny_*"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: getattr(file, "name", file))
def test_a_file_is_loaded_and_run_the_same(file):
    expected = made_by(midframe.load_model(file, "cpu", torch.float32))
    MODELS.clear()
    with everything(torch.bfloat16):
        model = midframe.load_model(file, "cpu", torch.float32)
        assert torch.equal(made_by(model), expected)
    assert torch.equal(made_by(model), expected)


def test_a_model_loaded_in_inference_mode_serves_outside_of_it():
    expected = made_by(midframe.load_model("default", "cpu", torch.float32))
    MODELS.clear()
    with torch.inference_mode():
        model = midframe.load_model("default", "cpu", torch.float32)
    assert torch.equal(made_by(model), expected)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_the_output_lies_where_and_as_it_should(models, place, tmp_path):
    model, expected = models("film", "narrow")
    with everything(torch.float16):
        made = midframe.interpolate(FRAMES, model, storage=Storage(place, folder=tmp_path))
    assert (made.dtype, made.device.type) == (torch.float32, "cpu")
    assert torch.equal(made, expected)


def test_a_node_makes_the_same_picture():
    def run():
        MODELS.clear()
        return NODE_CLASS_MAPPINGS["MidframeRIFE"]().interpolate(FRAMES, "default", device="cpu")[0]

    expected = run()
    for dtype in DTYPES:
        with everything(dtype):
            made = run()
        assert torch.equal(made, expected), dtype


def test_a_video_is_made_of_the_same_pictures(models, tmp_path):
    model, _ = models("film", "narrow")
    source = write_clip(tmp_path / "in.mkv", pictures(3), codec="ffv1", pix_fmt="bgr0")

    def run(name):
        interpolate_video(source, tmp_path / name, model, Plan(2))
        return (tmp_path / name).read_bytes()

    expected = run("plain.mp4")
    with everything(torch.float16):
        made = run("same.mp4")
    assert made == expected


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_what_others_have_switched_on_is_as_it_was_after_a_run_and_after_an_error(models, surrounding):
    model, _ = models("compact", "v2")
    with SURROUNDINGS[surrounding]():
        before = switches()
        midframe.interpolate(FRAMES, model, settings=Settings(cpu_workers=2))
        assert switches() == before
        with pytest.raises(KeyboardInterrupt):
            midframe.interpolate(FRAMES, model, host=RecordingHost(cancel_at=4))
        assert switches() == before


def test_a_probe_of_the_processor_finds_the_same_under_autocast():
    _fuses.cache_clear()
    expected = _fuses(torch.float32)
    _fuses.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        assert _fuses(torch.float32) == expected


def test_numbers_close_to_zero_are_kept_while_a_network_runs():
    with flushed():
        with undisturbed(torch.device("cpu")):
            assert sys.float_info.min / 2 > 0
        assert sys.float_info.min / 2 == 0
        with pytest.raises(ValueError, match="in the middle"), undisturbed(torch.device("cpu")):
            raise ValueError("in the middle")
        assert sys.float_info.min / 2 == 0


def precisions():
    cudnn = torch.backends.cudnn
    return cudnn.allow_tf32, cudnn.conv.fp32_precision if hasattr(cudnn, "conv") else None


def test_convolutions_of_tlbvfi_are_exact_on_cuda_and_everybodys_are_as_they_were_after_it(monkeypatch):
    # The switch works without a GPU; only the device is another one here.
    model = build(detect(weights_of("tlbvfi", "small")))
    on_cuda = lambda _: exact_convolutions(torch.device("cuda"))  # noqa: E731
    monkeypatch.setattr(tlbvfi_session, "exact_convolutions", on_cuda, raising=False)
    before, during = precisions(), []
    for layer in model.module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_pre_hook(lambda *_: during.append(torch.backends.cudnn.allow_tf32))
    made_by(model)
    assert during
    assert not any(during)
    assert precisions() == before == (True, before[1])


def test_exact_convolutions_last_as_long_as_any_thread_needs_them():
    device = torch.device("cuda")
    before = precisions()
    with pytest.raises(ValueError, match="in the middle"), exact_convolutions(device):
        raise ValueError("in the middle")
    assert precisions() == before
    with ThreadPoolExecutor(1) as other:
        with exact_convolutions(device), ExitStack() as theirs:
            other.submit(theirs.enter_context, exact_convolutions(device)).result()
            later = theirs.pop_all()
        during = precisions()
        other.submit(later.close).result()
    assert not during[0]
    assert precisions() == before
    with exact_convolutions(torch.device("cpu")):
        assert precisions() == before


@pytest.fixture
def _one_switch_again():
    """Leave the newer switches alike: where they differ, torch raises in later tests of this process."""
    yield
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.usefixtures("_one_switch_again")
def test_what_others_set_by_torchs_newer_switches_holds_no_less_and_is_as_they_set_it_afterwards():
    cudnn = torch.backends.cudnn
    if not hasattr(cudnn, "conv"):
        pytest.skip("torch before 2.9 has one switch for all")
    for owner, value in ((cudnn.rnn, "ieee"), (torch.backends, "tf32")):
        get, put = partial(getattr, owner, "fp32_precision"), partial(setattr, owner, "fp32_precision")
        with switched(get, put, value):
            before = (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision)
            with exact_convolutions(torch.device("cuda")):
                assert cudnn.conv.fp32_precision != "tf32"
            assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == before


def test_directml_runs_without_inference_mode_and_without_an_autocast_that_it_has_not():
    with undisturbed(torch.device("privateuseone")):
        assert not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
