"""Download known weights: to a temporary name, checked, then renamed, so that half a file never counts.

Why not ``huggingface_hub.hf_hub_download`` for the files of Hugging Face (measured with 2.4.0): a transfer
that stalls cannot be cancelled (the call came back after 64 s; here after 0.1 s) and reports progress every
10 MB only; a file that came damaged is kept, as its hash is not compared; an expired token is an error for
public files too; ``HF_ENDPOINT`` is read once, at import; and it leaves a ``.cache/huggingface`` in the
folder of models. The user's endpoint, token and cache of that library are respected all the same.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from ..errors import CorruptWeightsError, UnsupportedWeightsError, WeightsNotFoundError
from .checkpoint import read_checkpoint
from .manifest import Entry, Manifest, allowed_url

T = TypeVar("T")

_log = logging.getLogger(__name__)

Progress = Callable[[int, "int | None"], None]
"""Gets the bytes so far and the bytes in all, None where the server does not say."""

_HUB = "https://huggingface.co"
_HUB_FILE = re.compile(rf"{_HUB}/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_BLOCK = 2**18
_POLL = 0.1
"""Seconds between two looks at whether the user has cancelled."""
_TIMEOUT = 20.0
"""Seconds without a byte after which a server is given up."""
_MOST_BYTES = 16 * 2**30
_STALE = 24 * 3600.0
"""Seconds after which an unfinished download belongs to nobody any more."""
_AGENT = "Midframe (https; python-urllib)"
_NETWORK = (OSError, http.client.HTTPException, ValueError)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _MirrorError(Exception):
    """Why one address did not give the file, in a few words."""


class _CancellableCalls:
    """Runs calls that may hang in a thread of its own, and meanwhile asks whether to go on."""

    def __init__(self, check_cancelled: Callable[[], None] | None) -> None:
        self._check = check_cancelled or (lambda: None)
        self._thread = ThreadPoolExecutor(1, "midframe-download")

    def call(self, function: Callable[[], T]) -> T:
        """Return or raise what ``function`` does; raise what the check does, and leave the call alone."""
        self._check()
        future = self._thread.submit(function)
        while not wait((future,), _POLL).done:
            self._check()
        return future.result()

    def shut_down(self, close: Callable[[], object] = bool) -> None:
        """End the thread, after ``close``, once the last call has come back; waits for neither."""
        self._thread.submit(close)
        self._thread.shutdown(wait=False)


@dataclass(frozen=True)
class _Source:
    """An open address or file: how to read its next bytes, how many there are, and their hash where known."""

    read: Callable[[], bytes]
    total: int | None
    sha256: str | None


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
    for row in rows:
        if _exists(folder / row.file):
            return folder / row.file
    offline = not downloads_allowed() if offline is None else offline
    failures = []
    for row in rows:
        for url in row.urls:
            try:
                with _open(url, check_cancelled, offline=offline) as source:
                    return _save(source, row, folder, progress)
            except _MirrorError as error:
                failures.append(f"{url}: {error}")
                _log.info("%s: %s", url, error)
            except OSError as error:
                raise _cannot_save(row, folder, error) from error
    raise _not_found(rows, folder, failures, offline=offline)


def _save(source: _Source, row: Entry, folder: Path, progress: Progress | None) -> Path:
    """Download to a temporary name and rename it if it is the right file; remove it otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder, row.file)
    free = shutil.disk_usage(folder).free
    if source.total is not None and source.total > free:
        raise OSError(f"the file has {source.total:,} bytes and only {free:,} are free")
    part = folder / f".{row.file}.{uuid.uuid4().hex}.part"
    try:
        with part.open("xb") as out:
            sha256 = _copy(source, out, progress or (lambda done, total: None))
            out.flush()
            os.fsync(out.fileno())
        _check(part, row, sha256, source.sha256)
        _rename(part, folder / row.file)
    finally:
        part.unlink(missing_ok=True)
    return folder / row.file


def _copy(source: _Source, out: BinaryIO, progress: Progress) -> str:
    """Copy everything and return its SHA-256."""
    digest = hashlib.sha256()
    done = 0
    progress(done, source.total)
    while block := _next_block(source, done):
        out.write(block)
        digest.update(block)
        done += len(block)
        if done > _MOST_BYTES:
            raise _MirrorError(f"more than {_MOST_BYTES:,} bytes came")
        progress(done, source.total)
    if source.total is not None and done != source.total:
        raise _MirrorError(f"the connection ended after {done:,} of {source.total:,} bytes")
    return digest.hexdigest()


def _next_block(source: _Source, done: int) -> bytes:
    try:
        return source.read()
    except _NETWORK as error:
        raise _MirrorError(f"the connection broke after {done:,} bytes ({error})") from error


