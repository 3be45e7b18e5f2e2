"""ComfyUI's front end in headless Chromium, for tests that press buttons.

Needs ``playwright`` (``pip install playwright``: its own browsers are not needed) and a Chromium: ``chromium`` on the
PATH, or the file that CHROMIUM_PATH names.
"""

import base64
import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from comfyui import PACK, Server

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # no dialog of templates on the first visit
    "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],  # no tour of app mode
    "Comfy.Workflow.Persist": False,
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MaximumFps": 4,  # each is drawn by the processor
}
SECONDS = 300
"""For anything: some ten are enough on a quiet machine, and 30 were not for a video to be drawn beside 14 other programs."""

# What the front end shows as wrong about the graph that is open, in one list of sentences.
RED = """() => {
    const red = [];
    for (const node of app.graph.nodes) {
        const name = `${node.type} (${node.id})`;
        if (!(node.type in LiteGraph.registered_node_types) && !app.graph.subgraphs?.has(node.type))
            red.push(`${name} is missing`);
        if (node.has_errors) red.push(`${name} has errors`);
        for (const widget of node.widgets ?? []) {
            const values = widget.type === 'combo' && widget.options?.values;
            // As the server compares them: saved numbers stand for the texts of a menu.
            if (Array.isArray(values) && !values.map(String).includes(String(widget.value)))
                red.push(`${name}: ${widget.name} ${JSON.stringify(widget.value)} is none of ${JSON.stringify(values)}`);
            if (widget.value === undefined || Number.isNaN(widget.value)) red.push(`${name}: ${widget.name} has no value`);
        }
        for (const slot of node.inputs ?? [])
            if (slot.link != null && !app.graph.links.get(slot.link)) red.push(`${name}: ${slot.name} lost its link`);
    }
    const boxes = '[role=dialog], [role=alertdialog], .p-toast-message, [role=alert], [data-toast-kind]';
    for (const box of document.querySelectorAll(boxes)) {
        // Front ends before 1.58 name the kind of a message in its class. "Notification" is read aloud, of any kind.
        const kind = box.closest('[data-toast-kind]')?.dataset.toastKind ?? box.className;
        const text = box.innerText.trim();
        if (box.checkVisibility() && text && !/success|info|loading/i.test(kind) && !text.startsWith('Notification'))
            red.push(text);
    }
    for (const box of document.querySelectorAll('[data-testid=error-overlay], [data-testid*=missing]'))
        if (box.checkVisibility() && box.innerText.trim()) red.push(box.innerText.trim());
    return [...new Set(red)];
}"""


# Addresses of the pictures and videos that a node shows.
SHOWN = """id => {
    const box = document.querySelector(`[data-node-id="${id}"]`);
    const node = app.graph.getNodeById(id);
    const player = node.videoContainer?.querySelectorAll('video') ?? [];
    const media = box ? [...box.querySelectorAll('video, img')] : [...player, ...(node.imgs ?? [])];
    return media.map(one => one.currentSrc || one.src);
}"""


