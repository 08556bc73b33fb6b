"""An API server of a few lines on a loopback port, for answers that a real one does not give on demand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Answer = tuple[int, Any]
NOT_FOUND = {"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found", "details": {"name": "x"}}


class Api:
    """Answers by path: (code, object or text); a list of answers is given one after the other, the last for good."""

    def __init__(self, kubeconfig: Path, answers: dict[str, Answer | list[Answer]]) -> None:
        self.kubeconfig, self.answers = kubeconfig, answers
        self.asked: list[tuple[str, str]] = []
        self.sent: list[tuple[str, Any]] = []  # path and body of what was written

    def answer(self, method: str, path: str) -> Answer:
        self.asked.append((method, path))
        known = self.answers.get(path, (404, NOT_FOUND))
        if isinstance(known, list):
            return known.pop(0) if len(known) > 1 else known[0]
        return known


@contextmanager
def serving(folder: Path, answers: dict[str, Answer | list[Answer]]) -> Iterator[Api]:
    """The server, and a kubeconfig for it whose namespace is `support`."""
    api = Api(folder / "kubeconfig", answers)

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            api.sent.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.do_GET()

        def do_POST(self) -> None:
            self.do_PATCH()

        def do_GET(self) -> None:
            code, body = api.answer(self.command, urlsplit(self.path).path)
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "lena", "user": {"token": "t"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "lena", "namespace": "support"}}],
        "current-context": "test",
    }
    api.kubeconfig.write_text(yaml.safe_dump(config))
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
