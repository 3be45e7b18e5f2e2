"""Save Video of a real ComfyUI behind our nodes: whatever its menu offers; see comfyui.py for what that needs."""

import ast
import inspect
import os
from fractions import Fraction as Fr
from itertools import product
from pathlib import Path

import av
import pytest
import torch
from clips import audio_packets, colours_of, pictures, times_of, write_clip
from comfyui import node
from made_videos import video_of
from midframe.nodes._video_host import MadeVideo

pytestmark = pytest.mark.skipif(
    not os.environ.get("COMFYUI_PATH"),
    reason="not run in a real ComfyUI: COMFYUI_PATH is not set (see the first lines of tests/support/comfyui.py)",
)
RATE, SIZE, COUNT = 25, (48, 64), 4  # twice the rate is whole milliseconds, which Matroska counts
HONOURED = {
    "format": "mkv",
    "codec": "h264",
    "metadata": {"prompt": {}},
    "bit_depth": 8,
    "crf": 30.0,
    "color_space": "sRGB",
}


# --- what the host calls, read off its source


def source_of(*parts):
    return ast.parse(Path(os.environ["COMFYUI_PATH"], *parts).read_text(encoding="utf-8"))


def saves_in(source):
    """The calls of ``save_to``."""
    calls = (part for part in ast.walk(source) if isinstance(part, ast.Call))
    return [call for call in calls if getattr(call.func, "attr", "") == "save_to"]


def test_save_to_honours_what_the_nodes_of_this_host_pass(tmp_path, caplog):
    calls = saves_in(source_of("comfy_extras", "nodes_video.py"))
    assert calls
    # Nodes that send a video to somebody's server.
    paths = Path(os.environ["COMFYUI_PATH"], "comfy_api_nodes").rglob("*.py")
    texts = (path.read_text(encoding="utf-8") for path in paths)
    calls += [call for text in texts if ".save_to(" in text for call in saves_in(ast.parse(text))]
    for call in calls:
        asked = {keyword.arg for keyword in call.keywords}
        assert asked <= HONOURED.keys(), "this ComfyUI passes more than Midframe honours"
        positional = [str(tmp_path / "out.mkv"), *HONOURED.values()][: len(call.args)]
        video_of(torch.rand(2, 16, 16, 3)).save_to(*positional, **{name: HONOURED[name] for name in asked})
    assert not caplog.records


def test_everything_that_this_host_asks_of_a_video_is_answered_without_making_it():
    """Its own answers to what we leave out decode all frames, or say nothing."""
    (kind,) = (
        part
        for part in source_of("comfy_api", "latest", "_input", "video_types.py").body
        if isinstance(part, ast.ClassDef)
    )
    methods = [part for part in kind.body if isinstance(part, ast.FunctionDef) and part.name[0] != "_"]
    assert {"save_to", "get_components"} <= {method.name for method in methods}
    for method in methods:
        assert method.name in vars(MadeVideo), method.name
        theirs = [argument.arg for argument in method.args.args]
        assert list(inspect.signature(vars(MadeVideo)[method.name]).parameters)[: len(theirs)] == theirs


# --- what its menu offers


@pytest.fixture(scope="module")
def server(comfyui):
    write_clip(
        comfyui.base / "input" / "save.mp4",
        pictures(COUNT, SIZE),
        rate=RATE,
        sound="aac",
        colour=(1, 1, 1, 13),
    )
    deep = {"pix_fmt": "yuv420p10le", "colour": (9, 1, 9, 18)}
    write_clip(comfyui.base / "input" / "hdr.mp4", pictures(COUNT, SIZE), rate=RATE, **deep)
    return comfyui


def every_choice(rows, prefix=""):
    """Every way through a menu, as inputs of the API; numbers have their defaults."""
    per_row = []
    for name, (kind, *more) in rows.items():
        options = more[0] if more else {}
        if not options.get("hidden"):
            per_row.append(list(_choices(f"{prefix}{name}", kind, options)))
    for chosen in product(*per_row):
        yield {name: value for part in chosen for name, value in part.items()}


def _choices(name, kind, options):
    if kind == "COMFY_DYNAMICCOMBO_V3":
        for option in options["options"]:
            rows = {n: row for part in option["inputs"].values() for n, row in part.items()}
            for inner in every_choice(rows, f"{name}."):
                yield {name: option["key"], **inner}
    elif kind == "COMBO" or isinstance(kind, list):
        for option in options["options"] if kind == "COMBO" else kind:
            yield {name: option}
    else:
        yield {name: options["default"]}


def menu(server):
    """Every choice of Save Video's menu."""
    rows = server.json("/object_info")["SaveVideo"]["input"]
    rows = {**rows["required"], **rows.get("optional", {})}
    del rows["video"], rows["filename_prefix"]
    return list(every_choice(rows))


def last(choice, name):
    """The value of the widget ``name`` wherever it is in the menu; None where it is not shown."""
    return next((value for key, value in choice.items() if key.split(".")[-1] == name), None)


