"""Brings an answer to the user as it comes, and tells its way past the edges. Reads on when the user has taken it."""

from __future__ import annotations

import asyncio
import json
import socket

from aiohttp import web

from retune_tap.arms import Arm
from retune_tap.counting import STABLE
from retune_tap.feedback import Known
from retune_tap.served import Route, Served
from retune_tap.tap import Tap
from retune_tap.upstream import Answer, Asked, Broken, Streamed, Whole, made_id

# A user's machine that is gone without a word: milliseconds until the connection is given up.
_GONE = 60_000
_BROKEN = {"message": "the model failed before the end of its answer", "type": "InternalServerError", "code": 500}


class Delivery:
    """One answer. `route` is None for a fallback, which is counted already; `copied` gets a copy of the request."""

    def __init__(self, tap: Tap, served: Served, label: str, route: Route | None, copied: Arm | None) -> None:
        self._tap, self._served, self._label, self._copied = tap, served, label, copied
        self._counted = route is not None and route.counted
        self._ticket = route.ticket if route else None
        # What the candidate's failure cost stable's answer is not stable's, in no graph either.
        self._metrics = served.metrics[label] if route else None

    async def run(self, request: web.Request, asked: Asked, answer: Answer, started: float) -> web.StreamResponse:
        """Deliver it; `started` is when the request came, in the tap's clock."""
        if self._tap.answers.knows(answer.id):
            # The server makes its ids from the user's own x-request-id, which may be said for many requests.
            answer.id = made_id()
        answer.headers["x-retune-arm"] = self._label
        answer.headers["x-retune-id"] = answer.id
        try:
            if isinstance(answer, Whole):
                return self._whole(asked, answer, started)
            return await self._stream(request, asked, answer, started)
        except BaseException:
            if self._ticket:
                self._ticket.left(self._tap.clock())
            raise
        finally:
            answer.close()

    def _began(self, asked: Asked, answer: Answer, started: float) -> None:
        now = self._tap.clock()
        if self._metrics:
            self._metrics.first_token.observe(now - started)
        if self._ticket:
            self._ticket.first_token(now)
            if self._label == STABLE:
                self._served.first_tokens.append(now - started)
        ticket = self._ticket if self._counted else None
        self._tap.answers.gave(answer.id, Known(self._served.name, self._label, now, ticket))
        if ticket and self._served.plan.corrections:
            self._tap.corrections.conversations.keep(answer.id, asked.path, asked.body, now)

    def _ended(self, asked: Asked, tokens: int | None, text: str | None, started: float) -> None:
        now = self._tap.clock()
        if self._metrics:
            self._metrics.latency.observe(now - started)
            self._metrics.tokens.inc(tokens or 0)
        if self._ticket:
            self._ticket.answered(now, tokens, text)
            served = self._served
            (served.responses if self._label == STABLE else served.candidates_responses).append(now - started)
        if self._copied:
            self._tap.shadow.copy(self._served, self._copied, asked, text)

    def _whole(self, asked: Asked, answer: Whole, started: float) -> web.Response:
        if answer.status == 200:
            self._began(asked, answer, started)
            self._ended(asked, answer.tokens, answer.text, started)
        elif self._ticket:
            self._ticket.left(self._tap.clock())
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _stream(self, request: web.Request, asked: Asked, answer: Streamed, started: float) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        _notice_when_gone(request.transport)
        self._began(asked, answer, started)
        await response.prepare(request)
        write = response.write
        try:
            async for event in answer.events():
                await write(event)
        except Broken:
            if self._metrics:
                self._metrics.errors.inc()
            if self._ticket:
                self._ticket.failed(self._tap.clock())
            if not answer.seen.broken:
                await write(b"data: " + json.dumps({"error": _BROKEN}).encode() + b"\n\n")
                # Without the last chunk, so that nobody takes it for the whole answer.
                if request.transport:
                    request.transport.close()
            return response
        self._ended(asked, answer.seen.tokens, answer.seen.text, started)
        await response.write_eof()
        return response


def _notice_when_gone(transport: asyncio.Transport | None) -> None:
    """Let the kernel give up a connection whose other end takes nothing and says nothing (where it can)."""
    connection = transport.get_extra_info("socket") if transport else None
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE)
