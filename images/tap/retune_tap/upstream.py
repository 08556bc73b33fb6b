"""Asks an arm: the model server beside the tap, or an endpoint. An answer is held back until its first event is here.

Until then nothing was sent to the user, so another arm can be asked instead.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from retune_tap import headers as hygiene
from retune_tap import outbound, template
from retune_tap.arms import Arm, Kind
from retune_tap.events import Rewriter, Stream, data_of, object_of, says_error, text_of, tokens_of
from retune_tap.settings import Settings

# No event of a stream is longer; one with logprobs has some kilobytes.
_MOST_EVENT = 8 * 1024 * 1024
# Paths whose streams end with [DONE].
_DONE = frozenset({"/v1/chat/completions", "/v1/completions"})
# What a client can't have caused: the tap chose the model, and the tap's key was used.
_NOT_THE_CLIENTS = frozenset({401, 403, 404, 408, 429})
# uvicorn closes idle connections after 5 s; a request on one that it is closing would fail.
_KEEP_ALIVE = 3.0
# An id that can be a header, too.
_ID = re.compile(r"[\x21-\x7e]{1,512}")


class Unanswered(Exception):  # noqa: N818 - it is no error of the tap's
    """An arm failed before its first byte. `missing`: the server does not have the model."""

    def __init__(self, status: int, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.status, self.missing = status, missing


class Broken(Exception):  # noqa: N818 - it is no error of the tap's
    """A stream broke after its beginning."""


@dataclass(slots=True)
class Asked:
    """A user's request, ready for any arm."""

    path: str
    query: str
    body: dict[str, Any]
    headers: CIMultiDict[str]
    public: str
    stream: bool


class Whole:
    """An answer that is all here. Client errors are answers, too."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes, asked: Asked) -> None:
        """`headers` as the user is to get them."""
        answer = object_of(body)
        self.status, self.headers = status, headers
        served = answer.get("model")
        self.body = Rewriter(served, asked.public)(body) if isinstance(served, str) else body
        self.id = _id(answer)
        self.text, self.tokens = text_of(answer), tokens_of(answer)

    def close(self) -> None:
        """Nothing is open."""


class Streamed:
    """An answer whose first event is here."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        events: AsyncIterator[bytes],
        first: bytes,
        asked: Asked,
        stream: Stream,
        *,
        headers: CIMultiDict[str],
    ) -> None:
        """`headers` as the user is to get them."""
        answer = object_of(data_of(first))
        # Streams of /v1/responses and /v1/messages begin with an event around the answer.
        answer = next((inner for key in ("response", "message") if isinstance(inner := answer.get(key), dict)), answer)
        served = answer.get("model")
        self.status, self.headers, self.id = response.status, headers, _id(answer)
        self.seen = stream
        self._response, self._events, self._first = response, events, first
        self._rewrite = Rewriter(served, asked.public) if isinstance(served, str) else None
        self._ends_with_done = asked.path in _DONE

    async def events(self) -> AsyncIterator[bytes]:
        """Each event as the user is to get it; the next is read when the last was taken.

        Raises:
            Broken: it broke; whether the server said so in an event shows in `seen.broken`.
        """
        saw, rewrite = self.seen.saw, self._rewrite
        if saw(self._first):
            yield rewrite(self._first) if rewrite else self._first
        while True:
            try:
                event = await anext(self._events, b"")
            except (aiohttp.ClientError, OSError, TimeoutError):
                raise Broken from None
            if not event:
                break
            if saw(event):
                yield rewrite(event) if rewrite else event
        if self.seen.broken or (self._ends_with_done and not self.seen.done):
            raise Broken

    def close(self) -> None:
        """Tell the server to stop: it aborts what nobody reads."""
        self._response.close()


Answer = Whole | Streamed


def _id(answer: dict[str, Any]) -> str:
    found = answer.get("id")
    return found if isinstance(found, str) and _ID.fullmatch(found) else made_id()


def made_id() -> str:
    """An id for an answer that has none."""
    return f"retune-{secrets.token_hex(12)}"


