"""What happens around a run of a node: progress, cancelling, models, memory, folders. Without ComfyUI."""

import gc
import sys
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import LerpModel
from midframe import NODE_CLASS_MAPPINGS
from midframe.errors import OutOfMemoryError, WeightsNotFoundError
from midframe.memory import sinks
from midframe.memory.cache import MODELS
from midframe.memory.sinks import TensorSink
from midframe.nodes import _host, _lending, _models, _progress, _run, _weights
from midframe.nodes._lending import ModelLender
from midframe.nodes._progress import memory_line, progress_line
from midframe.nodes._weights import choose, complaint
from midframe.vfi_utils import by_multiplier
from midframe.weights.find import fetch
from midframe.weights.loading import ModelSource
from midframe.weights.manifest import Entry
from PIL import Image
from safetensors.torch import save

RIFE = NODE_CLASS_MAPPINGS["MidframeRIFE"]


@pytest.fixture(autouse=True)
def _clear():
    yield
    MODELS.clear()


def clip(frames=3, height=24, width=40, channels=3):
    return torch.rand(frames, height, width, channels)


def run(frames, **widgets):
    return RIFE().interpolate(frames, "default", **widgets)[0]


# --- progress and cancelling


class Bar:
    def __init__(self):
        self.seen = []

    def update_absolute(self, value, total=None, preview=None):
        self.seen.append((value, total, preview))


def test_previews_go_out_a_few_times_a_second():
    bar, now = Bar(), [0.0]
    host = _progress.NodeHost(bar, clock=lambda: now[0])
    for done in range(1, 101):
        now[0] = done / 20  # 20 frames a second, for five seconds
        host.progress(done, 100, lambda: clip(1, 700, 1400, 4)[0])
    assert [value for value, _, _ in bar.seen] == list(range(1, 101))
    pictures = [preview for _, _, preview in bar.seen if preview]
    assert 10 <= len(pictures) <= 13
    kind, picture, side = pictures[0]
    assert (kind, picture.mode, side) == ("JPEG", "RGB", max(picture.size))
    assert side <= 512


@pytest.mark.parametrize("frame", [clip(1, 3, 2, 1)[0], torch.full((600, 2, 3), 300, dtype=torch.uint16)])
def test_a_preview_of_any_frame(frame):
    bar = Bar()
    _progress.NodeHost(bar).progress(1, 2, lambda: frame)
    assert bar.seen[0][2][1].mode == "RGB"


def test_what_is_shown_while_it_runs():
    assert progress_line(30, 120, 10.0) == "30 of 120 frames, 3.0 frames/s, 0:30 left"
    assert progress_line(0, 120, 0.0) == "0 frames, 0.0 frames/s"
    assert progress_line(120, 120, 40.0) == "120 frames in 40.0 s, 3.0 frames/s"


class CancelledError(BaseException):
    """Like ComfyUI's, which is no Exception."""


def test_the_text_says_how_memory_stands_and_how_often_it_was_cleared(monkeypatch):
    assert memory_line(None, 0) == ""
    assert memory_line(3 * 2**30, 2) == ", 3.0 GiB free, cache cleared 2 x"
    texts = []
    monkeypatch.setattr(_progress._host, "show_text", lambda text, node_id: texts.append(text))
    host = _progress.NodeHost(None, "7", note="mind the rate")
    host.free_bytes(torch.device("cpu"))
    host.clear_cache()
    host.progress(2, 2, None)
    (text,) = texts
    assert "GiB free, cache cleared 1 x" in text
    assert text.endswith("mind the rate")


class CancellingHost(_progress.NodeHost):
    def __init__(self, left):
        super().__init__(Bar())
        self.left = left

    def check_cancelled(self):
        self.left -= 1
        if self.left < 0:
            raise CancelledError


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.long)])
def test_cancel_at_every_step_leaves_nothing_behind(monkeypatch, stride):
    frames = clip(2)
    wanted = run(frames)
    steps = 0
    made = None
    sinks, begin = weakref.WeakSet(), TensorSink.__init__

    def watched(sink, *arguments):
        begin(sink, *arguments)
        sinks.add(sink)

    monkeypatch.setattr(TensorSink, "__init__", watched)
    gc.disable()  # nothing must wait for the collector
    try:
        while made is None:
            host = CancellingHost(steps)
            monkeypatch.setattr(_progress, "watch", lambda *_, h=host, note: h)
            try:
                made = run(frames)
            except CancelledError:
                steps += stride
            assert not sinks
    finally:
        gc.enable()
    assert steps > 4
    assert torch.equal(made, wanted)


