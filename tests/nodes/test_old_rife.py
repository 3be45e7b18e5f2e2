"""Nodes of packs that run RIFE by TensorRT or to a frame rate: their graphs in every layout, and what comes out."""

import json
import shutil
import subprocess

import pytest
import torch
from midframe import interpolate
from midframe.errors import MidframeError
from midframe.nodes import _host
from midframe.nodes.old_ids import MISSING, OLD_NODES, stand_ins

CLASSES, _ = stand_ins(())
LAYOUTS = {
    "RifeTensorrt": [100, 2, True, False, "rife49_ensemble_True_scale_1_sim.engine"],
    "AutoRifeTensorrt": [100, 2, False, 1, ""],
    "RIFEInterpolation": [30.0, 60.0, 1.0, "flownet.pkl", 8, False],
    "LoadRifeTensorrtModel": ["rife49_ensemble_True_scale_1_sim", "fp16"],
    "AutoLoadRifeTensorrtModel": ["rife49_ensemble_True_scale_1_sim", "fp16", "small", 1],
    "CustomResolutionConfig": [384, 720, 1312],
    "MakeInterpolationStateList": ["1,2,3", True],
    "CalculateLoadedFPS": [24.0, 1],
}


def widgets(key):
    inputs = CLASSES[key].INPUT_TYPES()
    rows = {**inputs["required"], **inputs.get("optional", {})}
    return {name: options["default"] for name, (_, options) in rows.items() if "default" in options}


def made(key, *values, **links):
    """Run a node with a saved workflow's values, of which there may be fewer than it has widgets."""
    return CLASSES[key]().run(**links, **dict(zip(widgets(key), values, strict=False)))


def clip(frames=3):
    x = torch.arange(64.0)
    pictures = [0.5 + 0.3 * torch.sin((x[None, :] + x[:, None] + 2 * i) / 9) for i in range(frames)]
    return torch.stack(pictures)[..., None].expand(-1, -1, -1, 3).contiguous()


@pytest.mark.parametrize("key", LAYOUTS)
def test_widgets_stand_where_the_newest_version_of_the_pack_has_them(key):
    assert list(widgets(key).values()) == LAYOUTS[key]


def test_a_loader_names_the_network_and_the_next_node_runs_it():
    assert made("LoadRifeTensorrtModel", *LAYOUTS["LoadRifeTensorrtModel"]) == ("rife-4.9",)
    assert made("AutoLoadRifeTensorrtModel", "rife47_ensemble_True_scale_1_sim") == ("rife-4.7",)
    (model,) = made("LoadRifeTensorrtModel", "something_else")
    for key in ("RifeTensorrt", "AutoRifeTensorrt"):
        (frames,) = made(key, 100, 3, frames=clip(), rife_trt_model=model)
        assert torch.equal(frames, interpolate(clip(), "default", multiplier=3))


@pytest.mark.parametrize(("listed", "count"), [("", 4), ("3, 1", 5), ("3", 6), ("0,2", 4)])
def test_a_list_of_multipliers_as_text_counts_before_the_number(listed, count):
    """Padded with 2, as that pack does; 0 and 1 make nothing."""
    values = {"multiplier": 2 if listed else [2, 1], "multiplier_list": listed}
    (frames,) = CLASSES["AutoRifeTensorrt"]().run(frames=clip(), rife_trt_model="default", **values)
    assert len(frames) == count


def test_pairs_are_left_alone():
    (states,) = made("MakeInterpolationStateList", "0", True)
    links = {"rife_trt_model": "default", "interpolation_states": states}
    assert len(made("AutoRifeTensorrt", 100, 2, frames=clip(), **links)[0]) == 4


@pytest.mark.parametrize(
    ("frames", "source", "target"), [(3, 16, 60), (3, 30.0, 60.0), (5, 24, 24), (4, 23.9, 60), (6, 25, 12.5)]
)
def test_a_frame_rate_gives_as_many_frames_as_the_older_node(frames, source, target):
    (made_frames,) = made("RIFEInterpolation", source, target, 0.8, images=clip(frames))
    assert len(made_frames) == int((frames - 1) / source * target) + 1


