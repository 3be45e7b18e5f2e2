"""TorchScript archives: their weights are read as data, bit by bit, and their program is never run."""

import io
import os
import pickle
import zipfile

import pytest
import torch
from checkpoints import same
from midframe.benchmarks.loading import save_archive
from midframe.errors import CorruptWeightsError, MidframeError, UnsupportedWeightsError
from midframe.vfi_models import build, detect
from midframe.weights.checkpoint import read_checkpoint
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def archive(tmp_path):
    """A small archive and the weights in it."""
    weights = {"a.0.weight": torch.randn(3, 2), "a.1.b.bias": torch.randn(4), "last": torch.randn(2, 2)}
    save_archive(weights, tmp_path / "x.pt")
    return tmp_path / "x.pt", weights


def changed(path, **records):
    """The archive with other content for the records whose name ends in a key (``__`` is a dot)."""
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w") as new:
        for record in old.infolist():
            key = next((k for k in records if record.filename.endswith(k.replace("__", "."))), None)
            new.writestr(record.filename, old.read(record) if key is None else records[key])
    return path


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.LeakyReLU(), nn.ModuleDict({"x": nn.Linear(2, 2)})["x"]
        )
        self.norm = nn.BatchNorm2d(3)
        self.sizes = [1, 2]
        self.name = "net"

    def forward(self, x):
        return self.norm(self.steps[0](x)) + len(self.sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_same_names_in_the_same_order_and_the_same_bits_as_torch_reads(tmp_path, dtype):
    torch.jit.script(Net().to(dtype)).save(str(tmp_path / "x.pt"))
    assert same(read_checkpoint(tmp_path / "x.pt"), torch.jit.load(str(tmp_path / "x.pt")).state_dict())


class WithTable(Net):
    table: dict[str, int]

    def __init__(self):
        super().__init__()
        self.table = {"a": 1}


def test_an_archive_with_a_typed_table_beside_its_weights(tmp_path):
    torch.jit.script(WithTable()).save(str(tmp_path / "x.pt"))
    assert same(read_checkpoint(tmp_path / "x.pt"), torch.jit.load(str(tmp_path / "x.pt")).state_dict())


def test_nested_names(archive):
    path, weights = archive
    found = read_checkpoint(path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_the_program_is_not_even_looked_at(archive):
    path, weights = archive
    with zipfile.ZipFile(path) as inside:
        programs = [name for name in inside.namelist() if name.endswith(".py")]
    assert programs
    changed(path, __py=b"this is no program")
    with pytest.raises(RuntimeError):
        torch.jit.load(str(path))
    assert read_checkpoint(path).keys() == weights.keys()


@pytest.mark.parametrize("layout", ["tiny_torchscript_v100.pt", "tiny_torchscript_fp16.pt"])
def test_archives_that_return_nan_make_pictures(root, layout):
    path = root / "parity" / "goldens" / "film" / layout
    frames = torch.rand(2, 3, 64, 64)
    run = torch.jit.load(str(path)).forward(
        frames[:1].half(), frames[1:].half(), torch.tensor([[0.5]]).half()
    )
    assert run.isnan().all()
    model = build(detect(read_checkpoint(path)))
    session = model.open(64, 64)
    with torch.inference_mode():
        made = session.between(session.encode(frames[:1]), session.encode(frames[1:]), torch.tensor([0.5]))
    assert made.isfinite().all()


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_beside_the_weights_is_refused(archive, tmp_path, protocol):
    mark = tmp_path / "ran"
    path = changed(archive[0], data__pkl=pickle.dumps({"a": Call(os.mkdir, str(mark))}, protocol))
    with pytest.raises(CorruptWeightsError, match="nothing was run"):
        read_checkpoint(path)
    assert not mark.exists()


OBJECT = b"c__torch__\nNet\n)\x81"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (OBJECT + b"q\x00}(U\x04selfh\x00U\x05otherh\x00ub.", "contain one another"),
        (OBJECT + b"K\x01b.", "as the state of an object"),
        (b"c__torch__\nNet\n(K\x01tR.", "damaged pickle"),
        (b"c__torch__\nNet\n.", "without a state dict"),
        (OBJECT + b".", "without a state dict"),
        (OBJECT + b"}U\x01ac__torch__evil\nNet\n)\x81sb.", "nothing was run"),
        (OBJECT + b"}U\x01actorch.jit._pickle\nrestore_type_tag\n)Rsb.", "damaged pickle"),
    ],
)
def test_objects_that_are_made_to_harm_their_reader(archive, content, words):
    with pytest.raises(MidframeError, match=words):
        read_checkpoint(changed(archive[0], data__pkl=b"\x80\x02" + content))


def test_modules_that_hold_one_module_ever_so_often(archive):
    """A short pickle of 2^40 names."""
    levels = b"".join(
        OBJECT + b"q" + bytes([i]) + b"}(U\x01ah" + bytes([i - 1]) + b"U\x01bh" + bytes([i - 1]) + b"ub"
        for i in range(1, 40)
    )
    content = b"\x80\x02" + OBJECT + b"q\x00}b" + levels + b"."
    with pytest.raises(CorruptWeightsError, match="contain one another"):
        read_checkpoint(changed(archive[0], data__pkl=content))


def test_class_names_outside_an_archive_stay_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as new:
        new.writestr("x/data.pkl", b"\x80\x02" + OBJECT + b".")
    with pytest.raises(UnsupportedWeightsError, match=r"__torch__\.Net .* nothing was run"):
        read_checkpoint(tmp_path / "x.pth")


def test_every_truncation_is_refused(archive):
    path, _ = archive
    whole = path.read_bytes()
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        with pytest.raises(CorruptWeightsError):
            read_checkpoint(path)


def test_an_archive_of_another_network_is_named(archive):
    with pytest.raises(UnsupportedWeightsError, match="no network of this pack"):
        detect(read_checkpoint(archive[0]))
