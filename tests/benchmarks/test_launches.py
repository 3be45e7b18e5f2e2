"""The loop on a device that is not there: nothing waits, nothing mixes devices, and launches are counted."""

import itertools

import pytest
import torch
from fakes import QUICK
from midframe.benchmarks.fake_device import DEVICE, Counting, DeviceWaitError, fake_cuda
from midframe.benchmarks.launches import launches, run
from midframe.benchmarks.work import Work
from midframe.vfi_utils import Settings, by_multiplier
from torch._subclasses.fake_tensor import DataDependentOutputException

# In one process with the other tests that count: its first fake tensor takes seconds of imports.
pytestmark = pytest.mark.xdist_group("counting")
GIB = 1e9
BUDGET = {
    # Launches and bytes of a made frame at 1080p, float16, x2, with the kernels, nothing recorded. Before:
    # 242 and 3.8 GB, 913 and 47.4, 2,379 and 16.0 (by another count: here a warp reads what it looks at, and
    # casts in inference mode count).
    "rife-4.25": (199, 3.5 * GIB),
    "film": (375, 36.5 * GIB),
    "default": (287, 3.8 * GIB),
}
WAITS = {
    # What the loop waits for by design, and why it cannot be otherwise.
    "tlbvfi-small": "the noise of a pair is seeded with what its frames show: the host must read that",
}
MODELS = [
    "rife-4.25",
    "rife-4.6",
    "rife-4.0",
    "rife_hd-hdv3",
    "film-narrow",
    "default",
    "tlbvfi-small",
]
SIZES = [(64, 96), (45, 37)]
KINDS = list(itertools.product(SIZES, (3, 4), (2, 4, 2.5)))


def work(name, size=(1080, 1920), dtype="float16", multiplier=2, frames=3):
    return Work(name, size, multiplier, frames, dtype, str(DEVICE))


@pytest.mark.parametrize(
    "name", ["rife-4.25", *(pytest.param(name, marks=pytest.mark.long) for name in list(BUDGET)[1:])]
)
def test_a_made_frame_stays_in_its_budget(name):
    options = {"graphs": False} if name != "film" else {}
    found, (most, moved) = launches(work(name), options), BUDGET[name]
    assert found.launches <= most
    assert found.bytes <= moved
    # A source frame up and a made one and a source one down, as float32: nothing else crosses.
    assert (found.uploaded, found.downloaded) == (1080 * 1920 * 12,) * 2


QUICKLY = {5: "float16"}
"""The dtype in which a model, by its place in MODELS, runs with `make test` too: the built-in model."""


def kinds(number, dtype):
    """Every kind of run for `make test-all`, one of a model, not the same of each, for `make test`."""
    chosen = (5 * number) % len(KINDS) if dtype == QUICKLY.get(number) else None
    return [
        pytest.param(*kind, marks=() if i == chosen else pytest.mark.long) for i, kind in enumerate(KINDS)
    ]


ROWS = [
    pytest.param(name, dtype, *kind.values, marks=kind.marks)
    for (number, name), dtype in itertools.product(enumerate(MODELS), ("float32", "float16", "bfloat16"))
    if not (name.startswith("tlbvfi") and dtype != "float32")
    for kind in kinds(number, dtype)
]


@pytest.mark.parametrize(("name", "dtype", "size", "channels", "multiplier"), ROWS)
def test_the_loop_waits_for_nothing_and_mixes_nothing(name, dtype, size, channels, multiplier):
    settings = Settings(QUICK.get(name.partition("-")[0], {}))

    def clip():
        timeline = by_multiplier(multiplier)
        return run(work(name, size, dtype), channels=channels, timeline=timeline, settings=settings)

    if name in WAITS:
        with pytest.raises((DataDependentOutputException, DeviceWaitError)):
            clip()
        return
    count = clip()
    source = size[0] * size[1] * channels * 4
    shown = {2: 5, 4: 9, 2.5: 6}[multiplier]
    assert (count.uploaded, count.downloaded) == (
        3 * source,
        (shown - 3 if multiplier != 2.5 else 4) * source,
    )
    assert count.dtypes <= {torch.float32, getattr(torch, dtype), torch.int64, torch.int32, torch.bool}


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: bool((x > 0).all()),
        lambda x: x.cpu(),
        lambda x: x.to("cpu", torch.float16),
        lambda x: torch.empty(3, dtype=torch.float32, device="cpu").to(DEVICE),
        lambda x: x.copy_(torch.empty(3, dtype=torch.float32, device="cpu")),
        lambda x: torch.tensor([1.0, 2.0], dtype=torch.float32, device="cpu").to(DEVICE),
    ],
)
def test_a_wait_is_found(wait):
    with fake_cuda() as count:
        x = torch.empty(3, dtype=torch.float32, device=DEVICE)
        with Counting(count), pytest.raises(Exception, match=r"device|aten") as caught:
            wait(x)
    assert (
        "DataDependent" in caught.typename or "Dynamic" in caught.typename or caught.type is DeviceWaitError
    )


def test_what_does_not_wait_is_counted():
    with fake_cuda() as count:
        x = torch.empty(2, 3, dtype=torch.float32, device=DEVICE)
        host = torch.empty(2, 3, dtype=torch.float32, device="cpu")
        with Counting(count), torch.inference_mode():
            x.copy_(host, non_blocking=True)
            host.copy_(x, non_blocking=True)
            assert (count.launches, count.uploaded, count.downloaded) == (0, 24, 24)
            x[:, 1:].t().unsqueeze(0).expand(4, -1, -1)  # views
            torch.empty_like(x)
            assert (count.launches, count.bytes) == (0, 0)
            x.add_(1.0)
            assert (count.launches, count.bytes) == (1, 2 * 24)
            x[..., 1].fill_(0.0)
            assert (count.launches, count.bytes) == (2, 2 * 24 + 8)
            torch.nn.functional.pad(x, (1, 1))
            assert count.launches == 4
            # What inference mode does not take apart: views, then copies.
            x.float().reshape(3, 2).contiguous().flatten()
            assert count.launches == 4
            x.half()
            x.t().contiguous()
            x.t().reshape(-1)
            assert count.launches == 7
    assert torch.cuda.Stream.__module__.startswith("torch"), "everything is as it was"
