"""Reading checkpoints: what torch saves comes out as it is, what is damaged is refused."""

import random
import tracemalloc
import zipfile
from collections import OrderedDict

import pytest
import torch
from checkpoints import KINDS, same, save, tiny
from midframe.errors import CorruptWeightsError, UnsupportedWeightsError
from midframe.weights.checkpoint import read_checkpoint, sha256_file
from safetensors.torch import save_file
from torch import nn

FLIPS = 250


@pytest.mark.parametrize("kind", KINDS)
def test_told_apart_by_content(tmp_path, kind):
    weights = tiny()
    for name in ("x.safetensors", "x.pth", "x"):
        assert same(read_checkpoint(save(tmp_path / name, weights, kind)), weights)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {
            "state_dict": w,
            "epoch": 3,
            "optimizer": {"state": {0: torch.ones(2)}, "betas": (0.9, [1])},
        },
        lambda w: {"step": torch.tensor(1), "model": {"state_dict": w}},
        lambda w: {"anything": w, "when": None},
    ],
)
def test_same_as_torch_reads_it(tmp_path, kind, wrap):
    base = torch.arange(24.0).reshape(4, 6)
    weights = OrderedDict(
        view=base[1:3, ::2], same_record=base.t(), parameter=nn.Parameter(torch.randn(2)), scalar=torch.tensor(3),
        empty=torch.zeros(0, 3), brain=torch.randn(2).bfloat16(), double=torch.randn(1).double(), flag=torch.tensor([True]),
        repeated=torch.ones(1).expand(2, 5),
    )  # fmt: skip
    path = save(tmp_path / "x.pth", wrap(weights), kind)
    found = read_checkpoint(path)
    assert same(found, weights)
    assert all(tensor.is_contiguous() and type(tensor) is torch.Tensor for tensor in found.values())
    expected = torch.load(path, weights_only=True)
    while "view" not in expected:
        expected = next(value for value in expected.values() if isinstance(value, dict))
    assert same(found, expected)


def test_a_module_with_its_versions_and_a_packed_zip(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    torch.save(net.state_dict(), tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as old,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    assert same(read_checkpoint(tmp_path / "x.pth"), net.state_dict())
    assert same(read_checkpoint(tmp_path / "y.pth"), net.state_dict())


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_what_is_no_tensor_is_left_out(tmp_path, kind):
    weights = tiny()
    path = save(tmp_path / "x.pth", {**weights, "step": 3, "note": None, 7: torch.ones(1), "list": [1]}, kind)
    assert same(read_checkpoint(path), weights)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_ours(tmp_path, kind):
    weights = tiny()
    path = save(tmp_path / "x", weights, kind)
    found = read_checkpoint(path)
    before = path.read_bytes()
    found["a"].zero_()
    assert path.read_bytes() == before
    path.write_bytes(b"\0" * len(before))
    path.unlink()
    assert torch.equal(found["b"], weights["b"])


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_weights_are_in_memory_once(tmp_path, kind):
    path = save(tmp_path / "x", {str(i): torch.randn(2**20) for i in range(4)}, kind)
    tracemalloc.start()
    kept = read_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size * 1.3, kept.keys()


# --- damage


class Net(nn.Module):
    """What strict loading of the right network accepts."""

    def __init__(self):
        super().__init__()
        for name, tensor in tiny().items():
            self.register_buffer(name, tensor)


def damaged(data, seed):
    """Truncations all along the file, then single flipped bits."""
    chance = random.Random(seed)
    yield from (data[:length] for length in range(0, len(data), max(1, len(data) // FLIPS)))
    for bit in chance.sample(range(len(data) * 8), FLIPS):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(tmp_path, kind):
    """A truncation is always seen. A flipped bit is seen by the CRC of a zip; the other kinds have none, and what
    is left of it (a name, a shape, a number) meets strict loading or the hash."""
    weights = tiny()
    data = save(tmp_path / "whole", weights, kind).read_bytes()
    path = tmp_path / "damaged"
    refused = 0
    for number, content in enumerate(damaged(data, kind)):
        path.write_bytes(content)
        try:
            found = read_checkpoint(path)
        except (CorruptWeightsError, UnsupportedWeightsError):
            refused += 1
            continue
        assert len(content) == len(data), f"truncation to {number} of {len(data)} bytes"
        if kind == "zip":
            assert same(found, weights)
        else:
            try:
                Net().load_state_dict(found, strict=True)
            except RuntimeError:
                refused += 1
    assert refused > FLIPS


def test_hashing_can_be_cancelled(tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt):
        sha256_file(tmp_path / "x", check_cancelled=lambda: (_ for _ in ()).throw(KeyboardInterrupt))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2]
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers(tmp_path, dtype, bad):
    tensor = torch.zeros(5)
    tensor[3] = bad
    save_file({"w": tensor.to(dtype)}, tmp_path / "x")
    with pytest.raises(CorruptWeightsError, match="1 of 5 values of w"):
        read_checkpoint(tmp_path / "x")
