"""How far the training is, over HTTP: /progress for the operator, /metrics for Prometheus, /healthz for the kubelet.

One daemon thread; it never touches the model, so a slow scrape cannot slow a step.
"""

from __future__ import annotations

import json
import threading
import time
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

PORT = 9090


class Stage(StrEnum):
    """What the pod is doing."""

    LOADING = "Loading"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    PUBLISHING = "Publishing"


class Progress:
    """What is known of the way so far. Written by the training thread, read by the server's."""

    def __init__(self, attempt: int) -> None:
        """Begin at Loading, with every number unknown."""
        self._lock = threading.Lock()
        self._state: dict[str, Any] = {
            "attempt": attempt,
            "stage": Stage.LOADING.value,
            "step": None,
            "steps": None,
            "loss": None,
            "tokensPerSecond": None,
            "etaSeconds": None,
        }
        self.registry = CollectorRegistry()
        prefix = "retune_trainer_"
        self._gauges = {
            "step": Gauge(f"{prefix}step", "Optimizer steps done", registry=self.registry),
            "steps": Gauge(f"{prefix}steps", "Optimizer steps in all", registry=self.registry),
            "loss": Gauge(f"{prefix}loss", "Training loss of the last step", registry=self.registry),
            "tokensPerSecond": Gauge(
                f"{prefix}tokens_per_second", "Real tokens trained on per second", registry=self.registry
            ),
            "etaSeconds": Gauge(f"{prefix}eta_seconds", "Expected time to the last step", registry=self.registry),
            "attempt": Gauge(f"{prefix}attempt", "This attempt's number", registry=self.registry),
        }
        self._gauges["attempt"].set(attempt)
        self._stage = Gauge(f"{prefix}stage", "1 for what the pod is doing now", ["stage"], registry=self.registry)
        self.tokens = Counter(f"{prefix}tokens", "Real tokens trained on by this attempt", registry=self.registry)
        self.checkpoints = Counter(f"{prefix}checkpoints", "Checkpoints completed", registry=self.registry)
        self.checkpoint_seconds = Counter(
            f"{prefix}checkpoint_seconds", "Time spent on uploading checkpoints", registry=self.registry
        )
        self.evaluated = Counter(f"{prefix}evaluated_examples", "Gold answers generated", registry=self.registry)
        self._show_stage(Stage.LOADING)

    def _show_stage(self, stage: Stage) -> None:
        for each in Stage:
            self._stage.labels(each.value).set(each is stage)

    def enter(self, stage: Stage) -> None:
        """Go on to the next stage; there, the time left is unknown."""
        with self._lock:
            self._state |= {"stage": stage.value, "etaSeconds": None}
        self._show_stage(stage)

    def update(self, **known: float | None) -> None:
        """Set what became known, by the names of /progress."""
        with self._lock:
            self._state |= known
        for name, value in known.items():
            if value is not None:
                self._gauges[name].set(value)

    def snapshot(self) -> dict[str, Any]:
        """What /progress answers."""
        with self._lock:
            return dict(self._state)


class Server:
    """Serves a `Progress` until closed."""

    def __init__(self, progress: Progress, port: int = PORT) -> None:
        """Bind at once; port 0 takes any free one."""
        self._server = ThreadingHTTPServer(("", port), _handler(progress))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        # It looks ten times a second whether to stop: a pod that is done should not linger.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(progress: Progress) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            """Answer one of the three paths."""
            match self.path.partition("?")[0]:
                case "/progress":
                    # No number of JSON's: a loss that diverged.
                    known = {k: None if v != v else v for k, v in progress.snapshot().items()}  # noqa: PLR0124
                    self._answer(200, "application/json", json.dumps(known).encode())
                case "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(progress.registry))
                case "/healthz":
                    self._answer(200, "text/plain", b"ok\n")
                case _:
                    self._answer(404, "text/plain", b"/progress, /metrics or /healthz\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: a probe every few seconds would drown all else."""
            del format, args

    return Handler


class Rate:
    """Tokens per second since training began, in this attempt."""

    def __init__(self) -> None:
        """The clock starts with the first step's beginning."""
        self._began = time.monotonic()
        self.tokens = 0

    def add(self, tokens: int) -> float:
        """Count a step's tokens and return the rate so far."""
        self.tokens += tokens
        return self.tokens / max(1e-9, time.monotonic() - self._began)
