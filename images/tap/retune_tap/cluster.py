"""The cluster's port: health, metrics, the state, and new arms documents. Asks no model, and no peer, anything."""

from __future__ import annotations

import math

from aiohttp import web
from prometheus_client import generate_latest

from retune_tap.arms import ArmsError
from retune_tap.envelope import MOST_BYTES
from retune_tap.proxy import taken
from retune_tap.replies import error, json_reply
from retune_tap.state import state
from retune_tap.tap import Tap


class Cluster:
    """Answers the operator, the kubelet and Prometheus."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def app(self) -> web.Application:
        """The application of the cluster's port."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/v1/state", self._state),
                web.post("/v1/arms", self._arms),
                web.post("/v1/feedback", self._feedback),
            ]
        )
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._tap.ready:
            return web.Response(text="ok")
        why = "draining" if self._tap.draining else "stable is not loaded" if self._tap.models else "no arms document"
        return web.Response(status=503, text=why)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._tap.metrics.registry), content_type="text/plain", charset="utf-8"
        )

    async def _state(self, request: web.Request) -> web.Response:
        text = request.query.get("windows")
        since = None
        if text is not None:
            try:
                since = float(text)
            except ValueError:
                since = math.nan
            if not math.isfinite(since):
                return error(400, "Bad Request", "windows is not a time in Unix seconds", "windows")
        for served in self._tap.models.values():
            served.asked()
        self._tap.tick()
        return json_reply(state(self._tap, since))

    async def _feedback(self, request: web.Request) -> web.Response:
        """From a peer, which does not know the id: only what is known here is answered, so that no question circles."""
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            return error(400, "Bad Request", "the body is not JSON", "body")
        return taken(self._tap, body)

    async def _arms(self, request: web.Request) -> web.Response:
        try:
            envelope = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return error(400, "Bad Request", f"the envelope is larger than {MOST_BYTES} bytes")
        try:
            return json_reply({"generation": self._tap.take_document(envelope)})
        except ArmsError as wrong:
            if wrong.status == 409:
                return json_reply({"generation": self._tap.desk.generation}, 409)
            return error(wrong.status, "Bad Request" if wrong.status == 400 else "Forbidden", str(wrong))
