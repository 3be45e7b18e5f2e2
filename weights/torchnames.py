"""The table of names in the pickles of ``torch.save``, and the tensors that these describe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .pickles import Builder, FormatError, fill

MOST_BYTES = 16 * 2**30
"""Unpacked size that no checkpoint for frame interpolation comes near."""
# Dimensions of a tensor, as many as torch takes in most of what it does.
_MOST_SIDES = 64


@dataclass(frozen=True)
class StorageRef:
    """A storage of torch: a run of numbers of one dtype in the file, not read yet."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it, checked to lie within its storage."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes once it is in memory."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    """Return a tensor from the arguments of ``torch._utils._rebuild_tensor_v2``, checked against its storage.

    After the stride come gradients and hooks, which weights have no use for.
    """
    numbers = (offset, *shape, *stride)
    if type(storage) is not StorageRef or len(shape) != len(stride):
        raise FormatError("a damaged pickle: a tensor without numbers")
    if len(shape) > _MOST_SIDES:
        raise FormatError(f"a damaged pickle: a tensor of {len(shape):,} dimensions")
    if not all(type(number) is int and 0 <= number <= MOST_BYTES for number in numbers):
        # Not shown: the text of a tuple of tuples of ... that share their parts has no end.
        raise FormatError("a damaged pickle: a tensor whose shape is not of sizes")
    # An empty tensor too may have other sides that no memory could hold.
    if math.prod(max(size, 1) for size in shape) > MOST_BYTES:
        raise FormatError(f"a tensor of shape {tuple(shape)}")
    # The furthest number that the tensor looks at, counted from the start of its storage.
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.count:
        raise FormatError(f"a tensor of shape {tuple(shape)} in a record of {storage.count:,} numbers")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride))


_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}


def _encoded(text: str, _: str = "latin1") -> bytes:
    """Return bytes as protocol 2 writes them: as text, one character a byte."""
    if type(text) is not str:
        raise TypeError(f"{type(text).__name__} as the text of bytes")
    return text.encode("latin1")


def _dict(items: Any = ()) -> dict[Any, Any]:
    """Return a dict of another dict or of pairs."""
    values: dict[Any, Any] = {}
    fill(values, items.items() if type(items) is dict else items)
    return values


def _plain(module: str) -> dict[str, Any]:
    """Return the names of Python's plain values in ``module``. Sets become tuples: nothing is hashed."""
    kinds = ("bool", "bytes", "dict", "float", "int", "list", "long", "object", "str", "tuple", "unicode")
    return {
        **{f"{module}.{kind}": kind for kind in kinds},
        **{f"{module}.{kind}": Builder(lambda items=(): tuple(items)) for kind in ("set", "frozenset")},
        f"{module}.bytearray": Builder(lambda *_: b""),
        f"{module}.complex": Builder(lambda *parts: parts),
    }


NAMES: Mapping[str, Any] = {
    "collections.OrderedDict": Builder(_dict),
    "collections.Counter": Builder(_dict),
    "torch._utils._rebuild_tensor": Builder(_tensor),
    "torch._utils._rebuild_tensor_v2": Builder(_tensor),
    "torch._utils._rebuild_parameter": Builder(lambda data, *_: data),
    "torch._utils._rebuild_parameter_with_state": Builder(lambda data, *_: data),
    "torch.Size": Builder(lambda items=(): tuple(items)),
    # Lightning keeps these beside the weights. Of callbacks it only names the class; a name runs nothing.
    "pytorch_lightning.utilities.parsing.AttributeDict": Builder(_dict),
    "lightning_fabric.utilities.data.AttributeDict": Builder(_dict),
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": "ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping": "EarlyStopping",
    "torch.device": Builder(lambda *place: place),
    "collections.defaultdict": Builder(lambda *_: {}),
    "collections.deque": Builder(lambda *_: []),
    "_codecs.encode": Builder(_encoded),
    **_plain("builtins"),
    **_plain("__builtin__"),
    **{f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _DTYPES.items()},
    **{str(dtype): str(dtype) for dtype in _DTYPES.values()},
}

SCRIPT = "__torch__"
"""Module of the classes of a TorchScript archive: its own code, which is never read."""
SCRIPT_NAMES = {
    **NAMES,
    "torch.jit._pickle.restore_type_tag": Builder(lambda value, *_: value),
    **{f"torch.jit._pickle.build_{kind}list": Builder(list) for kind in ("int", "double", "bool", "tensor")},
}


def storage_of(identity: Any) -> StorageRef:
    """Return the storage of a persistent id.

    Args:
        identity: ("storage", type, key, device, numbers) and, in old files, a view.

    Raises:
        FormatError: another id, or one without name or size.
    """
    what, kind, key, _, count, *view = identity
    if what != "storage" or type(kind) is not _StorageType or any(part is not None for part in view):
        raise FormatError("a pickle that refers to something other than tensors")
    if type(key) is not str or type(count) is not int or count < 0:
        raise FormatError("a damaged pickle: a record without name or size")
    return StorageRef(key, kind.dtype, count)
