"""Makes ``example_workflows/``: workflows, their thumbnails and their clip.

    COMFYUI_PATH=... COMFYUI_PYTHON=... python tests/support/make_examples.py [TITLE ...]

The workflows are put together and saved by ComfyUI's own front end (see browser.py for what that needs), so that they
are as it writes them; the oldest host that they shall open in is the one to take. Each is run once: its thumbnail is the
graph afterwards. Without titles all are made, and the clip too.
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


def load(at: tuple[int, int] = (390, 60)) -> Node:
    return Node("LoadVideo", at, (300, 260), {"file": CLIP})


def save(at: tuple[int, int], source: int, prefix: str) -> Node:
    return Node("SaveVideo", at, (330, 380), {"filename_prefix": f"video/{prefix}"}, {"video": (source, 0)})


EXAMPLES: dict[str, Example] = {}

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


def make_clip(path: Path) -> None:
    """Write the demo's clip with a sound: four soft notes, so that one hears whether it stays in step."""
    with av.open(str(ROOT / "demo" / "clip.mp4")) as source, av.open(str(path), "w") as file:
        picture = source.streams.video[0]
        copied = file.add_stream_from_template(picture)
        sound = file.add_stream("aac", rate=32000, layout="mono", options={"b": "48000"})
        for packet in source.demux(picture):
            if packet.dts is not None:
                packet.stream = copied
                file.mux(packet)
        t = np.arange(32000 * 5 // 2) / 32000
        since = t % 0.625
        pitch = 220 * 2 ** (np.array([0, 4, 7, 12])[(t / 0.625).astype(int)] / 12)
        tone = (0.3 * np.sin(2 * np.pi * pitch * since) * np.exp(-6 * since)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate = 32000
        file.mux([*sound.encode(frame), *sound.encode()])


def tidied(graph: dict[str, Any]) -> dict[str, Any]:
    """Return a saved graph without what differs from run to run, or belongs to the one who saved it."""
    graph.pop("id", None)
    for node in graph["nodes"]:
        for name in ("cnr_id", "aux_id", "ver"):
            node["properties"].pop(name, None)
    kept = {key: graph["extra"][key] for key in ("linearMode", "linearData") if key in graph["extra"]}
    return {**graph, "revision": 0, "extra": kept}


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
    print(title, canvas.files(canvas.run(seconds=900)))  # noqa: T201
    canvas.page.wait_for_timeout(3000)
    picture = Image.open(BytesIO(photograph(canvas))).convert("RGB")
    picture.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    picture.save(FOLDER / f"{title}.jpg", quality=82, optimize=True)


def photograph(canvas: Canvas) -> bytes:
    """Take a picture of the graph alone, all of it."""
    canvas.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    canvas.page.wait_for_timeout(2500)
    clip = {"x": 60, "y": 95, "width": 1440, "height": 800}
    return canvas.page.screenshot(clip=clip)


def main(titles: list[str]) -> None:
    if not titles:
        make_clip(FOLDER / CLIP)
    with tempfile.TemporaryDirectory() as folder, running(ROOT, Path(folder) / "base") as server:
        (server.base / "input" / CLIP).write_bytes((FOLDER / CLIP).read_bytes())
        with chromium() as browser, canvas_in(browser, server) as canvas:
            canvas.open(nodes_2=True)
            for title in titles or EXAMPLES:
                make(canvas, title, EXAMPLES[title])


if __name__ == "__main__":
    main(sys.argv[1:])
