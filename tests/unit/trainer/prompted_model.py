"""A real HTTP server on loopback that plays the prompted model, and the run that asks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.unit.trainer.fakes import run_config

from retune_stores.credentials import Credentials, Role
from retune_trainer import baseline
from retune_trainer.baseline import Patience
from retune_trainer.data import Example

KEY = "sk-some-key-of-the-tenant"
CREDENTIALS = {Role.BASELINE: Credentials({"OPENAI_API_KEY": KEY})}
GOLD = [Example(f"question {n}", f"answer {n}") for n in range(10)]


def completion(text: str | None, finish: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"object": "chat.completion", "choices": [choice], **more}).encode()


class Request:
    """One request, and the means to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, number: int) -> None:
        self._handler = handler
        # Counted from 0 in order of arrival.
        self.number = number
        self.path = handler.path
        self.headers = dict(handler.headers)
        self.body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))

    @property
    def question(self) -> str:
        return self.body["messages"][-1]["content"]

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        handler = self._handler
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        if length != -1:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    def reply(self, text: str | None, finish: str = "stop", **more: Any) -> None:
        self.answer(200, completion(text, finish, **more))

    def reply_right(self) -> None:
        self.reply(self.question.replace("question", "answer"), usage={"prompt_tokens": 7, "completion_tokens": 3})

    def go_on_for_ever(self, chunk: bytes) -> int:
        """Write until the other side hangs up, and return how many bytes it let through."""
        sent = 0
        try:
            while True:
                self._handler.wfile.write(chunk)
                sent += len(chunk)
        except OSError:
            return sent

    def hang_up(self) -> None:
        self._handler.close_connection = True


Behaviour = Callable[[Request], None]


class PromptedModel:
    """The server's address, and the requests that it got."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"
        self.requests: list[Request] = []
        # Set when a test is over, for behaviours that wait.
        self.over = threading.Event()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


@contextmanager
def serve(behave: Behaviour) -> Iterator[PromptedModel]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with lock:
                request = Request(self, len(model.requests))
                model.requests.append(request)
            behave(request)

        def log_message(self, *_: Any) -> None:
            pass

    http = _Server(("127.0.0.1", 0), Handler)
    http.block_on_close = False
    model = PromptedModel(http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.over.set()
        http.shutdown()
        http.server_close()


class Waits(list[float]):
    """Sleeps that take no time: the seconds that each would have taken."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def config(
    url: str,
    mode: str = "Enforce",
    secret: str | None = "model-key",
    payback: Any = None,
    evaluation: Any = None,
    **endpoint: Any,
):
    reference = {"secretRef": {"name": secret}} if secret else {}
    gate = {"mode": mode, "endpoint": {"url": url, "model": "prompted", **reference, **endpoint}}
    gates = {"baseline": gate, **({"payback": payback} if payback else {})}
    return run_config(gates=gates, **({"evaluation": evaluation} if evaluation else {}))


def measure(
    url: str, tmp_path, *, gold=GOLD, metric="ExactMatch", patience=None, resolve=None, credentials=CREDENTIALS, **spec
):
    return baseline.measure(
        config(url, **spec),
        credentials,
        gold,
        tmp_path,
        metric=metric,
        patience=patience or Patience(sleep=Waits()),
        **({"resolve": resolve} if resolve else {}),
    )
