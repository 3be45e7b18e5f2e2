"""Measure the main memory that this process can still get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_ROOT = Path("/")
# Of either version of control groups: the files with limit and use, and the row of memory.stat that counts
# cached files.
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def available_memory(root: Path = _ROOT) -> int:
    """Return the bytes that a large tensor on the host can still get without swapping.

    The system's available memory, or less where a control group (a container, a service) allows less: the
    system's figures leave those out, and the kernel ends a process that goes past its own.

    Args:
        root: of the file system.
    """
    return min([int(psutil.virtual_memory().available), *_left_in_groups(root)])


def available_with_swap() -> int:
    """Return the bytes that a tensor can get at all, swap included; control groups as above."""
    return available_memory() + int(psutil.swap_memory().free)


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield the bytes that each memory control group of this process has left; nothing without groups."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):  # another system than Linux
        return
    for line in lines:
        # number:controllers:path. A group of version 2 names no controllers: "0::/user.slice".
        _, controllers, path = line.split(":", 2)
        mounted = root / "sys/fs/cgroup"
        if "memory" in controllers.split(","):
            yield from _left_upwards(mounted / "memory", path, _V1)
        elif not controllers:
            yield from _left_upwards(mounted, path, _V2)


def _left_upwards(mounted: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """Yield what a group and those that it is part of have left, in bytes.

    Inside a container the path may be the host's, which is not seen there; the container's own group is
    what is mounted then.
    """
    inside = PurePosixPath(path).relative_to("/")
    for folder in (inside, *inside.parents):
        left = _left(mounted / folder, names)
        if left is not None:
            yield left


def _left(group: Path, names: tuple[str, str, str]) -> int | None:
    """Return limit less use, in bytes; cached files count as free. None without a limit."""
    limit, used, cached = names
    try:
        most, now = int((group / limit).read_text()), int((group / used).read_text())
        rows = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, most - now + int(rows.get(cached, 0)))
    except (OSError, ValueError):  # no such group here, or its limit is "max"
        return None
