"""A web server on this machine that answers as a test wants it to, and weights for it to hand out."""

import contextlib
import hashlib
import http.server

import torch
from safetensors.torch import save

WEIGHTS = save({"w": torch.arange(50_000.0)})
HASH = hashlib.sha256(WEIGHTS).hexdigest()


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class Server(http.server.ThreadingHTTPServer):
    """Answers each path as ``pages`` says: (status, headers, body), or a function of the request handler."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {}
        self.seen = []

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.server_address[1]}/{path}"

    def page(self, path, status=200, body=b"", **headers):
        self.pages[f"/{path}"] = status, headers, body
        return self.url(path)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
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

    def log_message(self, *_):
        pass
