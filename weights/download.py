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
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import CorruptWeightsError, UnsupportedWeightsError, WeightsNotFoundError
from .checkpoint import read_checkpoint
from .connection import NETWORK_ERRORS, MirrorError, Source, has_content, open_address
from .manifest import Entry, Manifest
from .partial import unfinished
from .torchnames import MOST_BYTES

_log = logging.getLogger(__name__)

Progress = Callable[[int, "int | None"], None]
"""Gets the bytes so far and the bytes in all, None where the server does not say."""

# Connections for one file, where each goes on from the end of the last.
_TRIES = 5
_BLOCK = 2**20


def fetch(
    name: str | Entry,
    folder: Path,
    *,
    progress: Progress | None = None,
    check_cancelled: Callable[[], None] | None = None,
    announce: Callable[[str], None] | None = None,
    offline: bool | None = None,
) -> Path:
    """Return a known checkpoint as a file in ``folder``, downloaded if it is not there.

    Addresses are tried in the order of the manifest. A file is only kept if it is complete, has the
    hash that is known for it and can be read as weights. Files of Hugging Face come from the endpoint in
    ``HF_ENDPOINT``, with the user's token, or out of the local Hugging Face cache. Where the server says
    which file it is, a download that broke off or was cancelled goes on where it ended.

    Args:
        name: anything that :meth:`Manifest.lookup` finds, or a row.
        folder: where to put it; created if it is not there.
        progress: called with the bytes so far and the bytes in all (or None).
        check_cancelled: called several times a second; whatever it raises ends the download.
        announce: called once, before the first byte, with what the user should know of a file whose terms are
            on its authors' page: its size, the free disk and that page. It is logged in any case.
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
    listener = _Listener(progress or _ignore, check_cancelled, announce or _ignore)
    failures = []
    for row in rows:
        for url in row.urls:
            try:
                return _download(url, row, folder, listener, offline=offline)
            except MirrorError as error:
                failures.append(f"{url}: {error}")
                _log.info("%s: %s", url, error)
            except OSError as error:
                raise _cannot_save(row, folder, error) from error
    raise _not_found(rows, folder, failures, offline=offline)


@dataclass(frozen=True)
class _Listener:
    """Who is told of a download, and may end it."""

    progress: Progress
    check_cancelled: Callable[[], None] | None
    announce: Callable[[str], None]


def _ignore(*_: object) -> None:
    """Tell nobody."""


def _download(url: str, row: Entry, folder: Path, listener: _Listener, *, offline: bool) -> Path:
    """Download from one address; where the connection breaks off, go on from there a few times."""
    for _ in range(_TRIES - 1):
        try:
            return _try_to_download(url, row, folder, listener, offline=offline)
        except MirrorError as error:
            if not error.resumable:
                raise
            _log.info("%s: %s", url, error)
    return _try_to_download(url, row, folder, listener, offline=offline)


def _try_to_download(url: str, row: Entry, folder: Path, listener: _Listener, *, offline: bool) -> Path:
    """Download to a hidden file, and rename it if it is the right one."""
    open_at = partial(open_address, url, listener.check_cancelled, offline=offline)
    with ExitStack() as stack:
        source = stack.enter_context(open_at())
        _require_size(row, source)
        part = stack.enter_context(unfinished(folder, row.file, source.identity))
        here = part.stat().st_size if part.is_file() else 0
        if 0 < here < (source.total or 0):
            source = _rest_of(source, here, stack, open_at)
        done = here if here == source.total else source.start
        _announce(row, folder, (done, source.total), listener)
        sha256 = _copy(source, part, done, listener)
        try:
            _check(part, row, sha256, source.sha256)
        except MirrorError:
            part.unlink()  # whole, and the wrong file: nothing can go on from it
            raise
        _rename(part, folder / row.file)
    return folder / row.file


def _require_size(row: Entry, source: Source) -> None:
    """Refuse a file of another size than the row's before it is downloaded."""
    if row.sha256_verified and None not in (row.bytes, source.total) and row.bytes != source.total:
        raise MirrorError(f"another file: it has {source.total:,} bytes, expected {row.bytes:,}")


def _rest_of(
    source: Source, start: int, stack: ExitStack, open_at: Callable[..., AbstractContextManager[Source]]
) -> Source:
    """Return the rest of a file from byte ``start`` on; ``source`` itself where the server sends no parts."""
    try:
        rest = stack.enter_context(open_at(start=start))
    except MirrorError as error:
        _log.info("it begins anew: %s", error)
        return source
    return rest if (rest.start, rest.identity) == (start, source.identity) else source


def _announce(row: Entry, folder: Path, size: tuple[int, int | None], listener: _Listener) -> None:
    """Say how large a file is and where its terms are, before its first byte comes.

    Raises:
        OSError: it is larger than what is free.
    """
    done, total = size
    free = shutil.disk_usage(folder).free
    if total is not None and total - done > free:
        raise OSError(f"the file has {total:,} bytes and only {free:,} are free")
    if row.page is None:
        return
    here = f", {in_units(done)} of it are here" if done else ""
    text = (
        f"{row.file} ({'of unknown size' if total is None else in_units(total)}{here}) is downloaded into "
        f"{folder}, where {in_units(free)} are free. Its terms are on its authors' page: {row.page}"
    )
    _log.warning("%s", text)
    listener.announce(text)


def in_units(size: int) -> str:
    """Return a number of bytes as people read it: ``3.4 GiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _copy(source: Source, part: Path, done: int, listener: _Listener) -> str:
    """Write everything that is missing after ``done`` bytes, and return the SHA-256 of all."""
    digest = hashlib.sha256()
    with part.open("r+b" if done else "wb") as out:
        while out.tell() < done and (block := out.read(min(_BLOCK, done - out.tell()))):
            digest.update(block)
            (listener.check_cancelled or _ignore)()
        listener.progress(done, source.total)
        while done != source.total and (block := _next_block(source, done)):
            out.write(block)
            digest.update(block)
            done += len(block)
            if done > MOST_BYTES:  # a server that states no length can go on for ever
                raise MirrorError(f"more than {MOST_BYTES:,} bytes came")
            listener.progress(done, source.total)
        out.flush()
        # Before the renaming: after a loss of power the name could stand for a file without content.
        os.fsync(out.fileno())
    if source.total is not None and done != source.total:
        raise _broken(source, f"the connection ended after {done:,} of {source.total:,} bytes")
    return digest.hexdigest()


def _next_block(source: Source, done: int) -> bytes:
    try:
        return source.read()
    except NETWORK_ERRORS as error:
        raise _broken(source, f"the connection broke after {done:,} bytes ({error})") from error


def _broken(source: Source, text: str) -> MirrorError:
    error = MirrorError(text)
    error.resumable = source.identity is not None
    return error


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
        if page:
            advice += f" Its authors' terms: {page}."
    tried = "\n  ".join([f"not in {folder}; no address gave it:" if urls else f"not in {folder}", *failures])
    return WeightsNotFoundError(f"{file} is not on this computer and could not be downloaded.", tried, advice)
