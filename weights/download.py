"""Download known weights: to a temporary name, checked, then renamed, so that half a file never counts.

Why not ``huggingface_hub.hf_hub_download`` for the files of Hugging Face (2.4.0, measured and read): a
transfer that stalls cannot be cancelled (the call came back after 64 s; here within 0.1 s) and reports
progress every 10 MB only; a file that came damaged is kept, as its hash is not compared; an expired token is
an error for public files too; ``HF_ENDPOINT`` is read once, at import; and it leaves a ``.cache/huggingface``
in the folder of models. The user's endpoint, token and cache of that library are respected all the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import CorruptWeightsError, UnsupportedWeightsError, WeightsNotFoundError
from .checkpoint import read_checkpoint
from .connection import NETWORK_ERRORS, MirrorError, Source, has_content, open_address
from .manifest import Entry, Manifest
from .torchnames import MOST_BYTES

_log = logging.getLogger(__name__)

Progress = Callable[[int, "int | None"], None]
"""Gets the bytes so far and the bytes in all, None where the server does not say."""

# Seconds after which an unfinished download belongs to nobody any more.
_STALE = 24 * 3600.0


def fetch(
    name: str | Entry,
    folder: Path,
    *,
    progress: Progress | None = None,
    check_cancelled: Callable[[], None] | None = None,
    offline: bool | None = None,
) -> Path:
    """Return a known checkpoint as a file in ``folder``, downloaded if it is not there.

    Addresses are tried in the order of the manifest. A file is only kept if it is complete, has the
    hash that is known for it and can be read as weights. Files of Hugging Face come from the endpoint in
    ``HF_ENDPOINT``, with the user's token, or out of the local Hugging Face cache.

    Args:
        name: anything that :meth:`Manifest.lookup` finds, or a row.
        folder: where to put it; created if it is not there.
        progress: called with the bytes so far and the bytes in all (or None).
        check_cancelled: called several times a second; whatever it raises ends the download, and nothing
            is left of it.
        offline: True forbids the network; None asks ``MIDFRAME_OFFLINE`` and ``HF_HUB_OFFLINE``.

    Raises:
        WeightsNotFoundError: no such checkpoint, every address failed, downloads are switched off, or the
            folder cannot take the file.
    """
    rows = (name,) if isinstance(name, Entry) else Manifest.load().lookup(name)
    if not rows:
        raise Manifest.load().unknown(str(name))
    # A file of any row will do: the rows of a model are the same network, and the first is only preferred.
    for row in rows:
        if has_content(folder / row.file):
            return folder / row.file
    offline = not downloads_allowed() if offline is None else offline
    failures = []
    for row in rows:
        for url in row.urls:
            try:
                with open_address(url, check_cancelled, offline=offline) as source:
                    return _save(source, row, folder, progress)
            except MirrorError as error:
                failures.append(f"{url}: {error}")
                _log.info("%s: %s", url, error)
            except OSError as error:
                raise _cannot_save(row, folder, error) from error
    raise _not_found(rows, folder, failures, offline=offline)


def _save(source: Source, row: Entry, folder: Path, progress: Progress | None) -> Path:
    """Download to a temporary name and rename it if it is the right file; remove it otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder, row.file)
    free = shutil.disk_usage(folder).free
    if source.total is not None and source.total > free:
        raise OSError(f"the file has {source.total:,} bytes and only {free:,} are free")
    # A name of its own: two processes may download the same file. Hidden: nobody lists it as weights.
    part = folder / f".{row.file}.{uuid.uuid4().hex}.part"
    try:
        with part.open("xb") as out:
            sha256 = _copy(source, out, progress or (lambda done, total: None))
            out.flush()
            # Before the renaming: after a loss of power the name could stand for a file without content.
            os.fsync(out.fileno())
        _check(part, row, sha256, source.sha256)
        _rename(part, folder / row.file)
    finally:
        part.unlink(missing_ok=True)
    return folder / row.file


