"""The model that CONTRIBUTING.md walks through: it is a model like any other once its folder is in place."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from imports import pack_files
from midframe import interpolate, load_model
from midframe.vfi_models import detect, registry
from midframe.weights.manifest import Entry
from midframe.weights.synthetic import synthetic_state_dict
from safetensors.torch import save_file

NAME = "midframe.vfi_models.example_model"


@pytest.fixture(scope="module")
def folder(root):
    return root / "tests/vfi_models/example_model"


@pytest.fixture
def example(folder, monkeypatch):
    """The folder's module, imported as if it lay in vfi_models, and known to the registry."""
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, module)
    spec.loader.exec_module(module)
    known = (*registry.architectures(), module.ARCHITECTURE)
    monkeypatch.setattr(registry, "architectures", lambda: known)
    yield module
    sys.modules.pop(f"{NAME}.net", None)


def saved(path, example, family, change=lambda name, value: value):
    state = synthetic_state_dict(example.shapes(family), 1, 0.7)
    save_file({name: change(name, value) for name, value in state.items()}, path)
    return path


@pytest.mark.parametrize("family", ["small", "large"])
def test_its_checkpoint_runs_through_the_loop(example, tmp_path, family):
    model = load_model(saved(tmp_path / "example.safetensors", example, family), "cpu")
    assert (model.spec.architecture, model.spec.family) == ("example_model", family)
    frames = torch.rand(3, 19, 30, 4)
    output = interpolate(frames, model, multiplier=4)
    assert output.shape == (9, 19, 30, 4)
    assert torch.equal(output[::4], frames)
    assert not torch.equal(output[1], frames[0])


def test_without_motion_it_blends(example, tmp_path):
    def still(name, value):
        return torch.zeros_like(value) if name.startswith("estimator.2") else value

    model = load_model(saved(tmp_path / "still.safetensors", example, "small", still), "cpu")
    frames = torch.rand(2, 8, 12, 3)
    output = interpolate(frames, model, multiplier=4)
    for k in (1, 2, 3):
        expected = torch.lerp(frames[0], frames[1], k / 4)
        # Warped by nothing: a coordinate's last place is 1e-6 of a pixel here, neighbours differ by up to 1.
        torch.testing.assert_close(output[k], expected, atol=1e-5, rtol=0)


def test_it_claims_its_own_weights_alone(example):
    for architecture in registry.architectures():
        for family in architecture.families:
            shapes = architecture.shapes(family)
            state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
            claimed = example.ARCHITECTURE.detect(state) is not None
            assert claimed == (architecture is example.ARCHITECTURE), family
            assert not claimed or detect(state).family == family


@pytest.mark.long  # a pytest of its own; in the short run it goes through the loop like any other
def test_the_contract_finds_it_by_its_folder(root, folder, tmp_path):
    """In a copy of the pack, as a newcomer works: nothing but the folder is added."""
    for path in (*pack_files(root), *(root / "tests/support").glob("*.py"), *(root / "ckpts").iterdir()):
        copy = tmp_path / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    contract = "tests/vfi_models/test_models_contract.py"
    for name in ("tests/conftest.py", "pyproject.toml", contract):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, tmp_path / name)
    shutil.copytree(folder, tmp_path / "vfi_models/example_model")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "example_model", contract]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 10


def test_contributing_shows_its_whole_code(root, folder):
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"`vfi_models/example_model/(\w+\.py)`[^`]*\n```python\n(.*?)```", text, re.S)
    shown = {}
    for name, block in blocks:
        shown.setdefault(name, []).extend(line for line in block.splitlines() if line)
    assert shown == {
        path.name: [line for line in path.read_text(encoding="utf-8").splitlines() if line]
        for path in folder.glob("*.py")
    }


def test_contributing_shows_a_row_of_the_manifest(root):
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.S)
    entry = Entry(**json.loads(block))
    assert (entry.architecture, entry.family) == ("example_model", "small")
