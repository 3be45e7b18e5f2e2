"""What cannot work is said before a sampler runs: a real ComfyUI with a slow fake sampler before our nodes."""

import json
import logging
import time
import urllib.error

import pytest
from comfyui import node, running

pytestmark = pytest.mark.long
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


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    import os

    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("not run in a real ComfyUI: COMFYUI_PATH is not set")
    base = tmp_path_factory.mktemp("upstream")
    sampler = base / "slow_sampler.py"
    sampler.write_text(SAMPLER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDFRAME_OFFLINE", "1")
        with running(root, base / "comfyui", sampler) as server:
            folder = server.base / "models" / "frame_interpolation"
            (folder / "wrong.pth").write_bytes(b"not weights at all" * 99)
            server.runs = sampler.with_suffix(".runs")
            yield server


def told(server, kind, **widgets):
    """What the user is told, after how many seconds; None where the workflow runs to its end."""
    model = {"model": "default", "multiplier": 2, "frames": ["sampler", 0], **widgets}
    if kind in ("RIFE VFI", "AMT VFI"):
        model["ckpt_name"] = model.pop("model")
    workflow = {
        "sampler": node("SlowSampler", seed=time.monotonic_ns() % 2**31),
        "vfi": node(kind, **model),
        "save": node("SaveImage", images=["vfi", 0], filename_prefix="upstream"),
    }
    began = time.monotonic()
    try:
        done = server.result(server.post(workflow))
    except urllib.error.HTTPError as refused:
        return json.dumps(json.loads(refused.read())), time.monotonic() - began
    errors = [
        data["exception_message"] for kind, data in done["status"]["messages"] if kind == "execution_error"
    ]
    return (errors[0] if errors else None), time.monotonic() - began


CASES = {
    "missing RIFE, offline": ("MidframeRIFE", {"model": "rife-4.6"}, "rife46.pth"),
    "missing FILM, offline": ("MidframeFILM", {"model": "film"}, "film_net"),
    "missing TLBVFI": ("MidframeTLBVFI", {"model": "tlbvfi"}, "vimeo_unet.pth"),
    "unknown name": ("MidframeRIFE", {"model": "no-such-model"}, "no-such-model"),
    "wrong file": ("MidframeRIFE", {"model": "wrong.pth"}, "wrong.pth"),
    "option of another network": ("MidframeRIFE", {"ensemble": True, "scale": "8"}, "scale"),
    "target without source rate": ("MidframeRIFE", {"target_fps": 60.0}, "source fps"),
    "old id, missing weights": (
        "RIFE VFI",
        {"model": "rife46.pth", "clear_cache_after_n_frames": 10},
        "rife46",
    ),
    "old id without a network": ("AMT VFI", {}, "Midframe)"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_before_the_sampler_runs(server, case):
    kind, widgets, text = CASES[case]
    if kind == "RIFE VFI":
        old = {
            "fast_mode": True,
            "ensemble": True,
            "scale_factor": 1.0,
            "dtype": "float32",
            "torch_compile": False,
        }
        widgets = {**widgets, **old, "batch_size": 1}
    before = server.runs.read_text() if server.runs.exists() else ""
    message, seconds = told(server, kind, **widgets)
    LOG.info("%s: told after %.2f s", case, seconds)
    assert message is not None
    assert text in message
    assert (server.runs.read_text() if server.runs.exists() else "") == before


def test_what_can_work_runs_the_sampler_once(server):
    before = server.runs.read_text() if server.runs.exists() else ""
    message, seconds = told(server, "MidframeRIFE")
    assert message is None, message
    assert seconds > 1
    assert len(server.runs.read_text().splitlines()) == len(before.splitlines()) + 1
