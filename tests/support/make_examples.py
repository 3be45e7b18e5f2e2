"""Makes ``example_workflows/``: workflows, their thumbnails and their clip.

    COMFYUI_PATH=... COMFYUI_PYTHON=... python tests/support/make_examples.py [TITLE ...]

The workflows are put together and saved by ComfyUI's own front end (see browser.py for what that needs), so that they
are as it writes them; the oldest host that they shall open in is the one to take. Each is run once: its thumbnail is the
graph afterwards, with the first half second of the clip. Without titles all are made, and the clip too. Then the
blueprints of ``subgraphs/`` are folded from the workflows as they lie there: a title that is none of a workflow makes these alone.
"""

import json
import sys
import tempfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from browser import Canvas, canvas_in, chromium
from comfyui import running
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "example_workflows"
CLIP = "midframe_example.mp4"
THUMBNAIL = (480, 300)
IN_DOCS = "Slow motion with a curve"
"""Its picture, larger, is docs/canvas.jpg."""

Value = Any
Source = tuple[int, int]
"""A node's place in the list of its workflow, and the number of its output."""


@dataclass(frozen=True)
class Node:
    """A node of a workflow."""

    kind: str
    at: tuple[int, int]
    size: tuple[int, int]
    values: dict[str, Value] = field(default_factory=dict)
    links: dict[str, Source] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True)
class Example:
    """A workflow: nodes, and what a user of it shall read."""

    text: str
    nodes: tuple[Node, ...]
    app: tuple[tuple[int, str], ...] = ()
    """The widgets that its form in app mode shows: numbers of nodes and names. The last node is what it shows."""


def load(at: tuple[int, int] = (400, 60)) -> Node:
    return Node("LoadVideo", at, (320, 300), {"file": CLIP})


def save(at: tuple[int, int], source: int, name: str) -> Node:
    return Node("SaveVideo", at, (380, 400), {"filename_prefix": f"video/{name}"}, {"video": (source, 0)})


def interpolate_video(at: tuple[int, int], links: dict[str, Source], fps: float = 60) -> Node:
    return Node("MidframeVideo", at, (330, 260), {"target_fps": fps}, links)


_SMOOTH = (load(), interpolate_video((760, 60), {"video": (0, 0)}), save((1130, 60), 1, "smooth"))
_CURVE = "0:1, 0.5s:0.25, 2s:1"

EXAMPLES: dict[str, Example] = {
    "Smooth a video": Example(
        "1. Choose a video in **Load Video**.\n2. Run. It has 60 frames a second; its sound and its length stay.\n\n"
        "It is read, interpolated and written at the same time, so that it may be of any length. Progress and the "
        "newest frame are shown on **Save Video**.\n\nFor twice the frame rate instead of 60, set **target_fps** to 0: "
        "then **multiplier** counts.",
        _SMOOTH,
    ),
    "Smooth a video (app)": Example(
        "The form of *Smooth a video*: choose a video and a frame rate, and run.",
        _SMOOTH,
        app=((0, "file"), (1, "target_fps")),
    ),
    "Frames to any frame rate": Example(
        "For frames that come from a sampler, or go through other nodes.\n\n**Interpolate Frames** takes the frame rate "
        "from **Get Video Components** and makes 60 frames a second of it; without a video, type the source's rate: 16 for "
        "Wan, 24 for LTX.\n\n**Create Video** gets the frame rate that comes out, and the sound.",
        (
            load(),
            Node("GetVideoComponents", (400, 420), (220, 90), links={"video": (0, 0)}),
            Node(
                "MidframeInterpolate",
                (760, 60),
                (330, 300),
                {"target_fps": 60, "last_frame": "hold_last"},
                {"frames": (1, 0), "source_fps": (1, 2)},
            ),
            Node(
                "CreateVideo", (760, 480), (330, 90), links={"images": (2, 0), "fps": (2, 1), "audio": (1, 1)}
            ),
            save((1130, 60), 3, "any_rate"),
        ),
    ),
    "Long video in chunks": Example(
        "A film, hours long. It is made in chunks on the disk: cancel it, close ComfyUI, run it again, and it goes on where "
        "it was.\n\nThe file is `output/midframe/long_60fps`. How long a chunk is, stands in **Run Settings**.",
        (
            load(),
            Node("MidframeRunSettings", (400, 420), (320, 320), {"pairs_per_chunk": 20}),
            Node(
                "MidframeChunks",
                (760, 60),
                (400, 520),
                {"target_fps": 60, "filename_prefix": "midframe/long_60fps"},
                {"video": (0, 0), "run_settings": (1, 0)},
            ),
        ),
    ),
    "Slow motion with a curve": Example(
        f"The curve says how fast the clip runs, and when: `{_CURVE}` begins at its own speed, is at a quarter of it after "
        "half a second, and back at the second one. Its picture is shown after the first run. `-1` runs backwards, `0` "
        "stops.\n\nThe sound is stretched with the picture; see **sound**.",
        (
            load(),
            Node("MidframeSpeed", (400, 420), (320, 420), {"curve": _CURVE, "ease": "eased"}),
            Node("MidframeTiming", (760, 420), (330, 200), links={"speed": (1, 0)}),
            interpolate_video((760, 60), {"video": (0, 0), "timing": (2, 0)}, fps=30),
            save((1130, 60), 3, "slow_motion"),
        ),
    ),
    "Compare models": Example(
        "Which model is best for *this* clip? **Report on Clip** leaves out frames of it, makes them anew with every model "
        "on this computer, and measures how near each comes to the true ones, and how fast.\n\nThe sheet shows frames "
        "where models differ the most. The page in `output/` has all of it.",
        (
            load(),
            Node("MidframeReport", (760, 60), (330, 420), {"measured_frames": 4}, {"video": (0, 0)}),
            Node("PreviewImage", (1130, 60), (520, 420), links={"images": (1, 0)}),
        ),
    ),
}


