"""Workflows that were saved before still load: they hold the values of widgets by position, and links by name."""

import json
import shutil
import subprocess

import pytest
import torch
from midframe import NODE_CLASS_MAPPINGS
from midframe.errors import MidframeError
from packs import ROOT

WIDGETS = {
    "MidframeInterpolate": {
        "model": "default",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "motion_resolution": "auto",
        "last_frame": "auto",
    },
    "MidframeRIFE": {
        "model": "default",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "motion_resolution": "auto",
        "ensemble": False,
        "last_frame": "auto",
        "clear_cache_after_n_frames": 0,
    },
    "MidframeFILM": {
        "model": "film",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "schedule": "any_t",
        "align": False,
        "last_frame": "auto",
        "clear_cache_after_n_frames": 0,
    },
    "MidframeTLBVFI": {
        "model": "tlbvfi",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "auto",
        "seed": 0,
        "motion_resolution": "auto",
    },
    "MidframeVideo": {
        "model": "default",
        "multiplier": 2,
        "target_fps": 0.0,
        "motion_resolution": "auto",
        "last_frame": "auto",
    },
    "MidframeChunks": {
        "model": "default",
        "multiplier": 2,
        "filename_prefix": "midframe/long",
        "target_fps": 0.0,
        "format": "mp4",
        "motion_resolution": "auto",
        "last_frame": "auto",
    },
    "MidframeRunSettings": {
        "device": "auto",
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "after_run": "keep loaded",
        "storage": "auto",
        "allow_changed_picture": False,
        "memory_lines": False,
        "pairs_per_chunk": 240,
        "executor": "this process",
        "ray_address": "",
    },
    "MidframeTLBVFISettings": {
        "eta": 1.0,
        "sample_steps": 10,
        "ema": True,
        "tile": "off",
        "tile_overlap": 64,
        "published_range": False,
    },
    "MidframeModelLoader": {
        "model": "default",
        "dtype": "auto",
        "device": "auto",
    },
    "MidframeStates": {
        "frame_indices": "",
        "is_skip_list": True,
    },
}
"""Widgets of each node in the order in which workflows have them, with their defaults. Only append."""

BEFORE = {
    "MidframeRIFE": {
        "model": "default",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "scale": "1",
        "ensemble": False,
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "end_on_last",
        "device": "auto",
        "after_run": "keep loaded",
        "allow_changed_picture": False,
        "storage": "auto",
    },
    "MidframeFILM": {
        "model": "film",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "schedule": "any_t",
        "align": False,
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "end_on_last",
        "device": "auto",
        "after_run": "keep loaded",
        "storage": "auto",
    },
    "MidframeTLBVFI": {
        "model": "tlbvfi",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "end_on_last",
        "device": "auto",
        "after_run": "keep loaded",
        "allow_changed_picture": False,
        "seed": 0,
        "eta": 1.0,
        "sample_steps": 10,
        "flow_scale": 0.5,
        "ema": True,
        "tile": "off",
        "tile_overlap": 64,
        "published_range": False,
        "memory_lines": False,
        "storage": "auto",
    },
    "MidframeVideo": {
        "model": "default",
        "multiplier": 2,
        "target_fps": 0.0,
        "scale": "1",
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "hold_last",
        "device": "auto",
        "after_run": "keep loaded",
    },
    "MidframeChunks": {
        "model": "default",
        "multiplier": 2,
        "filename_prefix": "midframe/long",
        "target_fps": 0.0,
        "format": "mp4",
        "pairs_per_chunk": 240,
        "scale": "1",
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_pairs": 0,
        "last_frame": "hold_last",
        "device": "auto",
        "after_run": "keep loaded",
        "executor": "this process",
        "ray_address": "",
    },
}
"""The same of the layout before Run Settings, which graphs for the API may still give by name."""

MOST = {"MidframeInterpolate": 7, "MidframeVideo": 7, "MidframeChunks": 7} | dict.fromkeys(
    ("MidframeRIFE", "MidframeFILM", "MidframeTLBVFI"), 9
)
"""Widgets that a node may show at most."""

MENUS = {
    "motion_resolution": ["auto", "0.25", "0.5", "1", "2", "4"],
    "schedule": ["any_t", "bisect", "peel", "direct"],
    "last_frame": ["auto", "end_on_last", "hold_last", "close_loop"],
    "dtype": ["auto", "float32", "float16", "bfloat16"],
    "after_run": ["keep loaded", "offload to CPU", "unload"],
    "storage": ["auto", "memory", "disk", "disk, half precision"],
    "tile": ["off", "256", "512", "1024", "1536", "2048"],
    "format": ["mp4", "mkv", "mov", "webm"],
    "executor": ["this process", "ray"],
}
"""Values that saved workflows may have."""


