"""Weights that are fetched before a sampler runs: a real ComfyUI, and a server for weights on this machine."""

import threading

import pytest
from servers import WEIGHTS, Server
from upstream import sampling, told

pytestmark = pytest.mark.long
REPOSITORY = "/ucfzl/TLBVFI/resolve/main"
PAGE = "https://huggingface.co/ucfzl/TLBVFI"


def larger_than_any_disk(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(2**60))
    handler.end_headers()
    handler.wfile.write(b"x")
    handler.close_connection = True


@pytest.fixture(scope="module")
def weights():
    """A local server in place of Hugging Face."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(root, weights, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "MIDFRAME_OFFLINE",
            "HF_HUB_OFFLINE",
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("HF_ENDPOINT", weights.url("").rstrip("/"))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        with sampling(root, tmp_path_factory.mktemp("downloads")) as server:
            yield server


def test_too_little_disk_is_said_before_the_sampler_runs(server, weights):
    weights.pages[f"{REPOSITORY}/vimeo_unet.pth"] = larger_than_any_disk
    before = server.sampled()
    message, _ = told(server, "MidframeTLBVFI", model="tlbvfi")
    assert f"the file has {2**60:,} bytes and only" in message
    assert server.sampled() == before


PAGES = {
    "a web page": ((200, {}, b"<!DOCTYPE html><html>Sign in</html>"), "a web page"),
    "gone": ((404, {}, b""), "404"),
    "cut off": ((200, {"Content-Length": 2**20}, b"x" * 2**10), "ended after 1,024 of 1,048,576"),
}


@pytest.mark.parametrize("what", PAGES)
def test_a_download_that_fails_is_said_before_the_sampler_runs(server, weights, what):
    weights.pages[f"{REPOSITORY}/vimeo_unet.pth"], text = PAGES[what]
    before, logged = server.sampled(), len(server.log())
    message, _ = told(server, "MidframeTLBVFI", model="tlbvfi")
    assert text in message
    assert PAGE in message
    assert server.sampled() == before
    assert not list((server.base / "models" / "frame_interpolation").iterdir())
    log = server.log()[logged:]
    assert log.count("is not on this computer") == 1
    assert "Traceback" not in log
    assert "source_fps is not set" not in log, "that is for the run, which did not begin"


def test_a_download_that_broke_off_goes_on_in_the_next_run(server, weights):
    content = WEIGHTS * 4
    starts = []

    def file(handler):
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        starts.append(start)
        handler.send_response(206 if asked else 200)
        handler.send_header("ETag", '"one"')
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start:][:1000])
        handler.close_connection = True

    weights.pages[f"{REPOSITORY}/vimeo_unet.pth"] = file
    for _ in range(2):
        message, _ = told(server, "MidframeTLBVFI", model="tlbvfi")
        assert "ended after" in message
    resumed = [start for start in starts if start]
    assert resumed == sorted(set(resumed)), "each connection goes on from the last, also in the next run"
    (part,) = (server.base / "models" / "frame_interpolation").iterdir()
    assert part.read_bytes() == content[: part.stat().st_size]
