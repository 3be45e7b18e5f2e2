"""A hash that tells a source from any other, in time that does not grow with its size."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..video.read.images import is_pattern, pictures_of

_BLOCK = 2**16
_BLOCKS = 16


def fingerprint(source: Path) -> str:
    """Return a hash of the size of a file and 16 blocks of 64 KiB: the first, the last, others between.

    Of a folder: over the names of its files and the first and last block of each. It knows nothing of where
    the source is or when it was written: a copy is the same source.
    """
    digest = hashlib.sha256()
    pattern = is_pattern(source)
    if source.is_dir() or pattern:
        files = pictures_of(source) if pattern else [path for path in source.iterdir() if path.is_file()]
        for file in sorted(file for file in files if file.name[0] != "."):
            # On Linux a name need not be UTF-8.
            digest.update(file.name.encode(errors="surrogateescape"))
            _take(file, 2, digest)
    else:
        _take(source, _BLOCKS, digest)
    return digest.hexdigest()


def prints_of(source: Path) -> dict[str, str]:
    """Return a hash of each picture of a folder or pattern by its name, in the order in which they are shown.

    Of its size and its first and last block, as in :func:`fingerprint`.
    """
    prints = {}
    for file in pictures_of(source):
        digest = hashlib.sha256()
        _take(file, 2, digest)
        # JSON holds no names that are not UTF-8.
        prints[file.name.encode(errors="surrogateescape").decode(errors="backslashreplace")] = (
            digest.hexdigest()[:16]
        )
    return prints


def _take(file: Path, blocks: int, digest: hashlib._Hash) -> None:
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        digest.update(size.to_bytes(8, "little"))
        for block in range(blocks):
            # A re-encoded or cut file differs nearly everywhere: a few blocks tell it, where all of a film
            # would take minutes to read.
            opened.seek(max(0, size - _BLOCK) * block // max(1, blocks - 1))
            digest.update(opened.read(_BLOCK))
