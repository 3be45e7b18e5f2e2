"""A web server on this machine that answers as a test wants it to, and weights for it to hand out."""

import contextlib
import hashlib
import http.server
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

WEIGHTS = save({"w": torch.arange(50_000.0)})
HASH = hashlib.sha256(WEIGHTS).hexdigest()


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class Server(http.server.ThreadingHTTPServer):
    """Answers each path as ``pages`` says: (status, headers, body), or a function of the request handler."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {}
        self.seen: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_address[1]}/{path}"

    def page(self, path: str, status: int = 200, body: bytes = b"", **headers: Any) -> str:
        self.pages[f"/{path}"] = status, headers, body
        return self.url(path)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        page = self.server.pages.get(self.path, (404, {}, b"Not Found"))
        if callable(page):
            page(self)
            return
        status, headers, body = page
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass
