"""A real ComfyUI with a slow fake sampler before our nodes, which counts how often it ran."""

import contextlib
import json
import logging
import os
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui import Server, node, running

LOG = logging.getLogger(__name__)
SAMPLER = '''
import time, torch
from pathlib import Path
RUNS = Path(__file__).resolve().with_suffix(".runs")
class SlowSampler:
    """Takes its time, and says that it ran."""
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("IMAGE",)
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}
    def run(self, seed):
        with RUNS.open("a") as file:
            file.write(f"{seed}\\n")
        time.sleep(1)
        return (torch.rand(3, 64, 64, 3, generator=torch.Generator().manual_seed(seed)),)
NODE_CLASS_MAPPINGS = {"SlowSampler": SlowSampler}
'''


@contextlib.contextmanager
def sampling(root: Path, base: Path) -> Iterator[Server]:
    """A server with the sampler; ``server.sampled()`` says how often it ran."""
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("not run in a real ComfyUI: COMFYUI_PATH is not set")
    sampler = base / "slow_sampler.py"
    sampler.write_text(SAMPLER)
    runs = sampler.with_suffix(".runs")
    with running(root, base / "comfyui", sampler) as server:
        server.sampled = lambda: len(runs.read_text().splitlines()) if runs.exists() else 0
        yield server


def told(server: Server, kind: str, **widgets: Any) -> tuple[str | None, float]:
    """Text that the user is told, and after how many seconds; None if the workflow ends. Logged as a table row."""
    model = {"model": "default", "multiplier": 2, "frames": ["sampler", 0], **widgets}
    if kind in ("RIFE VFI", "AMT VFI"):
        model["ckpt_name"] = model.pop("model")
    workflow = {
        "sampler": node("SlowSampler", seed=time.monotonic_ns() % 2**31),
        "vfi": node(kind, **model),
        "save": node("SaveImage", images=["vfi", 0], filename_prefix="upstream"),
    }
    before, began = server.sampled(), time.monotonic()
    try:
        done = server.result(server.post(workflow))
    except urllib.error.HTTPError as refused:
        message, how = json.dumps(json.loads(refused.read())), "refused"
    else:
        rows = done["status"]["messages"]
        errors = [data["exception_message"] for kind, data in rows if kind == "execution_error"]
        message, how = (errors[0], "stopped") if errors else (None, "ran")
    seconds = time.monotonic() - began
    LOG.info("| %s | %s | %.2f | %d |", kind, how, seconds, server.sampled() - before)
    return message, seconds
