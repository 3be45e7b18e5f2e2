"""What only a CUDA device can show. Skipped where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from midframe.api import interpolate
from midframe.parity.tolerances import bound
from midframe.vfi_models import architectures, build, detect
from midframe.vfi_models._ops.fused import fused
from midframe.vfi_models._ops.warp import _plainly, identity_grid
from midframe.vfi_models.rife import shapes
from midframe.vfi_utils import Settings
from midframe.weights.synthetic import synthetic_state_dict

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = "cuda"


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


def kernel(image, out):
    pytest.importorskip("triton", reason="Triton is not installed")
    warp = fused(image, out, _plainly)
    assert warp is not None
    return warp


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pooled", [False, True])
def test_kernel(dtype, pooled):
    for height, width in ((2, 6), (64, 100), (270, 482)):
        image = torch.rand(1, 11, height, width, device=CUDA)
        flow = torch.randn(3, 4, height, width, device=CUDA)[:, 1:3] * 9
        flow[:, :, 0, 0], flow[:, :, 1, 1] = float("nan"), float("inf")
        size = (height // 2, width // 2) if pooled else (height, width)
        seen = torch.full((3, 15, *size), 7.0, dtype=dtype, device=CUDA)
        wanted = torch.empty(3, 11, *size, device=CUDA)
        grid, kept = identity_grid(height, width, image.device), {"size": (height, width), "pooled": pooled}
        _plainly(image, flow, grid, out=wanted, **kept)
        kernel(image, seen)(image, flow, grid, out=seen[:, 2:13], **kept)
        close = {torch.float32: 3e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype]
        torch.testing.assert_close(seen[:, 2:13].float(), wanted, atol=close, rtol=0)
        assert (seen[:, :2] == 7).all()
        assert (seen[:, 13:] == 7).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_kernel_past_32_bits(layout):
    if torch.cuda.mem_get_info()[0] < 16 * 2**30:
        pytest.skip("needs 16 GiB of free CUDA memory")
    height, width, channels = 4320, 7680, 68
    image = torch.empty(1, channels, height, width, dtype=torch.float16, device=CUDA, memory_format=layout)
    image.copy_(torch.arange(channels, device=CUDA).view(1, -1, 1, 1))
    image[..., -1, -1] = 99
    out = torch.empty_like(image)
    flow = torch.zeros(1, 2, height, width, device=CUDA)
    grid = identity_grid(height, width, image.device)
    kernel(image, out)(image, flow, grid, size=(height, width), pooled=False, out=out)
    assert (out[..., -1, -1] == 99).all()
    assert (out[0, :, height // 2, width // 2] == torch.arange(channels, device=CUDA)).all()


@pytest.mark.parametrize("family", ["4.6", "4.25"])
@pytest.mark.parametrize("size", [(64, 96), (270, 482)])
def test_replays_are_the_passes(caplog, family, size):
    model = build(detect(synthetic_state_dict(shapes(family), 0, 0.7)))
    model.module.to(CUDA, torch.float16)
    frames = torch.rand(79, *size, 3)
    made = [
        interpolate(frames, model, multiplier, settings=Settings(options={"graphs": graphs}))
        for multiplier in (2, 26 * [2, 4, 3])
        for graphs in (True, False)
    ]
    torch.testing.assert_close(made[0], made[1], atol=bound("flow of a fast path"), rtol=0)
    torch.testing.assert_close(made[2], made[3], atol=bound("flow of a fast path"), rtol=0)
    assert "not recorded" not in caplog.text


@pytest.mark.parametrize(("architecture", "family"), [("rife", "4.25"), ("compact", "v2")])
def test_recordings_give_their_memory_back(architecture, family):
    of = {one.name: one for one in architectures()}[architecture]
    model = build(detect(synthetic_state_dict(of.shapes(family), 0, 0.7)))
    model.module.to(CUDA, torch.float16)
    session = model.open(270, 482)
    sides = [session.encode(frame) for frame in torch.rand(2, 1, 3, 270, 482, device=CUDA)]
    timestep = torch.full((1,), 0.5, device=CUDA)
    expected = session.between(*sides, timestep)

    def free():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    before = free()
    for _ in range(30):
        replayed = session.between(*sides, timestep)
    torch.testing.assert_close(replayed, expected, atol=bound("flow of a fast path"), rtol=0)
    held = session.held_bytes()
    if torch.cuda.memory.get_allocator_backend() == "native":
        assert held > 0
        assert before - free() >= held
        assert session.drop_recordings()
        assert before - free() < held / 2
    else:
        assert held == 0
    session.close()


_INVALID = """
from packs import load_pack
load_pack()
import logging, torch
from midframe.vfi_models._ops.cuda_graphs import Recordings, recorder_for
logging.basicConfig(format="%(message)s")
device = torch.device("cuda:0")

def waits(x):
    return x * 2 if x.sum().item() else x

def runs(x):
    return x * 2

with torch.inference_mode():
    x = torch.rand(1, 3, 64, 64, device=device)
    for work in (waits, runs):
        recordings = Recordings(recorder_for(device), first=2)
        for _ in range(4):
            assert torch.equal(recordings.run(work, (x,)), x * 2)
        assert recordings.held_bytes == 0
        recordings.close()
"""


def test_a_pass_that_waits_ends_recording_for_its_process_and_no_run(tmp_path):
    script = tmp_path / "invalid.py"
    script.write_text(_INVALID)
    path = os.pathsep.join([str(Path(__file__).parent / "support"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    if torch.cuda.memory.get_allocator_backend() == "native":
        assert done.stderr.count("a restart clears that") == 1