# --- models


def test_a_model_that_was_taken_back_is_read_again():
    weights = choose("default", "cpu", "auto")
    loaded = _models.obtain(weights)
    assert _models.obtain(weights) is loaded
    loads, network = MODELS.loads, weakref.ref(loaded.shell.network)
    loaded.shell.release()  # what happens when ComfyUI unloads it
    assert not list(loaded.shell.parameters())
    assert network() is None  # nobody else keeps the weights
    again = _models.obtain(weights)
    assert again is not loaded
    assert MODELS.loads == loads + 1
    assert _models.obtain(weights) is again


@pytest.mark.parametrize(
    ("then", "kept"), [("keep loaded", True), ("offload to CPU", True), ("unload", False)]
)
def test_after_a_run(then, kept):
    frames = clip(2)
    wanted = run(frames, after_run=then)
    loads = MODELS.loads
    assert torch.equal(run(frames), wanted)
    assert MODELS.loads == loads + (not kept)


def test_half_precision_is_another_model_and_close():
    frames = clip(2, 64, 64)
    half = run(frames, dtype="bfloat16")
    loads = MODELS.loads
    full = run(frames, dtype="float32")
    assert MODELS.loads == loads + 1
    assert torch.equal(half[::2], frames)  # source frames are never rounded
    assert 0 < (half - full).abs().mean() < 0.02


def test_the_clear_node_clears_and_passes_on():
    node = NODE_CLASS_MAPPINGS["MidframeClearCache"]
    assert node.OUTPUT_NODE
    before = node.IS_CHANGED()
    run(clip(2))
    assert node.IS_CHANGED() != before
    thing = object()
    out = node().clear(thing)
    assert out["result"] == (thing,)
    assert len(MODELS) == 0
    assert out["ui"]["text"][0].endswith("MiB freed")


def test_weights_that_are_gone_are_named(tmp_path):
    weights = ModelSource(tmp_path / "gone.safetensors", torch.device("cpu"), torch.float32)
    with pytest.raises(WeightsNotFoundError, match=r"gone\.safetensors"):
        _models.obtain(weights)


def test_complaints_come_before_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(_host, "model_folders", lambda: (tmp_path,))
    monkeypatch.setattr(_host, "download_folder", lambda: tmp_path)
    monkeypatch.setenv("MIDFRAME_OFFLINE", "1")
    assert complaint("default") is None
    assert complaint(None) is None
    assert "no-such-model" in complaint("no-such-model")
    offline = RIFE.VALIDATE_INPUTS("rife-4.25")
    assert "https://" in offline
    assert str(tmp_path) in offline
    monkeypatch.setenv("MIDFRAME_OFFLINE", "0")
    assert RIFE.VALIDATE_INPUTS("rife-4.25") is True  # it will be downloaded
    assert RIFE.VALIDATE_INPUTS("rife47.pth") is True  # an older pack's name
    (tmp_path / "rife_v4.25.safetensors").write_bytes(b"here")
    monkeypatch.setenv("MIDFRAME_OFFLINE", "1")
    assert complaint("rife425.pth") is None  # another file of the same network is here
    assert choose("rife425.pth", "cpu", "auto").path == tmp_path / "rife_v4.25.safetensors"
    # Of a graph from a computer that has its files in folders.
    for name in ("rife\\rife425.pth", "models/rife425.pth"):
        assert choose(name, "cpu", "auto").path == tmp_path / "rife_v4.25.safetensors"
    assert "no-such-model" in complaint("rife/no-such-model")
    assert "rife_v4.25" in complaint("C:\\ckpts\\rife_v4.25.safetensors")  # one file, which is not here