@dataclass(frozen=True)
class Blueprint:
    """Nodes of a workflow folded into one, for ComfyUI's library of nodes."""

    example: str
    kinds: tuple[str, ...]
    widgets: tuple[tuple[str, str], ...]
    """Settings of the one node besides its links: kinds of nodes inside, and names."""
    description: str


_RATE_AND_MODEL = ("target_fps", "model")
# The search of the canvas ranks by names alone: first those that begin with what was typed, shorter ones before longer ones,
# then those that have it inside. These two come first for "interpolation", "smooth", "60 fps" and "frame rate".
BLUEPRINTS = {
    "Slow Motion (Midframe)": Blueprint(
        "Slow motion with a curve",
        ("MidframeSpeed", "MidframeTiming", "MidframeVideo"),
        (("MidframeSpeed", "curve"), *(("MidframeVideo", name) for name in _RATE_AND_MODEL)),
        "Slows a video down and speeds it up along a curve, with its sound, and makes the frames in between.",
    ),
    "Smooth to 60 fps": Blueprint(
        "Smooth a video",
        ("MidframeVideo",),
        tuple(("MidframeVideo", name) for name in _RATE_AND_MODEL),
        "Makes a video of any length smooth: 60 frames a second, with its sound, times and cuts.",
    ),
    "Interpolation to a frame rate": Blueprint(
        "Frames to any frame rate",
        ("MidframeInterpolate", "CreateVideo"),
        tuple(("MidframeInterpolate", name) for name in _RATE_AND_MODEL),
        "Turns frames of one rate into a video of another by making the frames in between.",
    ),
}

BUILD = """async ([nodes, app]) => {
    const graph = window.app.graph;
    graph.clear();
    const made = [];
    for (const row of nodes) {
        const node = LiteGraph.createNode(row.kind);
        if (!node) throw new Error(`no node ${row.kind}`);
        graph.add(node);
        node.pos = row.at;
        if (row.title) node.title = row.title;
        if (row.kind === 'MarkdownNote') { node.color = '#432'; node.bgcolor = '#653'; }
        for (const [name, value] of Object.entries(row.values)) {
            const widget = node.widgets.find(w => w.name === name);
            if (!widget) throw new Error(`${row.kind} has no widget ${name}: ${node.widgets.map(w => w.name)}`);
            widget.value = value;
            widget.callback?.(value);
        }
        node.setSize([row.size[0], Math.max(row.size[1], node.computeSize()[1])]);
        made.push(node);
    }
    nodes.forEach((row, i) => {
        for (const [name, [from, output]] of Object.entries(row.links)) {
            const slot = made[i].inputs.findIndex(input => input.name === name);
            if (slot < 0) throw new Error(`${row.kind} has no input ${name}`);
            if (!made[from].connect(output, made[i], slot)) throw new Error(`${row.kind}: ${name} is not linked`);
        }
    });
    if (app.length) {
        graph.extra.linearMode = true;
        graph.extra.linearData = {
            inputs: app.map(([number, name]) => [made[number].id, name]), outputs: [made.at(-1).id],
        };
    }
    await new Promise(resolve => setTimeout(resolve, 500));
    return graph.serialize();
}"""


