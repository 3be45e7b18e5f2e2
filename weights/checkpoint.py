"""Read a checkpoint: any accepted file as plain tensors, without running anything that is in it."""

from __future__ import annotations

import hashlib
import logging
import math
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import (
    BadInputError,
    CorruptWeightsError,
    MidframeError,
    UnsupportedWeightsError,
    WeightsNotFoundError,
)
from .pickles import Foreign, FormatError
from .torchfile import TorchFile, module_tensors, open_legacy, open_zip, read_tensors
from .torchnames import StoredTensor

__all__ = ["read_checkpoint", "readable", "sha256_file"]

_LOG = logging.getLogger(__name__)

_BLOCK = 2**20
# A tar archive says what it is at byte 257, in a header of 512.
_HEAD = 512

# Keys under which training code keeps the state dict in what it saves, the likeliest first.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "params_ema",
    "params",
    "model",
    "net",
    "network",
    "generator",
    "flownet",
    "module",
    "weights",
)
_DEEPEST = 3
# Key under which it keeps moving averages of some of the parameters, beside the state dict: the weights that
# such training is evaluated with.
_AVERAGES = "ema"

_SHOWN_NAMES = 5
_TAKE_OUT = (
    "`midframe convert IN OUT.safetensors` takes the weights out and leaves the rest; it runs nothing of the "
    "file. Or save them alone where the program of their author runs: "
    'torch.save(model.state_dict(), "weights.pth").'
)
_SAVE_ALONE = (
    "Save the weights alone where the program of their author runs: "
    'torch.save(model.state_dict(), "weights.pth").'
)

_AGAIN = "Delete the file and get it again."
_PAGE = "Open the address in a browser, save the file itself and put it in place of this one."

_UNPACK = "Unpack it and choose the weights inside."
_OTHER_KIND = "Choose the weights as .safetensors or .pth."

# Protocol 2 and later begin with PROTO (0x80); before it a file begins with its first step: a mark, a name,
# an empty list or an empty dict.
_PICKLE_STARTS = (b"\x80", b"(", b"c", b"]", b"}")
_SAFETENSORS_NAMES = (".safetensors", ".sft")
_OTHER_FILES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to", "Download the file itself."),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"GGUF", "a GGUF model", _OTHER_KIND),
    (b"\x89PNG", "a PNG picture", _AGAIN),
    (b"\xff\xd8\xff", "a JPEG picture", _AGAIN),
    # The number that the first line of ncnn's .param files is.
    (b"7767517", "an ncnn model", _OTHER_KIND),
    # The tag of ir_version, the first field of ONNX's protobuf. One byte is no proof, so it comes last.
    (b"\x08", "an ONNX model, by its first byte", _OTHER_KIND),
)


def sha256_file(path: Path, check_cancelled: Callable[[], None] | None = None) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits in lower case.

    Args:
        path: the file.
        check_cancelled: called between blocks; raises to end the reading.

    Raises:
        OSError: a file that cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            if check_cancelled is not None:
                check_cancelled()
            digest.update(block)
    return digest.hexdigest()


class _Selection(NamedTuple):
    """Which tensors of a file are read; see :func:`read_checkpoint`."""

    averaged: bool
    leave_objects: bool


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of the system on a file that cannot be read into one of the family.

    Raises:
        WeightsNotFoundError: there is no such file.
        BadInputError: a file that may not or cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise WeightsNotFoundError(
            "There is no such weights file.",
            str(path),
            "Check the name, or choose a model that is installed.",
        ) from error
    except OSError as error:
        raise BadInputError(
            "A weights file cannot be read.", f"{path}: {error}", "Check the permissions and the disk."
        ) from error


