"""ComfyUI's own graph for frame interpolation, with our node in place of its own; and a graph of ours without a browser.

The graph is the blueprint that lies in ComfyUI's folder, and the official template: that is in the package
``comfyui-workflow-templates-json``, which COMFYUI_PYTHON may have, or COMFYUI_TEMPLATES names a folder with it
(``pip download --no-deps``, unzipped). See tests/support/comfyui.py for what the server needs.
"""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import real_weights
import torch
from clips import frames_of, pictures, times_of, write_clip
from comfyui import as_arrays, node
from midframe import interpolate, load_model
from midframe.vfi_utils import Settings

pytestmark = pytest.mark.long
LOG = logging.getLogger(__name__)
RIFE = "rife_template_425.pkl"
FRAMES = 7
LARGE = ("large", "other", "third", "last")
"""Clips of one size, for what is made of one is kept."""
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
"""Types of inputs that are widgets; so are the menus of older nodes, which are lists."""


@pytest.fixture(scope="module")
def server(comfyui):
    weights = real_weights.require("rife-4.25")
    shutil.copy(weights, comfyui.base / "models" / "frame_interpolation" / RIFE)
    sizes = {"small": (128, 128), "padded": (96, 128)} | dict.fromkeys(LARGE, (256, 384))
    for step, (name, size) in enumerate(sizes.items(), 4):
        frames = pictures(FRAMES, size, step=step)
        write_clip(comfyui.base / "input" / f"{name}.mp4", frames, rate=16, sound="aac")
    return comfyui


def inner_graph(path):
    return json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"][0]


@pytest.fixture(scope="module")
def subgraph(server):
    path = Path(os.environ["COMFYUI_PATH"]) / "blueprints" / "Frame Interpolation.json"
    if not path.is_file():
        pytest.skip("this ComfyUI has no blueprint for frame interpolation")
    return inner_graph(path)


@pytest.fixture(scope="module")
def template(server):
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    packages = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    for folder in filter(None, (os.environ.get("COMFYUI_TEMPLATES"), packages)):
        place = "comfyui_workflow_templates*/templates/utility_video_frame_interpolation.json"
        for path in Path(folder).glob(place):
            return inner_graph(path)
    pytest.skip("comfyui-workflow-templates-json is not installed, and COMFYUI_TEMPLATES is not set")


def widgets_of(server, each):
    """The values of a saved node's widgets by name; the template's nodes have no socket for some of them."""
    rows = server.json(f"/object_info/{each['type']}")[each["type"]]["input"]
    kinds = {name: row[0] for part in ("required", "optional") for name, row in rows.get(part, {}).items()}
    names = [name for name, kind in kinds.items() if isinstance(kind, list) or kind in WIDGETS]
    return dict(zip(names, each.get("widgets_values") or [], strict=False))  # a number has a control more


def core_graph(server, subgraph, clip, multiplier=2):
    """The subgraph as the API takes it, between Load Video and two nodes that save."""
    given = [["load", 0], multiplier, True, RIFE]
    links = {
        link["id"]: given[link["origin_slot"]]
        if link["origin_id"] < 0
        else [str(link["origin_id"]), link["origin_slot"]]
        for link in subgraph["links"]
    }
    graph = {"load": node("LoadVideo", file=clip)}
    for each in subgraph["nodes"]:
        inputs = widgets_of(server, each)
        for entry in each["inputs"]:
            if entry.get("link") is not None:
                inputs[entry["name"]] = links[entry["link"]]
        graph[str(each["id"])] = node(each["type"], **inputs)
    (video, image) = (
        next(link for link in subgraph["links"] if link["target_id"] == -20 and link["target_slot"] == slot)
        for slot in (0, 1)
    )
    graph["pictures"] = node("SaveImage", images=[str(image["origin_id"]), 0], filename_prefix="template")
    graph["video"] = node(
        "SaveVideo",
        video=[str(video["origin_id"]), 0],
        filename_prefix="template",
        format="auto",
        codec="auto",
    )
    return graph