def rows(name):
    inputs = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    return {**inputs["required"], **inputs.get("optional", {})}


@pytest.mark.parametrize("name", WIDGETS)
def test_widgets_keep_their_places_and_defaults(name):
    widgets = {widget: row[1]["default"] for widget, row in rows(name).items() if "default" in row[1]}
    assert list(widgets.items()) == list(WIDGETS[name].items())


@pytest.mark.parametrize("name", WIDGETS)
def test_menus_keep_their_values(name):
    for widget, (kind, _) in rows(name).items():
        if isinstance(kind, list) and widget not in ("model", "device"):  # these say what is on the computer
            assert json.loads(json.dumps(kind)) == MENUS[widget]


@pytest.mark.parametrize("name", BEFORE)
def test_what_moved_to_run_settings_is_still_taken_by_name(name):
    inputs = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    assert not set(BEFORE[name]) - {*rows(name), *inputs["hidden"]}


@pytest.mark.parametrize("name", BEFORE)
def test_what_is_linked_there_and_does_not_fit_is_refused_before_the_clip_is_made(name):
    node = NODE_CLASS_MAPPINGS[name]
    moved = set(node.INPUT_TYPES()["hidden"]) & set(BEFORE[name])
    assert moved
    clip = "video" if "video" in rows(name) else "frames"
    for widget in moved:
        with pytest.raises(MidframeError):
            node().check_lazy_status(
                **{clip: None, "model": "default", "multiplier": 2, widget: torch.zeros(2)}
            )


@pytest.mark.parametrize("name", MOST)
def test_a_node_asks_for_few_decisions(name):
    assert len(WIDGETS[name]) <= MOST[name]


def test_a_widget_of_one_name_has_one_default_and_one_meaning():
    shared = {}
    for name in MOST:
        for widget, row in rows(name).items():
            if widget not in ("frames", "video", "model", "multiplier", "target_fps"):
                shared.setdefault(widget, []).append(row)
    for widget, found in shared.items():
        assert all(each == found[0] for each in found), widget


# --- graphs of the browser: web/old_layout.js


@pytest.fixture(scope="module")
def script(root):
    return (root / "web" / "old_layout.js").read_text()


def test_the_script_knows_the_layout_before_and_now(script):
    layout = json.loads(script.partition("/* begin */")[2].partition("/* end */")[0])
    assert {name: row["before"] for name, row in layout["nodes"].items()} == {
        name: list(widgets) for name, widgets in BEFORE.items() if name in layout["nodes"]
    }
    assert set(layout["nodes"]) == {name for name in BEFORE if BEFORE[name] != WIDGETS[name]}
    for name, now in [(name, row["now"]) for name, row in layout["nodes"].items()] + [
        (name, row["widgets"]) for name, row in layout["settings"].items()
    ]:
        assert list(now.items()) == list(WIDGETS[name].items())
    for name, row in layout["settings"].items():
        assert (row["type"],) == NODE_CLASS_MAPPINGS[name].RETURN_TYPES


def converted(script, graph):
    """Return what the script makes of a graph, run by Node.js."""
    runner = shutil.which("node")
    if runner is None:
        pytest.skip("Node.js is not installed")
    program = script.replace(
        'import { app } from "../../scripts/app.js";', "const app = { registerExtension() {} };"
    )
    program += f"const data = {json.dumps(graph)}; convertOldLayout(data); console.log(JSON.stringify(data));"
    made = subprocess.run(
        [runner, "--input-type=module"], input=program, capture_output=True, text=True, check=True
    )
    return json.loads(made.stdout)


def saved(name, values, *, sockets=True, linked=None):
    """Return a graph of one node as the front end saves it, with its clip from a node 1."""
    slots = [{"name": "frames", "type": "IMAGE", "link": 5}]
    if sockets:
        slots += [
            {"name": widget, "type": "*", "widget": {"name": widget}, "link": 6 if widget == linked else None}
            for widget in BEFORE[name]
        ]
    target = len(slots) - len(BEFORE[name]) + list(BEFORE[name]).index(linked) if linked else 0
    item = {"id": 3, "type": name, "pos": [500, 100], "inputs": slots, "widgets_values": values}
    links = [[5, 1, 0, 3, 0, "IMAGE"]] + ([[6, 2, 0, 3, target, "*"]] if linked else [])
    return {"last_node_id": 3, "last_link_id": 6, "nodes": [item], "links": links, "version": 0.4}


