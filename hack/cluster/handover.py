"""From buildah's store to containerd's, layer by layer: a registry on loopback for the length of one push and one pull.

A docker-archive would be simpler, but holds every layer of an image every time: a minute for some gigabytes, after a
change of one line. Asked by the registry's protocol, buildah sends only layers that containerd has not got yet.
"""

import hashlib
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

PIECE = 1 << 20
MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
BLOB = re.compile(r"/v2/.+/blobs/sha256:(?P<digest>[0-9a-f]{64})")
UPLOAD = re.compile(r"/v2/.+/blobs/uploads/(?P<upload>[0-9a-f]*)(\?digest=sha256(:|%3A)(?P<digest>[0-9a-f]{64}))?")


class _Registry(ThreadingHTTPServer):
    """Holds what was pushed in a folder; `present` is a folder of blobs, named by digest, that need not be sent."""

    daemon_threads = True

    def __init__(self, folder: Path, present: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.present = present
        self.manifests: dict[str, tuple[str, bytes]] = {}

    def blob(self, digest: str) -> Path | None:
        """Where a blob is, if anywhere."""
        return next((path for path in (self.folder / digest, self.present / digest) if path.exists()), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Registry

    def do_GET(self) -> None:
        """A manifest, a blob, or the greeting that clients ask for first."""
        self._serve(body=True)

    def do_HEAD(self) -> None:
        """Whether there is such a manifest or blob."""
        self._serve(body=False)

    def do_POST(self) -> None:
        """An upload begins."""
        self._discard()
        self._answer(202, {"Location": f"{self.path.rstrip('/')}/{uuid.uuid4().hex}"})

    def do_PATCH(self) -> None:
        """A piece of an upload."""
        match = UPLOAD.fullmatch(self.path)
        if not match:
            self._answer(404)
            return
        with (self.server.folder / match["upload"]).open("ab") as file:
            self._receive(file)
        self._answer(202, {"Location": self.path})

    def do_PUT(self) -> None:
        """An upload ends, or a manifest comes."""
        if match := MANIFEST.fullmatch(self.path):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            for reference in (match["reference"], digest):
                self.server.manifests[reference] = (self.headers["Content-Type"], content)
            self._answer(201, {"Docker-Content-Digest": digest})
        elif (match := UPLOAD.fullmatch(self.path)) and match["digest"]:
            unfinished = self.server.folder / match["upload"]
            with unfinished.open("ab") as file:
                self._receive(file)
            unfinished.replace(self.server.folder / match["digest"])
            self._answer(201, {"Docker-Content-Digest": f"sha256:{match['digest']}"})
        else:
            self._answer(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name is the base class's
        """Says nothing: one line per request would drown the progress."""

    def _serve(self, *, body: bool) -> None:
        if match := MANIFEST.fullmatch(self.path):
            if found := self.server.manifests.get(match["reference"]):
                kind, content = found
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                self._answer(200, {"Content-Type": kind, "Docker-Content-Digest": digest}, length=len(content))
                if body:
                    self.wfile.write(content)
                return
        elif match := BLOB.fullmatch(self.path):
            if path := self.server.blob(match["digest"]):
                self._answer(200, {"Content-Type": "application/octet-stream"}, length=path.stat().st_size)
                if body:
                    with path.open("rb") as file:
                        shutil.copyfileobj(file, self.wfile, PIECE)
                return
        elif self.path == "/v2/":
            self._answer(200)
            return
        self._answer(404)

    def _answer(self, status: int, headers: dict[str, str] | None = None, length: int = 0) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _receive(self, file: IO[bytes]) -> None:
        """Reads the request's body, whose length may not be known in advance."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            self._copy(int(self.headers.get("Content-Length", 0)), file)
            return
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            self._copy(length, file)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _copy(self, length: int, file: IO[bytes]) -> None:
        while length > 0 and (piece := self.rfile.read(min(length, PIECE))):
            file.write(piece)
            length -= len(piece)

    def _discard(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))


@contextmanager
def registry(present: Path, work: Path) -> Iterator[str]:
    """A registry that knows the blobs in `present`; yields its address, HOST:PORT. Forgets everything at the end."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        server = _Registry(Path(folder), present)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
