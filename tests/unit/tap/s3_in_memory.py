"""An S3 bucket on loopback, in memory, which can be told to answer something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from retune_stores import Place, Store, open_store
from retune_stores.credentials import Credentials


class Bucket:
    """`objects` by key; while `status` is not 200 everything is answered with it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.status = 200
        self.url = ""
        self.asked = 0

    def open(self, uri: str) -> Store:
        values = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret-of-the-store"}
        keys = Credentials({**values, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1"})
        return open_store(Place(uri, "spec.artifacts.uri", "models", "spec.artifacts.secretRef", keys))

    def listing(self, prefix: str) -> bytes:
        entries = "".join(
            f'<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>"x"</ETag></Contents>'
            for key, body in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


@contextmanager
def bucket() -> Iterator[Bucket]:
    held = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, body: bytes = b"") -> None:
            self.send_response(held.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            held.asked += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if held.status == 200:
                held.objects[urlsplit(self.path).path.split("/", 2)[2]] = body
            self._answer()

        def do_GET(self) -> None:
            held.asked += 1
            prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
            self._answer(held.listing(prefix) if held.status == 200 else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