def make_clip(path: Path, frames: int = 40) -> None:
    """Write the demo's clip, smaller and with four soft notes, so that one hears whether sound stays in step."""
    with av.open(str(ROOT / "demo" / "clip.mp4")) as source, av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=16, options={"crf": "24", "preset": "veryslow"})
        picture.width, picture.height, picture.pix_fmt = 320, 180, "yuv420p"
        sound = file.add_stream("aac", rate=32000, layout="mono", options={"b": "48000"})
        for frame, _ in zip(source.decode(video=0), range(frames), strict=False):
            small = frame.to_image().crop((0, 1, 480, 271)).resize((320, 180), Image.Resampling.LANCZOS)
            file.mux(picture.encode(av.VideoFrame.from_image(small)))
        file.mux(picture.encode())
        t = np.arange(32000 * frames // 16) / 32000
        since = t % 0.625
        pitch = 220 * 2 ** (np.array([0, 4, 7, 12])[(t / 0.625).astype(int)] / 12)
        tone = (0.3 * np.sin(2 * np.pi * pitch * since) * np.exp(-6 * since)).astype(np.float32)
        notes = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        notes.sample_rate = 32000
        file.mux([*sound.encode(notes), *sound.encode()])


def tidied(graph: dict[str, Any]) -> dict[str, Any]:
    """Return a saved graph without what differs from run to run, or belongs to the one who saved it."""
    graph.pop("id", None)
    for node in graph["nodes"]:
        for name in ("cnr_id", "aux_id", "ver"):
            node["properties"].pop(name, None)
    kept = {key: graph["extra"][key] for key in ("linearMode", "linearData") if key in graph["extra"]}
    return {**{key: value for key, value in graph.items() if value is not None}, "revision": 0, "extra": kept}


def make(canvas: Canvas, title: str, example: Example) -> None:
    """Build, save, run and photograph one workflow."""
    note = Node(
        "MarkdownNote", (20, 60), (340, 330), {"text": f"### {title}\n\n{example.text}"}, title="Read me"
    )
    rows = [vars(node) for node in (*example.nodes, note)]
    canvas.clear()
    app = [list(row) for row in example.app]
    graph = tidied(canvas.page.evaluate(BUILD, [rows[:-1] + rows[-1:], app]))
    if app:  # its last node but the note
        graph["extra"]["linearData"]["outputs"] = [graph["nodes"][-2]["id"]]
    path = FOLDER / f"{title}.json"
    path.write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")
    canvas.load({**graph, "extra": {}})
    assert canvas.red() == [], canvas.red()
    done = canvas.run(seconds=900)
    print(title, canvas.files(done))  # noqa: T201
    canvas.require_shown(done)
    canvas.page.wait_for_timeout(3000)
    picture = Image.open(BytesIO(photograph(canvas))).convert("RGB")
    if title == IN_DOCS:
        picture.resize((1200, 667), Image.Resampling.LANCZOS).save(ROOT / "docs" / "canvas.jpg", quality=80)
    picture.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    picture.save(FOLDER / f"{title}.jpg", quality=82, optimize=True)


SUBGRAPH = """([nodes, inputs]) => {
    const chosen = nodes.map(kind => app.graph.nodes.find(node => node.type === kind));
    const {subgraph, node} = app.graph.convertToSubgraph(new Set(chosen));
    for (const [kind, name] of inputs) {
        const inner = subgraph.nodes.find(node => node.type === kind);
        const slot = inner.inputs.find(input => input.name === name);
        subgraph.addInput(name, String(slot.type)).connect(slot, inner);
    }
    for (const other of [...app.graph.nodes]) if (other !== node) app.graph.remove(other);
    subgraph.name = node.title = '%s';
    return app.graph.serialize();
}"""


def make_blueprint(canvas: Canvas, title: str, blueprint: Blueprint) -> None:
    """Fold nodes of a workflow into one node, and save that for ComfyUI's library of nodes."""
    path = FOLDER / f"{blueprint.example}.json"
    canvas.load(json.loads(path.read_text(encoding="utf-8")))
    graph = tidied(canvas.page.evaluate(SUBGRAPH % title, [list(blueprint.kinds), list(blueprint.widgets)]))
    graph["links"] = []
    (folded,) = graph["definitions"]["subgraphs"]
    folded |= {"category": "Video Tools", "description": blueprint.description}  # of core's own blueprint
    folder = ROOT / "subgraphs"
    folder.mkdir(exist_ok=True)
    (folder / f"{title}.json").write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")


def photograph(canvas: Canvas) -> bytes:
    """Take a picture of the graph alone, all of it."""
    canvas.fit_view()
    canvas.page.wait_for_timeout(2500)
    clip = {"x": 60, "y": 95, "width": 1440, "height": 800}
    return canvas.page.screenshot(clip=clip)


def main(titles: list[str]) -> None:
    if not titles:
        make_clip(FOLDER / CLIP)
    with tempfile.TemporaryDirectory() as folder, running(ROOT, Path(folder) / "base") as server:
        make_clip(server.base / "input" / CLIP, frames=9)
        with chromium() as browser, canvas_in(browser, server) as canvas:
            canvas.open(nodes_2=True)
            for title in [title for title in EXAMPLES if title in (titles or EXAMPLES)]:
                make(canvas, title, EXAMPLES[title])
            for title, blueprint in BLUEPRINTS.items():
                make_blueprint(canvas, title, blueprint)


if __name__ == "__main__":
    main(sys.argv[1:])
