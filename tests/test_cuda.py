"""What only a CUDA device can show. Skipped where there is none."""

import pytest
import torch
from midframe.api import interpolate
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models._core.fused import fused
from midframe.vfi_models._core.synthetic import synthetic_state_dict
from midframe.vfi_models._core.warp import _plainly, identity_grid
from midframe.vfi_models.rife import shapes
from midframe.vfi_utils import Settings

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
    frames = torch.rand(8, *size, 3)
    made = [
        interpolate(frames, model, multiplier, settings=Settings(options={"graphs": graphs}))
        for multiplier in (2, [2, 4, 3, 2, 4, 3, 2])
        for graphs in (True, False)
    ]
    torch.testing.assert_close(made[0], made[1], atol=bound("flow of a fast path"), rtol=0)
    torch.testing.assert_close(made[2], made[3], atol=bound("flow of a fast path"), rtol=0)
    assert "not recorded" not in caplog.text


def test_recordings_give_their_memory_back():
    model = build(detect(synthetic_state_dict(shapes("4.25"), 0, 0.7)))
    model.module.to(CUDA, torch.float16)
    held = []
    for _ in range(3):
        interpolate(torch.rand(6, 270, 482, 3), model, 2)
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_allocated())
    assert held[1] == held[2]
