"""Graphs of the layout before Run Settings in a real browser; see tests/support/browser.py for what that needs."""

import json

import pytest
from browser import canvas_in, chromium
from comfyui import square
from PIL import Image

pytestmark = pytest.mark.long  # a browser and a server: minutes
LOOK = """() => app.graph.nodes.filter(node => node.type.startsWith('Midframe')).map(node => ({
    type: node.type,
    widgets: Object.fromEntries(node.widgets.map(widget => [widget.name, widget.value])),
    from: Object.fromEntries((node.inputs ?? []).filter(slot => slot.link != null).map(
        slot => [slot.name, app.graph.getNodeById(app.graph.links.get(slot.link).origin_id).type])),
    slots: node.inputs.map(slot => slot.name),
}))"""


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "nodes-2.0"])
def test_what_a_graph_had_changed_goes_to_run_settings_and_it_runs(comfyui, nodes_2):
    before = [
        "default",
        2,
        0,
        0,
        "0.5",
        False,
        "float32",
        1,
        3,
        "hold_last",
        "cpu",
        "unload",
        False,
        "memory",
    ]
    slots = [{"name": name, "type": "IMAGE", "link": 1} for name in ("frames",)]
    # As front ends of 2026 save it: a socket for each widget.
    slots += [
        {"name": name, "type": "*", "widget": {"name": name}, "link": None}
        for name in ("multiplier", "scale", "dtype")
    ]
    Image.fromarray(square(0)).save(comfyui.base / "input" / "0.png")
    picture = {"name": "IMAGE", "type": "IMAGE"}
    nodes = [
        {
            "id": 1,
            "type": "LoadImage",
            "outputs": [{**picture, "links": [2, 3]}],
            "widgets_values": ["0.png", "image"],
        },
        {
            "id": 2,
            "type": "ImageBatch",
            "inputs": [{"name": f"image{i}", "type": "IMAGE", "link": i + 1} for i in (1, 2)],
            "outputs": [{**picture, "links": [1]}],
        },
        {
            "id": 3,
            "type": "MidframeRIFE",
            "inputs": slots,
            "outputs": [{"name": "frames", "type": "IMAGE", "links": [4]}],
            "widgets_values": before,
        },
        {
            "id": 4,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 4}],
            "widgets_values": ["layout"],
        },
    ]
    for i, node in enumerate(nodes):
        node |= {
            "pos": [40 + 300 * i, 60],
            "size": [240, 280],
            "order": i,
            "mode": 0,
            "flags": {},
            "properties": {},
        }
    links = [[1, 2, 0, 3, 0], [2, 1, 0, 2, 0], [3, 1, 0, 2, 1], [4, 3, 0, 4, 0]]
    graph = {"last_node_id": 4, "last_link_id": 4, "groups": [], "config": {}, "extra": {}, "version": 0.4}
    graph |= {"nodes": nodes, "links": [[*link, "IMAGE"] for link in links]}
    with chromium() as browser, canvas_in(browser, comfyui) as canvas:
        canvas.open(nodes_2=nodes_2)
        canvas.load(json.loads(json.dumps(graph)))
        assert canvas.red() == []
        found = {row["type"]: row for row in canvas.page.evaluate(LOOK)}
        rife, run = found["MidframeRIFE"], found["MidframeRunSettings"]
        assert rife["from"] == {"frames": "ImageBatch", "run_settings": "MidframeRunSettings"}
        assert not {"scale", "dtype"} & set(rife["slots"])
        widgets = rife["widgets"]
        assert (widgets["motion_resolution"], widgets["last_frame"]) == ("0.5", "hold_last")
        assert widgets["clear_cache_after_n_frames"] == 3
        expected = {
            "dtype": "float32",
            "batch": 1,
            "device": "cpu",
            "after_run": "unload",
            "storage": "memory",
        }
        assert run["widgets"].items() >= expected.items()
        assert len(canvas.files(canvas.run())) == 4
        assert canvas.red() == []
