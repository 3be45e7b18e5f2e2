"""The FILM node without ComfyUI, with the small network of the goldens."""

import shutil

import pytest
import torch
from midframe import NODE_CLASS_MAPPINGS, interpolate, load_model
from midframe.errors import BadInputError
from midframe.memory.cache import MODELS
from midframe.nodes import _host
from midframe.vfi_utils import Settings
from midframe.weights.find import find, search_folders
from midframe.weights.manifest import Manifest

FILM, RIFE = NODE_CLASS_MAPPINGS["MidframeFILM"], NODE_CLASS_MAPPINGS["MidframeRIFE"]


@pytest.fixture(autouse=True)
def _clear():
    yield
    MODELS.clear()


@pytest.fixture
def weights(root):
    return str(root / "parity" / "goldens" / "film" / "tiny_torchscript_v100.pt")


def run(frames, model, **widgets):
    made, fps, count, _ = FILM().interpolate(frames, model, **widgets)
    assert count == len(made)
    return made, fps


@pytest.mark.parametrize("shape", [(3, 70, 66, 3), (2, 20, 64, 4), (2, 1, 1, 3)])
def test_the_node_does_what_the_api_does(weights, shape):
    frames = torch.rand(shape)
    made, fps = run(frames, weights, multiplier=3, source_fps=10.0)
    assert torch.equal(made, interpolate(frames, load_model(weights), 3))
    assert torch.equal(made[::3], frames)
    assert fps == 30


@pytest.mark.parametrize(
    ("widgets", "settings"),
    [
        ({"schedule": "bisect"}, Settings(schedule="bisect")),
        ({"align": True}, Settings(options={"align": True})),
    ],
)
def test_widgets_reach_the_network(weights, widgets, settings):
    frames = torch.rand(2, 70, 66, 3)
    made = run(frames, weights, multiplier=3, **widgets)[0]
    assert torch.equal(made, interpolate(frames, load_model(weights), 3, settings=settings))
    assert not torch.equal(made, run(frames, weights, multiplier=3)[0])


def test_schedules_agree_where_there_is_one_frame_to_make(weights):
    frames = torch.rand(2, 64, 64, 3)
    assert torch.equal(run(frames, weights)[0], run(frames, weights, schedule="bisect")[0])


def test_a_schedule_that_there_is_not(weights):
    with pytest.raises(BadInputError, match="no such schedule"):
        run(torch.rand(2, 64, 64, 3), weights, schedule="sideways")


def test_common_widgets_stand_in_the_same_order_as_those_of_rife():
    rows = [{**n.INPUT_TYPES()["required"], **n.INPUT_TYPES()["optional"]} for n in (RIFE, FILM)]
    common = [name for name in rows[0] if name in rows[1]]
    assert common == [name for name in rows[1] if name in rows[0]]
    assert set(rows[0]) - set(rows[1]) == {"motion_resolution", "ensemble"}
    assert set(rows[1]) - set(rows[0]) == {"schedule", "align"}
    assert all(rows[0][name] == rows[1][name] for name in common if name not in ("frames", "model"))


def test_film_is_offered_and_the_built_in_model_is_not():
    names, options = FILM.INPUT_TYPES()["required"]["model"]
    assert options["default"] == names[0] == "film"
    assert "default" not in names
    assert not any(name.startswith("rife") for name in names)


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("models/frame_interpolation", "film_net_fp16.safetensors"),
        ("models/interpolation", "film_net_fp16.pt"),
        ("custom_nodes/ComfyUI-Frame-Interpolation/ckpts/film", "film_net_fp32.pt"),
    ],
)
def test_files_of_other_packs_are_found_and_run(weights, tmp_path, monkeypatch, folder, file):
    (tmp_path / folder).mkdir(parents=True)
    shutil.copy(weights, tmp_path / folder / file)  # what kind of file it is, its content says
    folders = search_folders([tmp_path / "models"], [tmp_path / "custom_nodes"])
    assert find(file, folders) == find("film", folders) == tmp_path / folder / file
    monkeypatch.setattr(_host, "model_folders", lambda: tuple(folders))
    assert "film" in FILM.INPUT_TYPES()["required"]["model"][0]
    frames = torch.rand(2, 64, 64, 3)
    assert torch.equal(run(frames, "film")[0], run(frames, weights)[0])


def test_the_manifest_invents_no_hash():
    rows = Manifest.load().lookup("film")
    assert [row.file for row in rows] == ["film_net_fp16.safetensors", "film_net_fp32.pt", "film_net_fp16.pt"]
    assert all(row.urls and row.licence == "Apache-2.0" for row in rows)
    assert all(row.sha256 is None and row.bytes is None and not row.sha256_verified for row in rows)
