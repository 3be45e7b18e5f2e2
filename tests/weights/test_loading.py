"""One loading policy: Python callers and nodes read, convert, cache and reload models in the same way."""

import pytest
import torch
from midframe.api import load_model
from midframe.errors import BadInputError
from midframe.memory.cache import MODELS
from midframe.nodes._models import Loaded
from midframe.vfi_models.rife import shapes
from midframe.weights.find import CKPTS
from midframe.weights.loading import ModelSource, load_cached
from midframe.weights.synthetic import synthetic_state_dict

CPU = torch.device("cpu")
DEFAULT = CKPTS / "default.safetensors"


@pytest.fixture(autouse=True)
def _models():
    MODELS.clear()
    yield
    MODELS.clear()


def held(dtype=None, preferred=torch.float32, path=DEFAULT, averaged=True):
    return load_cached(ModelSource(path, CPU, dtype, averaged), Loaded, preferred)


@pytest.mark.parametrize("first", [None, torch.bfloat16])
def test_a_node_that_names_the_dtype_shares_the_model_of_one_that_leaves_it_to_the_device(first):
    held(first, preferred=torch.bfloat16)
    automatic = held(preferred=torch.bfloat16)
    assert automatic.dtype == automatic.shell.interpolator.dtype == torch.bfloat16
    assert held(torch.bfloat16) is automatic
    assert held(torch.float32) is not automatic
    assert len(MODELS) == 2


def test_nodes_and_python_callers_each_hold_their_own_network():
    loaded, model = held(torch.float32), load_model("default", "cpu", "float32")
    assert loaded.shell.interpolator is not model
    assert held(torch.float32) is loaded
    assert load_model("default", "cpu", "float32") is model
    assert MODELS.bytes == 2 * model.weight_bytes


def test_a_model_that_a_host_released_is_read_again_under_every_name():
    loaded = held(preferred=torch.bfloat16)
    loaded.shell.release()
    assert loaded.weight_bytes == 0
    again = held(torch.bfloat16)
    assert again is not loaded
    assert again.intact()
    assert held(preferred=torch.bfloat16) is again
    assert len(MODELS) == 1


def test_a_released_model_of_a_named_dtype_is_not_what_the_automatic_one_gets():
    held(torch.float32).shell.release()
    automatic = held(preferred=torch.float32)
    assert automatic.intact()
    assert held(torch.float32) is automatic
    assert len(MODELS) == 1


def test_the_key_that_a_model_was_held_by_drops_it_under_every_name():
    loaded = held(preferred=torch.bfloat16)
    assert held(torch.bfloat16) is loaded
    MODELS.drop(loaded.key)
    assert len(MODELS) == 0


def test_what_a_host_prefers_is_taken_only_where_the_picture_stays():
    model = held(preferred=torch.float64).shell.interpolator
    assert model.dtype == model.spec.safe_dtypes[0]
    with pytest.raises(BadInputError, match=r"default\.safetensors cannot run in torch\.float64"):
        held(torch.float64)
    assert len(MODELS) == 1


def test_averages_and_what_they_are_averages_of_are_two_models(tmp_path):
    raw = synthetic_state_dict(shapes("4.25"), 0, 0.7)
    name = "block0.conv0.0.0.weight"
    path = tmp_path / "x.pth"
    torch.save({"model": raw, "ema": {name: raw[name] + 1}}, path)
    averaged, last = (held(torch.float32, path=path, averaged=averaged) for averaged in (True, False))
    values = [loaded.shell.network.state_dict()[name] for loaded in (averaged, last)]
    assert torch.equal(values[0], values[1] + 1)
