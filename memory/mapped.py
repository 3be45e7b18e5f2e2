"""Make tensors that lie in a file: as large as the disk allows, and in memory only while they are used."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import psutil
import torch
from torch import Tensor

from ..errors import MidframeError
from .available import available_memory

_PREFIX, _SUFFIX = "midframe_", ".frames"
# Bytes that stay free on the disk.
_RESERVE = 2**29
# Types of file systems that lie in main memory.
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
_PIECE = 2**24


def mapped_tensor(shape: Sequence[int], dtype: torch.dtype, folder: Path) -> tuple[Tensor, BinaryIO]:
    """Return a tensor over a new file, and the file to write it through.

    Pages that are written through the file are the system's, to keep or to drop, and the process stays as
    small as it is.

    The file has its room on the disk from the beginning: where the disk runs full under a mapped file that
    has not, the system ends the process. It has no name any more where the system allows that, so that
    nothing is left however the process ends; its room is free again when the tensor and the file are gone.

    Args:
        shape: not empty.
        dtype: of the tensor.
        folder: on a disk; created where it is missing.

    Raises:
        MidframeError: no room, or no file can be made there.
    """
    count = math.prod(shape)
    size = count * dtype.itemsize
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _require_room(folder, size)
        number, name = tempfile.mkstemp(_SUFFIX, _PREFIX, folder)
        file = os.fdopen(number, "r+b")
        try:
            _allocate(file, size)
            # It opens the file by its name, which therefore goes only afterwards.
            tensor = torch.from_file(name, shared=True, size=count, dtype=dtype, device="cpu")
        except BaseException:
            file.close()
            raise
        finally:
            with contextlib.suppress(OSError):  # Windows keeps the name while the file is in use
                Path(name).unlink()
    except (OSError, RuntimeError) as error:
        raise MidframeError(
            "Frames cannot be stored on the disk.",
            f"a file of {size / 2**30:.1f} GiB in {folder}: {error}",
            "Free some room there, or choose another folder for temporary files.",
        ) from error
    return tensor.view(*shape), file


def _sweep(folder: Path) -> None:
    """Remove what Windows did not let us remove while it was in use."""
    if os.name == "nt":
        for left in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                left.unlink()


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free - _RESERVE
    if lies_in_memory(folder):
        free = min(free, available_memory() - _RESERVE)
    if size > free:
        where = "in main memory, where that folder lies" if lies_in_memory(folder) else "on that disk"
        raise OSError(errno.ENOSPC, f"{max(free, 0) / 2**30:.1f} GiB are free {where}")


def lies_in_memory(folder: Path) -> bool:
    """Tell whether a folder lies in main memory and not on a disk, as ``/tmp`` does on some systems."""
    place = folder.resolve()
    kinds = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    # From the folder upwards: the nearest mount point is the one that holds it.
    mounted = next((kinds[str(p)] for p in (place, *place.parents) if str(p) in kinds), "")
    return mounted in _IN_MEMORY


def _allocate(file: BinaryIO, size: int) -> None:
    """Make the file ``size`` bytes long, with room on the disk for each of them."""
    if os.name == "nt":
        file.truncate(size)  # NTFS gives the room at once
        return
    if hasattr(os, "posix_fallocate"):  # not on macOS
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            # A file system without this call: zeros written below take longer, and give the room as well.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        else:
            return
    for start in range(0, size, _PIECE):
        file.write(bytes(min(_PIECE, size - start)))
    file.flush()
