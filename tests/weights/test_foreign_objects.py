"""Files with more in them than weights: refused without a reproach, and the weights can be had out of them."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import os
import pathlib
import sys
import types
import uuid
from collections import OrderedDict

import numpy as np
import pytest
import torch
from checkpoints import same, save, tiny
from midframe.errors import CorruptWeightsError, UnsupportedWeightsError
from midframe.vfi_models.rife import shapes
from midframe.weights.checkpoint import read_checkpoint
from midframe.weights.convert import convert
from midframe.weights.synthetic import synthetic_state_dict
from torch import nn


@dataclasses.dataclass
class Record:
    rate: float = 0.1
    path: pathlib.Path = pathlib.Path("a")


@dataclasses.dataclass
class Slotted:
    __slots__ = ("rate",)
    rate: float


class Stage(enum.Enum):
    ONE = "one"


class Named(OrderedDict):
    pass


class Numbers(list):
    pass


Pair = collections.namedtuple("Pair", "left right")


class Network(nn.Module):
    """Everything that a state dict takes or leaves out, in modules of modules."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))
        self.register_parameter("nothing", None)
        self.register_buffer("kept", torch.randn(2))
        self.register_buffer("left_out", torch.randn(2), persistent=False)
        self.plain = torch.randn(4)
        self.steps = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.PReLU())
        self.activation = functools.partial(torch.clamp, min=0)
        self.stage = Stage.ONE
        self.also = self.steps[0].forward


BESIDE = {
    "argparse.Namespace": argparse.Namespace(lr=1, paths=[pathlib.Path("x")]),
    "multiarray.scalar": np.float64(3),
    "numpy.": np.arange(6).reshape(2, 3),
    "numpy.dtype": np.dtype("float16"),
    "datetime.datetime": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    "decimal.Decimal": decimal.Decimal("1.5"),
    "uuid.UUID": uuid.UUID(int=3),
    "Path": pathlib.Path("/a/b"),
    "Record": Record(),
    "Slotted": Slotted(2.0),
    "Stage": Stage.ONE,
    "Named": Named(a=1),
    "Numbers": Numbers([1, 2]),
    "Pair": Pair(1, 2),
    "functools.partial": functools.partial(max, 1),
    "test_foreign_objects": {Stage.ONE: 1, Record: 2},
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", BESIDE)
def test_objects_beside_the_weights_are_named_and_can_be_left(tmp_path, name, protocol):
    path, weights = tmp_path / "x.pth", tiny()
    torch.save({"state_dict": weights, "beside": BESIDE[name]}, path, pickle_protocol=protocol)
    with pytest.raises(UnsupportedWeightsError, match="nothing was run") as caught:
        read_checkpoint(path)
    assert name in caught.value.found
    assert "other programs either" not in str(caught.value)
    assert "midframe convert" in caught.value.advice
    assert "state_dict()" in caught.value.advice
    assert same(read_checkpoint(path, leave_objects=True), weights)


PLAIN = {
    "bytes": b"\xff\x00",
    "bytearray": bytearray(b"ab"),
    "set": {1, 2},
    "frozenset": frozenset("ab"),
    "complex": 1 + 2j,
    "defaultdict": collections.defaultdict(list, a=[1]),
    "deque": collections.deque([1, 2]),
    "tuple keys": {(0, 1): 2.0},
    "type": int,
    "shape": torch.Size([2]),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_of_python_beside_the_weights_are_fine(tmp_path, name, protocol):
    path, weights = tmp_path / "x.pth", tiny()
    torch.save({"state_dict": weights, "beside": PLAIN[name]}, path, pickle_protocol=protocol)
    assert same(read_checkpoint(path), weights)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net,
        lambda net: {"model": net, "optimizer": Record(net.weight), "epoch": np.int64(3)},
        lambda net: {"anything": net, "args": argparse.Namespace(net="x")},
        lambda net: {"state_dict": Named(net.state_dict())},
        lambda net: argparse.Namespace(model=net),
    ],
)
def test_a_network_that_was_saved_whole(tmp_path, kind, wrap):
    net = Network()
    path = save(tmp_path / "x.pth", wrap(net), kind)
    with pytest.raises(
        UnsupportedWeightsError, match=r"test_foreign_objects\.\w+.* nothing was run"
    ) as caught:
        read_checkpoint(path)
    assert "other programs either" not in str(caught.value)
    found = read_checkpoint(path, leave_objects=True)
    assert same(found, net.state_dict())


def test_many_kinds_of_object_make_a_short_message_without_control_characters(tmp_path):
    kinds = [type(f"K{i}\n\x1b[31m", (), {"__module__": "m"}) for i in range(20)]
    path = tmp_path / "x.pth"

    class Pickled:
        def __init__(self, kind):
            self.kind = kind

        def __reduce__(self):
            return self.kind, ()

    module = types.ModuleType("m")
    for kind in kinds:
        setattr(module, kind.__name__, kind)
    sys.modules["m"] = module
    try:
        torch.save({"a": torch.ones(1), "b": [Pickled(kind) for kind in kinds]}, path, pickle_protocol=4)
    finally:
        del sys.modules["m"]
    with pytest.raises(UnsupportedWeightsError, match=r"m\.K0.* and 15 more") as caught:
        read_checkpoint(path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("function", [os.getcwd, eval, os.path.os.system])
def test_what_runs_programs_is_refused_where_objects_are_left_too(tmp_path, function):
    class Call:
        def __reduce__(self):
            return function, ()

    torch.save({"state_dict": tiny(), "beside": [argparse.Namespace(), Call()]}, tmp_path / "x.pth")
    for leave_objects in (False, True):
        with pytest.raises(CorruptWeightsError, match="nothing was run") as caught:
            read_checkpoint(tmp_path / "x.pth", leave_objects=leave_objects)
        assert "other programs either" in caught.value.advice


def test_objects_without_weights(tmp_path):
    torch.save(argparse.Namespace(a=1), tmp_path / "x.pth")
    with pytest.raises(UnsupportedWeightsError, match="state_dict") as caught:
        read_checkpoint(tmp_path / "x.pth")
    assert "convert" not in caught.value.advice
    with pytest.raises(UnsupportedWeightsError, match="without a state dict"):
        read_checkpoint(tmp_path / "x.pth", leave_objects=True)


def test_convert_takes_the_weights_out(tmp_path):
    weights = synthetic_state_dict(shapes("4.25"), 0, 0.7)
    torch.save({"model": weights, "args": argparse.Namespace(), "best": np.float32(1)}, tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert {
        name: tuple(value.shape) for name, value in read_checkpoint(tmp_path / "x.safetensors").items()
    } == shapes("4.25")
