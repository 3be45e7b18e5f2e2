"""Interpolate Video between the stock video nodes of a real ComfyUI; see comfyui.py for what that needs."""

import contextlib
import json
import logging
import os
import socket
import struct
import threading
import time
import urllib.error
import uuid
from fractions import Fraction as Fr

import av
import numpy as np
import pytest
from clips import NTSC, audio_packets, frames_of, times_of, write_clip
from comfyui import MIB, node, running, square

LOG = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def server(tmp_path_factory, root):
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip(
            "not run in a real ComfyUI: COMFYUI_PATH is not set (see the first lines of tests/support/comfyui.py)"
        )
    with running(root, tmp_path_factory.mktemp("video"), root / "tests" / "support" / "stand_in") as server:
        write_clip(server.base / "input" / "clip.mp4", [square(i) for i in range(6)], rate=NTSC, sound="aac")
        yield server


@pytest.fixture(autouse=True)
def _nothing_is_left_over(server):
    """Whole outputs only, and no file of ours among the temporary ones once their videos are let go of."""
    yield
    names = [path.name for path in (server.base / "output").rglob("*") if path.is_file()]
    assert not [name for name in names if name.startswith(".") or "partial" in name]


def workflow(source="clip.mp4", between=None, save=None, **widgets):
    """Load Video, our node, what is ``between``, Save Video."""
    nodes = {
        "load": node("LoadVideo", file=source),
        "vfi": node(
            "MidframeVideo", **{"video": ["load", 0], "model": "default", "multiplier": 2, **widgets}
        ),
        **(between or {}),
    }
    last = list(between or ["vfi"])[-1]
    options = {
        "filename_prefix": f"v{uuid.uuid4().hex[:6]}",
        "format": "auto",
        "codec": "auto",
        **(save or {}),
    }
    return {**nodes, "save": node("SaveVideo", video=[last, 0], **options)}


def lacks(server, *kinds):
    known = server.json("/object_info")
    missing = [kind for kind in kinds if kind not in known]
    if missing:
        pytest.skip(f"this ComfyUI is older than {', '.join(missing)}")


def centres(path):
    return [np.nonzero(frame[45, :, 0] > 150)[0].mean() for frame in frames_of(path)]


def test_stock_nodes_work_around_it(server):
    (path,) = server.run(workflow())
    assert times_of(path) == [k / (2 * NTSC) for k in range(12)]
    source = server.base / "input" / "clip.mp4"
    assert [data for _, data in audio_packets(path)] == [data for _, data in audio_packets(source)]
    made, given = np.array(centres(path)), np.array(centres(source))
    assert abs(made[::2] - given).max() < 0.5
    assert abs(made[1:-1:2] - (given[1:] + given[:-1]) / 2).max() < 1.5


def test_the_workflow_is_in_the_file_where_comfyui_puts_it(server):
    """The same tags that ComfyUI's own writer makes of the same workflow."""
    ours = workflow(target_fps=60.0)
    theirs = {
        "load": ours["load"],
        "parts": node("GetVideoComponents", video=["load", 0]),
        "make": node("CreateVideo", images=["parts", 0], fps=24.0),
        "save": ours["save"] | {"inputs": {**ours["save"]["inputs"], "video": ["make", 0]}},
    }
    graph = {"nodes": [], "title": "naïve \N{SNOWMAN}"}
    tags = []
    for prompt in (ours, theirs):
        body = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": graph}}}
        done = server.result(server.json("/prompt", body)["prompt_id"])
        (file,) = done["outputs"]["save"]["images"]
        path = server.base / "output" / file["subfolder"] / file["filename"]
        with av.open(str(path)) as container:
            tags.append(dict(container.metadata))
        kinds = {name: item["class_type"] for name, item in json.loads(tags[-1]["prompt"]).items()}
        assert kinds == {name: item["class_type"] for name, item in prompt.items()}
        assert json.loads(tags[-1]["workflow"]) == graph
        data = path.read_bytes()
        assert b"mdta" in data
        if prompt is ours:  # the page looks for it in the first two megabytes only
            assert data.index(b"moov") < data.index(b"mdat")
    assert {"prompt", "workflow"} <= set(tags[0]) & set(tags[1])