def test_a_model_by_a_link_is_not_looked_up_in_the_menu(monkeypatch, tmp_path):
    """The weights of the menu's engine need not be here then."""
    monkeypatch.setattr(_host, "model_folders", lambda: (tmp_path,))
    monkeypatch.setenv("MIDFRAME_OFFLINE", "1")
    validate = CLASSES["RifeTensorrt"].VALIDATE_INPUTS
    with pytest.raises(MidframeError, match="rife49"):
        validate(input_types={"frames": "IMAGE"}, multiplier=2)
    links = {"rife_trt_model": "RIFE_TRT_MODEL", "frames": "IMAGE"}
    assert validate(input_types=links, rife_trt_model=None, multiplier=2) is True
    assert CLASSES["AutoRifeTensorrt"].VALIDATE_INPUTS(input_types=links, multiplier=2) is True


@pytest.mark.parametrize(
    "values",
    [
        {"target_fps": "often"},
        {"target_fps": -1},
        {"source_fps": 0},
        {"scale": "large"},
    ],
    ids=["text", "below 0", "no source", "no scale"],
)
def test_what_cannot_be_read_is_refused_at_validation(values):
    with pytest.raises(MidframeError):
        CLASSES["RIFEInterpolation"].VALIDATE_INPUTS(input_types={"images": "IMAGE"}, **values)


@pytest.mark.parametrize("listed", ["2;3", "2, often", "1.5", "-1"])
def test_a_list_that_is_none_is_refused_at_validation(listed):
    links = {"rife_trt_model": "RIFE_TRT_MODEL"}
    with pytest.raises(MidframeError, match="multiplier_list"):
        CLASSES["AutoRifeTensorrt"].VALIDATE_INPUTS(input_types=links, multiplier=2, multiplier_list=listed)


def test_small_nodes_give_what_they_gave():
    assert made("CalculateLoadedFPS", 60, 4) == (15.0,)
    assert made("CalculateLoadedFPS", "24.0", 0) == (24.0,)
    assert made("CustomResolutionConfig", 64, 128, 256) == ({"min_dim": 64, "opt_dim": 128, "max_dim": 256},)


def test_links_of_nodes_without_a_network_keep_their_places():
    """A link is saved by the number of its output; a graph with a loader alone is missing too is told all."""
    assert MISSING["GIMMVFI_interpolate"].outputs == ("IMAGE", "IMAGE")
    assert MISSING["DownloadAndLoadGIMMVFIModel"].outputs == ("GIMMVIF_MODEL",)
    assert "gimmvfi_model" in MISSING["GIMMVFI_interpolate"].inputs["optional"]


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("RifeTensorrt", ["a.engine", 50, 3, False, True], [50, 3, False, True, "a.engine"]),
        ("RifeTensorrt", ["a.engine", 50], [50, 2, True, False, "a.engine"]),
        ("RifeTensorrt", [50, 3, True, False], [50, 3, True, False]),
        ("RIFEInterpolation", ["flownet.pkl", 16, 60, 1, 4, True], [16, 60, 1, "flownet.pkl", 4, True]),
        ("RIFEInterpolation", [16, 60, 1, "flownet.pkl", 4, True], [16, 60, 1, "flownet.pkl", 4, True]),
        ("RIFE VFI", ["rife49.pth", 10, 2], ["rife49.pth", 10, 2]),
    ],
)
@pytest.mark.parametrize("stands_in", [True, False], ids=["stands in", "the other pack is here"])
def test_the_canvas_moves_a_model_that_was_the_first_value(root, key, before, after, stands_in):
    runner = shutil.which("node")
    if runner is None:
        pytest.skip("Node.js is not installed")
    assert key in OLD_NODES
    script = (root / "web" / "old_layout.js").read_text()
    script = script.replace(
        'import { app } from "../../scripts/app.js";', "const app = { registerExtension() {} };"
    )
    category = "video/Midframe/older packs" if stands_in else "tensorrt"
    known = {"registered_node_types": {key: {"category": category}}}
    graph = {"nodes": [{"id": 1, "type": key, "widgets_values": before}], "links": []}
    script += f"globalThis.LiteGraph = {json.dumps(known)}; const data = {json.dumps(graph)};"
    script += "convertOldLayout(data); console.log(JSON.stringify(data.nodes[0].widgets_values));"
    done = subprocess.run(
        [runner, "--input-type=module"], input=script, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == (after if stands_in else before)