class Upstream:
    """The connections to the server and to endpoints."""

    def __init__(self, settings: Settings) -> None:
        """To be made within the event loop."""
        self._settings = settings
        # A stream that stands still for so long does not go on.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_time, sock_read=settings.stable_time)
        self._server = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        resolver = outbound.Resolver(loopback=settings.endpoint_on_loopback)
        self._outside = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=256, resolver=resolver, keepalive_timeout=_KEEP_ALIVE),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._server.close()
        await self._outside.close()

    async def unload(self, name: str) -> None:
        """Have the server forget an adapter; one that is gone already is fine. Its folder stays."""
        url = f"{self._settings.upstream}/v1/unload_lora_adapter"
        try:
            async with self._server.post(url, json={"lora_name": name}, timeout=aiohttp.ClientTimeout(total=30)):
                pass
        except (aiohttp.ClientError, TimeoutError):
            return

    async def plain(self, method: str, path: str, query: str) -> Whole:
        """A request without a body, to the server.

        Raises:
            Unanswered: it does not answer.
        """
        url = URL(f"{self._settings.upstream}{path}{query}", encoded=True)
        try:
            async with asyncio.timeout(self._settings.stable_time), self._server.request(method, url) as response:
                body = await self._all(response)
                return Whole(
                    response.status, hygiene.to_user(response.headers), body, Asked("", "", {}, _NONE, "", False)
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unanswered(error) from None

    async def ask(self, arm: Arm, asked: Asked, *, wants_text: bool, limit: float) -> Answer:
        """Ask an arm and wait, at most `limit` seconds, for a stream's first event or the whole answer.

        Raises:
            Unanswered: it failed before its first byte; client errors are answers.
        """
        try:
            async with asyncio.timeout(limit):
                return await self._ask(arm, asked, wants_text=wants_text)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unanswered(error) from None

    async def _ask(self, arm: Arm, asked: Asked, *, wants_text: bool) -> Answer:
        endpoint = arm.kind is Kind.ENDPOINT
        # Another's API may not know how to tell the usage of a stream.
        hides = asked.stream and asked.path in _DONE and not endpoint and _usage_unasked(asked.body)
        session, url, head, body = self._request(arm, asked)
        if hides:
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        data = json.dumps(body, separators=(",", ":")).encode()
        response = await session.post(url, data=data, headers=head, allow_redirects=False)
        try:
            if response.status == 200 and response.content_type == "text/event-stream":
                stream = Stream(wants_text=wants_text, hides_usage=hides)
                events = _events(response.content)
                first = await anext(events, b"")
                while first and not data_of(first):  # a comment, which keeps the connection open, is no answer
                    first = await anext(events, b"")
                _check_first(first)
                head = hygiene.to_user(response.headers, endpoint=endpoint)
                return Streamed(response, events, first, asked, stream, headers=head)
            whole = await self._all(response)
            response.release()
        except BaseException:
            response.close()
            raise
        if response.status >= 500 or response.status in _NOT_THE_CLIENTS or 300 <= response.status < 400:
            missing = response.status == 404 and not endpoint
            status = 503 if missing else max(response.status, 502) if response.status < 500 else response.status
            raise Unanswered(status, f"the model answered {response.status}", missing=missing)
        return Whole(response.status, hygiene.to_user(response.headers, endpoint=endpoint), whole, asked)

    def _request(self, arm: Arm, asked: Asked) -> tuple[aiohttp.ClientSession, URL, CIMultiDict[str], dict[str, Any]]:
        if arm.kind is not Kind.ENDPOINT:
            url = URL(f"{self._settings.upstream}{asked.path}{asked.query}", encoded=True)
            return self._server, url, asked.headers, {**asked.body, "model": arm.name}
        try:
            body = {**template.filled(arm.template, asked.body), "model": arm.model}
        except template.TemplateError as error:
            raise Unanswered(502, str(error)) from None
        url = URL(f"{arm.url.rstrip('/')}{asked.path.removeprefix('/v1')}")
        outbound.check(url, loopback=self._settings.endpoint_on_loopback)
        return self._outside, url, hygiene.to_endpoint(self._settings.endpoint_key), body

    async def _all(self, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._settings.most_answer:
                raise Unanswered(502, f"the answer is larger than {self._settings.most_answer} bytes")
            parts.append(part)
        return b"".join(parts)


_NONE: CIMultiDict[str] = CIMultiDict()


def _usage_unasked(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return options is None or (isinstance(options, dict) and not options.get("include_usage"))


def _check_first(event: bytes) -> None:
    """Raise Unanswered if a stream begins with its end, or with an error: nothing was sent yet."""
    if not event:
        raise Unanswered(502, "the model's stream is empty")
    if says_error(event):
        raise Unanswered(500, "the model failed")


def _unanswered(error: Exception) -> Unanswered:
    if isinstance(error, TimeoutError):
        return Unanswered(504, "the model did not answer in time")
    return Unanswered(502, "the model cannot be reached")


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Events with the empty line that ends each; what comes after the last one is not an event."""
    rest = b""
    async for part in content.iter_any():
        data = rest + part if rest else part
        if b"\r" in data:
            # A pair that is split between two parts stays for the next.
            data = data.replace(b"\r\n", b"\n")
        start = 0
        while (end := data.find(b"\n\n", start)) >= 0:
            yield data[start : end + 2]
            start = end + 2
        rest = data[start:]
        if len(rest) > _MOST_EVENT:
            raise aiohttp.ClientPayloadError("an event is too long")
    if data_of(rest) == b"[DONE]":  # the end may come without its empty line
        yield b"data: [DONE]\n\n"
