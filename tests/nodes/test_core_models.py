"""Models between our nodes and ComfyUI's own, as far as that works outside ComfyUI."""

from types import SimpleNamespace

import pytest
import torch
from midframe import NODE_CLASS_MAPPINGS, interpolate
from midframe.errors import MidframeError
from midframe.memory.cache import MODELS
from midframe.nodes import _host
from midframe.nodes._core_models import CoreModel, is_core_model, source_of_core_model
from midframe.nodes._types import MODEL
from midframe.nodes._weights import choose
from midframe.vfi_models import tlbvfi
from midframe.vfi_models.rife import ARCHITECTURE
from midframe.weights.synthetic import synthetic_state_dict
from safetensors.torch import save_file
from torch import nn


def clip(frames=2):
    x = torch.arange(64.0)
    pictures = [0.5 + 0.3 * torch.sin((x[None, :] + x[:, None] + 2 * i) / 9) for i in range(frames)]
    return torch.stack(pictures)[..., None].expand(-1, -1, -1, 3).contiguous()


class Holder(nn.Module):
    """Weights under their names, with the method by which a model of ComfyUI's loader is told."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def state_dict(self):
        return self.weights

    def extract_features(self, img):
        return img


def core_run(model, frames, multiplier):
    """What ComfyUI's node does with a model and one pair."""
    model.memory_used_forward(tuple(frames.shape), model.get_dtype())
    left, right = frames.movedim(-1, 1).split(1)
    cache = {"img0": model.extract_features(left), "img1": model.extract_features(right)}
    steps = torch.tensor([k / multiplier for k in range(1, multiplier)]).reshape(-1, 1, 1, 1)
    times = steps.expand(-1, 1, *left.shape[2:])
    expanded = [frame.expand(len(times), -1, -1, -1) for frame in (left, right)]
    return model.forward(*expanded, timestep=times, cache=cache).movedim(1, -1).clamp(0, 1)


def test_a_model_of_comfyuis_loader_runs_in_our_node(tmp_path, monkeypatch):
    monkeypatch.setattr(_host, "temp_folder", lambda: tmp_path)
    weights = synthetic_state_dict(ARCHITECTURE.shapes("4.25"), 0, 0.7)
    save_file(weights, tmp_path / "file.safetensors")
    patcher = SimpleNamespace(model=Holder(weights), load_device=torch.device("cpu"))
    assert is_core_model(patcher)
    rife = NODE_CLASS_MAPPINGS["MidframeRIFE"]()
    frames = rife.interpolate(clip(), "no such model", model_override=patcher, multiplier=3)[0]
    assert torch.equal(frames, interpolate(clip(), str(tmp_path / "file.safetensors"), multiplier=3))
    loads = MODELS.loads
    again = rife.interpolate(clip(), "no such model", model_override=patcher, multiplier=3)[0]
    assert MODELS.loads == loads
    assert torch.equal(again, frames)
    assert len(list(tmp_path.glob("interp_model_*"))) == 1


def test_our_model_makes_the_same_frames_in_comfyuis_node():
    source = choose("default", "cpu", "float32")
    model = CoreModel(source)
    expected = interpolate(clip(), "default", multiplier=4)
    # One timestep a pass there, three here: the sums of a batch are rounded in another order.
    for _ in range(2):
        assert torch.allclose(core_run(model, clip(), 4), expected[1:-1], atol=1e-6)
    MODELS.clear()  # as after ComfyUI's /free
    model.release()
    assert torch.allclose(core_run(model, clip(), 4), expected[1:-1], atol=1e-6)
    patcher = SimpleNamespace(model=model, load_device=torch.device("cpu"))
    assert source_of_core_model(patcher) == source


def test_a_network_that_knows_the_middle_alone_says_so(tmp_path):
    save_file(synthetic_state_dict(tlbvfi.shapes("small"), 0, 0.7), tmp_path / "small.safetensors")
    model = CoreModel(choose(str(tmp_path / "small.safetensors"), "cpu", "float32"))
    assert core_run(model, clip(), 2).shape == (1, 64, 64, 3)
    with pytest.raises(MidframeError, match="middle"):
        core_run(model, clip(), 3)


def test_both_kinds_of_models_fit_the_socket_on_every_version():
    for kind in ("MIDFRAME_MODEL", "INTERP_MODEL", str(MODEL)):
        assert not kind != MODEL  # noqa: SIM202 -- as ComfyUI compares
    assert MODEL != "MODEL"
