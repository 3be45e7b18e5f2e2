"""Files of ``torch.save`` read as data: the zip of torch 1.6 and later, TorchScript archives, and the
pickles in a row before both.

Each is a pickle that describes tensors, and beside it their bytes. The description is read first (see
:mod:`.pickles`), checked, and only what is then wanted is read: ``state_dict`` of a training checkpoint,
not the optimiser's.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from .pickles import Builder, FormatError, Inert, read_pickle

# What a legacy file starts with, as torch.serialization writes it.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_MOST_BYTES = 16 * 2**30
"""Unpacked size that no file for frame interpolation comes near."""
_LONGEST_PICKLE = 64 * 2**20
_MOST_RECORDS = 100_000
_LONGEST_NAMES = 2**24
"""Characters that the names of all modules in an archive may take together."""
_BLOCK = 2**20


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it, checked to lie within its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size once it is in memory."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


class TorchFile(Protocol):
    """An open file of ``torch.save``."""

    tree: Any
    """What was saved, with :class:`StoredTensor` in place of tensors."""

    def read_into(self, storage: Storage, buffer: bytearray) -> None:
        """Fills ``buffer`` with the bytes of a storage."""
        ...


def read_tensors(file: TorchFile, wanted: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """The tensors of ``wanted``: on the CPU, contiguous, in memory of their own.

    Raises:
        FormatError: bytes that are missing or damaged.
    """
    users: dict[str, list[str]] = {}
    for name, stored in wanted.items():
        users.setdefault(stored.storage.key, []).append(name)
    made: dict[str, Tensor] = {}
    for names in users.values():
        storage = wanted[names[0]].storage
        buffer = bytearray(storage.bytes)
        file.read_into(storage, buffer)
        numbers = (
            torch.frombuffer(buffer, dtype=storage.dtype)
            if buffer
            else torch.empty(0, dtype=storage.dtype, device="cpu")
        )
        for name in names:
            made[name] = _view(numbers, wanted[name], shared=len(names) > 1)
    return {name: made[name] for name in wanted}


def _view(numbers: Tensor, stored: StoredTensor, *, shared: bool) -> Tensor:
    view = numbers.as_strided(stored.shape, stored.stride, stored.offset)
    alone = not shared and view.is_contiguous() and view.numel() == numbers.numel()
    return view if alone else view.clone(memory_format=torch.contiguous_format)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    """Stands for ``torch._utils._rebuild_tensor_v2``; what follows the stride is gradients and hooks."""
    numbers = (offset, *shape, *stride)
    if type(storage) is not Storage or len(shape) != len(stride):
        raise FormatError("a damaged pickle: a tensor without numbers")
    if not all(type(number) is int and 0 <= number <= _MOST_BYTES for number in numbers):
        raise FormatError(f"a damaged pickle: a tensor of shape {tuple(shape)}")
    if math.prod(max(size, 1) for size in shape) > _MOST_BYTES:
        raise FormatError(f"a tensor of shape {tuple(shape)}")
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

_NAMES: Mapping[str, Any] = {
    "collections.OrderedDict": Builder(lambda items=(): dict(items)),
    "collections.Counter": Builder(lambda items=(): dict(items)),
    "torch._utils._rebuild_tensor": Builder(_tensor),
    "torch._utils._rebuild_tensor_v2": Builder(_tensor),
    "torch._utils._rebuild_parameter": Builder(lambda data, *_: data),
    "torch._utils._rebuild_parameter_with_state": Builder(lambda data, *_: data),
    "torch.Size": Builder(lambda items=(): tuple(items)),
    # What Lightning keeps beside the weights. Of callbacks it only names the class; a name runs nothing.
    "pytorch_lightning.utilities.parsing.AttributeDict": Builder(lambda items=(): dict(items)),
    "lightning_fabric.utilities.data.AttributeDict": Builder(lambda items=(): dict(items)),
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": "ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping": "EarlyStopping",
    "torch.device": Builder(lambda *place: place),
    "__builtin__.set": Builder(lambda items=(): tuple(items)),
    "builtins.set": Builder(lambda items=(): tuple(items)),
    **{f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _DTYPES.items()},
    **{str(dtype): str(dtype) for dtype in _DTYPES.values()},
}

_SCRIPT = "__torch__"
"""The module that the classes of a TorchScript archive are in: its own code, which is never read."""
_SCRIPT_NAMES = {
    **_NAMES,
    **{f"torch.jit._pickle.build_{kind}list": Builder(list) for kind in ("int", "double", "bool", "tensor")},
}


def _storage(identity: Any) -> Storage:
    """The storage of a persistent id: ("storage", type, key, device, numbers) and, in old files, a view."""
    what, kind, key, _, count, *view = identity
    if what != "storage" or type(kind) is not _StorageType or any(part is not None for part in view):
        raise FormatError("a pickle that refers to something other than tensors")
    if type(key) is not str or type(count) is not int or count < 0:
        raise FormatError("a damaged pickle: a record without name or size")
    return Storage(key, kind.dtype, count)


def open_zip(stream: BinaryIO, size: int) -> TorchFile:
    """A zip of ``torch.save``, or a TorchScript archive, which is the same with a program beside its weights.

    Of an archive only the weights are read, never the program. Every record that is read is checked
    against its CRC, which torch leaves out.

    Args:
        stream: the file, open; the caller closes it when the tensors are read.
        size: of the file, in bytes.

    Raises:
        FormatError: another kind of zip, damage, or more in it than fits a file of that size.
    """
    return _Zip(stream, size)


@contextmanager
def _damage_named() -> Iterator[None]:
    """All that zipfile raises on damaged archives; a seek before the start of the file is an OSError."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        ValueError,
        OSError,
    ) as error:
        raise FormatError(f"a damaged or truncated zip archive ({error})") from error


