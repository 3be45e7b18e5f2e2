"""The nodes in other languages, on ComfyUI's canvas in a real browser; see tests/support/browser.py for what that needs.

``COMFYUI_SCREENSHOTS`` names a folder for pictures of what is looked at here.
"""

import json
import os
from pathlib import Path

import pytest
from browser import canvas_in, chromium
from comfyui import running
from make_locales import LANGUAGES, LIVE, LOCALES
from packs import ROOT

pytestmark = pytest.mark.long  # a browser and a server: minutes; tests/nodes/test_locales.py is quick
FOLDER = "ComfyUI-Midframe"
"""Without a dot, at which ComfyUI cuts the name of a pack's folder when it looks for help pages."""
SEARCHED = {
    "en": ("slow motion", "frame rate"),
    "zh": ("补帧", "插帧", "慢动作"),
    "ja": ("フレーム補間", "スローモーション"),
    "ko": ("보간", "프레임 보간", "슬로우 모션"),
}
WORDS = ("interpolation", "smooth", "tween", "slow motion", "60 fps", "frame rate", "fps")
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
ANSWERS = {"MidframeInterpolate", "MidframeRIFE", "MidframeVideo"}
ADD = """kind => {
    app.canvas.ds.offset = [0, 0]; app.canvas.ds.scale = 1;
    const node = LiteGraph.createNode(kind);
    node.pos = [420, 160];
    app.graph.add(node);
    app.canvas.setDirty(true, true);
    return {
        display_name: node.title,
        inputs: Object.fromEntries(node.inputs.map(slot => [slot.name, slot.localized_name])),
        widgets: Object.fromEntries(node.widgets.map(widget => [widget.name, widget.label])),
        outputs: node.outputs.map(slot => slot.localized_name),
    };
}"""
PLACE = """name => {
    const [node] = app.graph.nodes, frame = app.canvas.canvas.getBoundingClientRect();
    const widget = node.widgets.find(widget => widget.name === name);
    return [frame.left + node.pos[0] + 120, frame.top + node.pos[1] + (widget ? widget.last_y ?? widget.y : -25) + 10];
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("not run in a real ComfyUI: COMFYUI_PATH is not set")
    with running(ROOT, tmp_path_factory.mktemp("comfyui"), name=FOLDER) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def texts_of(language, kind):
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))[kind]


def photograph(canvas, name):
    if folder := os.environ.get("COMFYUI_SCREENSHOTS"):
        canvas.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_the_server_hands_out_the_texts_of_all_languages(server):
    said = server.json("/i18n")
    for language in LANGUAGES:
        expected = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
        assert said[language]["nodeDefs"] == expected


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "nodes-2.0"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_node_speaks_the_language_of_the_front_end(server, browser, language, nodes_2):
    texts = texts_of(language, "MidframeInterpolate")
    names = {name: slot["name"] for name, slot in texts["inputs"].items()}
    server.json("/settings", {"Comfy.Locale": language})
    with canvas_in(browser, server) as canvas:
        canvas.open(nodes_2=nodes_2)
        shown = canvas.page.evaluate(ADD, "MidframeInterpolate")
        assert shown["display_name"] == texts["display_name"]
        assert shown["inputs"] == names
        assert shown["widgets"].items() <= names.items()
        assert shown["outputs"] == [slot["name"] for slot in texts["outputs"].values()]
        if nodes_2:
            canvas.page.locator("[data-node-id]").get_by_text(names["target_fps"]).first.wait_for()
        canvas.page.wait_for_function(
            "() => app.canvas.visible_nodes?.length"
        )  # it is drawn, so that it hears
        canvas.page.mouse.click(*canvas.page.evaluate(PLACE, None))
        canvas.page.get_by_test_id("info-button").click()
        headline = canvas.page.get_by_role("heading", name=texts["display_name"], level=1)
        headline.wait_for()
        if language != "en":
            bold = canvas.page.locator("td strong").get_by_text(names["motion_resolution"])
            bold.first.wait_for()
        photograph(canvas, f"{language}_{'nodes2' if nodes_2 else 'classic'}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_tooltips_are_in_the_language_and_the_english_one_of_the_models_says_what_is_here(
    server, browser, language
):
    texts = texts_of(language, "MidframeInterpolate")["inputs"]
    server.json("/settings", {"Comfy.Locale": language})
    with canvas_in(browser, server) as canvas:
        canvas.open(nodes_2=False)
        canvas.page.evaluate(ADD, "MidframeInterpolate")
        canvas.page.wait_for_function("() => app.canvas.visible_nodes?.length")
        for name in ("target_fps", LIVE):
            x, y = canvas.page.evaluate(PLACE, name)
            canvas.page.mouse.move(10, 10)
            canvas.page.wait_for_timeout(300)
            canvas.page.mouse.move(x - 4, y)
            canvas.page.mouse.move(x, y)
            shown = canvas.page.wait_for_selector(".node-tooltip:visible").inner_text()
            if language == "en" and name == LIVE:
                assert "On this computer: default" in shown
            else:
                assert shown == texts[name]["tooltip"]
        photograph(canvas, f"{language}_tooltip")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_the_language_find_the_nodes(server, browser, language):
    """Among the first five: ComfyUI's own nodes of that name come first."""
    names = {texts_of(language, kind)["display_name"] for kind in ANSWERS}
    server.json("/settings", {"Comfy.Locale": language})
    with canvas_in(browser, server) as canvas:
        canvas.open(nodes_2=False)
        for word in (*SEARCHED[language], "60 fps"):
            found = canvas.search(word)
            assert names & set(found[:5]), (word, found)
            photograph(canvas, f"{language}_search")
            canvas.close_search()


def test_the_first_find_of_an_english_word_is_a_right_one(server, browser):
    """By name the front ends rank what is not ours first, but where a blueprint's name has the word."""
    server.json("/settings", {"Comfy.Locale": "en"})
    right = {texts_of("en", kind)["display_name"] for kind in ANSWERS} | {path.stem for path in BLUEPRINTS}
    with canvas_in(browser, server) as canvas:
        canvas.open(nodes_2=False)
        found = {}
        for word in WORDS:
            found[word] = canvas.search(word)[:5]
            photograph(canvas, f"search_{word}")
            canvas.close_search()
        assert [word for word in WORDS if found[word][0] not in right] == [], found
