"""Workflows of older packs in a real ComfyUI that lacks these packs; see tests/support/comfyui.py."""

import json
import urllib.error

import numpy as np
import pytest
from comfyui import as_arrays, images_workflow, node
from midframe.nodes.old_ids import MISSING, OLD_NODES

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(comfyui):
    return comfyui


def old_workflow(server, kind, values, **links):
    """The three pictures through an older node, with a saved workflow's values as the front end reads them."""
    inputs = server.json("/object_info")[kind]["input"]
    rows = {**inputs["required"], **inputs.get("optional", {})}
    widgets = [name for name, row in rows.items() if len(row) > 1 and "default" in row[1]]
    read = dict(zip(widgets, values, strict=False))
    # For a value that the workflow lacks the front end takes the default.
    defaults = {name: rows[name][1]["default"] for name in widgets}
    workflow = images_workflow()
    workflow["vfi"] = node(kind, **{**defaults, **read, "frames": ["abc", 0], **links})
    workflow["save"]["inputs"]["images"] = ["vfi", 0]
    del workflow["rife"]
    return workflow


def test_every_id_is_registered_and_deprecated(server):
    known = server.json("/object_info")
    assert set(OLD_NODES) <= set(known)
    assert all(known[key]["deprecated"] for key in OLD_NODES)
    assert known["RIFE VFI"]["python_module"].startswith("custom_nodes.")


@pytest.mark.parametrize(
    "values", [["default", 10, 2, True, True, 1], ["default", 10, 2, True, True, 1.0, "float32", False, 1]]
)
def test_both_layouts_of_rife_run_and_give_what_our_node_gives(server, values):
    expected = as_arrays(server.run(images_workflow()))
    assert np.array_equal(as_arrays(server.run(old_workflow(server, "RIFE VFI", values))), expected)


@pytest.mark.parametrize("lacking", [3, 5], ids=["6 values", "4 values"])
def test_a_graph_in_the_apis_format_runs_without_later_widgets(server, lacking):
    """Nobody fills defaults in there."""
    workflow = old_workflow(server, "RIFE VFI", ["default"])
    inputs = workflow["vfi"]["inputs"]
    for name in ("batch_size", "torch_compile", "dtype", "scale_factor", "ensemble")[:lacking]:
        del inputs[name]
    assert len(server.run(workflow)) == 5


def test_states_and_a_number_by_link_run_through_the_old_nodes(server):
    workflow = old_workflow(
        server, "RIFE VFI", ["default"], multiplier=["int", 0], optional_interpolation_states=["states", 0]
    )
    workflow["int"] = node("VFI FloatToInt", float=3.7)
    workflow["states"] = node("Make Interpolation State List", frame_indices="1,2,3", is_skip_list=True)
    assert len(server.run(workflow)) == 1 + 3 + 1


def test_a_node_without_a_network_is_refused_before_anything_runs(server):
    for kind in ("AMT VFI", "GMFSS Fortuna VFI", "GIMMVFI_interpolate"):
        assert kind in MISSING
        workflow = images_workflow()
        workflow["vfi"] = node(kind, frames=["abc", 0], ckpt_name="x.pth", multiplier=2)
        workflow["save"]["inputs"]["images"] = ["vfi", 0]
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.post(workflow)
        answer = refused.value.read().decode()
        assert "Midframe)" in answer, answer


def test_replacements_are_offered_where_the_host_has_them(server):
    try:
        offered = json.loads(server.get("/node_replacements"))
    except urllib.error.HTTPError:
        pytest.skip("this ComfyUI replaces no nodes")
    assert offered["RIFE VFI"][0]["new_node_id"] == "MidframeRIFE"
    assert {"FILM VFI", "FrameInterpolate"} <= set(offered)


def test_graphs_of_the_tensorrt_packs_run_with_the_engine_as_a_value_and_from_a_loader(server):
    expected = as_arrays(server.run(images_workflow()))
    workflow = images_workflow()
    workflow["save"]["inputs"]["images"] = ["vfi", 0]
    del workflow["rife"]
    shared = {"frames": ["abc", 0], "clear_cache_after_n_frames": 100, "multiplier": 2}
    nodes = {
        "vfi": node("RifeTensorrt", **shared, engine="default.engine"),
        "auto": node("AutoRifeTensorrt", **shared, rife_trt_model=["load", 0], keep_model_loaded=False),
    }
    assert np.array_equal(as_arrays(server.run({**workflow, "vfi": nodes["vfi"]})), expected)
    loader = node("AutoLoadRifeTensorrtModel", model="any", precision="fp16", resolution_profile="small")
    made = server.run({**workflow, "vfi": nodes["auto"], "load": loader})
    assert np.array_equal(as_arrays(made), expected)
    timed = node("RIFEInterpolation", images=["abc", 0], source_fps=8, target_fps=20, scale=1.0)
    assert len(server.run({**workflow, "vfi": timed})) == 6


def test_a_graph_whose_loader_is_missing_too_is_told_what_to_use(server):
    """ComfyUI says of a node that it does not know nothing but its name, and looks at no other."""
    workflow = images_workflow()
    workflow["load"] = node("DownloadAndLoadGIMMVFIModel", model="gimmvfi_r_arb_lpips_fp32.safetensors")
    workflow["vfi"] = node("GIMMVFI_interpolate", gimmvfi_model=["load", 0], images=["abc", 0], ds_factor=1.0)
    workflow["save"]["inputs"]["images"] = ["vfi", 0]
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.post(workflow)
    assert "Use FILM (Midframe)" in refused.value.read().decode()
