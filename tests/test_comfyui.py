"""The nodes in a real ComfyUI, driven through its API.

Needs COMFYUI_PATH, the folder of a ComfyUI, and COMFYUI_PYTHON, the Python that it runs with (default: the one
that runs the tests). Starts its own server on the CPU, with folders of its own; nothing of the user's is touched.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch
from midframe.benchmarks.loading import save_archive
from midframe.convert import convert
from midframe.vfi_models import tlbvfi
from midframe.vfi_models._core.synthetic import synthetic_state_dict
from midframe.vfi_models.film import shapes as film_shapes
from midframe.vfi_models.film.config import published_names
from midframe.vfi_models.rife.config import FAMILIES
from midframe.vfi_models.rife.net import IFNet
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.skipif(
    not os.environ.get("COMFYUI_PATH"),
    reason="not run in a real ComfyUI: COMFYUI_PATH is not set (see the first lines of tests/test_comfyui.py)",
)

PACK = "ComfyUI-midframe.pack"
HEAVY = "rife_v4.25_heavy.safetensors"  # 87 MB: a leak of it cannot hide in 64
MIB = 2**20
LOG = logging.getLogger(__name__)


class Server:
    """A running ComfyUI and what it said."""

    def __init__(self, base, port):
        self.base, self.url = base, f"http://127.0.0.1:{port}"
        self.log_path = base / "server.log"
        shim = Path(__file__).resolve().parents[2] / "shared" / "tools" / "torchvision_shim"
        path = [str(shim)] if shim.is_dir() else []  # lets torchvision import beside a CPU build of torch
        path += [p for p in [os.environ.get("PYTHONPATH")] if p]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(path)}
        options = f"--cpu --listen 127.0.0.1 --port {port} --disable-auto-launch --base-directory {base}"
        database = f"--database-url sqlite:///{base / 'comfyui.db'}"
        python = os.environ.get("COMFYUI_PYTHON", sys.executable)
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [python, "main.py", *options.split(), *database.split()],
                cwd=os.environ["COMFYUI_PATH"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.until(lambda: self.get("/system_stats"), 120)

    def until(self, ask, seconds):
        """The first true answer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if answer := ask():
                    return answer
            time.sleep(0.02)
        raise TimeoutError(self.log())

    def log(self):
        return re.sub(r"\x1b\[\d+m", "", self.log_path.read_text(errors="replace"))

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as reply:
            return reply.read()

    def json(self, path, data=None):
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            text = reply.read()
        return json.loads(text) if text.strip() else None

    def post(self, workflow):
        return self.json("/prompt", {"prompt": workflow})["prompt_id"]

    def result(self, prompt_id, seconds=120):
        return self.until(lambda: self.json(f"/history/{prompt_id}").get(prompt_id), seconds)

    def run(self, workflow):
        """The files that a workflow has written."""
        done = self.result(self.post(workflow))
        assert done["status"]["status_str"] == "success", done["status"]["messages"]
        written = [file for out in done["outputs"].values() for file in out.get("images", [])]
        return [self.base / "output" / file["subfolder"] / file["filename"] for file in written]

    def rss(self):
        return psutil.Process(self.process.pid).memory_info().rss

    def free(self):
        """Resident bytes once ComfyUI has let go of models and results, which it says nowhere: when they settle."""
        self.json("/free", {"unload_models": True, "free_memory": True})
        lowest, since = self.rss(), time.monotonic()
        while time.monotonic() - since < 2:
            time.sleep(0.05)
            if self.rss() < lowest - MIB:
                lowest, since = self.rss(), time.monotonic()
        return self.rss()

    def loads(self):
        return len(re.findall(r"\bloaded \S+\.safetensors", self.log()))