class FileHandler(BaseHTTPRequestHandler):
    body = save({"a": torch.zeros(300_000)})

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def published(monkeypatch, tmp_path):
    """The folder that a checkpoint of a server on this machine is downloaded into."""
    with ThreadingHTTPServer(("127.0.0.1", 0), FileHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/rife_v4.25.safetensors"
        entry = Entry("rife_v4.25.safetensors", "rife-4.25", "rife", "4.25", urls=(url,))
        monkeypatch.setattr(_host, "model_folders", lambda: (tmp_path,))
        monkeypatch.setattr(_host, "download_folder", lambda: tmp_path)
        monkeypatch.setattr(
            _weights, "fetch", lambda _, folder, **given: fetch(entry, folder, offline=False, **given)
        )
        yield tmp_path
        server.shutdown()


def test_a_checkpoint_is_downloaded_once(published, monkeypatch):
    seen = []
    monkeypatch.setattr(_host, "show_text", lambda text, node_id: seen.append((text, node_id)))
    for _ in range(2):
        weights = choose("rife-4.25", "cpu", "auto", "7")
        assert weights.path == published / "rife_v4.25.safetensors"
        assert weights.path.read_bytes() == FileHandler.body
    assert seen[-1] == ("downloading rife-4.25: 1.1 of 1.1 MiB", "7")


def test_a_cancelled_download_leaves_nothing(published, monkeypatch):
    host = CancellingHost(2)
    monkeypatch.setattr(_host, "check_cancelled", host.check_cancelled)
    with pytest.raises(CancelledError):
        choose("rife-4.25", "cpu", "auto")
    assert list(published.iterdir()) == []


@pytest.mark.parametrize("then", ["keep loaded", "unload"])
def test_a_run_without_enough_memory_makes_room_and_gives_the_model_back(monkeypatch, then):
    emptied = []
    monkeypatch.setattr(_host, "make_room", lambda: emptied.append(len(MODELS)))
    lender = ModelLender(choose("default", "cpu", "auto"), {}, then)
    with pytest.raises(OutOfMemoryError), lender(8, 8) as model:
        raise OutOfMemoryError("Too little.", str(model), "Use less.")
    assert emptied == [1]
    assert len(MODELS) == (then == "keep loaded")
    with pytest.raises(ValueError, match="another"), lender(8, 8):
        raise ValueError("another")
    assert len(emptied) == 1  # only where memory was short


# --- memory


def test_an_output_that_does_not_fit_goes_to_the_disk_or_is_refused_at_once(monkeypatch, tmp_path):
    frames = clip(3)
    wanted = run(frames)
    monkeypatch.setattr(sinks, "available_memory", lambda: 10_000)
    monkeypatch.setattr(sinks, "available_with_swap", lambda: 20_000)
    monkeypatch.setattr(_host, "temp_folder", lambda: tmp_path / "temp")
    loads = MODELS.loads
    with pytest.raises(OutOfMemoryError, match="GiB"):
        run(frames, storage="memory")
    assert MODELS.loads == loads
    assert not (tmp_path / "temp").exists()
    assert torch.equal(run(frames), wanted)
    assert (tmp_path / "temp").exists()


def test_finished_frames_are_saved_when_memory_runs_out(monkeypatch, tmp_path):
    made = 0

    def before(step):
        nonlocal made
        made += step == "between"
        if made > 2:
            raise torch.OutOfMemoryError("out of memory")

    model = LerpModel(before)
    shell = _models.MidframeModel(model)
    monkeypatch.setattr(
        _lending, "obtain", lambda _: _models.Loaded("key", torch.device("cpu"), torch.float32, shell, None)
    )
    monkeypatch.setattr(_host, "output_folder", lambda: tmp_path)
    frames = clip(5)
    weights = ModelSource(tmp_path, torch.device("cpu"), torch.float32)
    with pytest.raises(OutOfMemoryError) as caught:
        _run.Run(by_multiplier(2), ModelLender(weights, {})).whole(frames)
    (folder,) = tmp_path.iterdir()
    assert str(folder) in str(caught.value)
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    assert len(pictures) == 5  # two pairs and the frame after them
    for i, picture in enumerate(pictures[::2]):
        assert np.abs(picture / 255 - frames[i].numpy()).max() < 0.002


# --- folders


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, (["own"], {".pth"})),
        ({"frame_interpolation": (["extra"], set())}, (["extra", "own"], {".pth"})),
        ({"frame_interpolation": (["a", "b"], {".sft"})}, (["a", "b"], {".sft"})),
    ],
)
def test_an_older_comfyui_learns_of_the_model_folder(monkeypatch, tmp_path, known, expected):
    paths = SimpleNamespace(
        models_dir=str(tmp_path), folder_names_and_paths=dict(known), supported_pt_extensions={".pth"}
    )
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    monkeypatch.setitem(sys.modules, "comfy.model_management", SimpleNamespace())
    _host.register_model_folder()
    folders, extensions = paths.folder_names_and_paths["frame_interpolation"]
    own = str(tmp_path / "frame_interpolation")
    assert ([folder.replace(own, "own") for folder in folders], extensions) == expected
    monkeypatch.undo()