def values_of(item):
    return dict(zip(WIDGETS[item["type"]], item["widgets_values"], strict=True))


@pytest.mark.parametrize("sockets", [True, False])
@pytest.mark.parametrize("name", [name for name in BEFORE if name in MOST])
def test_a_graph_of_usual_values_opens_without_another_node(script, name, sockets):
    graph = converted(script, saved(name, list(BEFORE[name].values()), sockets=sockets))
    (item,) = graph["nodes"]
    expected = {**WIDGETS[name], "last_frame": BEFORE[name]["last_frame"]}
    expected["motion_resolution"] = str(BEFORE[name].get("scale", BEFORE[name].get("flow_scale", "auto")))
    if "motion_resolution" not in WIDGETS[name]:
        del expected["motion_resolution"]
    assert values_of(item) == expected
    assert len(graph["links"]) == 1


def test_changed_values_go_to_a_linked_node_of_settings(script):
    values = {**BEFORE["MidframeTLBVFI"], "device": "cpu", "seed": 7, "tile": "512", "flow_scale": 0.3}
    graph = converted(script, saved("MidframeTLBVFI", list(values.values())))
    item, run, sampler = graph["nodes"]
    assert values_of(item)["seed"] == 7
    assert values_of(item)["motion_resolution"] == "0.3"
    assert values_of(run) == {**WIDGETS["MidframeRunSettings"], "device": "cpu"}
    assert values_of(sampler) == {**WIDGETS["MidframeTLBVFISettings"], "tile": "512"}
    for link, origin, name in zip(graph["links"][1:], (run, sampler), ("run", "tlbvfi"), strict=True):
        slot = item["inputs"][link[4]]
        assert (link[1], link[3], slot["name"], slot["link"]) == (
            origin["id"],
            3,
            f"{name}_settings",
            link[0],
        )
        assert origin["outputs"][0]["links"] == [link[0]]
    assert graph["last_node_id"] == sampler["id"]


def test_what_was_linked_to_a_moved_widget_is_linked_to_its_new_place(script):
    graph = converted(
        script, saved("MidframeChunks", list(BEFORE["MidframeChunks"].values()), linked="batch")
    )
    item, run = graph["nodes"]
    assert [slot["name"] for slot in run["inputs"]] == ["batch"]
    assert graph["links"][1] == [6, 2, 0, run["id"], 0, "*"]
    renamed = converted(script, saved("MidframeRIFE", list(BEFORE["MidframeRIFE"].values()), linked="scale"))
    (item,) = renamed["nodes"]
    assert item["inputs"][renamed["links"][1][4]]["name"] == "motion_resolution"


def test_a_graph_of_todays_layout_stays_as_it_is(script):
    name = "MidframeRIFE"
    slots = [
        {"name": widget, "type": "*", "widget": {"name": widget}, "link": None} for widget in WIDGETS[name]
    ]
    for inputs in ([], slots):
        item = {"id": 1, "type": name, "inputs": inputs, "widgets_values": list(WIDGETS[name].values())}
        graph = {"nodes": [item], "links": [], "last_node_id": 1, "last_link_id": 0}
        assert converted(script, graph) == graph


def test_nodes_inside_a_subgraph_are_converted_too(script):
    values = {**BEFORE["MidframeRIFE"], "dtype": "float16"}
    inner = saved("MidframeRIFE", list(values.values()))
    inner["links"] = [
        {"id": 5, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "IMAGE"}
    ]
    inner["state"] = {"lastNodeId": 3, "lastLinkId": 6}
    graph = {"nodes": [], "links": [], "last_node_id": 9, "last_link_id": 9}
    graph["definitions"] = {"subgraphs": [inner]}
    inner = converted(script, graph)["definitions"]["subgraphs"][0]
    assert inner["nodes"][1]["id"] == 10
    assert inner["links"][1]["target_id"] == 3
    assert inner["state"]["lastNodeId"] == 10


@pytest.mark.parametrize("title", sorted(path.stem for path in (ROOT / "subgraphs").glob("*.json")))
def test_a_blueprint_says_what_it_does(title):
    """Else the front ends say "User generated subgraph blueprint"."""
    graph = json.loads((ROOT / "subgraphs" / f"{title}.json").read_text(encoding="utf-8"))
    (folded,) = graph["definitions"]["subgraphs"]
    assert folded["name"] == title
    assert folded["category"] == "Video Tools"
    assert folded["description"].endswith(".")
