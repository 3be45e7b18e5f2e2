"""Small JSON documents that are written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Key of a document's own digest, by which damage is found.
_CHECK = "check"


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content``, so that whoever reads ``path`` finds either all of it or what was there before.

    After the return it also outlasts a power cut.

    Args:
        path: in a folder that is there.
        content: of types that JSON has.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({**content, _CHECK: _digest(content)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        # Only after fsync: a power cut could leave the new name with no bytes behind it.
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    # The name itself is data of the folder.
    settle(path.parent)


def read_document(path: Path) -> dict[str, Any] | None:
    """Return what :func:`write_document` wrote; None where there is nothing or it was damaged since."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    check = content.pop(_CHECK, None)
    return content if check == _digest(content) else None


def digest_of(content: Mapping[str, Any]) -> str:
    """Return a short digest of ``content``, whatever the order of its keys."""
    return _digest(content)[:16]


def settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself.

    Raises:
        OSError: they cannot be written.
    """
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there, and names settle by themselves
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
