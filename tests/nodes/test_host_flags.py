"""Flags of ComfyUI that only a GPU would show, with a stand-in for the modules that tell them."""

import sys
from types import SimpleNamespace

import pytest
import torch
from fakes import LerpModel
from midframe.engine.runner import ModelRunner
from midframe.nodes import NODE_CLASS_MAPPINGS, _host
from midframe.nodes._widgets import storage_named
from midframe.vfi_utils import Settings

CUDA = torch.device("cuda:0")


@pytest.fixture
def comfyui(monkeypatch, tmp_path):
    """Takes what ComfyUI's model management has, and its flags."""

    def begin(flags=(), **management):
        told = {"get_free_memory": lambda device: 10 * 2**30, **management}
        monkeypatch.setitem(sys.modules, "comfy.model_management", SimpleNamespace(**told))
        monkeypatch.setitem(
            sys.modules, "comfy.cli_args", SimpleNamespace(args=SimpleNamespace(**dict(flags)))
        )
        folders = SimpleNamespace(get_temp_directory=lambda: str(tmp_path))
        monkeypatch.setitem(sys.modules, "folder_paths", folders)

    return begin


def test_what_is_reserved_for_others_is_not_free(comfyui):
    comfyui(extra_reserved_memory=lambda: 2 * 2**30)
    assert _host.free_memory(CUDA) == 8 * 2**30
    assert _host.free_memory(torch.device("cpu")) == 10 * 2**30
    comfyui(extra_reserved_memory=lambda: 11 * 2**30)
    assert _host.free_memory(CUDA) == 0
    comfyui()  # an older one, which reserves nothing
    assert _host.free_memory(CUDA) == 10 * 2**30


@pytest.mark.parametrize("name", ["auto", "memory", "disk"])
def test_images_are_as_wide_as_other_nodes_hand_them_on(comfyui, name):
    comfyui(intermediate_dtype=lambda: torch.float16)
    sink = storage_named(name).sink(2, (4, 5, 3))
    sink.put(0, torch.full((2, 4, 5, 3), 0.1))
    assert sink.frames.dtype == torch.float16
    comfyui()
    assert storage_named(name).dtype == torch.float32
    assert storage_named("disk, half precision").dtype == torch.float16


@pytest.mark.parametrize("disabled", [False, True])
def test_no_pass_is_recorded_where_the_user_wants_none(comfyui, monkeypatch, disabled):
    seen = []
    node = NODE_CLASS_MAPPINGS["MidframeRIFE"]
    monkeypatch.setattr(node, "run_model", lambda self, frames, inputs, mask: seen.append(inputs.settings))
    comfyui({"disable_cuda_graphs": disabled})
    node().interpolate(torch.rand(2, 8, 8, 3), "default")
    assert [settings.record for settings in seen] == [not disabled]


@pytest.mark.parametrize("record", [False, True])
def test_a_run_that_records_nothing_tells_its_model_so(record):
    model = LerpModel(options={"graphs": True})
    model.open = lambda height, width, options: opened.append(options)
    opened = []
    runner = ModelRunner(model, Settings(record=record))
    runner._open(torch.rand(8, 8, 3))
    assert opened == [{} if record else {"graphs": False}]
