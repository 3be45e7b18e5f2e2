"""Read files of ``torch.save`` as data: the zip of torch 1.6 and later, TorchScript archives, and the
pickles in a row before both.

Each is a pickle that describes tensors, and beside it their bytes. The description is read first (see
:mod:`.pickles`) and checked; then the bytes of the chosen tensors alone: the ``state_dict`` of a training
checkpoint, not the optimiser's.

Why not ``torch.load``: it runs what the pickle says (see :mod:`.pickles`), does not look at the CRC of a
record, and reads every tensor of a training checkpoint into memory.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from .pickles import Foreign, FormatError, Inert, Unpickled, read_pickle
from .torchnames import MOST_BYTES, NAMES, SCRIPT, SCRIPT_NAMES, StorageRef, StoredTensor, storage_of

# The first two pickles of a legacy file, as torch.serialization writes them.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_LONGEST_PICKLE = 64 * 2**20
_MOST_RECORDS = 100_000
# Characters that the names of all modules in an archive may take together.
_LONGEST_NAMES = 2**24
# Characters that a module without any name counts for.
_MODULE = 64
_BLOCK = 2**20


class TorchFile(Protocol):
    """An open file of ``torch.save``."""

    tree: Any
    """The object that was saved, with :class:`StoredTensor` in place of tensors."""
    foreign: tuple[str, ...]
    """Classes and functions that were saved with it, see :class:`~.pickles.Unpickled`."""

    def read_into(self, storage: StorageRef, buffer: bytearray) -> None:
        """Fill ``buffer`` with the bytes of a storage."""
        ...


def read_tensors(file: TorchFile, chosen: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """Read some tensors of a file: on the CPU, contiguous, each in memory of its own.

    Args:
        file: open.
        chosen: tensors as it describes them, by name.

    Raises:
        FormatError: bytes that are missing or damaged.
    """
    # By storage, which is read once however many tensors lie in it.
    users: dict[str, list[str]] = {}
    for name, stored in chosen.items():
        users.setdefault(stored.storage.key, []).append(name)
    tensors: dict[str, Tensor] = {}
    for names in users.values():
        storage = chosen[names[0]].storage
        buffer = bytearray(storage.bytes)
        file.read_into(storage, buffer)
        numbers = (
            # Without a copy. An empty buffer is refused by frombuffer.
            torch.frombuffer(buffer, dtype=storage.dtype)
            if buffer
            else torch.empty(0, dtype=storage.dtype, device="cpu")
        )
        for name in names:
            tensors[name] = _view(numbers, chosen[name], shared=len(names) > 1)
    return {name: tensors[name] for name in chosen}


def _view(numbers: Tensor, stored: StoredTensor, *, shared: bool) -> Tensor:
    # Tensors that share a storage (tied weights, slices) get copies: each must have memory of its own.
    view = numbers.as_strided(stored.shape, stored.stride, stored.offset)
    alone = not shared and view.is_contiguous() and view.numel() == numbers.numel()
    return view if alone else view.clone(memory_format=torch.contiguous_format)


# Attributes of a module of torch that hold the content of its state dict, in the order of that.
_PARTS = ("_parameters", "_buffers", "_modules")


def open_zip(stream: BinaryIO, size: int) -> TorchFile:
    """Open a zip of ``torch.save``, or a TorchScript archive: the same with a program beside its weights.

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
    """Turn everything that zipfile raises on damaged archives into a FormatError.

    A seek before the start of the file is an OSError.
    """
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
    """A zip: one folder with ``data.pkl``, and ``data/KEY`` for each storage."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        with _damage_named():
            self._archive = zipfile.ZipFile(stream)
        archive = self._archive
        self._records = {record.filename: record for record in archive.infolist()}
        _refuse_bomb(archive.infolist(), size)
        self._folder = _top_folder(self._records)
        # Files of older versions of torch do not say.
        order = self._read_small("byteorder", 16) or b"little"
        if order != b"little":
            raise FormatError("a checkpoint of a big-endian machine", unsupported=True)
        pickle = self._read_small("data.pkl", _LONGEST_PICKLE)
        # A TorchScript archive has these constants beside its data.
        if f"{self._folder}/constants.pkl" in self._records:
            module = read_pickle(io.BytesIO(pickle), SCRIPT_NAMES, self._declared, inert=SCRIPT)
            self.tree, self.foreign = module_tensors(module.value), module.foreign
        else:
            self.tree, self.foreign = read_pickle(io.BytesIO(pickle), NAMES, self._declared)

    def _read_small(self, name: str, most: int) -> bytes:
        record = self._records.get(f"{self._folder}/{name}")
        if record is None:
            return b""
        if record.file_size > most:
            raise FormatError(f"a zip archive whose {name} claims {record.file_size:,} bytes")
        with _damage_named():
            return self._archive.read(record)

    def _declared(self, identity: Any) -> StorageRef:
        storage = storage_of(identity)
        record = self._records.get(f"{self._folder}/data/{storage.key}")
        if record is None:
            raise FormatError(f"an incomplete zip archive: record data/{storage.key[:40]} is missing")
        if record.file_size != storage.bytes:
            raise FormatError(
                f"a damaged zip archive: record data/{storage.key[:40]} has {record.file_size:,} bytes "
                f"where its description says {storage.bytes:,}"
            )
        return storage

    def read_into(self, storage: StorageRef, buffer: bytearray) -> None:
        """Fill ``buffer`` with a storage. zipfile compares the CRC when the last byte is read."""
        with _damage_named(), self._archive.open(f"{self._folder}/data/{storage.key}") as record:
            _fill(record, buffer)


def _refuse_bomb(records: list[zipfile.ZipInfo], size: int) -> None:
    # torch stores its records as they are; weights packed again by somebody shrink by a tenth.
    claimed = sum(record.file_size for record in records)
    if claimed > min(2 * size + _BLOCK, MOST_BYTES) or len(records) > _MOST_RECORDS:
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


def module_tensors(tree: Any) -> dict[str, StoredTensor]:
    """Return the state dict of a module: its tensors, named by the attributes that lead to them.

    Args:
        tree: a TorchScript module (:class:`~.pickles.Inert`) or one that was saved whole
            (:class:`~.pickles.Foreign`).

    Raises:
        FormatError: modules that contain one another.
    """
    found: dict[str, StoredTensor] = {}
    waiting, room = [("", tree)], _LONGEST_NAMES
    while waiting:
        name, value = waiting.pop()
        if type(value) is StoredTensor:
            found[name] = value
            continue
        inside = _members(value)
        # Modules that contain one another, or each other many times, would go on for ever.
        named = [(key, inner) for key, inner in inside if type(key) is str]
        room -= _MODULE + len(inside) + sum(len(name) + len(key) for key, _ in named)
        if room < 0:
            raise FormatError("an archive whose modules contain one another")
        # Last in, first out: turned round, so that names come in the order of the file.
        waiting += [(f"{name}.{key}" if name else key, inner) for key, inner in reversed(named)]
    return found


def _members(module: Any) -> list[tuple[Any, Any]]:
    """Return the tensors and modules right inside a module, by name; none where it is no module."""
    if type(module) is Inert:
        return list(module.state.items())
    if type(module) is not Foreign:
        return []
    left_out = module.state.get("_non_persistent_buffers_set")
    left_out = {name for name in left_out if type(name) is str} if isinstance(left_out, (tuple, list)) else ()
    parts = [part for key in _PARTS if type(part := module.state.get(key)) is dict]
    return [(name, value) for part in parts for name, value in part.items() if name not in left_out]


class _Legacy:
    """Five pickles in a row (magic, protocol, machine, tree, storage keys), then the storages."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._storages: dict[str, StorageRef] = {}
        self._starts: dict[str, int] = {}
        if self._next().value != _LEGACY_MAGIC:
            raise FormatError("a pickle that torch.save did not write")
        protocol, machine = self._next().value, self._next().value
        if (
            protocol != _LEGACY_PROTOCOL
            or type(machine) is not dict
            or machine.get("little_endian") is not True
        ):
            raise FormatError("a checkpoint of a big-endian machine or an unknown version of torch")
        self.tree, self.foreign = self._next()
        self._locate(self._next().value)

    def _next(self) -> Unpickled:
        return read_pickle(self._stream, NAMES, self._declared)

    def _declared(self, identity: Any) -> Any:
        if type(identity) is tuple and identity[:1] == ("module",):
            return identity[1]  # a network's class, which old files keep beside the text of its program
        storage = storage_of(identity)
        if storage.bytes > self._size or self._storages.setdefault(storage.key, storage) != storage:
            raise FormatError(
                f"a damaged or truncated checkpoint: a record of {storage.bytes:,} bytes is claimed"
            )
        return storage

    def _locate(self, keys: Any) -> None:
        """Find where each storage starts: a count of 8 bytes, then the numbers, in the order of ``keys``."""
        described = self._storages.keys()
        if type(keys) is not list or not all(type(key) is str for key in keys) or set(keys) != described:
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

    def read_into(self, storage: StorageRef, buffer: bytearray) -> None:
        """Fill ``buffer`` with a storage. There is no checksum in these files."""
        self._stream.seek(self._starts[storage.key])
        _fill(self._stream, buffer)


def open_legacy(stream: BinaryIO, size: int) -> TorchFile:
    """Open a file that ``torch.save`` wrote before torch 1.6.

    Raises:
        FormatError: another kind of pickle, or damage.
    """
    return _Legacy(stream, size)


def _fill(source: Any, buffer: bytearray) -> None:
    view = memoryview(buffer)
    done = 0
    # In blocks: readinto of a record in a zip first reads what it is asked for into memory of its own.
    while done < len(view):
        count = source.readinto(view[done : done + _BLOCK])
        if not count:
            raise FormatError(f"a truncated file: {len(view) - done:,} bytes of a record are missing")
        done += count