def test_frames_in_memory_and_their_sound(server):
    """Get Video Components, Create Video: a video that is a tensor."""
    parts = {"parts": node("GetVideoComponents", video=["load", 0])}
    make = node("CreateVideo", images=["parts", 0], fps=["parts", 2], audio=["parts", 1])
    prompt = {**parts, "make": make, **workflow(video=["make", 0], target_fps=60.0)}
    (path,) = server.run(prompt)
    assert times_of(path) == [Fr(k, 60) for k in range(16)]
    assert abs(audio_packets(path)[-1][0] - Fr(16, 60)) < Fr(1, 20)


def test_other_nodes_get_frames_and_sound(server):
    parts = node("GetVideoComponents", video=["vfi", 0])
    make = node("CreateVideo", images=["parts", 0], fps=["parts", 2], audio=["parts", 1])
    prompt = workflow(between={"parts": parts, "make": make})
    (path,) = server.run(prompt)
    assert len(times_of(path)) == 12
    assert abs(audio_packets(path)[-1][0] - Fr(1, 4)) < Fr(1, 20)
    prompt = workflow(
        between={"parts": parts, "images": node("SaveImage", images=["parts", 0], filename_prefix="parts")}
    )
    del prompt["save"]
    assert len(server.run(prompt)) == 12


def test_states_and_a_list_reach_the_frames_of_a_video(server):
    states = node("MidframeStates", frame_indices="1, 3", is_skip_list=True)
    multipliers = node("MidframeTestList", numbers="3, 4, 1, 2, 0")
    links = {"states": ["states", 0], "multiplier": ["list", 0]}
    (path,) = server.run({"states": states, "list": multipliers, **workflow(**links)})
    # Pairs of 3, left alone, 1, left alone, 0 frames, and the last frame as long as a pair past the list.
    assert [round(time * NTSC * 6) for time in times_of(path)] == [0, 2, 4, 6, 12, 18, 24, 30, 33]


def test_one_after_another(server):
    second = node("MidframeVideo", video=["vfi", 0], model="default", multiplier=1, target_fps=50.0)
    (path,) = server.run(workflow(between={"second": second}))
    assert times_of(path) == [Fr(k, 50) for k in range(13)]
    given = centres(server.base / "input" / "clip.mp4")
    wanted = np.interp([float(k * NTSC / 50) for k in range(13)], range(6), given)
    assert abs(np.array(centres(path)) - wanted).max() < 2


@pytest.mark.parametrize("where", ["before", "after"])
def test_trim_video(server, where):
    lacks(server, "Video Slice")
    cut = {"start_time": 1.001 / 12, "duration": 1.001 / 8, "strict_duration": True}
    if where == "before":
        prompt = {**workflow(video=["cut", 0]), "cut": node("Video Slice", video=["load", 0], **cut)}
    else:
        prompt = workflow(between={"cut": node("Video Slice", video=["vfi", 0], **cut)})
    (path,) = server.run(prompt)
    assert times_of(path) == [k / (2 * NTSC) for k in range(6)]
    assert abs(centres(path)[0] - centre_of(2)) < 1
    assert abs(audio_packets(path)[-1][0] - Fr(1, 8)) < Fr(1, 20)


def centre_of(step):
    return 20 + 8 * step + 15.5


def test_what_did_not_change_does_not_run_again(server):
    prompt = workflow(target_fps=48.0)
    server.run(prompt)
    prompt["save"]["inputs"]["filename_prefix"] = "again"
    done = server.result(server.post(prompt))
    (cached,) = [data["nodes"] for kind, data in done["status"]["messages"] if kind == "execution_cached"]
    assert set(cached) == {"load", "vfi"}
    done = server.result(server.post(prompt))
    (cached,) = [data["nodes"] for kind, data in done["status"]["messages"] if kind == "execution_cached"]
    assert set(cached) == {"load", "vfi", "save"}