def _check(part: Path, row: Entry, found: str, stated: str | None) -> None:
    """Refuse another file than the row's; only log a difference where the row's hash was not verified.

    Args:
        part: the downloaded file.
        row: that it should be.
        found: its SHA-256.
        stated: the SHA-256 that the server gave, where it did.

    Raises:
        _MirrorError: it is damaged, another file, or no checkpoint.
    """
    if stated is not None and found != stated:
        raise _MirrorError(f"the file came damaged: sha256 {found}, the server says {stated}")
    if row.sha256_verified and found != row.sha256:
        raise _MirrorError(f"another file came: sha256 {found}, expected {row.sha256}")
    try:
        read_checkpoint(part)
    except (CorruptWeightsError, UnsupportedWeightsError) as error:
        raise _MirrorError(f"what came is no checkpoint: {error.found.split('): ', 1)[-1]}") from error
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
        if not _exists(target):
            raise


@contextmanager
def _open(url: str, check_cancelled: Callable[[], None] | None, *, offline: bool) -> Iterator[_Source]:
    """Open an address, from the cache of Hugging Face or over the network, and close it afterwards."""
    hub = _HUB_FILE.fullmatch(url)
    cached = _cached(*hub.groups()) if hub else None
    calls = _CancellableCalls(check_cancelled)
    close: Callable[[], object] = bool
    try:
        if cached is not None:
            stream = cached.open("rb")
            close = stream.close
            yield _Source(lambda: calls.call(lambda: stream.read(_BLOCK)), cached.stat().st_size, None)
            return
        if offline:
            raise _MirrorError("not tried, downloads are switched off")
        response, stated = _connect(url, calls, hub=hub is not None)
        close = response.close
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        yield _Source(lambda: calls.call(lambda: response.read1(_BLOCK)), total, stated)
    finally:
        # In that thread, after its last read: closing would wait for a read that hangs.
        calls.shut_down(close)


def _connect(url: str, calls: _CancellableCalls, *, hub: bool) -> tuple[http.client.HTTPResponse, str | None]:
    """Return the response, and the SHA-256 of the file where Hugging Face states it."""
    headers = {}
    if hub:
        url = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/") + url.removeprefix(_HUB)
        headers = _hub_headers()
    try:
        response, stated = calls.call(lambda: _request_as(url, headers))
    except urllib.error.HTTPError as error:
        with error:
            reason = " ".join(str(error.reason).split())
            raise _MirrorError(f"{error.code} {reason}") from error
    except _NETWORK as error:
        raise _MirrorError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    return response, stated if hub else None


def _request_as(url: str, headers: Mapping[str, str]) -> tuple[http.client.HTTPResponse, str | None]:
    """Request an address with the user's token, and once more without it where it is refused.

    Hugging Face refuses a token that has expired for public files too.
    """
    try:
        return _request(url, headers)
    except urllib.error.HTTPError as error:
        if not headers or error.code != HTTPStatus.UNAUTHORIZED:
            raise
        error.close()
    return _request(url, {})


def _request(url: str, headers: Mapping[str, str]) -> tuple[http.client.HTTPResponse, str | None]:
    """Return the response, and the SHA-256 of the file where the server states it on the way there."""
    if not _allowed(url):
        raise ValueError("only https addresses are used")
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects, urllib.request.HTTPSHandler(context=_certificates()))
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT})  # noqa: S310 - checked above
    for name, value in headers.items():
        # Unredirected: a token for the hub must not reach the storage that it redirects to.
        request.add_unredirected_header(name, value)
    response = opener.open(request, timeout=_TIMEOUT)
    stated = redirects.stated or _stated_hash(response.headers)
    return response, stated


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only; remembers the hash that Hugging Face states before it redirects."""

    stated: str | None = None

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to follow, with the user's token only where the host stays the same."""
        if not _allowed(newurl):
            raise urllib.error.URLError("redirected to an address that is not https")
        self.stated = self.stated or _stated_hash(headers)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urlsplit(newurl).netloc == urlsplit(req.full_url).netloc:
            for name, value in req.unredirected_hdrs.items():
                if name.lower() != "host":
                    request.add_unredirected_header(name, value)
        return request


def _stated_hash(headers: Message) -> str | None:
    tag = str(headers.get("X-Linked-ETag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    return tag if _SHA256.fullmatch(tag) else None


def _allowed(url: str) -> bool:
    """Tell whether an address is HTTPS, this machine, or the mirror that the user named."""
    own = os.environ.get("HF_ENDPOINT", "")
    return allowed_url(url) or (urlsplit(url).scheme == "http" and urlsplit(own)[:2] == urlsplit(url)[:2])


def _certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python of python.org on macOS finds no certificates of the system; certifi comes with many packages.
    with suppress(ImportError):
        import certifi  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - optional

        context.load_verify_locations(certifi.where())
    return context


def _cached(repository: str, revision: str, path: str) -> Path | None:
    """Return the file in the user's Hugging Face cache, or None."""
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - optional and slow to import
    except ImportError:
        return None
    found = try_to_load_from_cache(repository, path, revision=revision)
    return Path(found) if isinstance(found, str) and _exists(Path(found)) else None


def _hub_headers() -> dict[str, str]:
    """Return the header with the user's token, from the environment or from logging in; none without one."""
    try:
        from huggingface_hub import get_token  # noqa: PLC0415 - optional and slow to import
    except ImportError:
        token = os.environ.get("HF_TOKEN")
    else:
        token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _exists(path: Path) -> bool:
    """Tell whether there is a file with something in it; an empty one is a leftover."""
    return path.is_file() and path.stat().st_size > 0


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