class _Zip:
    def __init__(self, stream: BinaryIO, size: int) -> None:
        with _damage_named():
            self._archive = zipfile.ZipFile(stream)
        archive = self._archive
        self._records = {record.filename: record for record in archive.infolist()}
        _refuse_bomb(archive.infolist(), size)
        self._folder = _top_folder(self._records)
        order = self._read_small("byteorder", 16) or b"little"
        if order != b"little":
            raise FormatError("a checkpoint of a big-endian machine", unsupported=True)
        pickle = self._read_small("data.pkl", _LONGEST_PICKLE)
        if f"{self._folder}/constants.pkl" in self._records:
            self.tree = _parameters(
                read_pickle(io.BytesIO(pickle), _SCRIPT_NAMES, self._declared, inert=_SCRIPT)
            )
        else:
            self.tree = read_pickle(io.BytesIO(pickle), _NAMES, self._declared)

    def _read_small(self, name: str, most: int) -> bytes:
        record = self._records.get(f"{self._folder}/{name}")
        if record is None:
            return b""
        if record.file_size > most:
            raise FormatError(f"a zip archive whose {name} claims {record.file_size:,} bytes")
        with _damage_named():
            return self._archive.read(record)

    def _declared(self, identity: Any) -> Storage:
        storage = _storage(identity)
        record = self._records.get(f"{self._folder}/data/{storage.key}")
        if record is None:
            raise FormatError(f"an incomplete zip archive: record data/{storage.key[:40]} is missing")
        if record.file_size != storage.bytes:
            raise FormatError(
                f"a damaged zip archive: record data/{storage.key} has {record.file_size:,} bytes "
                f"where its description says {storage.bytes:,}"
            )
        return storage

    def read_into(self, storage: Storage, buffer: bytearray) -> None:
        """See :class:`TorchFile`. The CRC is checked by zipfile when the last byte is read."""
        with _damage_named(), self._archive.open(f"{self._folder}/data/{storage.key}") as record:
            _fill(record, buffer)


def _refuse_bomb(records: list[zipfile.ZipInfo], size: int) -> None:
    # torch stores its records as they are; weights packed again by somebody shrink by a tenth.
    claimed = sum(record.file_size for record in records)
    if claimed > min(2 * size + _BLOCK, _MOST_BYTES) or len(records) > _MOST_RECORDS:
        raise FormatError(
            f"a zip bomb: {len(records):,} records that claim {claimed:,} bytes in a file of {size:,}"
        )
    for record in records:
        if record.flag_bits & 1:
            raise FormatError("a zip archive with a password", "Unpack it first.", unsupported=True)
        if record.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError("a zip archive packed by a method that torch does not use")