def _copy(source: Source, out: BinaryIO, progress: Progress) -> str:
    """Copy everything and return its SHA-256."""
    digest = hashlib.sha256()
    done = 0
    progress(done, source.total)
    while block := _next_block(source, done):
        out.write(block)
        digest.update(block)
        done += len(block)
        if done > MOST_BYTES:  # a server that states no length can go on for ever
            raise MirrorError(f"more than {MOST_BYTES:,} bytes came")
        progress(done, source.total)
    if source.total is not None and done != source.total:
        raise MirrorError(f"the connection ended after {done:,} of {source.total:,} bytes")
    return digest.hexdigest()


def _next_block(source: Source, done: int) -> bytes:
    try:
        return source.read()
    except NETWORK_ERRORS as error:
        raise MirrorError(f"the connection broke after {done:,} bytes ({error})") from error


def _check(part: Path, row: Entry, found: str, stated: str | None) -> None:
    """Refuse another file than the row's; only log a difference where the row's hash was not verified.

    Args:
        part: the downloaded file.
        row: that it should be.
        found: its SHA-256.
        stated: the SHA-256 that the server gave, where it did.

    Raises:
        MirrorError: it is damaged, another file, or no checkpoint.
    """
    # The server's own hash first: with it a damaged transfer is told from another file.
    if stated is not None and found != stated:
        raise MirrorError(f"the file came damaged: sha256 {found}, the server says {stated}")
    if row.sha256_verified and found != row.sha256:
        raise MirrorError(f"another file came: sha256 {found}, expected {row.sha256}")
    try:
        read_checkpoint(part)
    except (CorruptWeightsError, UnsupportedWeightsError) as error:
        raise MirrorError(f"what came is no checkpoint: {error.found.split('): ', 1)[-1]}") from error
    if row.sha256 is not None and found != row.sha256:
        _log.warning(
            "%s came with sha256 %s; third parties name %s, which nobody here has verified. It is kept.",
            row.file,
            found,
            row.sha256,
        )


def _rename(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except PermissionError:
        # Windows does not replace a file that is open: another process was first and reads it already.
        if not has_content(target):
            raise


def downloads_allowed() -> bool:
    """Tell whether neither ``MIDFRAME_OFFLINE`` nor ``HF_HUB_OFFLINE`` is set in the environment."""
    values = (os.environ.get(name, "") for name in ("MIDFRAME_OFFLINE", "HF_HUB_OFFLINE"))
    return all(value.strip().lower() in ("", "0", "false", "no", "off") for value in values)


def _remove_stale(folder: Path, file: str) -> None:
    """Remove what a killed process left of this file long ago."""
    for item in folder.iterdir():
        if item.name.startswith(f".{file}.") and item.name.endswith(".part"):
            with suppress(OSError):
                if time.time() - item.stat().st_mtime > _STALE:
                    item.unlink()


def _cannot_save(row: Entry, folder: Path, error: OSError) -> WeightsNotFoundError:
    return WeightsNotFoundError(
        f"{row.file} cannot be saved.",
        f"{folder}: {error}",
        "Make room or allow writing there; or put the file into another folder of models yourself.",
    )


def _not_found(
    rows: tuple[Entry, ...], folder: Path, failures: list[str], *, offline: bool
) -> WeightsNotFoundError:
    file = rows[0].file
    urls = [url for row in rows for url in row.urls]
    page = next((row.page for row in rows if row.page), None)
    if not urls and page:
        advice = f"Get {file} from {page}, where its authors state their terms, and put it into {folder}."
    elif not urls:
        advice = "It comes with Midframe: install the pack again."
    else:
        advice = f"Download {urls[0]} in a browser and put it into {folder} as {file}."
        if offline:
            advice += " Or allow downloads: unset MIDFRAME_OFFLINE and HF_HUB_OFFLINE."
    tried = "\n  ".join([f"not in {folder}; no address gave it:" if urls else f"not in {folder}", *failures])
    return WeightsNotFoundError(f"{file} is not on this computer and could not be downloaded.", tried, advice)
