"""The pack on ComfyUI's canvas, in a real browser; see tests/support/browser.py for what that needs.

Each test runs on the classic canvas and with Nodes 2.0. COMFYUI_FRONT_END chooses another front end.
"""

import json
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from browser import canvas_in, chromium, of_the_pack
from comfyui import square
from midframe.nodes.old_ids import OLD_NODES
from midframe.vfi_models.rife.config import FAMILIES
from midframe.vfi_models.rife.net import IFNet
from midframe.weights.synthetic import synthetic_state_dict
from packs import ROOT
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.long  # a browser and a server: minutes, and nothing quick is a part of them
CHANGE = """value => {
    for (const node of app.graph.nodes)
        for (const widget of node.widgets ?? [])
            if (widget.name === 'target_fps') widget.value = value;
            else if (widget.name === 'measured_frames') widget.value = value - 46;
}"""
"""Widgets whose values make a run another one."""
FOLD = """kind => {
    const node = app.graph.nodes.find(one => one.type === kind || one.subgraph);
    app.graph.convertToSubgraph(new Set([node]));
}"""
LINK = """([kind, value, name]) => {
    const number = LiteGraph.createNode(kind);
    app.graph.add(number);
    number.widgets[0].value = value;
    const node = app.graph.nodes.find(one => one.type.startsWith('Midframe'));
    return Boolean(number.connect(0, node, node.inputs.findIndex(input => input.name === name)));
}"""
BLUEPRINTS = sorted(path.stem for path in (ROOT / "subgraphs").glob("*.json"))
EXAMPLES = sorted(path.stem for path in (ROOT / "example_workflows").glob("*.json"))