def _top_folder(records: Mapping[str, zipfile.ZipInfo]) -> str:
    tops = [
        name.removesuffix("/data.pkl")
        for name in records
        if name.endswith("/data.pkl") and name.count("/") == 1
    ]
    if len(tops) != 1:
        inside = ", ".join(sorted(records)[:5])
        raise FormatError(
            f"a zip archive, but not a checkpoint: {len(records)} files: {inside}",
            "Unpack it and choose the weights inside.",
            unsupported=True,
        )
    return tops[0]


def _parameters(tree: Any) -> dict[str, StoredTensor]:
    """The state dict of a TorchScript module: its tensors, named by the attributes that lead to them."""
    found: dict[str, StoredTensor] = {}
    waiting, room = [("", tree)], _LONGEST_NAMES
    while waiting:
        name, value = waiting.pop()
        if type(value) is StoredTensor:
            found[name] = value
        elif type(value) is Inert:
            inside = [(key, inner) for key, inner in value.state.items() if type(key) is str]
            # Modules that contain one another, or each other many times, would go on for ever.
            room -= sum(len(name) + len(key) + 1 for key, _ in inside)
            if room < 0:
                raise FormatError("a TorchScript archive whose modules contain one another")
            # Last in, first out: turned round, so that names come in the order of the file.
            waiting += [(f"{name}.{key}" if name else key, inner) for key, inner in reversed(inside)]
    return found


class _Legacy:
    """Five pickles in a row (magic, protocol, machine, tree, storage keys), then the storages."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._storages: dict[str, Storage] = {}
        self._starts: dict[str, int] = {}
        if self._next() != _LEGACY_MAGIC:
            raise FormatError("a pickle that torch.save did not write")
        protocol, machine = self._next(), self._next()
        if (
            protocol != _LEGACY_PROTOCOL
            or type(machine) is not dict
            or machine.get("little_endian") is not True
        ):
            raise FormatError("a checkpoint of a big-endian machine or an unknown version of torch")
        self.tree = self._next()
        self._locate(self._next())

    def _next(self) -> Any:
        return read_pickle(self._stream, _NAMES, self._declared)

    def _declared(self, identity: Any) -> Storage:
        storage = _storage(identity)
        if storage.bytes > self._size or self._storages.setdefault(storage.key, storage) != storage:
            raise FormatError(
                f"a damaged or truncated checkpoint: a record of {storage.bytes:,} bytes is claimed"
            )
        return storage

    def _locate(self, keys: Any) -> None:
        """Where each storage starts: a count of 8 bytes, then the numbers, in the order of ``keys``."""
        if type(keys) is not list or set(map(str, keys)) != self._storages.keys():
            raise FormatError("a damaged checkpoint: its tensors and its records do not match")
        position = self._stream.tell()
        for key in keys:
            storage = self._storages[key]
            self._stream.seek(position)
            count = int.from_bytes(self._stream.read(8), "little")
            self._starts[key] = position + 8
            position += 8 + storage.bytes
            if count != storage.count or position > self._size:
                raise FormatError(
                    f"a damaged or truncated checkpoint: it should have {position:,} bytes or more"
                )

    def read_into(self, storage: Storage, buffer: bytearray) -> None:
        """See :class:`TorchFile`. There is no checksum in these files."""
        self._stream.seek(self._starts[storage.key])
        _fill(self._stream, buffer)


def open_legacy(stream: BinaryIO, size: int) -> TorchFile:
    """A file of ``torch.save`` before torch 1.6.

    Raises:
        FormatError: another kind of pickle, or damage.
    """
    return _Legacy(stream, size)


def _fill(source: Any, buffer: bytearray) -> None:
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        count = source.readinto(view[done : done + _BLOCK])
        if not count:
            raise FormatError(f"a truncated file: {len(view) - done:,} bytes of a record are missing")
        done += count