def test_what_cannot_be_done_is_said_on_our_node(server):
    with pytest.raises(urllib.error.HTTPError):
        server.post(workflow(scale="9"))
    with pytest.raises(urllib.error.HTTPError):
        server.post(workflow(model="no such model"))
    (server.base / "input" / "broken.mp4").write_bytes(b"no video" * 1000)
    done = server.result(server.post(workflow("broken.mp4")))
    (error,) = [data for kind, data in done["status"]["messages"] if kind == "execution_error"]
    assert error["node_id"] == "vfi"
    assert "cannot be read" in error["exception_message"]


# --- progress, cancelling, memory


class Listener:
    """A web socket to the server: what it says to its client, in the order in which it comes."""

    def __init__(self, server):
        self.id, host, port = uuid.uuid4().hex, *server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), 10)
        self.socket.sendall(
            f"GET /ws?clientId={self.id} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb")
        while self.stream.readline().strip():
            pass
        self.texts, self.pictures, self.notes = [], [], []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        with contextlib.suppress(OSError, struct.error):
            while True:
                first, length = struct.unpack(">BB", self.stream.read(2))
                wide = {126: ">H", 127: ">Q"}.get(length)
                if wide:
                    (length,) = struct.unpack(wide, self.stream.read(struct.calcsize(wide)))
                data = self.stream.read(length)
                if first & 15 == 1:
                    self.texts.append(json.loads(data))
                elif first & 15 == 2:
                    kind = int.from_bytes(data[:4], "big")
                    (self.notes if kind == 3 else self.pictures).append(data)

    def run(self, server, prompt):
        return server.json("/prompt", {"prompt": prompt, "client_id": self.id})["prompt_id"]

    def progress(self, name):
        rows = [m["data"] for m in self.texts if m["type"] == "progress" and m["data"]["node"] == name]
        return [(row["value"], row["max"]) for row in rows]


STAND_IN = {"stand_in": node("MidframeTestStandIn", video=["vfi", 0], seconds=0.05)}


def test_progress_is_shown_on_the_node_that_saves(server):
    listener = Listener(server)
    prompt = workflow(between=STAND_IN, multiplier=9)
    assert server.result(listener.run(server, prompt))["status"]["status_str"] == "success"
    steps = listener.progress("save")
    assert steps[-1] == (54, 54)
    assert [value for value, _ in steps] == sorted(value for value, _ in steps)
    assert {most for _, most in steps} == {54}
    assert len(steps) > 10
    assert len(listener.pictures) >= 3
    if listener.notes:  # text under nodes came with 0.3.50 or so
        assert any(b"save" in note and b"left" in note for note in listener.notes)
    assert not listener.progress("vfi")


@pytest.mark.parametrize("chained", [False, True])
def test_cancel(server, chained):
    frame = 0.05
    between = dict(STAND_IN)
    if chained:
        second = node("MidframeVideo", video=["stand_in", 0], model="default", multiplier=2)
        between |= {
            "second": second,
            "stand": node("MidframeTestStandIn", video=["second", 0], seconds=frame),
        }
    prompt = workflow(between=between, multiplier=1000)
    prompt["save"]["inputs"]["filename_prefix"] = "cancelled"
    listener = Listener(server)
    prompt_id = listener.run(server, prompt)
    server.until(lambda: any(value > 3 for value, _ in listener.progress("save")), 30)
    assert any(path.name.startswith(".cancelled") for path in (server.base / "output").iterdir())
    began = time.monotonic()
    server.json("/interrupt", {})
    messages = dict(server.result(prompt_id)["status"]["messages"])
    waited = time.monotonic() - began
    LOG.info("cancel answered after %.3f s; one frame takes %.3f s", waited, frame)
    assert "execution_interrupted" in messages
    assert waited < 1.0
    assert not [path for path in (server.base / "output").iterdir() if "cancelled" in path.name]
    server.run(workflow(multiplier=3))