def read_checkpoint(
    path: Path,
    *,
    averaged: bool = True,
    leave_objects: bool = False,
) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name.

    Accepts safetensors, the zip of ``torch.save``, TorchScript archives and what ``torch.save`` wrote
    before, told apart by their content. Of an archive only the weights are read, never its code. A state
    dict one to three dicts deep in what was saved (``{"state_dict": ...}``) is taken out. What stands beside
    tensors (step counters, None, names that are no text) is left out.

    Args:
        path: the file.
        averaged: where the file keeps moving averages of parameters beside the state dict (``{"ema": ...}``),
            they take the place of what was averaged; False leaves them out.
        leave_objects: whether objects of other classes than tensors and plain values, a whole network among
            them, are left where they are and the weights beside or in them taken; such a file is refused
            otherwise. Nothing of them is run in either case.

    Returns:
        CPU tensors in the dtypes of the file, contiguous, in memory of their own; the file is closed.

    Raises:
        WeightsNotFoundError: there is no such file.
        CorruptWeightsError: a file that is damaged, that is something else, or that wants code to be run;
            also one with values that are not numbers.
        UnsupportedWeightsError: a file that is whole, but holds no state dict or more than weights.
        BadInputError: a file that may not be read.
    """
    with readable(path):
        try:
            size = _size(path)
            tensors = _read(path, size, _Selection(averaged, leave_objects))
            _refuse_not_numbers(tensors)
        except FormatError as error:
            raise _refusal(path, error) from error
    return tensors


def _size(path: Path) -> int:
    """Return the bytes of a file. Devices and pipes have no end, or never answer."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise FormatError("a folder", "Choose a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise FormatError("no file but a device or a pipe", "Choose a file.")
    return status.st_size


def _refusal(path: Path, error: FormatError) -> MidframeError:
    size = path.stat().st_size if path.is_file() else 0
    kind = UnsupportedWeightsError if error.unsupported else CorruptWeightsError
    found = f"{path} ({size:,} bytes): {error.found}"
    return kind(f"{path.name} cannot be used as weights.", found, error.advice or _AGAIN)


def _read(path: Path, size: int, selection: _Selection) -> dict[str, Tensor]:
    if size == 0:
        raise FormatError("an empty file")
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        stream.seek(0)
        if head.startswith(b"PK\x03\x04"):
            file = open_zip(stream, size)
            return read_tensors(file, _chosen(file, size, selection))
        # Before the others: it begins with the length of its header, whose first byte may be that of a pickle
        # or of ONNX.
        if _looks_like_safetensors(head):
            return _read_safetensors(path)
        _refuse_other_files(head)
        if head.startswith(_PICKLE_STARTS):
            file = open_legacy(stream, size)
            return read_tensors(file, _chosen(file, size, selection))
    if path.suffix.lower() in _SAFETENSORS_NAMES:
        raise FormatError("a damaged or truncated safetensors file")
    raise FormatError(f"no known kind of file; it starts with {head[:16]!r}")


