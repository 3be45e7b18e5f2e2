"""A download that broke off, was cancelled or killed goes on where it ended, and never from another file."""

import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from midframe.errors import WeightsNotFoundError
from midframe.weights import download
from midframe.weights.find import Entry, fetch
from servers import HASH, WEIGHTS, Server

HUB = "https://huggingface.co/someone/large/resolve/main/x.safetensors"
SUPPORT = Path(__file__).parents[1] / "support"
PAGE = "https://huggingface.co/someone/large"


@pytest.fixture
def server(monkeypatch, tmp_path_factory):
    """A server that answers as the hub does, so that HF_ENDPOINT leads to it."""
    from huggingface_hub import constants

    monkeypatch.setattr(download, "_TRIES", 3)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "MIDFRAME_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    server = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.url("").rstrip("/"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class File:
    """A page with a file of which parts can be had, that breaks connections off after so many bytes each."""

    def __init__(self, content=WEIGHTS, *, breaks=(), ranges=True, **headers):
        self.content, self.headers = content, {"ETag": '"one"', **headers}
        self.breaks, self.ranges = list(breaks), ranges
        self.starts = []

    def __call__(self, handler):
        asked = handler.headers.get("Range") if self.ranges else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = self.content[start:]
        self.starts.append(start)
        handler.send_response(206 if asked else 200)
        if asked:
            size = len(self.content)
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        for name, value in {"Content-Length": len(body), **self.headers}.items():
            handler.send_header(name, str(value))
        handler.end_headers()
        # The request that only asks which file it is gets what it gets: it is closed unread.
        sent = self.breaks.pop(0) if self.breaks else len(body)
        try:
            handler.wfile.write(body[:sent])
            handler.wfile.flush()
        except ConnectionError:
            pass
        handler.close_connection = True


def row(url, **known):
    return Entry("x.safetensors", "x", "tlbvfi", "vimeo", urls=(url,), **known)