def our_graph(graph):
    """The same with our node in place of core's two."""
    graph = json.loads(json.dumps(graph))
    (name,) = (name for name, each in graph.items() if each["class_type"] == "FrameInterpolate")
    (loader,) = (
        name for name, each in graph.items() if each["class_type"] == "FrameInterpolationModelLoader"
    )
    core = graph[name]["inputs"]
    inputs = {"frames": core["images"], "multiplier": core["multiplier"], "model": RIFE, "dtype": "float32"}
    graph[name] = node("MidframeRIFE", **inputs)
    del graph[loader]
    return graph


def run(server, graph):
    """The pictures, the video, and the seconds that it took."""
    done = server.result(server.post(graph), seconds=300)
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    times = {kind: data["timestamp"] / 1000 for kind, data in done["status"]["messages"]}
    paths = {
        name: [server.base / "output" / file["subfolder"] / file["filename"] for file in out["images"]]
        for name, out in done["outputs"].items()
    }
    return (
        as_arrays(paths["pictures"]),
        paths["video"][0],
        times["execution_success"] - times["execution_start"],
    )


@pytest.mark.parametrize(("source", "multiplier"), [("subgraph", 3), ("template", 2)])
def test_core_s_graph_gives_equal_pictures_and_a_video_as_long(server, source, multiplier, request):
    graph = core_graph(server, request.getfixturevalue(source), "small.mp4", multiplier)
    core, core_video, _ = run(server, graph)
    ours, our_video, _ = run(server, our_graph(graph))
    assert core.shape == ours.shape == ((FRAMES - 1) * multiplier + 1, 128, 128, 3)
    assert np.abs(core - ours).max() <= 1
    made, sources = core[1::multiplier], core[::multiplier]
    assert np.abs(made - sources[:-1]).max() > 20, "frames were made"
    assert times_of(core_video) == times_of(our_video)


def test_it_is_faster(server, subgraph):
    """The whole graph: the video read and written, the pictures saved. The least of three, by turns."""
    took = {"core": [], "ours": []}
    for i, clip in enumerate(LARGE):
        core = core_graph(server, subgraph, f"{clip}.mp4", 4)
        graphs = {"core": core, "ours": our_graph(core)}
        for name in sorted(graphs, reverse=bool(i % 2)):
            took[name].append(run(server, graphs[name])[2])
    core, ours = (min(took[name][1:]) for name in ("core", "ours"))  # the first loads the weights
    LOG.info("256 x 384, %d made frames: core's node %.1f s, ours %.1f s", 3 * (FRAMES - 1), core, ours)
    LOG.info("all: %s", {name: [round(second, 1) for second in all_] for name, all_ in took.items()})
    assert ours < core


def test_where_the_picture_is_padded_core_reflects_and_we_pad_by_zeros_as_published(server, subgraph):
    core, _, _ = run(server, core_graph(server, subgraph, "padded.mp4"))
    ours, _, _ = run(server, our_graph(core_graph(server, subgraph, "padded.mp4")))
    assert np.abs(core - ours).max() > 1
    source = torch.from_numpy(core[::2]).float() / 255
    model = load_model(server.base / "models" / "frame_interpolation" / RIFE, "cpu", "float32")
    for padding, wanted in (("zeros", ours), ("reflect", core)):
        made = interpolate(source, model, 2, settings=Settings(options={"padding": padding}))
        differs = np.abs(made.mul(255).round().numpy() - wanted)
        assert differs.max() <= 2, (padding, differs.max())


def test_the_graph_of_the_page_on_embedding_runs_without_a_browser(server, root):
    text = (root / "docs" / "embedding.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "class_type" in b)
    names = {}
    exec(block, names)
    shutil.copy(server.base / "input" / "small.mp4", server.base / "input" / "clip.mp4")
    done = server.result(names["queue"](names["graph"], server.url))
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    (file,) = (file for out in done["outputs"].values() for file in out["images"])
    path = server.base / "output" / file["subfolder"] / file["filename"]
    assert len(frames_of(path)) == 27  # 7/16 s at 60 fps
