"""The fused warp in Triton's interpreter, against torch: a program of its own, as the interpreter is chosen
when Triton is imported. Run by test_fused.py.
"""

# ruff: noqa: E402
import itertools
import os

os.environ["TRITON_INTERPRET"] = "1"

import torch
from packs import load_pack

load_pack()

from midframe.parity.tolerances import bound
from midframe.vfi_models._ops import convolution, fused, kernels
from midframe.vfi_models._ops.fused import disagreement
from midframe.vfi_models._ops.fused_kernel import warp
from midframe.vfi_models._ops.warp import _plainly, identity_grid
from midframe.vfi_models.compact import flow, matching, net
from midframe.vfi_models.rife.lowres import _centres

DTYPES = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
WILD = (float("nan"), float("inf"), -float("inf"), 3e38, -1e30)


def case(
    image_dtype: torch.dtype, out_dtype: torch.dtype, channels: int, pooled: bool, wild: float | None
) -> None:
    divisor = int(2 ** torch.randint(1, 4, ())) if pooled else 1
    height, width = (divisor * n for n in torch.randint(1, 16, (2,)).tolist())
    count, frames = 2, int(torch.randint(1, 3, ()))
    image = torch.rand(frames, channels, height, width).to(image_dtype)
    if channels % 2:  # as networks store it
        image = image.contiguous(memory_format=torch.channels_last)
    grid = _centres(identity_grid(height, width), divisor)
    flow = torch.randn(count, 4, *grid.shape[-2:]).mul_(max(height, width) / 4)[:, 1:3]
    if wild:
        flow[torch.rand(flow.shape) < 0.3] = wild
    size = [n // 2 for n in grid.shape[-2:]] if pooled else grid.shape[-2:]
    seen = torch.full((count, channels + 4, *size), 7.0, dtype=out_dtype)
    own, wanted = seen[:, 1:-3], torch.empty(count, channels, *size)
    _plainly(image, flow, grid, size=(height, width), pooled=pooled, out=wanted)
    warp(image, flow, grid, size=(height, width), pooled=pooled, out=own)
    torch.testing.assert_close(own.float(), wanted, atol=DTYPES[out_dtype], rtol=0)
    assert (seen[:, 0] == 7).all()  # nothing beside the slice is written to
    assert (seen[:, -3:] == 7).all()


def opaque(pooled: bool, wild: float) -> None:
    """The four shares of a pixel add up to 1, wherever a flow points: an opaque alpha stays opaque."""
    image, grid = torch.ones(1, 1, 12, 20), identity_grid(12, 20)
    flow = torch.randn(2, 2, 12, 20).mul_(20)
    flow[torch.rand(flow.shape) < 0.3] = wild
    out = torch.empty(2, 1, *(n // 2 if pooled else n for n in (12, 20)))
    warp(image, flow, grid, size=(12, 20), pooled=pooled, out=out)
    torch.testing.assert_close(out, torch.ones_like(out), atol=1e-6, rtol=0)


torch.manual_seed(0)
torch.set_grad_enabled(False)
for pooled, wild in itertools.product((False, True), WILD):
    opaque(pooled, wild)
for pooled, channels, image_dtype in itertools.product((False, True), (1, 3, 7, 11, 16), DTYPES):
    for out_dtype in {torch.float32, image_dtype}:
        for wild in (None, WILD[channels % len(WILD)]):
            case(image_dtype, out_dtype, channels, pooled, wild)
for wild in WILD:
    case(torch.float32, torch.float16, 3, True, wild)
for image_dtype, out_dtype in itertools.product(DTYPES, DTYPES):  # what is asked before it is used
    assert disagreement(warp, _plainly, torch.device("cpu"), image_dtype, out_dtype) <= 1
for dtype in DTYPES:
    # The checks with which the pack itself decides whether to use a kernel, at its own bounds.
    for kernel, difference in (
        (kernels.add_leaky_, convolution._difference),
        (kernels.correlation, matching._difference),
        (kernels.gradient_products, flow._products_difference),
        (kernels.least_squares, flow._solution_difference),
        (kernels.gate, net._gate_difference),
        (kernels.cubic, flow._cubic_difference),
    ):
        found = float(difference(kernel, torch.device("cpu"), dtype))
        assert found < fused._ROUNDING[dtype], (kernel.__name__, dtype, found)
left, right = torch.randn(2, 3, 7, 23, 40)
for reach in (0, 1, 3):
    expected = matching._correlation(left, right, reach)
    stored = (x.contiguous(memory_format=torch.channels_last) for x in (left, right))
    torch.testing.assert_close(kernels.correlation(*stored, reach), expected, atol=bound("operation"), rtol=0)
y, plus = torch.randn(2, 5, 33, 41)
sums = torch.nn.functional.leaky_relu(y + plus, 0.2)
torch.testing.assert_close(kernels.add_leaky_(y, plus, 0.2), sums, atol=bound("rounding"), rtol=0)

for channels, (height, width) in itertools.product((1, 3), ((1, 1), (1, 7), (19, 40))):
    left, right = torch.rand(2, 2, channels, height, width)
    timestep = torch.rand(2, 1, 1, 1)
    expected = flow._gradient_products(left, right, timestep)
    stored = (x.contiguous(memory_format=torch.channels_last) for x in (left, right))
    found = kernels.gradient_products(*stored, timestep)
    torch.testing.assert_close(found, expected, atol=bound("operation"), rtol=0)
    means, both = flow.box_mean(expected), 4.0 * torch.randn(2, 5, height, width)
    expected = flow._least_squares(means, both[:, 4:], 2e-5)
    found = kernels.least_squares(means, both[:, 4:], 2e-5)
    torch.testing.assert_close(found, expected, atol=bound("operation"), rtol=0)
    assert found.square().sum(1).max() <= 1.0 + bound("operation")
    out = torch.randn(2, 30, height, width).to(torch.float16).contiguous(memory_format=torch.channels_last)
    expected = net._gate(both[:, :4], both[:, 4:], out, 4.0)
    found = kernels.gate(both[:, :4], both[:, 4:], out, 4.0)
    torch.testing.assert_close(found, expected, atol=bound("operation"), rtol=0)
