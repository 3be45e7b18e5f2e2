import numpy as np
import pytest
import torch
from fakes import LerpModel
from midframe import api, chunks, vfi_utils, video
from midframe.api import interpolate, load_model
from midframe.errors import BadInputError, OutOfMemoryError, WeightsNotFoundError
from midframe.memory import sinks
from midframe.memory.cache import MODELS
from midframe.vfi_models.precision import suited
from midframe.vfi_models.rife import shapes
from midframe.weights import loading
from midframe.weights.loading import usable_device
from midframe.weights.synthetic import synthetic_state_dict
from safetensors.torch import save_file


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(synthetic_state_dict(shapes("4.25"), 0, 0.7), path)
    return path


def test_the_same_object_while_the_file_is_the_same(checkpoint):
    loads = MODELS.loads
    model = load_model(checkpoint, "cpu")
    chosen = next(model.module.parameters()).dtype
    assert chosen == suited(torch.device("cpu"))
    assert load_model(str(checkpoint), torch.device("cpu"), chosen) is model
    assert load_model("mine", "cpu", folders=[str(checkpoint.parent)]) is model
    assert MODELS.loads == loads + 1
    MODELS.clear()
    model = load_model(checkpoint, "cpu", chosen)  # the other way round
    assert load_model(checkpoint, "cpu") is load_model(checkpoint, "cpu") is model
    state = synthetic_state_dict(shapes("4.6"), 0, 0.7)
    save_file(state, checkpoint)
    assert load_model(checkpoint, "cpu").spec.family == "4.6"


def test_a_model_that_somebody_converted_is_loaded_again(checkpoint):
    load_model(checkpoint, "cpu").module.half()
    model = load_model(checkpoint, "cpu")
    assert next(model.module.parameters()).dtype == suited(torch.device("cpu"))


def test_default_is_the_built_in_one_wherever_files_of_that_name_lie(checkpoint, tmp_path):
    checkpoint.rename(tmp_path / "default.safetensors")
    assert load_model("default", "cpu", folders=[tmp_path]).spec.architecture == "compact"


@pytest.mark.parametrize(
    "name", ["/default.safetensors", "./rife_v4.25.safetensors", "no/such/file.pth", "", "-", "x" * 5000]
)
def test_names_that_mean_nothing(name, monkeypatch):
    monkeypatch.setenv("MIDFRAME_OFFLINE", "1")
    with pytest.raises(WeightsNotFoundError):
        load_model(name, "cpu")


def test_devices():
    assert usable_device("cpu") == torch.device("cpu")
    for name in ("banana", "cuda:99", 7.5):
        with pytest.raises(BadInputError, match="no such device"):
            usable_device(name)


def test_weights_that_overflow_in_sixteen_bits_are_refused(checkpoint):
    save_file({k: v * 1e6 for k, v in synthetic_state_dict(shapes("4.25"), 0, 0.7).items()}, checkpoint)
    load_model(checkpoint, "cpu", torch.float32)
    with pytest.raises(BadInputError, match="float16"):
        load_model(checkpoint, "cpu", torch.float16)


@pytest.mark.parametrize("frames", [np.zeros((2, 4, 4, 3)), [torch.rand(4, 4, 3)] * 2, None])
def test_what_is_no_tensor(frames):
    with pytest.raises(BadInputError, match="one tensor"):
        interpolate(frames, LerpModel())


def test_an_output_that_cannot_be():
    with pytest.raises(OutOfMemoryError, match="does not fit"):
        interpolate(torch.rand(2, 1, 1, 3).expand(2, 2_000_000, 2_000_000, 3), LerpModel())


def test_names_that_moved_are_where_they_were():
    for name in ("default_device", "locate", "open_weights", "runnable_dtype", "usable_device"):
        assert getattr(api, name) is getattr(loading, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = api.nothing
    for room, names in {
        video: "Clip ClipInfo Coding Frame Plan Written holds_alpha interpolate_video open_clip",
        chunks: "Executor Farm Inline Job ModelChoice process",
        vfi_utils: "EndLaw FrameLoop Host QuietHost Schedule Settings States StatesLike Timeline by_fps by_multiplier "
        "require_model run_timeline",
        sinks: "Storage TensorSink",
    }.items():
        assert all(hasattr(room, name) for name in names.split())
