"""A real ComfyUI that tests drive through its API.

Needs COMFYUI_PATH, the folder of a ComfyUI, and COMFYUI_PYTHON, the Python that it runs with (default: the one
that runs the tests). COMFYUI_FRONT_END is the folder of another front end than the one that this Python has. It runs on
the CPU, with folders of its own; nothing of the user's is touched.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

Workflow = dict[str, dict[str, Any]]
"""Nodes by their ids, as the server's API takes them."""
PACK = "ComfyUI-midframe.pack"
MIB = 2**20
START_SECONDS = 300
"""It takes 6 to 10 on a quiet machine, and has taken more than 120 on two cores with ten other processes."""
RUN_SECONDS = 300
"""For a run to end: FILM over three small pictures takes some on a quiet machine, and took more than 120 beside these."""
ANSWER_SECONDS = 120
"""For an answer of the server, which one beside these gave after more than 30."""


class Server:
    """A running ComfyUI and what it said."""

    def __init__(self, base: Path, port: int, flags: Sequence[str] = ()) -> None:
        self.base, self.url = base, f"http://127.0.0.1:{port}"
        self.log_path = base / "server.log"
        shim = Path(__file__).resolve().parents[3] / "shared" / "tools" / "torchvision_shim"
        path = [str(shim)] if shim.is_dir() else []  # lets torchvision import beside a CPU build of torch
        path += [p for p in [os.environ.get("PYTHONPATH")] if p]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(path)}
        options = f"--cpu --listen 127.0.0.1 --port {port} --disable-auto-launch --base-directory {base}"
        database = f"--database-url sqlite:///{base / 'comfyui.db'}"
        if front_end := os.environ.get("COMFYUI_FRONT_END"):
            flags = [*flags, "--front-end-root", front_end]
        python = os.environ.get("COMFYUI_PYTHON", sys.executable)
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [python, "main.py", *options.split(), *database.split(), *flags],
                cwd=os.environ["COMFYUI_PATH"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def until(self, ask: Callable[[], Any], seconds: float) -> Any:
        """The first true answer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if answer := ask():
                    return answer
            time.sleep(0.02)
        raise TimeoutError(self.log())

    def log(self) -> str:
        return re.sub(r"\x1b\[\d+m", "", self.log_path.read_text(errors="replace"))

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=ANSWER_SECONDS) as reply:
            return reply.read()

    def json(self, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as reply:
            text = reply.read()
        return json.loads(text) if text.strip() else None

    def post(self, workflow: Workflow) -> str:
        return self.json("/prompt", {"prompt": workflow})["prompt_id"]

    def result(self, prompt_id: str, seconds: float = RUN_SECONDS) -> Any:
        return self.until(lambda: self.json(f"/history/{prompt_id}").get(prompt_id), seconds)

    def run(self, workflow: Workflow) -> list[Path]:
        """The files that a workflow has written."""
        done = self.result(self.post(workflow))
        assert done["status"]["status_str"] == "success", done["status"]["messages"]
        written = [file for out in done["outputs"].values() for file in out.get("images", [])]
        return [self.base / "output" / file["subfolder"] / file["filename"] for file in written]

    def rss(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def free(self) -> int:
        """Resident bytes once ComfyUI has let go of models and results, which it says nowhere: when they settle.

        Asked for again and again: ComfyUI forgets to wake up for it where it comes while the last run is cleared away,
        and would do it after the next run only. 2 s without a change were too few beside ten other programs.
        """
        lowest, since = self.rss(), time.monotonic()
        while time.monotonic() - since < 4:
            self.json("/free", {"unload_models": True, "free_memory": True})
            time.sleep(0.2)
            if self.rss() < lowest - MIB:
                lowest, since = self.rss(), time.monotonic()
        return self.rss()

    def loads(self) -> int:
        return len(re.findall(r"\bloaded \S+\.safetensors", self.log()))


@contextlib.contextmanager
def running(
    root: Path, base: Path, *others: Path, flags: Sequence[str] = (), name: str = PACK
) -> Iterator[Server]:
    """A server whose custom nodes are the pack in ``root`` and ``others``, with its folders in ``base``.

    Args:
        root: of the pack.
        base: an empty folder.
        others: folders of other packs.
        flags: more of ComfyUI's.
        name: of the pack's folder.
    """
    for folder in ("custom_nodes", "input", "output", "temp", "user", "models/frame_interpolation"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / name).symlink_to(root, target_is_directory=True)
    for other in others:
        (base / "custom_nodes" / other.name).symlink_to(other)
    for i in range(3):
        Image.fromarray(square(i)).save(base / "input" / f"{i}.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(base, port, flags)
    try:
        server.until(lambda: server.get("/system_stats"), START_SECONDS)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def square(step: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A bright square that moves 8 pixels a step over a soft texture."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([60 + 30 * np.sin(x / 9), 60 + 30 * np.sin(y / 7), 70 + 20 * np.sin((x + y) / 11)], -1)
    picture[30:62, 20 + 8 * step : 52 + 8 * step] = (230, 200, 40)
    return picture.astype(np.uint8)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def images_workflow(model: str = "default", multiplier: Any = 2, **widgets: Any) -> Workflow:
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


def as_arrays(paths: Iterable[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)).astype(int) for path in paths])