def _looks_like_safetensors(head: bytes) -> bool:
    """Eight bytes of header length, then the header, which is JSON."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32  # noqa: PLR2004


def _refuse_other_files(head: bytes) -> None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        start = text[:40].decode("utf-8", "replace").splitlines()[0]
        raise FormatError(f"a web page saved under this name; it starts with {start!r}", _PAGE)
    if text.startswith((b'{"', b"{\n", b"[{")):
        raise FormatError("a text in JSON, perhaps the error message of a server", _PAGE)
    if head[257:262] == b"ustar":
        raise FormatError("a tar archive", _UNPACK)
    for magic, what, advice in _OTHER_FILES:
        if head.startswith(magic):
            raise FormatError(what, advice)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # safetensors would call the file itself damaged
        raise FormatError(
            "a path that is no valid UTF-8", "Rename the file or its folder.", unsupported=True
        ) from error
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            # The file hands out views of itself, mapped: they would keep it open and change with it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise FormatError(f"a damaged or truncated safetensors file ({error})") from error
    if not tensors:
        raise FormatError("a safetensors file without tensors", unsupported=True)
    return tensors


def _chosen(file: TorchFile, size: int, selection: _Selection) -> dict[str, StoredTensor]:
    """Return the state dict in what was saved, as the file describes it."""
    chosen = _unwrap(file.tree, _DEEPEST)
    if file.foreign and not selection.leave_objects:
        raise _objects(file, weights=chosen is not None)
    if chosen is None:
        names = (
            ", ".join(f"{name!r:.80}" for name in list(file.tree)[:8])
            if type(file.tree) is dict
            else type(file.tree).__name__
        )
        raise FormatError(
            f"a checkpoint without a state dict; it holds {names or 'nothing'}", unsupported=True
        )
    if selection.averaged and type(file.tree) is dict:
        chosen |= _averages(file.tree, chosen)
    # Tensors may share a record or repeat its numbers; more than this was written to fill the memory.
    total = sum(stored.bytes for stored in chosen.values())
    if total > 4 * size + _BLOCK:
        raise FormatError(f"tensors that would take {total:,} bytes")
    return chosen


def _objects(file: TorchFile, *, weights: bool) -> FormatError:
    """Return the error for a file with objects in it: it may be in order, but is not weights alone."""
    whole = "a whole network" if _is_network(file.tree) else "an object"
    what = f"{whole} and not its weights alone" if type(file.tree) is Foreign else "more than weights"
    names = ", ".join(file.foreign[:_SHOWN_NAMES])
    more = len(file.foreign) - _SHOWN_NAMES
    names += f" and {more} more" if more > 0 else ""
    return FormatError(
        f"{what}: it holds {names} besides tensors, which only other programs understand; nothing was run",
        _TAKE_OUT if weights else _SAVE_ALONE,
        unsupported=True,
    )


def _unwrap(tree: Any, depth: int) -> dict[str, StoredTensor] | None:
    """Return the state dict in what was saved; None where there is none, or several and no telling which."""
    tree = _by_name(tree)
    if depth == 0 or not tree:
        return None
    for name in _WRAPPERS:
        wrapped = _unwrap(tree.get(name), depth - 1)
        if wrapped is not None:
            return wrapped
    tensors = _tensors(tree)
    inner = [value for value in tree.values() if type(value) is dict or _is_network(value)]
    # A wrapper under a name of its author's own, beside counters and the like.
    if not tensors and len(inner) == 1:
        return _unwrap(inner[0], depth - 1)
    return tensors or None


def _by_name(value: Any) -> dict[Any, Any]:
    """Return the content, by name, of a dict, of a network that was saved whole or of another object."""
    if type(value) is dict:
        return value
    if _is_network(value):
        return dict(module_tensors(value))
    return value.state if type(value) is Foreign else {}


def _is_network(value: Any) -> bool:
    return type(value) is Foreign and "_modules" in value.state


def _averages(tree: Any, parameters: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the moving averages beside a state dict, by its names; none where they do not fit its shapes."""
    copies = tree.get(_AVERAGES)
    found = _tensors(copies) if type(copies) is dict else {}
    # The prefix may be on one side alone: with it no name would match.
    names = {_bare(name): name for name in parameters}
    fits = all(
        _bare(name) in names and parameters[names[_bare(name)]].shape == copy.shape
        for name, copy in found.items()
    )
    if not fits:
        _LOG.warning("The moving averages in this file are not of its parameters: its last weights are used.")
    return {names[_bare(name)]: copy for name, copy in found.items()} if fits else {}


def _bare(name: str) -> str:
    """Return a parameter's name without the prefix of DistributedDataParallel."""
    return name.removeprefix("module.")


def _tensors(tree: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    return {name: value for name, value in tree.items() if type(name) is str and type(value) is StoredTensor}


def _refuse_not_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors with infinities or NaN: flipped bits make these, and no network is stored with them."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        # torch has no sum for dtypes of 8 bits.
        values = tensor if tensor.element_size() > 1 else tensor.float()
        # One pass over the numbers: a sum is only finite where all of them are. The other way round it is
        # not so, they may be large.
        if math.isfinite(values.sum()):
            continue
        bad = tensor.numel() - int(torch.isfinite(values).sum())
        if bad:
            raise FormatError(
                f"damaged weights: {bad:,} of {tensor.numel():,} values of {name} are not numbers"
            )
