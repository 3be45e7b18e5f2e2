"""Keep loaded models between runs, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

FileIdentity = tuple[str, int, int]


def file_identity(path: Path) -> FileIdentity:
    """Return what tells a file from any other and from its earlier versions: path, bytes, mtime (ns)."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


class ModelCache:
    """Loaded models by key; the least recently used is evicted first.

    Args:
        limit_bytes: that all kept models together may take; the newest is kept whatever it takes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._other_names: dict[Hashable, Hashable] = {}
        # Reentrant: get() asks for the bytes while it holds it.
        self._lock = threading.RLock()
        self.loads = 0
        """How often a model had to be loaded since the process began."""

    def get(self, key: Hashable, load: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """Return the model of ``key``, loaded if it is not kept.

        Args:
            key: file identity, dtype, device and whatever else makes a model another one.
            load: loads the model; not called for a kept one.
            size: bytes that a loaded model takes.
        """
        # Held while loading: two threads that ask for the same model must not both load it.
        with self._lock:
            key = self._other_names.get(key, key)
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            model = load()
            self.loads += 1
            self._kept[key] = (model, size(model))
            # The newest stays even if it alone is too large: its caller is about to run it.
            while len(self._kept) > 1 and self.bytes > self._limit:
                self._kept.popitem(last=False)
            return model

    def rename(self, key: Hashable, name: Hashable) -> None:
        """Make ``key`` another name of ``name``.

        The model that was kept as ``key`` is kept as ``name``, where there is none of that name yet.
        """
        with self._lock:
            self._other_names[key] = name
            kept = self._kept.pop(key, None)
            if kept is not None:
                # A model that is kept already may be running: it stays, and two equal ones are not kept.
                self._kept.setdefault(name, kept)

    def drop(self, key: Hashable) -> None:
        """Drop one model. Nothing happens where it is not kept."""
        with self._lock:
            self._kept.pop(self._other_names.pop(key, key), None)

    def clear(self) -> None:
        """Drop every model."""
        with self._lock:
            self._kept.clear()
            self._other_names.clear()

    def models(self) -> list[Any]:
        """Return every kept model."""
        with self._lock:
            return [model for model, _ in self._kept.values()]

    @property
    def bytes(self) -> int:
        """Bytes that the kept models take together."""
        with self._lock:
            return sum(size for _, size in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return self._other_names.get(key, key) in self._kept


# TLBVFI's weights take 3.6 GB, those of any other network 134 MB at most.
MODELS = ModelCache(limit_bytes=4 * 2**30)
"""The cache that the nodes and the Python API share: one bound for both."""
