"""Open the address of a file of weights: over HTTPS, or out of the local cache of Hugging Face.

A hanging server holds nobody up, a token goes to the hub alone, and redirects lead to HTTPS only.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from .manifest import allowed_url

T = TypeVar("T")

_HUB = "https://huggingface.co"
_HUB_FILE = re.compile(rf"{_HUB}/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_BLOCK = 2**18
# Seconds between two looks at whether the user has cancelled.
_POLL = 0.1
# Seconds without a byte after which a server is given up.
_TIMEOUT = 20.0
_AGENT = "Midframe (https; python-urllib)"
# A ValueError is a server's too: an address or a length in its answer that means nothing.
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)$")


class MirrorError(Exception):
    """Why one address did not give the file, in a few words."""

    resumable: bool = False
    """Whether the connection ended before the file did, and another can bring the rest."""


@dataclass(frozen=True)
class Source:
    """An open address or file."""

    read: Callable[[], bytes]
    """Returns the next bytes, none at the end."""
    total: int | None
    """Bytes of the whole file, None where the server does not say."""
    sha256: str | None
    """Of the whole file, where the server states it."""
    start: int = 0
    """Where in the file reading begins."""
    identity: str | None = None
    """What tells this file from every other that may stand at the address; None where the server says nothing
    that does, or not how long it is."""


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


@contextmanager
def open_address(
    url: str, check_cancelled: Callable[[], None] | None, *, offline: bool, start: int = 0
) -> Iterator[Source]:
    """Open an address, from the cache of Hugging Face or over the network, and close it afterwards.

    Args:
        url: of the file.
        check_cancelled: called several times a second while anything is waited for.
        offline: True allows the cache alone.
        start: byte to begin at, where the server can; see :attr:`Source.start`.

    Raises:
        MirrorError: it cannot be opened.
    """
    hub = _HUB_FILE.fullmatch(url)
    cached = _cached(*hub.groups()) if hub else None
    calls = _CancellableCalls(check_cancelled)
    close: Callable[[], object] = bool
    try:
        if cached is not None:
            stream = cached.open("rb")
            close = stream.close
            yield Source(lambda: calls.call(lambda: stream.read(_BLOCK)), cached.stat().st_size, None)
            return
        if offline:
            raise MirrorError("not tried, downloads are switched off")
        response, stated = _connect(url, calls, start, hub=hub is not None)
        close = response.close
        begins, total = _extent(response)
        # read1 returns what has come and does not wait for a whole block: progress and cancelling stay quick.
        read = partial(calls.call, partial(response.read1, _BLOCK))
        identity = None if total is None else stated or _validator(response.headers)
        yield Source(read, total, stated if hub else None, begins, identity and f"{identity} {total}")
    finally:
        # In that thread, after its last read: closing would wait for a read that hangs.
        calls.shut_down(close)


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return the byte that a response begins at, and the bytes of the whole file where it says them."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        stated = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if stated is None:
            raise MirrorError("a part came that says not which")
        return int(stated[1]), int(stated[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _validator(headers: Message) -> str | None:
    """Return what an answer says that changes whenever its file does."""
    tag = headers.get("ETag")
    # A weak tag stays the same for files that only mean the same.
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _connect(
    url: str, calls: _CancellableCalls, start: int, *, hub: bool
) -> tuple[http.client.HTTPResponse, str | None]:
    """Return the response, and the SHA-256 of the file where a server states it."""
    headers = {}
    if hub:
        # At each download: huggingface_hub reads it once, at import.
        url = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/") + url.removeprefix(_HUB)
        headers = _hub_headers()
    try:
        return calls.call(lambda: _request_as(url, headers, start))
    except urllib.error.HTTPError as error:
        with error:
            reason = " ".join(str(error.reason).split())
            raise MirrorError(f"{error.code} {reason}") from error
    except NETWORK_ERRORS as error:
        raise MirrorError(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _request_as(
    url: str, headers: Mapping[str, str], start: int
) -> tuple[http.client.HTTPResponse, str | None]:
    """Request an address with the user's token, and once more without it where it is refused.

    Hugging Face refuses a token that has expired for public files too.
    """
    try:
        return _request(url, headers, start)
    except urllib.error.HTTPError as error:
        if not headers or error.code != HTTPStatus.UNAUTHORIZED:
            raise
        error.close()
    return _request(url, {}, start)


def _request(url: str, headers: Mapping[str, str], start: int) -> tuple[http.client.HTTPResponse, str | None]:
    """Return the response, and the SHA-256 of the file where the server states it on the way there."""
    if not _allowed(url):
        raise ValueError("only https addresses are used")
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects, urllib.request.HTTPSHandler(context=_certificates()))
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT})  # noqa: S310 - checked above
    if start:
        request.add_header("Range", f"bytes={start}-")
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
    # The hub puts the SHA-256 of a large file into X-Linked-ETag, before it redirects to the storage. A tag
    # that is something else does not have 64 hexadecimal digits.
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
    return Path(found) if isinstance(found, str) and has_content(Path(found)) else None


def _hub_headers() -> dict[str, str]:
    """Return the header with the user's token, from the environment or from logging in; none without one."""
    try:
        from huggingface_hub import get_token  # noqa: PLC0415 - optional and slow to import
    except ImportError:
        token = os.environ.get("HF_TOKEN")
    else:
        token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def has_content(path: Path) -> bool:
    """Tell whether there is a file with something in it; an empty one is a leftover."""
    return path.is_file() and path.stat().st_size > 0