class Canvas:
    """A page with the front end, on the classic canvas or with Nodes 2.0."""

    def __init__(self, page: Any, server: Server) -> None:
        self.page, self.server = page, server
        self.said: list[str] = []
        """Warnings and errors of the console, and what was thrown."""
        self.refused: list[str] = []
        """Answers of the server that refused a prompt."""
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("response", self._look)
        page.set_default_timeout(SECONDS * 1000)

    def _hear(self, message: Any) -> None:
        ours = "net::ERR_FAILED" in message.text  # what open() keeps from the internet
        if message.type in ("warning", "error") and not ours:
            self.said.append(message.text)

    def _look(self, reply: Any) -> None:
        if reply.url.endswith("/prompt") and reply.status >= 400:
            self.refused.append(reply.text())

    def open(self, *, nodes_2: bool, without: Callable[[str], bool] = lambda _: False) -> None:
        """Open the page, with an empty graph. Node types that ``without`` names are kept from the front end."""

        def fewer(route: Any) -> None:
            reply = route.fetch()
            known = {kind: row for kind, row in reply.json().items() if not without(kind)}
            route.fulfill(response=reply, json=known)

        self.page.route(re.compile(r"/object_info$"), fewer)
        self.page.route(lambda url: not url.startswith(self.server.url), lambda route: route.abort())
        self.server.json("/settings", {**SETTINGS, "Comfy.VueNodes.Enabled": nodes_2})
        self.page.goto(self.server.url)
        self.page.wait_for_function(
            "window.app?.vueAppReady && window.LiteGraph?.registered_node_types.SaveImage && app.graph"
        )
        self.clear()

    def clear(self) -> None:
        """Empty the graph."""
        self.load({"nodes": [], "links": [], "version": 0.4})

    def load(self, graph: dict[str, Any]) -> None:
        """Open a saved workflow as the front end does with a dropped file."""
        self.page.keyboard.press("Escape")
        self.page.evaluate("graph => app.loadGraphData(graph, true, true, null)", graph)
        self.page.wait_for_timeout(500)  # dialogs and marks follow a little later

    def red(self) -> list[str]:
        """Return what the front end marks as wrong, in words."""
        return self.page.evaluate(RED)

    def shown(self, node: str) -> list[str | None]:
        """Return the names of the files that a node shows, None for what is no file: such as a run's newest frame."""
        queries = [parse_qs(urlsplit(url).query) for url in self.page.evaluate(SHOWN, node)]
        return [query.get("filename", [None])[0] for query in queries]

    def require_shown(self, done: dict[str, Any], seconds: float = SECONDS) -> None:
        """Require that each node shows what a run has given it to show, and nothing else."""
        rows = {node: out["images"] for node, out in done["outputs"].items() if out.get("images")}
        expected = {node: [row["filename"] for row in images] for node, images in rows.items()}
        self.fit_view()  # the classic canvas loads nothing for a node that is out of sight
        with contextlib.suppress(TimeoutError):
            self.server.until(lambda: self._look_again() and self._all_shown(expected) == expected, seconds)
        shown = self._all_shown(expected)
        assert shown == expected, f"{shown} instead of {expected}"

    def fit_view(self) -> None:
        """Show the whole graph."""
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")

    def _look_again(self) -> bool:
        self.page.wait_for_timeout(100)
        return True

    def _all_shown(self, nodes: Iterable[str]) -> dict[str, list[str | None]]:
        return {node: self.shown(node) for node in nodes}

    def search(self, words: str) -> list[str]:
        """Open the search for nodes, type, and return the names of what it finds, best first; it stays open."""
        self.page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        self.page.locator("#results-list").wait_for()
        self.page.keyboard.type(words)
        self.page.wait_for_timeout(1500)  # it searches a little after the last key
        return [row.splitlines()[0] for row in self.page.get_by_test_id("result-item").all_inner_texts()]

    def close_search(self) -> None:
        """Close the search for nodes."""
        self.page.keyboard.press("Escape")
        self.page.locator("#results-list").wait_for(state="hidden")

    def add(self, kind: str) -> dict[str, Any]:
        """Add a node, and return its id, the names of its widgets and the text that the page shows of it."""
        made = self.page.evaluate(
            """kind => {
                const node = LiteGraph.createNode(kind);
                app.graph.add(node);
                return {id: node.id, title: node.title, widgets: (node.widgets ?? []).map(w => w.name)};
            }""",
            kind,
        )
        return made

    def run(self, press: Callable[[], Any] | None = None, seconds: float = SECONDS) -> dict[str, Any]:
        """Run the open graph, by ``press`` or as the Run button does, and return its entry of the history."""
        before = set(self.server.json("/history"))
        del self.refused[:]
        if press is None:
            self.page.evaluate("() => app.queuePrompt(0, 1)")
        else:
            press()

        def ended() -> dict[str, Any] | None:
            self.page.wait_for_timeout(50)  # lets answers and messages in
            assert not self.refused, self.refused
            history = self.server.json("/history")
            return next((entry for key, entry in history.items() if key not in before), None)

        done = self.server.until(ended, seconds)
        assert done["status"]["status_str"] == "success", done["status"]["messages"]
        return done

    def drop(self, file: Path) -> None:
        """Drop a video on the empty canvas."""
        script = """([name, data]) => {
            const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], name, {type: 'video/mp4'}));
            return carried;
        }"""
        carried = self.page.evaluate_handle(script, [file.name, base64.b64encode(file.read_bytes()).decode()])
        event = {"dataTransfer": carried, "clientX": 350, "clientY": 250}
        self.page.dispatch_event("#graph-canvas", "dragover", event)
        self.page.dispatch_event("#graph-canvas", "drop", event)

    def title_of(self, node: int) -> dict[str, float]:
        """Return where the title of a node is on the screen, for a mouse."""
        x, y = self.page.evaluate(
            "id => (n => app.canvasPosToClientPos([n.pos[0] + 60, n.pos[1] - 12]))(app.graph.getNodeById(id))",
            node,
        )
        return {"x": x, "y": y}

    def files(self, done: dict[str, Any]) -> list[Path]:
        """The files that a run has written to the output folder."""
        written = [
            row
            for out in done["outputs"].values()
            for rows in out.values()
            if isinstance(rows, list)
            for row in rows
            if isinstance(row, dict) and row.get("type") == "output"
        ]
        return [self.server.base / "output" / row["subfolder"] / row["filename"] for row in written]


def of_the_pack(text: str) -> bool:
    """Whether a line of a log or a console is about the pack."""
    return "midframe" in text.lower() or PACK.lower() in text.lower()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none. One at a time: playwright's loop is the process's."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="not run in a browser: playwright is not installed"
    )
    path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    if path is None:
        pytest.skip("not run in a browser: no chromium on the PATH, and CHROMIUM_PATH is not set")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def canvas_in(browser: Any, server: Server) -> Iterator[Canvas]:
    """A canvas that shares nothing with others of the browser."""
    context = browser.new_context(viewport={"width": 1500, "height": 900})
    try:
        yield Canvas(context.new_page(), server)
    finally:
        context.close()