LOAD = {"load": node("LoadVideo", file="save.mp4")}
CREATE = {
    **LOAD,
    "parts": node("GetVideoComponents", video=["load", 0]),
    "made": node("CreateVideo", images=["parts", 0], fps=["parts", 2], audio=["parts", 1]),
}


def ours(source):
    return node("MidframeVideo", video=[source, 0], model="default", multiplier=2)


def save_all(server, graph, video, choices):
    """One run that saves ``video`` of a graph once for each choice; the files in that order."""
    nodes = {
        f"save{i}": node("SaveVideo", video=[video, 0], filename_prefix=f"menu/{video}{i}", **choice)
        for i, choice in enumerate(choices)
    }
    done = server.result(server.post({**graph, **nodes}), 300)
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    files = [done["outputs"][name]["images"][0] for name in nodes]
    return [server.base / "output" / file["subfolder"] / file["filename"] for file in files]


def kind_of(path):
    """Muxer, codec and pixel format of a file."""
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert (context.height, context.width) == SIZE
        return file.format.name, context.codec.canonical_name, context.pix_fmt


def check_whole(path, choice):
    assert times_of(path) == [Fr(k, 2 * RATE) for k in range(2 * COUNT)], choice
    assert abs(float(audio_packets(path)[-1][0]) - COUNT / RATE) < 0.05, choice


def test_frames_in_memory_in_every_choice_of_the_menu_are_saved_as_the_host_saves_them(server):
    choices = menu(server)
    assert {last(choice, "format") for choice in choices} >= {"auto", "mp4"}
    graph = {**CREATE, "vfi": ours("made")}
    both = (save_all(server, graph, video, choices) for video in ("vfi", "made"))
    for choice, made, given in zip(choices, *both, strict=True):
        check_whole(made, choice)
        kind, given_kind = kind_of(made), kind_of(given)
        if (last(choice, "format"), last(choice, "codec")) == ("webm", "auto"):
            # VP9 is our choice where the user makes none: more programs play it, and it holds transparency.
            assert (kind, given_kind[1]) == (("matroska,webm", "vp9", "yuv420p"), "av1")
        else:
            assert kind == given_kind, choice
        # Before 0.30 ComfyUI does not tag what it makes of frames.
        tags = (1, 1, 1, 13) if colours_of(given)[0] == 2 else colours_of(given)
        assert colours_of(made) == tags, choice


def test_a_file_in_every_format_and_codec_keeps_its_colours_and_sound(server):
    choices = [choice for choice in menu(server) if last(choice, "color_space") in (None, "auto")]
    for choice, path in zip(
        choices, save_all(server, {**LOAD, "vfi": ours("load")}, "vfi", choices), strict=True
    ):
        check_whole(path, choice)
        assert colours_of(path) == (1, 1, 1, 13), choice
        if last(choice, "format") in ("auto", "mp4"):
            packets = [data for _, data in audio_packets(path)]
            assert packets == [data for _, data in audio_packets(server.base / "input" / "save.mp4")]


def test_crf_of_the_menu_reaches_the_encoder(server):
    choices = [c for c in menu(server) if last(c, "crf") is not None and last(c, "color_space") == "auto"]
    if not choices:
        pytest.skip("this ComfyUI asks for no crf")
    (key,) = {key for choice in choices for key in choice if key.endswith("crf")}
    graph = {**LOAD, "vfi": ours("load")}
    fine, coarse = (
        save_all(server, graph, "vfi", [{**choice, key: crf} for choice in choices]) for crf in (2.0, 50.0)
    )
    for choice, small, large in zip(choices, coarse, fine, strict=True):
        assert picture_bytes(large) > 1.5 * picture_bytes(small), choice


def picture_bytes(path):
    with av.open(str(path)) as file:
        return sum(packet.size for packet in file.demux(video=0))


def test_hdr_stays_hdr_through_the_nodes_around_it(server):
    expected = {"fps": str(2.0 * RATE), "bit_depth": "10", "color_space": "HDR"}
    shown = server.json("/object_info")["GetVideoComponents"]["output_name"][2:]
    graph = {
        "load": node("LoadVideo", file="hdr.mp4"),
        "vfi": ours("load"),
        "parts": node("GetVideoComponents", video=["vfi", 0]),
        **{name: node("PreviewAny", source=["parts", 2 + i]) for i, name in enumerate(shown)},
        "save": node("SaveVideo", video=["vfi", 0], filename_prefix="menu/hdr", format="auto", codec="auto"),
    }
    done = server.result(server.post(graph))
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    texts = {name: done["outputs"][name]["text"][0] for name in shown}
    assert texts == {name: expected[name] for name in shown}
    (file,) = done["outputs"]["save"]["images"]
    path = server.base / "output" / file["subfolder"] / file["filename"]
    assert (colours_of(path), kind_of(path)[2]) == ((9, 1, 9, 18), "yuv420p10le")