def test_chunks_go_on_after_cancel(server):
    """Load Video and the chunk node: interrupted in the middle, then run again."""
    write_clip(server.base / "input" / "chunks.mp4", [square(i % 9) for i in range(40)], sound="aac")
    prompt = {
        "load": node("LoadVideo", file="chunks.mp4"),
        "chunks": node(
            "MidframeChunks",
            video=["load", 0],
            model="default",
            multiplier=2,
            filename_prefix="long/film",
            pairs_per_chunk=2,
            format="mkv",
        ),
    }
    listener, folder = Listener(server), server.base / "output" / "long"
    prompt_id = listener.run(server, prompt)
    server.until(lambda: len(list(folder.glob("*.chunks/0*.json"))) >= 3, 60)
    server.json("/interrupt", {})
    assert "execution_interrupted" in dict(server.result(prompt_id)["status"]["messages"])
    (work,) = folder.iterdir()
    assert not [path for path in work.iterdir() if ".tmp" in path.name]
    finished = {path.name: path.stat().st_mtime_ns for path in work.glob("0*.mkv")}
    assert 3 <= len(finished) < 20
    again = Listener(server)
    done = server.result(again.run(server, prompt))
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    steps = again.progress("chunks")
    assert steps[0][0] >= 4 * len(finished)
    assert steps[-1] == (80, 80)
    (file,) = done["outputs"]["chunks"]["images"]
    path = server.base / "output" / file["subfolder"] / file["filename"]
    assert sorted(folder.iterdir()) == sorted((path, work))
    assert len(times_of(path)) == 80
    source = server.base / "input" / "chunks.mp4"
    assert [data for _, data in audio_packets(path)] == [data for _, data in audio_packets(source)]


class Peak:
    """The most that a server takes while this is open, bytes above what it took before."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.before = self.peak = self.server.free()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.over.wait(0.02):
            self.peak = max(self.peak, self.server.rss())

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.above = self.peak - self.before


def long_clip(path, frames, height=720, width=1280):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = (127 + 60 * np.sin(x / 40) + 60 * np.sin(y / 30)).astype(np.uint8)
    pictures = (np.stack([np.roll(wave, 6 * i, 1), np.roll(wave, 3 * i, 0), wave], -1) for i in range(frames))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


def test_memory_stays_flat(server):
    """300 frames of 720p that would take 6.6 GB as a batch of IMAGE."""
    long_clip(server.base / "input" / "long.mp4", 300)
    server.run(workflow())
    stand_in = {"stand_in": node("MidframeTestStandIn", video=["vfi", 0], seconds=0.0)}
    prompt, began = workflow("long.mp4", between=stand_in), time.monotonic()
    with Peak(server) as peak:
        done = server.result(server.post(prompt), 600)
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    (file,) = done["outputs"]["save"]["images"]
    assert len(times_of(server.base / "output" / file["subfolder"] / file["filename"])) == 600
    LOG.info("%d MiB above idle, %.0f s", peak.above // MIB, time.monotonic() - began)
    assert peak.above < 600 * MIB
    assert server.free() - peak.before < 64 * MIB


@pytest.mark.skipif(not os.environ.get("MIDFRAME_LONG"), reason="only reports; set MIDFRAME_LONG")
def test_memory_of_the_built_in_model(server):
    long_clip(server.base / "input" / "short.mp4", 40)
    with Peak(server) as peak:
        done = server.result(server.post(workflow("short.mp4")), 600)
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    LOG.info("%d MiB above idle with the built-in model", peak.above // MIB)


def test_a_report_on_a_video_shows_its_sheet_and_writes_a_page(server):
    pages = server.base / "output"
    before = set(pages.glob("*.html"))
    shown = server.run(
        {
            "load": node("LoadVideo", file="clip.mp4"),
            "report": node("MidframeReport", video=["load", 0], measured_frames=2),
            "save": node("SaveImage", images=["report", 0], filename_prefix="sheet"),
        }
    )
    # The preview on the node, which is a temporary file, and what was saved of the output.
    assert [path.is_file() for path in sorted(shown, key=lambda path: path.is_file())] == [False, True]
    (page,) = set(pages.glob("*.html")) - before
    text = page.read_text(encoding="utf-8")
    assert "<td>default<td>" in text
    assert "clip.mp4" in text
