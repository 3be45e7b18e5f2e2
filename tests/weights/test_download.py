"""Downloading weights, from servers that behave and from servers that do not."""

import errno
import logging
import os
import shutil
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from midframe.errors import WeightsNotFoundError
from midframe.weights import connection
from midframe.weights.checkpoint import read_checkpoint
from midframe.weights.find import Entry, Manifest, fetch
from safetensors.torch import save
from servers import HASH, WEIGHTS, Server, put


@pytest.fixture
def server(monkeypatch):
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "MIDFRAME_OFFLINE",
        "HF_HUB_OFFLINE",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def entry(*urls, **known):
    return Entry("x.safetensors", "x", "rife", "4.6", urls=urls, **known)


def residue(folder):
    return sorted({path.name for path in folder.iterdir()} - {"x.safetensors"})


def test_a_download(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MIDFRAME_OFFLINE", "0")
    url = server.page("x.safetensors", body=WEIGHTS)
    heard = []
    path = fetch(entry(url), tmp_path / "new" / "folder", progress=lambda *state: heard.append(state))
    assert path == tmp_path / "new" / "folder" / "x.safetensors"
    assert path.read_bytes() == WEIGHTS
    assert heard[0] == (0, len(WEIGHTS))
    assert heard[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert residue(path.parent) == []
    assert server.seen[0][1]["User-Agent"].startswith("Midframe")
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask() or os.name == "nt"
    assert fetch(entry(url), path.parent) == path
    assert len(server.seen) == 1, "what is there is not fetched again"


def umask():
    value = os.umask(0)
    os.umask(value)
    return value


def test_a_download_of_unknown_length(server, tmp_path):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(WEIGHTS), 70_000):
            block = WEIGHTS[start : start + 70_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        handler.wfile.write(b"0\r\n\r\n")

    server.pages["/x.safetensors"] = chunked
    heard = []
    path = fetch(entry(server.url("x.safetensors")), tmp_path, progress=lambda *state: heard.append(state))
    assert path.read_bytes() == WEIGHTS
    assert heard[-1] == (len(WEIGHTS), None)


BAD = {
    "404": (404, {}, b"Not Found", "404 Not Found"),
    "500": (500, {}, b"", "500 Internal"),
    "html": (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
    "lfs": (200, {}, b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "Git LFS"),
    "empty": (200, {}, b"", "empty file"),
    "shorter than announced": (200, {"Content-Length": len(WEIGHTS)}, WEIGHTS[:-1000], "ended after"),
    "truncated at the server": (200, {}, WEIGHTS[:-1000], "damaged or truncated"),
    "redirect to http elsewhere": (302, {"Location": "http://example.org/x"}, b"", "not https"),
    "redirect to a file": (302, {"Location": "file:///etc/passwd"}, b"", "not allowed"),
    "redirect in circles": (302, {"Location": "/bad"}, b"", "infinite loop"),
    "not numbers": (200, {}, save({"w": torch.tensor([float("nan")])}), "1 of 1 values of w are not numbers"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_mirror_is_passed_over(server, tmp_path, what):
    server.pages["/bad"] = BAD[what][:3]
    good = server.page("good", body=WEIGHTS)
    assert fetch(entry(server.url("bad"), good), tmp_path).read_bytes() == WEIGHTS
    assert residue(tmp_path) == []


@pytest.mark.parametrize("what", BAD)
def test_only_bad_mirrors(server, tmp_path, what):
    server.pages["/bad"] = BAD[what][:3]
    urls = [server.url("bad"), "http://127.0.0.1:1/closed"]
    with pytest.raises(WeightsNotFoundError) as caught:
        fetch(entry(*urls), tmp_path)
    bad, closed = caught.value.found.splitlines()[1:]
    assert bad.strip().startswith(f"{urls[0]}: ")
    assert BAD[what][3] in bad
    assert f"{urls[1]}: " in closed
    assert urls[0] in caught.value.advice
    assert str(tmp_path) in caught.value.advice
    assert list(tmp_path.iterdir()) == []


def test_a_verified_hash_refuses_what_came(server, tmp_path):
    url = server.page("x", body=WEIGHTS)
    with pytest.raises(WeightsNotFoundError, match="another file came"):
        fetch(entry(url, sha256="0" * 64, sha256_verified=True), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(entry(url, sha256=HASH, sha256_verified=True), tmp_path).exists()


def test_a_hash_from_hearsay_only_warns(server, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        path = fetch(entry(server.page("x", body=WEIGHTS), sha256="0" * 64), tmp_path)
    assert path.exists()
    assert "nobody here has verified" in caplog.text


class Cancelled(BaseException):
    pass


def test_cancelling_leaves_nothing(server, tmp_path):
    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(WEIGHTS)))
        handler.end_headers()
        handler.wfile.write(WEIGHTS[:1000])
        stop.wait(5)

    stop, heard = threading.Event(), []
    server.pages["/x"] = slow

    def check_cancelled():
        if heard and heard[-1] > 0:
            raise Cancelled

    start, row = time.perf_counter(), entry(server.url("x"))
    with pytest.raises(Cancelled):
        fetch(row, tmp_path, progress=lambda done, _: heard.append(done), check_cancelled=check_cancelled)
    assert time.perf_counter() - start < 2, "a connection that hangs holds nobody up"
    stop.set()
    assert list(tmp_path.iterdir()) == []


def test_cancel_between_blocks_of_a_download(server, tmp_path):
    calls = []

    def check_cancelled():
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(entry(server.page("x", body=bytes(8 * 2**20))), tmp_path, check_cancelled=check_cancelled)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_stalls_is_given_up(server, tmp_path, monkeypatch):
    stop = threading.Event()
    server.pages["/stalls"] = lambda _: stop.wait(10)
    monkeypatch.setattr(connection, "_TIMEOUT", 1.0)
    good = server.page("good", body=WEIGHTS)
    assert fetch(entry(server.url("stalls"), good), tmp_path).exists()
    stop.set()


def test_two_at_once(server, tmp_path):
    gate = threading.Barrier(2)

    def together(handler):
        gate.wait(5)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(WEIGHTS)))
        handler.end_headers()
        handler.wfile.write(WEIGHTS)

    server.pages["/x"] = together
    done = []
    threads = [
        threading.Thread(target=lambda: done.append(fetch(entry(server.url("x")), tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [tmp_path / "x.safetensors"] * 2
    assert done[0].read_bytes() == WEIGHTS
    assert residue(tmp_path) == []


def test_a_full_disk(server, tmp_path, monkeypatch):
    url = server.page("x", body=WEIGHTS)
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(
            WeightsNotFoundError, match=r"cannot be saved(.|\n)*200,\d\d\d bytes and only 1,000 are free"
        ):
            fetch(entry(url), tmp_path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WeightsNotFoundError, match="cannot be saved"):
        fetch(entry(url), put(tmp_path / "file") / "folder")
    (tmp_path / "file").unlink()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsNotFoundError, match=r"No space left(.|\n)*Make room"):
        fetch(entry(url, url), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away_after_a_day(server, tmp_path):
    old, new = put(tmp_path / ".x.safetensors.1.part"), put(tmp_path / ".x.safetensors.2.part")
    other = put(tmp_path / ".y.safetensors.1.part")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    fetch(entry(server.page("x", body=WEIGHTS)), tmp_path)
    assert residue(tmp_path) == [new.name, other.name]


def test_the_last_file_of_a_model_is_tried_too(server, tmp_path, monkeypatch):
    rows = (
        replace(entry(server.url("none")), file="rife_v4.6.safetensors", model="rife-4.6"),
        replace(entry(server.page("flow", body=WEIGHTS)), file="flownet_v4.6.pkl", model="rife-4.6"),
    )
    monkeypatch.setattr(Manifest, "load", lambda: Manifest(rows))
    assert fetch("rife-4.6", tmp_path).name == "flownet_v4.6.pkl"
    with pytest.raises(WeightsNotFoundError):
        fetch("rife_v4.6.safetensors", tmp_path)


def test_names_that_cannot_be_fetched(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="Did you mean"):
        fetch("rife-4.28", tmp_path)
    with pytest.raises(WeightsNotFoundError, match="install the pack again"):
        fetch("default", tmp_path)
    with pytest.raises(WeightsNotFoundError, match="only https"):
        fetch(entry("http://example.org/x.safetensors"), tmp_path)


@pytest.mark.parametrize("switch", ["MIDFRAME_OFFLINE", "HF_HUB_OFFLINE", None])
def test_offline(server, tmp_path, monkeypatch, switch):
    url = server.page("x", body=WEIGHTS)
    if switch:
        monkeypatch.setenv(switch, "1")
    with pytest.raises(WeightsNotFoundError, match=r"switched off(.|\n)*MIDFRAME_OFFLINE"):
        fetch(entry(url), tmp_path, offline=None if switch else True)
    assert server.seen == []
    put(tmp_path / "x.safetensors", WEIGHTS)
    assert fetch(entry(url), tmp_path).exists()


# --- Hugging Face

HUB = "https://huggingface.co/someone/something/resolve/main/sub/x.safetensors"


@pytest.fixture
def hub(server, monkeypatch, tmp_path_factory):
    """A server that answers as the hub does: a redirect that states the hash, to storage on another host."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", server.url("").rstrip("/"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    server.page(
        "someone/something/resolve/main/sub/x.safetensors",
        302,
        Location=server.url("storage", "localhost"),
        X_Repo_Commit="0" * 40,
        X_Linked_ETag=f'"{HASH}"',
        X_Linked_Size=len(WEIGHTS),
    )
    server.page("storage", body=WEIGHTS)
    return server


def test_from_the_hub(hub, tmp_path):
    assert fetch(entry(HUB), tmp_path).read_bytes() == WEIGHTS
    (first, asked), (second, stored) = hub.seen
    assert (first, second) == ("/someone/something/resolve/main/sub/x.safetensors", "/storage")
    assert asked["Authorization"] == "Bearer hf_secret"
    assert "Authorization" not in stored, "the token is the hub's alone"


def test_the_hash_that_the_hub_states_is_checked(hub, tmp_path):
    damaged = bytearray(WEIGHTS)
    damaged[-1] ^= 1
    hub.page("storage", body=bytes(damaged))
    with pytest.raises(WeightsNotFoundError, match=r"came damaged(.|\n)*huggingface\.co"):
        fetch(entry(HUB), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_renamed_repository_keeps_the_token(hub, tmp_path):
    old = "someone/old/resolve/main/x.safetensors"
    hub.page(old, 307, Location="/someone/something/resolve/main/sub/x.safetensors")
    fetch(entry(f"https://huggingface.co/{old}"), tmp_path)
    assert [headers.get("Authorization") for _, headers in hub.seen] == ["Bearer hf_secret"] * 2 + [None]


def test_an_expired_token_is_left_out(hub, tmp_path):
    path = "/someone/something/resolve/main/sub/x.safetensors"
    public = hub.pages[path]

    def refuse_tokens(handler):
        status, headers, body = (401, {}, b"") if "Authorization" in handler.headers else public
        handler.server.pages["/answer"] = status, headers, body
        handler.path = "/answer"
        handler.do_GET()

    hub.pages[path] = refuse_tokens
    assert fetch(entry(HUB), tmp_path).exists()


def test_out_of_the_cache_of_the_hub_even_offline(hub, tmp_path):
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / "models--someone--something"
    put(repository / "refs" / "main", b"0" * 40)
    put(repository / "snapshots" / ("0" * 40) / "sub" / "x.safetensors", WEIGHTS)
    path = fetch(entry(HUB), tmp_path, offline=True)
    assert path.read_bytes() == WEIGHTS
    assert not path.is_symlink()
    assert hub.seen == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
def test_certificates_are_verified(server, tmp_path, monkeypatch):
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=127.0.0.1",
            ),
            *(
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                tmp_path / "key.pem",
                "-out",
                tmp_path / "cert.pem",
            ),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.page("x", body=WEIGHTS).replace("http:", "https:")
    folder = tmp_path / "weights"
    with pytest.raises(WeightsNotFoundError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(entry(url), folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert read_checkpoint(fetch(entry(url), folder))["w"].shape == (50_000,)
