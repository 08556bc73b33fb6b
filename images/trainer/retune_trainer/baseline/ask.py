"""Asks an endpoint many questions: several at once, again when it was busy, and no longer than there is hope.

The only module here that sends anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from retune_trainer.addresses import ForbiddenAddressError
from retune_trainer.baseline import outbound
from retune_trainer.baseline.endpoint import Endpoint
from retune_trainer.baseline.prompt import Conversation
from retune_trainer.baseline.reply import MAX_BODY, Failure, Raw, Reply, read, told


@dataclass(frozen=True)
class Patience:
    """How long, how often and how many at once. Durations are in seconds."""

    concurrency: int = 8
    # Of one question, with waits of 1, 2, 4, 8 and 16 s between them unless the endpoint names others.
    tries: int = 6
    longest_wait: float = 60
    request: float = 120
    total: float = 1800
    # The share of questions that may stay without an answer.
    most_failed: float = 0.05
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def wait_of(retry_after: str | None, attempt: int, longest: float) -> float:
    """Seconds to wait after try number `attempt` (from 0): what `Retry-After` says, or twice as long each time.

    `Retry-After` is a number of seconds or a date (RFC 9110, section 10.2.3); one that is neither is not heeded.
    """
    seconds = 2.0**attempt
    if retry_after is not None:
        try:
            if retry_after.strip().isdecimal():
                seconds = float(retry_after)
            else:
                date = parsedate_to_datetime(retry_after)
                seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            pass
    return min(max(seconds, 0.0), longest)


async def ask(
    endpoint: Endpoint,
    conversations: Sequence[Conversation | str],
    max_tokens: int,
    patience: Patience,
    resolve: outbound.Resolve = outbound.look_up,
) -> list[Reply | Failure]:
    """The answer to each conversation, or to a prompt as it is, in their order, at temperature 0.

    Raises:
        InputError: the endpoint is none, rejects the key, lies at a forbidden address, or refuses too many questions.
        StoreError: too many questions had no answer after all tries, or time ran out.
    """
    async with outbound.client(timeout=patience.request, connections=patience.concurrency, resolve=resolve) as http:
        asking = _Asking(endpoint, http, patience, max_tokens, len(conversations))
        waiting = iter(enumerate(conversations))

        async def work() -> None:
            for index, conversation in waiting:
                asking.found[index] = await asking.one(conversation)

        try:
            async with asyncio.timeout(patience.total), asyncio.TaskGroup() as group:
                for _ in range(min(patience.concurrency, len(conversations))):
                    group.create_task(work())
        except TimeoutError:
            problem = f"had answered {len(asking.found)} of {len(conversations)} questions after {patience.total:g} s"
            raise endpoint.unreachable(f"{problem}; lower spec.evaluation.maxExamples or use a faster one") from None
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
    return [asking.found[index] for index in range(len(conversations))]


class _Asking:
    """One round of questions."""

    def __init__(
        self, endpoint: Endpoint, http: httpx.AsyncClient, patience: Patience, max_tokens: int, questions: int
    ) -> None:
        self._endpoint, self._http, self._patience = endpoint, http, patience
        self._max_tokens, self._questions = max_tokens, questions
        self._failed = 0
        self.found: dict[int, Reply | Failure] = {}

    async def one(self, conversation: Conversation | str) -> Reply | Failure:
        """Ask until there is an answer or no hope, and count those without.

        Raises:
            PodError: there is no use in asking on.
        """
        found = await self._answer(conversation)
        if isinstance(found, Failure):
            self._failed += 1
            if self._failed > self._patience.most_failed * self._questions:
                problem = f"{found.problem} ({self._failed} of {self._questions} questions have no answer)"
                raise self._endpoint.unreachable(problem) if found.passing else self._endpoint.invalid(problem)
        return found

    async def _answer(self, conversation: Conversation | str) -> Reply | Failure:
        patience = self._patience
        problem = ""
        for attempt in range(patience.tries):
            retry_after = None
            try:
                async with asyncio.timeout(patience.request):
                    raw = await self._post(conversation)
            except (TimeoutError, httpx.TimeoutException):
                problem = f"did not answer within {patience.request:g} s"
            except httpx.TransportError as error:
                cause = self._endpoint.excerpt(str(error))
                problem = f"could not be reached ({type(error).__name__}: {cause})"
            except ForbiddenAddressError as error:
                raise self._endpoint.invalid(f"may not be asked: {error}") from None
            else:
                if not raw.passing:
                    return read(self._endpoint, raw, verbatim=isinstance(conversation, str))
                problem = told(self._endpoint, raw)
                retry_after = raw.headers.get("retry-after")
            if attempt + 1 < patience.tries:
                await patience.sleep(wait_of(retry_after, attempt, patience.longest_wait))
        return Failure(f"{problem}, also when asked {patience.tries} times", passing=True)

    async def _post(self, conversation: Conversation | str) -> Raw:
        verbatim = isinstance(conversation, str)
        question = {
            "model": self._endpoint.model,
            "prompt" if verbatim else "messages": conversation,
            "temperature": 0,
            "max_tokens": self._max_tokens,
            "stream": False,
        }
        # Not httpx's own `json=`: it cannot encode what JSON can write and UTF-8 cannot, half of a surrogate pair.
        content = json.dumps(question).encode()
        url = self._endpoint.verbatim if verbatim else self._endpoint.url
        async with self._http.stream("POST", url, content=content, headers=self._endpoint.headers) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    return Raw(response.status_code, response.headers, bytes(body[:MAX_BODY]), whole=False)
            return Raw(response.status_code, response.headers, bytes(body))