@pytest.fixture(scope="module")
def server(tmp_path_factory, root):
    base = tmp_path_factory.mktemp("comfyui")
    for name in ("custom_nodes", "input", "output", "temp", "user", "models/frame_interpolation"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes" / PACK).symlink_to(root, target_is_directory=True)
    shapes = {k: tuple(v.shape) for k, v in IFNet(FAMILIES["4.25.heavy"], refine=False).state_dict().items()}
    save_file(synthetic_state_dict(shapes), base / "models" / "frame_interpolation" / HEAVY)
    save_tlbvfi(base / "models")
    for i in range(3):
        Image.fromarray(square(i)).save(base / "input" / f"{i}.png")
    write_clip(base / "input" / "clip.mp4", [square(i) for i in range(6)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Server(base, port)
    yield running
    running.process.terminate()
    running.process.wait(30)


def save_tlbvfi(models):
    """A small TLBVFI in each layout that it may come in, in the folders of this and of older packs."""
    weights = synthetic_state_dict(tlbvfi.shapes("small"), 0, 0.7)
    again = {name.replace("vqgan", "cond_stage_model", 1): value for name, value in weights.items()}
    averages = {name: value for name, value in weights.items() if name.startswith("denoise_fn.")}
    published = {"step": 1, "epoch": 1, "model": {**weights, **again}, "ema": averages}
    (models / "interpolation").mkdir()
    torch.save(published, models / "interpolation" / "vimeo_unet.pth")
    folder = models / "frame_interpolation"
    torch.save(published, folder / "tlbvfi_legacy.pth", _use_new_zipfile_serialization=False)
    save_file(weights, folder / "tlbvfi_small.safetensors")


def square(step, height=96, width=128):
    """A bright square that moves 8 pixels a step over a soft texture."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([60 + 30 * np.sin(x / 9), 60 + 30 * np.sin(y / 7), 70 + 20 * np.sin((x + y) / 11)], -1)
    picture[30:62, 20 + 8 * step : 52 + 8 * step] = (230, 200, 40)
    return picture.astype(np.uint8)


def centre(picture):
    """Where the square is, in pixels from the left."""
    return np.nonzero(np.asarray(picture)[45, :, 0] > 150)[0].mean()


def write_clip(path, pictures, fps=Fraction(24000, 1001)):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv444p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def images_workflow(model="default", multiplier=2, **widgets):
    """Three pictures through the RIFE node."""
    return {
        "a": node("LoadImage", image="0.png"),
        "b": node("LoadImage", image="1.png"),
        "c": node("LoadImage", image="2.png"),
        "ab": node("ImageBatch", image1=["a", 0], image2=["b", 0]),
        "abc": node("ImageBatch", image1=["ab", 0], image2=["c", 0]),
        "rife": node("MidframeRIFE", frames=["abc", 0], model=model, multiplier=multiplier, **widgets),
        "save": node("SaveImage", images=["rife", 0], filename_prefix="out"),
    }


def test_nodes_and_their_help_are_served(server):
    known = server.json("/object_info")
    names = (
        "MidframeRIFE",
        "MidframeFILM",
        "MidframeTLBVFI",
        "MidframeModelLoader",
        "MidframeStates",
        "MidframeClearCache",
    )
    for name in names:
        assert known[name]["category"].startswith("video")
        assert known[name].get("search_aliases", True)  # not served before 0.11
        assert server.get(f"/extensions/{PACK}/docs/{name}.md").startswith(b"# ")
    models = known["MidframeRIFE"]["input"]["required"]["model"][0]
    assert models[:2] == ["default", "rife-4.25.heavy"]  # built in, then what is on the disk


def as_prompt(graph):
    """What the front end makes of a saved workflow when Run is pressed."""
    sources = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for item in graph["nodes"]:
        values = iter(item.get("widgets_values", []))
        inputs = {slot["name"]: next(values) for slot in item["inputs"] if "widget" in slot}
        inputs |= {
            slot["name"]: sources[slot["link"]] for slot in item["inputs"] if slot.get("link") is not None
        }
        inputs.pop("upload", None)  # a button
        if not item["type"].endswith("Note"):
            prompt[str(item["id"])] = node(item["type"], **inputs)
    return prompt


@pytest.mark.parametrize("name", ["video_double_frame_rate", "between_two_pictures"])
def test_example_workflows_run(server, root, name):
    examples = {path.stem for path in (root / "example_workflows").glob("*.json")}
    assert examples == {"video_double_frame_rate", "between_two_pictures"}  # each is a parameter here
    assert set(server.json("/workflow_templates")[PACK]) == examples
    known = server.json("/object_info")
    prompt = as_prompt(json.loads((root / "example_workflows" / f"{name}.json").read_text()))
    unknown = {item["class_type"] for item in prompt.values()} - set(known)
    if unknown:
        pytest.skip(f"this ComfyUI is older than {', '.join(unknown)}")
    for item in prompt.values():
        if item["class_type"].startswith("Midframe"):
            inputs = known[item["class_type"]]["input"]
            optional = {
                n
                for n, row in inputs["optional"].items()
                if row[0] in ("MIDFRAME_MODEL", "INTERPOLATION_STATES")
            }
            assert set(item["inputs"]) | optional == {*inputs["required"], *inputs["optional"]}
    pictures = [item for item in prompt.values() if item["class_type"] == "LoadImage"]
    for i, item in enumerate(pictures):
        item["inputs"]["image"] = f"{i}.png"
    (path,) = server.run(prompt)
    if path.suffix == ".webp":
        assert Image.open(path).n_frames == 9
    else:
        with av.open(str(path)) as file:
            rate = file.streams.video[0].average_rate
            assert abs(rate - Fraction(48000, 1001)) < 1e-3  # ComfyUI writes thousandths
            assert len(list(file.decode(video=0))) == 12


def test_images_come_out_with_a_frame_between_each_two(server):
    pictures = [np.asarray(Image.open(path)) for path in server.run(images_workflow())]
    assert len(pictures) == 5
    for i in range(3):
        assert np.array_equal(pictures[2 * i], square(i))
    for i in range(2):
        assert abs(centre(pictures[2 * i + 1]) - (centre(square(i)) + centre(square(i + 1))) / 2) < 1.5


def test_a_video_changes_to_a_target_frame_rate(server):
    (path,) = server.run(
        {
            "load": node("LoadVideo", file="clip.mp4"),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "rife": node(
                "MidframeRIFE",
                frames=["parts", 0],
                model="default",
                multiplier=2,
                source_fps=["parts", 2],
                target_fps=60.0,
            ),
            "join": node("CreateVideo", images=["rife", 0], fps=["rife", 1]),
            "save": node("SaveVideo", video=["join", 0], filename_prefix="clip", format="mp4", codec="h264"),
        }
    )
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.average_rate == 60
        centres = [centre(frame.to_ndarray(format="rgb24")) for frame in file.decode(stream)]
    # Frame k shows moment k * 0.4 (24000/1001 in 60) of the source, up to the sixth and last frame.
    moments = [float(k * Fraction(24000, 1001) / 60) for k in range(13)]
    assert len(centres) == len([m for m in moments if m <= 5])
    for moment, found in zip(moments, centres, strict=False):
        assert abs(found - (centre(square(0)) + 8 * moment)) < 1.5


def film_workflow(model, multiplier=3, **widgets):
    """The three pictures through the FILM node."""
    film = node("MidframeFILM", frames=["abc", 0], model=model, multiplier=multiplier, **widgets)
    workflow = images_workflow() | {"film": film}
    del workflow["rife"]
    workflow["save"]["inputs"]["images"] = ["film", 0]
    return workflow


def as_arrays(paths):
    return np.stack([np.asarray(Image.open(path)).astype(int) for path in paths])


def test_film_in_every_layout(server, root):
    """The archives of both versions, which share a name, in both precisions, and the safetensors layout."""
    weights = synthetic_state_dict(film_shapes("narrow"), 0, 1.0)
    halves = {name: value.half() for name, value in weights.items()}
    folder = server.base / "models" / "frame_interpolation"
    older = server.base / "custom_nodes" / "comfyui-frame-interpolation" / "ckpts" / "film"
    older.mkdir(parents=True)
    goldens = root / "tests" / "goldens" / "film"
    shutil.copy(goldens / "tiny_torchscript_v100.pt", older / "film_net_fp32.pt")
    save_archive(published_names(weights), folder / "film_102.pt")
    save_archive(published_names(halves), folder / "film_102_fp16.pt")
    save_file(weights, folder / "film_core.safetensors")
    save_file(halves, folder / "film_core_fp16.safetensors")
    names = ["film_102.pt", "film_core.safetensors", "film_102_fp16.pt", "film_core_fp16.safetensors"]
    made = {name: as_arrays(server.run(film_workflow(name))) for name in names}
    assert all(pictures.shape == (7, 96, 128, 3) for pictures in made.values())
    assert np.array_equal(made[names[0]], made[names[1]])
    assert np.array_equal(made[names[2]], made[names[3]])
    assert np.abs(made[names[0]] - made[names[2]]).max() <= 2
    for schedule in ("any_t", "bisect"):
        assert len(server.run(film_workflow("film_net_fp32.pt", schedule=schedule))) == 7


def test_film_makes_the_pictures_that_comfyuis_own_node_makes(server):
    """With the published network's size and a file that `midframe convert` wrote."""
    if "FrameInterpolate" not in server.json("/object_info"):
        pytest.skip("this ComfyUI has no frame interpolation of its own")
    archive = server.base / "film.pt"
    save_archive(published_names(synthetic_state_dict(film_shapes("film"), 0, 1.0)), archive)
    convert(archive, server.base / "models" / "frame_interpolation" / "film_full.safetensors")
    ours = as_arrays(server.run(film_workflow("film_full.safetensors", 4)))
    theirs = film_workflow("") | {
        "load": node("FrameInterpolationModelLoader", model_name="film_full.safetensors"),
        "film": node("FrameInterpolate", interp_model=["load", 0], images=["abc", 0], multiplier=4),
    }
    assert np.abs(ours - as_arrays(server.run(theirs))).max() <= 1
    assert np.abs(ours[1::4] - ours[::4][:2]).max() > 20


def test_tlbvfi_in_each_layout(server):
    made = []
    for model in ("tlbvfi", "tlbvfi_legacy.pth", "tlbvfi_small.safetensors"):
        workflow = images_workflow()
        frames = workflow.pop("rife")["inputs"]["frames"]
        workflow["vfi"] = node("MidframeTLBVFI", frames=frames, model=model, multiplier=2, sample_steps=3)
        workflow["save"]["inputs"]["images"] = ["vfi", 0]
        pictures = [np.asarray(Image.open(path)) for path in server.run(workflow)]
        assert len(pictures) == 5
        assert all(np.array_equal(pictures[2 * i], square(i)) for i in range(3))
        made.append(pictures[1])
    assert all(np.array_equal(made[0], other) for other in made[1:])


def test_a_second_run_does_not_load_the_model_again(server):
    server.run(images_workflow(HEAVY, multiplier=2))
    before = server.loads()
    server.run(images_workflow(HEAVY, multiplier=3))
    assert server.loads() == before
    server.free()
    server.run(images_workflow(HEAVY, multiplier=4))
    assert server.loads() == before + 1


def test_the_clear_node_lets_go_of_models(server):
    server.run(images_workflow(HEAVY, multiplier=2))
    before = server.loads()
    workflow = images_workflow(HEAVY, multiplier=5)
    workflow["clear"] = node("MidframeClearCache", passthrough=["rife", 0])
    workflow["save"]["inputs"]["images"] = ["clear", 0]
    assert len(server.run(workflow)) == 11
    server.run(images_workflow(HEAVY, multiplier=6))
    assert server.loads() == before + 1


@pytest.mark.parametrize(("after_run", "loads"), [("keep loaded", 0), ("offload to CPU", 0), ("unload", 1)])
def test_after_a_run(server, after_run, loads):
    first = 10 + 3 * len(after_run)  # a multiplier that no other run has, so that ComfyUI runs the node
    server.run(images_workflow(multiplier=first, after_run=after_run))
    before = server.loads()
    assert len(server.run(images_workflow(multiplier=first + 1))) == 2 * first + 3
    assert server.loads() == before + loads


def test_free_gives_the_memory_back(server):
    server.run(images_workflow(HEAVY, multiplier=7))
    before = server.free()
    server.run(images_workflow(HEAVY, multiplier=8))
    loaded = server.rss()
    after = server.free()
    megabytes = [number // MIB for number in (before, loaded, after)]
    LOG.info("RSS MiB: %d before, %d with the model, %d after /free", *megabytes)
    assert loaded - before > 70 * MIB  # the model was there, so that its absence means something
    assert after - before < 64 * MIB


def test_cancel_answers_within_one_forward(server):
    server.run(images_workflow(HEAVY, multiplier=2))
    began = time.monotonic()
    server.run(images_workflow(HEAVY, multiplier=22))
    forward = (time.monotonic() - began) / 42
    prompt_id = server.post(images_workflow(HEAVY, multiplier=1000))
    server.until(lambda: server.json("/queue")["queue_running"], 30)
    time.sleep(10 * forward)
    began = time.monotonic()
    server.json("/interrupt", {})
    messages = dict(server.result(prompt_id)["status"]["messages"])
    waited = time.monotonic() - began
    LOG.info("cancel answered after %.3f s; one frame takes %.3f s", waited, forward)
    assert "execution_interrupted" in messages
    assert waited < forward + 0.5
    assert len(server.run(images_workflow(HEAVY, multiplier=3))) == 7


def test_weights_that_cannot_be_had_are_refused_before_anything_runs(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.post(images_workflow("no-such-model"))
    answer = json.loads(refused.value.read())
    (error,) = answer["node_errors"]["rife"]["errors"]
    assert "no-such-model" in error["details"]


def test_a_name_of_an_older_pack_finds_the_file(server):
    assert len(server.run(images_workflow("rife425_heavy.pth", multiplier=1))) == 3


def test_wrong_widget_values_end_in_our_words(server):
    done = server.result(server.post(images_workflow(HEAVY, ensemble=True)))
    (error,) = [data for kind, data in done["status"]["messages"] if kind == "execution_error"]
    assert "What to do:" in error["exception_message"]
    done = server.result(server.post(images_workflow(target_fps=60.0)))
    (error,) = [data for kind, data in done["status"]["messages"] if kind == "execution_error"]
    assert "source fps" in error["exception_message"]
