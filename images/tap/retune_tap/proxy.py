"""The users' port: a request gets its arm, is asked there, falls back if the candidate fails, and is delivered."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from aiohttp import web

from retune_tap import headers as hygiene
from retune_tap.counting import STABLE
from retune_tap.delivery import Delivery
from retune_tap.feedback import Feedback, FeedbackError
from retune_tap.replies import error, json_reply
from retune_tap.served import Route, Served
from retune_tap.tap import Tap
from retune_tap.upstream import Answer, Asked, Streamed, Unanswered, Whole, made_id

# Paths are taken as they are written: no escapes, no dots, so that nothing can be spelt in a second way.
_PATH = re.compile(r"/v1(/[A-Za-z0-9_:-][A-Za-z0-9_.:-]*)+", re.ASCII)
_CLOSED = re.compile(r"/v1/(un)?load_lora_adapter\b.*", re.IGNORECASE)
# What users ask a model; only these are split and counted.
_SPLIT = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"})


class _RefusedError(Exception):
    """A request that goes no further."""

    def __init__(self, reply: web.Response) -> None:
        super().__init__()
        self.reply = reply


class Proxy:
    """Answers users."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._settings = tap.settings

    def app(self) -> web.Application:
        """The application of the users' port."""
        app = web.Application(client_max_size=self._settings.most_body)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        path, method = request.rel_url.raw_path, request.method
        if not _PATH.fullmatch(path) or _CLOSED.fullmatch(path):
            return error(404, "NotFoundError", "there is nothing at this path")
        if path == "/v1/models" and method == "GET":
            return self._models()
        if not self._tap.models:
            return error(503, "ServiceUnavailableError", "no model is served here yet")
        if method in {"GET", "HEAD", "DELETE"}:
            return await self._plain(method, path, request)
        if method != "POST":
            return error(405, "BadRequestError", f"{method} is not answered here")
        try:
            body = await self._body(request)
        except _RefusedError as refused:
            return refused.reply
        if path == "/v1/feedback":
            return await self._feedback(body)
        try:
            served = self._served(body)
        except _RefusedError as refused:
            return refused.reply
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        stream = body.get("stream") is True
        asked = Asked(path, query, body, hygiene.to_server(request.headers), served.name, stream)
        if path not in _SPLIT:
            return await self._uncounted(served, asked)
        return await self._split(request, served, asked)

    async def _body(self, request: web.Request) -> Any:  # noqa: ANN401 - whatever JSON holds
        try:
            async with asyncio.timeout(self._settings.body_time):
                return json.loads(await request.read())
        except TimeoutError:
            reply = error(408, "BadRequestError", "the request did not come to its end")
        except web.HTTPRequestEntityTooLarge:
            reply = error(413, "BadRequestError", f"the body is larger than {self._settings.most_body} bytes")
        except (ValueError, RecursionError, web.RequestPayloadError):
            reply = error(400, "Bad Request", "the body is not JSON", "body")
        raise _RefusedError(reply)

    def _served(self, body: object) -> Served:
        """The public model that a body names; the job's own if it names none."""
        if not isinstance(body, dict):
            raise _RefusedError(error(400, "Bad Request", "the body is not a JSON object", "body"))
        public = body.get("model", self._settings.model)
        if not isinstance(public, str):
            raise _RefusedError(error(400, "Bad Request", "model is not a text", "body.model"))
        served = self._tap.models.get(public)
        if served is None:
            message = f"The model `{public[:200]}` does not exist."
            raise _RefusedError(error(404, "NotFoundError", message, "model"))
        return served

    def _models(self) -> web.Response:
        entries = [{"id": name, "object": "model", "created": 0, "owned_by": "retune"} for name in self._tap.models]
        return json_reply({"object": "list", "data": entries})

    async def _feedback(self, body: object) -> web.Response:
        """Take it, or have the pod take it that gave the answer: the Service sends it to any."""
        reply = taken(self._tap, body)
        if reply.status == 404:
            feedback = Feedback.of(body)
            if not any(served.plan.corrections for served in self._tap.models.values()):
                feedback = feedback.bare
            if await self._tap.peers.take(feedback):
                return json_reply({"id": feedback.id}, 202)
        return reply

    async def _plain(self, method: str, path: str, request: web.Request) -> web.Response:
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        try:
            answer = await self._tap.upstream.plain(method, path, query)
        except Unanswered as failed:
            return _failed(failed, STABLE)
        return _whole(answer, STABLE)

    async def _uncounted(self, served: Served, asked: Asked) -> web.Response:
        """What is not asked of a model's wording (embeddings, tokens): stable's, or that of the one arm here."""
        asked.body.pop("stream", None)
        label, arm = served.usual
        try:
            answer = await self._tap.upstream.ask(arm, asked, wants_text=False, limit=self._settings.stable_time)
        except Unanswered as failed:
            return _failed(failed, label)
        if isinstance(answer, Streamed):
            answer.close()
            return _failed(Unanswered(502, "the model streams what was not asked to be streamed"), label)
        return _whole(answer, label)

    async def _split(self, request: web.Request, served: Served, asked: Asked) -> web.StreamResponse:
        started = self._tap.clock()
        route = served.route(request.headers, started)
        if route.sampled:
            # At the loop's next turn, when the model has the request.
            asyncio.get_running_loop().call_soon(served.sample.look, asked.path, asked.body, self._tap.wall())
        alone = served.fixed is not None
        if not alone:
            route.ticket.limit = self._candidates_time(asked)
        copied = served.shadowed() if route.label == STABLE and route.counted else None
        try:
            wants_text = copied is not None or route.ticket.wants_text
            answer = await self._ask(route, asked, alone=alone, wants_text=wants_text)
        except Unanswered as failed:
            route.ticket.failed(self._tap.clock())
            served.metrics[route.label].errors.inc()
            if route.label == STABLE or alone or not served.fallback.allow(self._tap.clock()):
                return _failed(failed, route.label)
            return await self._fall_back(request, served, asked, started)
        except BaseException:  # the client's going, for the most part
            route.ticket.left(self._tap.clock())
            raise
        return await Delivery(self._tap, served, route.label, route, copied).run(request, asked, answer, started)

    def _candidates_time(self, asked: Asked) -> float:
        """Seconds that a candidate is waited for, and after which stable's answer is bad as well."""
        return self._settings.candidate_first_time if asked.stream else self._settings.candidate_whole_time

    async def _ask(self, route: Route, asked: Asked, *, alone: bool, wants_text: bool) -> Answer:
        # Where there is no stable to fall back to, nothing is won by giving up sooner.
        waits = route.label == STABLE or alone
        limit = self._settings.stable_time if waits else self._candidates_time(asked)
        try:
            return await self._tap.upstream.ask(route.arm, asked, wants_text=wants_text, limit=limit)
        except Unanswered as failed:
            if failed.missing:
                self._tap.loading.nudge()
            raise

    async def _fall_back(
        self, request: web.Request, served: Served, asked: Asked, started: float
    ) -> web.StreamResponse:
        """Ask stable in the candidate's place. It is counted already, in the candidate's arm; never in stable's."""
        self._tap.metrics.fallbacks.labels(served.name).inc()
        try:
            answer = await self._tap.upstream.ask(
                served.plan.stable, asked, wants_text=False, limit=self._settings.stable_time
            )
        except Unanswered as failed:
            return _failed(failed, STABLE)
        return await Delivery(self._tap, served, STABLE, None, None).run(request, asked, answer, started)


def taken(tap: Tap, body: object) -> web.Response:
    """The answer to a feedback in this pod: 202, 404 for an id that it does not know, 400 with the field."""
    try:
        feedback = Feedback.of(body)
    except FeedbackError as wrong:
        return error(400, "Bad Request", str(wrong), wrong.field)
    if not tap.take(feedback):
        return error(404, "NotFoundError", "no answer of the last hour has this id here", "id")
    return json_reply({"id": feedback.id}, 202)


def _whole(answer: Whole, arm: str) -> web.Response:
    answer.headers["x-retune-arm"] = arm
    answer.headers["x-retune-id"] = answer.id
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def _failed(failed: Unanswered, arm: str) -> web.Response:
    headers = {"x-retune-arm": arm, "x-retune-id": made_id()}
    return error(failed.status, "InternalServerError", str(failed), headers=headers)