def write_clip(path, frames=9):
    """A short clip with sound at 16 frames a second."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=16)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        sound = file.add_stream("aac", rate=8000, layout="mono")
        for i in range(frames):
            picture = square(i % 7)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
        tone = np.sin(np.arange(8000 * frames // 16) / 8).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux(sound.encode(frame))
        file.mux(sound.encode())


@pytest.fixture(scope="module")
def server(comfyui):
    write_clip(comfyui.base / "input" / "clip.mp4")
    Image.fromarray(square(0)).save(comfyui.base / "input" / "example.png")  # ComfyUI has one there
    shapes = {k: tuple(v.shape) for k, v in IFNet(FAMILIES["4.7"], refine=False).state_dict().items()}
    folder = comfyui.base / "models" / "frame_interpolation"
    save_file(synthetic_state_dict(shapes), folder / "rife49.safetensors")
    return comfyui


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes-2.0"])
def canvas(server, browser, request):
    with canvas_in(browser, server) as canvas:
        canvas.open(nodes_2=request.param)
        canvas.nodes_2 = request.param
        yield canvas


def test_the_pack_loads_without_a_warning(server, browser):
    """In the server's log, and in the console: what is said there is said without the pack's nodes too."""
    ours = [line for line in server.log().splitlines() if of_the_pack(line)]
    assert not [line for line in ours if re.search("warn|error|IMPORT FAILED", line, re.I)]

    def console(without):
        with canvas_in(browser, server) as canvas:
            canvas.open(nodes_2=False, without=without)
            return {re.sub(r"\d+", "#", text) for text in canvas.said}

    nodes = server.json("/object_info")
    assert console(lambda _: False) <= console(lambda kind: of_the_pack(nodes[kind]["python_module"]))


def test_every_node_can_be_added(canvas):
    nodes = canvas.server.json("/object_info")
    kinds = [kind for kind, row in nodes.items() if of_the_pack(row["python_module"])]
    assert {"MidframeRIFE", "MidframeVideo", *OLD_NODES} <= set(kinds)
    canvas.clear()
    del canvas.said[:]
    for kind in kinds:
        node = canvas.add(kind)
        rows = {**nodes[kind]["input"].get("required", {}), **nodes[kind]["input"].get("optional", {})}
        menus = {name for name, row in rows.items() if isinstance(row[0], list)}
        assert menus <= set(node["widgets"]), kind
        assert node["title"] == nodes[kind]["display_name"]
        if canvas.nodes_2:
            canvas.page.wait_for_selector(f"[data-node-id='{node['id']}']", state="attached")
    assert canvas.red() == []
    assert canvas.said == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_opens_without_red_and_runs(canvas, root, name):
    graph = json.loads((root / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    canvas.load(graph)
    assert canvas.red() == []
    clip = canvas.server.base / "input" / "midframe_example.mp4"
    assert clip.is_file()
    write_clip(clip)  # it was put there when the first was opened; a shorter one is enough
    for setting in (50, 48):
        canvas.page.evaluate(CHANGE, setting)
        done = canvas.run()
        if not graph["extra"].get("linearMode"):  # which shows a form instead of nodes
            canvas.require_shown(done)
        assert canvas.red() == []


# Puts a node of the blueprint between one that loads a clip and one that saves a video.
BETWEEN = """() => {
    const [folded] = app.graph.nodes;
    const [load, parts, save] = ['LoadVideo', 'GetVideoComponents', 'SaveVideo'].map(kind => {
        const node = LiteGraph.createNode(kind);
        app.graph.add(node);
        return node;
    });
    load.widgets[0].value = 'clip.mp4';
    load.connect(0, parts, 0);
    const sources = {video: [load, 0], frames: [parts, 0], audio: [parts, 1], source_fps: [parts, 2]};
    folded.inputs.forEach((slot, i) => sources[slot.name]?.[0].connect(sources[slot.name][1], folded, i));
    folded.connect(0, save, save.inputs.findIndex(slot => slot.name === 'video'));
}"""


@pytest.mark.parametrize("title", BLUEPRINTS)
def test_a_blueprint_is_found_added_and_runs(canvas, title):
    canvas.clear()
    canvas.page.keyboard.press("Escape")
    assert canvas.search(title)[0] == title
    canvas.page.get_by_test_id("result-item").first.click()
    canvas.page.mouse.click(700, 500)  # newer front ends let a new node hang on the mouse until then
    canvas.page.wait_for_function("() => app.graph.nodes.length === 1")
    canvas.page.locator("#results-list").wait_for(state="hidden")
    canvas.page.evaluate(BETWEEN)
    assert canvas.red() == []
    (path,) = canvas.files(canvas.run())
    rate, frames, sound = described(path)
    assert sound
    assert rate >= 24
    assert frames > 12, "of 9"
    assert canvas.red() == []


def old_graph(kind, values, outputs=("IMAGE",), extra=()):
    """A workflow as older front ends saved it: widgets by position alone, none among the inputs."""
    slots = [{"name": "frames", "type": "IMAGE", "link": 5}]
    slots += [{"name": "optional_interpolation_states", "type": "INTERPOLATION_STATES", "link": None}]
    picture = {"type": "LoadImage", "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": []}]}
    batch = {"type": "ImageBatch", "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": []}]}
    nodes = [{"id": i + 1, **picture, "widgets_values": [f"{i}.png", "image"]} for i in range(3)]
    nodes += [{"id": 4, **batch}, {"id": 5, **batch}]
    for node in nodes[3:]:
        node["inputs"] = [{"name": f"image{i}", "type": "IMAGE", "link": None} for i in (1, 2)]
    outputs = [{"name": name, "type": name, "links": []} for name in outputs]
    nodes.append({"id": 6, "type": kind, "inputs": slots, "outputs": outputs, "widgets_values": values})
    image = {"name": "images", "type": "IMAGE", "link": None}
    nodes.append({"id": 7, "type": "SaveImage", "inputs": [image], "outputs": [], "widgets_values": ["old"]})
    nodes += extra
    links = [(1, 0, 4, 0), (2, 0, 4, 1), (4, 0, 5, 0), (3, 0, 5, 1), (5, 0, 6, 0), (6, 0, 7, 0)]
    links = [[i + 1, *link, "IMAGE"] for i, link in enumerate(links)]
    by_id = {node["id"]: node for node in nodes}
    for i, source, slot, target, entry, _ in links:
        by_id[source]["outputs"][slot]["links"].append(i)
        by_id[target]["inputs"][entry]["link"] = i
    for i, node in enumerate(nodes):
        node |= {"pos": [40 + 260 * (i % 5), 60 + 330 * (i // 5)], "size": [240, 280], "order": i, "mode": 0}
        node |= {"flags": {}, "properties": {"Node name for S&R": node["type"]}}
    top = {"last_node_id": 9, "last_link_id": 9, "groups": [], "config": {}, "extra": {}, "version": 0.4}
    return {**top, "nodes": nodes, "links": links}


OLD_VALUES = {
    "6 values": ["rife49.pth", 10, 2, True, True, 1],
    "9 values": ["rife49.pth", 10, 2, True, True, 1, "float32", False, 1],
    "4 values": ["rife49.pth", 10, 2, True],
}


@pytest.mark.parametrize("values", OLD_VALUES.values(), ids=OLD_VALUES)
def test_a_workflow_of_an_older_pack_opens_and_runs(canvas, values):
    canvas.load(old_graph("RIFE VFI", values))
    assert canvas.red() == []
    assert len(canvas.files(canvas.run())) == 5
    assert canvas.red() == []


SOCKETS = {"INTERPOLATION_STATES": "optional_interpolation_states", "RIFE_TRT_MODEL": "rife_trt_model"}


def wired_graph(
    kind="RIFE VFI",
    values=("rife49.pth", 10, 2, True, True, 1),
    *,
    mode=0,
    between=None,
    entry=0,
    widget=None,
):
    """An old graph with one more node: in the link ``between`` two nodes, or linked to an entry of the old one."""
    graph = old_graph(kind, list(values))
    rife = next(node for node in graph["nodes"] if node["id"] == 6)
    if between is None:
        rife["mode"] = mode
        return graph
    (output,) = between["outputs"]
    more = {
        "id": 20,
        "inputs": [],
        "pos": [40, 720],
        "size": [210, 90],
        "order": 20,
        "mode": mode,
        "flags": {},
    }
    if widget:
        rife["inputs"].append({"name": widget, "type": output["type"], "widget": {"name": widget}})
    if between["type"] == "Reroute":
        graph["links"][4][3:5] = [20, 0]  # of the frames
        more["inputs"] = [{"name": "", "type": "*", "link": 5}]
    if entry and not widget:
        rife["inputs"][entry] = {"name": SOCKETS[output["type"]], "type": output["type"]}
    output["links"], rife["inputs"][entry]["link"] = [22], 22
    graph["links"].append([22, 20, 0, 6, entry, output["type"]])
    graph["nodes"].append({**more, "properties": {}, **between})
    return {**graph, "last_node_id": 20, "last_link_id": 22}


def _node(kind, output, *values):
    return {"type": kind, "outputs": [{"name": output, "type": output}], "widgets_values": list(values)}


PRIMITIVE = _node("PrimitiveNode", "INT", 3, "fixed")
PRIMITIVE["outputs"][0]["widget"] = {"name": "multiplier"}
NUMBER = _node("VFI FloatToInt", "INT", 3.2)
STATES = _node("Make Interpolation State List", "INTERPOLATION_STATES", "1", True)
WIRED = {
    "bypassed": (wired_graph(mode=4), 3),
    "through a reroute": (wired_graph(between=_node("Reroute", "IMAGE")), 5),
    "a widget turned into an input, and a primitive": (
        wired_graph(between=PRIMITIVE, entry=2, widget="multiplier"),
        7,
    ),
    "a widget turned into an input, and a number": (
        wired_graph(between=NUMBER, entry=2, widget="multiplier"),
        7,
    ),
    "states": (wired_graph(between=STATES, entry=1), 4),
    "states, muted": (wired_graph(between=STATES, entry=1, mode=2), 5),
    "states, bypassed": (wired_graph(between=STATES, entry=1, mode=4), 5),
}


LOADER = _node("LoadRifeTensorrtModel", "RIFE_TRT_MODEL", "rife49_ensemble_True_scale_1_sim", "fp16")
TENSORRT = {
    "an engine as the first value": (old_graph("RifeTensorrt", ["none.engine", 50, 3, True, False]), 7),
    "a link from a loader": (wired_graph("RifeTensorrt", [50, 3, True, False], between=LOADER, entry=1), 7),
}


def test_graphs_of_an_older_pack_run_however_they_are_wired(canvas):
    """All in one browser: one opens and runs in a second."""
    made = {}
    graphs = WIRED | TENSORRT
    for name, (graph, _) in graphs.items():
        canvas.load(graph)
        assert canvas.red() == [], name
        made[name] = len(canvas.files(canvas.run()))
    assert made == {name: frames for name, (_, frames) in graphs.items()}


@pytest.mark.parametrize(
    ("kind", "value", "name", "frames"),
    [("PrimitiveFloat", 2.5, "multiplier", 6), ("PrimitiveInt", 40, "target_fps", 6)],
)
def test_numbers_of_both_kinds_are_linked_and_stay_so_in_a_file(canvas, kind, value, name, frames):
    """A rate of INT and a multiplier of FLOAT, with the mouse as in a file."""
    canvas.load(old_graph("MidframeRIFE", ["default", 2, 16, 0, "auto", False, "auto", 0]))
    linked = canvas.page.evaluate(LINK, [kind, value, name])
    assert linked
    assert len(canvas.files(canvas.run())) == frames
    canvas.load(json.loads(canvas.page.evaluate("() => JSON.stringify(app.graph.serialize())")))
    assert canvas.red() == []
    assert len(canvas.files(canvas.run())) == frames


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", ["RIFE VFI", "MidframeInterpolate"])
def test_a_node_folded_into_a_subgraph_runs(canvas, kind, depth):
    """An old one, and one of ours; into a subgraph of a subgraph too."""
    values = {
        "RIFE VFI": OLD_VALUES["6 values"],
        "MidframeInterpolate": ["default", 2, 16, 0, "auto", "auto"],
    }
    canvas.load(old_graph(kind, values[kind]))
    for _ in range(depth):
        canvas.page.evaluate(FOLD, kind)
    # By way of text, as a file is: what is undefined is left out there, and would be null here.
    canvas.load(json.loads(canvas.page.evaluate("() => JSON.stringify(app.graph.serialize())")))
    assert canvas.red() == []
    assert len(canvas.files(canvas.run())) == 5


def test_the_front_ends_dialog_replaces_an_old_node(server, browser):
    """Only where the old id is not registered: the front end is not told of it."""
    with canvas_in(browser, server) as canvas:
        canvas.open(nodes_2=False, without=lambda kind: kind == "RIFE VFI")
        canvas.load(old_graph("RIFE VFI", OLD_VALUES["9 values"]))
        assert "RIFE VFI (6) is missing" in canvas.red()
        canvas.page.get_by_test_id("error-overlay-see-errors").click()
        canvas.page.get_by_role("button", name="Replace Node").click()
        canvas.page.wait_for_function("() => app.graph.nodes.some(node => node.type === 'MidframeRIFE')")
        canvas.page.wait_for_timeout(500)
        assert canvas.red() == []
        assert len(canvas.files(canvas.run())) == 5
        # Front end 1.58 keeps what it drew before in a list, and draws nothing more if that has a node that is gone.
        drawn = canvas.page.evaluate("() => { app.canvas.setDirty(true, true); return app.canvas.frame; }")
        canvas.page.wait_for_function("before => app.canvas.frame > before + 1", arg=drawn)


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "nodes-2.0"])
def test_four_clicks_smooth_a_clip(server, browser, tmp_path, nodes_2):
    """From an empty canvas; docs/comfyui.md counts the same."""
    clip = tmp_path / "mine.mp4"
    write_clip(clip, frames=49)
    with canvas_in(browser, server) as canvas:
        canvas.open(nodes_2=nodes_2)
        canvas.drop(clip)  # 1
        canvas.page.wait_for_function("() => app.graph.nodes[0]?.widgets?.[0].value === 'mine.mp4'")
        # Until it is drawn, which takes a busy machine seconds, a click is one on the canvas.
        if nodes_2:
            canvas.page.wait_for_selector("[data-node-id='1'] video")
        canvas.page.wait_for_function("() => app.canvas.visible_nodes?.length === 1")
        canvas.page.wait_for_timeout(1500)
        canvas.page.mouse.click(**canvas.title_of(1), button="right")  # 2
        canvas.page.get_by_text("Smooth to 60 fps (Midframe)").click()  # 3
        canvas.page.wait_for_function("() => app.graph.nodes.length === 3")
        assert canvas.red() == []
        done = canvas.run(canvas.page.get_by_test_id("queue-button").click)  # 4
        (path,) = canvas.files(done)
        assert described(path) == (60, 184, True)  # 49 / 16 s
        canvas.require_shown(done)


def described(path: Path) -> tuple[Fraction, int, bool]:
    """Return frame rate, number of frames, and whether there is sound."""
    with av.open(str(path)) as file:
        frames = sum(1 for _ in file.decode(video=0))
        return file.streams.video[0].average_rate, frames, bool(file.streams.audio)