def hidden(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_connection_that_breaks_off_is_taken_up_again(server, tmp_path):
    file = server.pages["/x"] = File(breaks=[70_000, 0, 50_000])
    heard = []
    path = fetch(row(server.url("x")), tmp_path, progress=lambda *state: heard.append(state))
    assert path.read_bytes() == WEIGHTS
    assert [start for start in file.starts if start] == [70_000, 120_000]
    assert [done for done, _ in heard] == sorted(done for done, _ in heard), "progress never goes back"
    assert heard[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert hidden(tmp_path) == []


def test_a_server_that_always_breaks_off_is_given_up_and_what_came_stays(server, tmp_path):
    server.pages["/x"] = File(breaks=[1000] * 99)
    with pytest.raises(WeightsNotFoundError, match="the connection ended after"):
        fetch(row(server.url("x")), tmp_path)
    (part,) = hidden(tmp_path)
    came = part.read_bytes()
    assert 0 < len(came) < len(WEIGHTS)
    assert came == WEIGHTS[: len(came)]
    file = server.pages["/x"] = File()
    assert fetch(row(server.url("x")), tmp_path).read_bytes() == WEIGHTS
    assert file.starts == [0, len(came)]
    assert hidden(tmp_path) == []


class Cancelled(BaseException):
    pass


def test_a_cancelled_download_goes_on_later(server, tmp_path):
    stop, heard = threading.Event(), []

    class Slow(File):
        def __call__(self, handler):
            super().__call__(handler)
            handler.close_connection = False
            stop.wait(5)

    server.pages["/x"] = Slow(breaks=[100_000])

    def check_cancelled():
        if heard and heard[-1] >= 100_000:
            raise Cancelled

    began = time.perf_counter()
    with pytest.raises(Cancelled):
        fetch(
            row(server.url("x")),
            tmp_path,
            progress=lambda done, _: heard.append(done),
            check_cancelled=check_cancelled,
        )
    assert time.perf_counter() - began < 2
    stop.set()
    file = server.pages["/x"] = File()
    assert fetch(row(server.url("x")), tmp_path).read_bytes() == WEIGHTS
    assert file.starts == [0, 100_000]


@pytest.mark.long
def test_a_killed_process_loses_nothing(server, tmp_path):
    file = server.pages["/x"] = File()

    def hang(handler):
        file.breaks = [60_000]
        file(handler)
        handler.close_connection = False
        time.sleep(20)

    server.pages["/x"] = hang
    code = (
        "import sys; from pathlib import Path; from packs import load_pack; load_pack()\n"
        "from midframe.weights.find import Entry, fetch\n"
        f"fetch(Entry('x.safetensors', 'x', 'tlbvfi', 'vimeo', urls=({server.url('x')!r},)), Path(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(SUPPORT)}
    )
    deadline = time.monotonic() + 30
    while not any(path.suffix == ".part" and path.stat().st_size >= 60_000 for path in hidden(tmp_path)):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    server.pages["/x"] = file
    file.starts.clear()
    assert fetch(row(server.url("x")), tmp_path).read_bytes() == WEIGHTS
    assert file.starts == [0, 60_000]
    assert hidden(tmp_path) == []


CHANGED = {
    "the file was changed": {"ETag": '"two"'},
    "a server without parts": {"ranges": False},
}


@pytest.mark.parametrize("what", CHANGED)
def test_it_begins_anew_where_it_cannot_go_on(server, tmp_path, what):
    server.pages["/x"] = File(bytes(len(WEIGHTS)), breaks=[90_000] * 99, ranges=False)
    with pytest.raises(WeightsNotFoundError):
        fetch(row(server.url("x")), tmp_path)
    assert hidden(tmp_path)
    server.pages["/x"] = File(**CHANGED[what])
    path = fetch(row(server.url("x")), tmp_path)
    assert path.read_bytes() == WEIGHTS


def test_a_part_that_is_whole_needs_no_byte_more(server, tmp_path):
    server.pages["/x"] = File(breaks=[90_000] * 99, ranges=False)
    with pytest.raises(WeightsNotFoundError):
        fetch(row(server.url("x")), tmp_path)
    (part,) = hidden(tmp_path)
    part.write_bytes(WEIGHTS)
    file = server.pages["/x"] = File()
    assert fetch(row(server.url("x")), tmp_path).read_bytes() == WEIGHTS
    assert file.starts == [0]


def test_a_damaged_part_is_found_by_the_hash_and_not_kept(server, tmp_path):
    # As the hub does: the hash stands in the answer.
    server.pages["/someone/large/resolve/main/x.safetensors"] = File(
        breaks=[90_000] * 99, ranges=False, ETag=f'"{HASH}"'
    )
    with pytest.raises(WeightsNotFoundError):
        fetch(row(HUB), tmp_path)
    (part,) = hidden(tmp_path)
    part.write_bytes(bytes(90_000))
    server.pages["/someone/large/resolve/main/x.safetensors"] = File(ETag=f'"{HASH}"')
    with pytest.raises(WeightsNotFoundError, match="came damaged"):
        fetch(row(HUB), tmp_path)
    assert hidden(tmp_path) == []
    assert fetch(row(HUB), tmp_path).read_bytes() == WEIGHTS


def test_a_file_of_another_length_is_refused_before_it_is_downloaded(server, tmp_path):
    server.pages["/x"] = File()
    heard = []
    known = {"sha256": HASH, "sha256_verified": True, "bytes": len(WEIGHTS) + 1}
    with pytest.raises(WeightsNotFoundError, match="another file: it has 200,0"):
        fetch(row(server.url("x"), **known), tmp_path, progress=lambda *state: heard.append(state))
    assert heard == []


def test_size_disk_and_page_come_before_the_first_byte(server, tmp_path, caplog):
    server.pages["/x"] = File()
    heard = []
    fetch(
        row(server.url("x"), page=PAGE),
        tmp_path,
        progress=lambda *state: heard.append(state),
        announce=heard.append,
    )
    assert "x.safetensors (0.2 MiB)" in heard[0]
    assert PAGE in heard[0]
    assert "are free" in heard[0]
    assert heard[0] in caplog.text


def test_too_little_disk_is_said_before_the_first_byte(server, tmp_path, monkeypatch):
    server.pages["/x"] = File(breaks=[100_000] + [0] * 9)
    with pytest.raises(WeightsNotFoundError):
        fetch(row(server.url("x")), tmp_path)
    usage = shutil.disk_usage(tmp_path)
    heard = []
    get = partial(fetch, row(server.url("x")), tmp_path, progress=lambda *state: heard.append(state))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    server.pages["/x"] = File()
    with pytest.raises(WeightsNotFoundError, match="only 1,000 are free"):
        get()
    assert heard == []
    # What is here already needs no room again.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(WEIGHTS) - 100_000))
    assert get().read_bytes() == WEIGHTS


def test_two_at_once_write_no_common_part(server, tmp_path):
    gate = threading.Barrier(2)
    file = File()

    def together(handler):
        gate.wait(5)
        file(handler)

    server.pages["/x"] = together
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(fetch(row(server.url("x")), tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in got] == [WEIGHTS] * 2
    assert hidden(tmp_path) == []


def test_it_goes_on_through_a_redirect_of_the_hub_without_the_token(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.page(
        "someone/large/resolve/main/x.safetensors",
        302,
        Location=server.url("storage", "localhost"),
        X_Linked_ETag=f'"{HASH}"',
    )
    file = server.pages["/storage"] = File(breaks=[80_000])
    assert fetch(row(HUB), tmp_path).read_bytes() == WEIGHTS
    assert file.starts == [0, 0, 80_000]
    for path, headers in server.seen:
        assert ("Authorization" in headers) == (path != "/storage")
