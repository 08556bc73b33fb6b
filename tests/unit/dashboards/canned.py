"""A Prometheus that gives canned answers over HTTP, on a port of its own."""

import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = list[tuple[dict[str, str], list[tuple[float, str]]]]
"""Series: labels, and (Unix time, value as Prometheus writes it)."""


@contextmanager
def prometheus(answer: Callable[[str], Answer | None]) -> Iterator[str]:
    """Its URL. `answer` gets the PromQL and gives the series; None is an error of Prometheus."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = dict(urllib.parse.parse_qsl(body))
            series = answer(asked["query"])
            status, said = (400, {"error": "cannot"}) if series is None else (200, _said(series, self.path))
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _said(series: Answer, path: str) -> dict[str, Any]:
    if path.endswith("query_range"):
        found = [{"metric": labels, "values": points} for labels, points in series]
        return {"status": "success", "data": {"resultType": "matrix", "result": found}}
    found = [{"metric": labels, "value": points[-1]} for labels, points in series]
    return {"status": "success", "data": {"resultType": "vector", "result": found}}
