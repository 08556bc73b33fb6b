"""Copies of stable's requests for the candidate: after the user has the answer, few at a time, compared with it."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable

from retune_tap.arms import Arm
from retune_tap.metrics import Metrics
from retune_tap.served import Served
from retune_tap.upstream import Asked, Broken, Unanswered, Upstream, Whole

AT_A_TIME = 4


def normalised(text: str) -> str:
    """The text as two answers are compared: without regard to case, white space and ways to compose letters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class Shadow:
    """Sends the copies."""

    def __init__(self, upstream: Upstream, metrics: Metrics, limit: float, missing: Callable[[], None]) -> None:
        """`limit`: seconds until a copy is given up; `missing` is called when the server lost the candidate."""
        self._upstream, self._metrics, self._limit, self._missing = upstream, metrics, limit, missing
        self.tasks: set[asyncio.Task[None]] = set()

    def copy(self, served: Served, arm: Arm, asked: Asked, text: str | None) -> None:
        """Send a copy, unless four are on their way. Returns at once. `text` is what stable answered."""
        if len(self.tasks) >= AT_A_TIME:
            served.shadows.dropped += 1
            self._metrics.shadow.labels(served.name, "dropped").inc()
            return
        served.shadows.sent += 1
        task = asyncio.create_task(self._send(served, arm, asked, text), name="shadow")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _send(self, served: Served, arm: Arm, asked: Asked, text: str | None) -> None:
        result = "failed"
        try:
            async with asyncio.timeout(self._limit):
                theirs = await self._answer(arm, asked)
            result = "answered"
            if text is not None and theirs is not None:
                served.shadows.compared += 1
                agreed = normalised(text) == normalised(theirs)
                served.shadows.agreed += agreed
                result = "agreed" if agreed else "differed"
        except (Unanswered, Broken, OSError, TimeoutError) as error:
            served.shadows.failed += 1
            if isinstance(error, Unanswered) and error.missing:
                self._missing()
        finally:
            self._metrics.shadow.labels(served.name, result).inc()

    async def _answer(self, arm: Arm, asked: Asked) -> str | None:
        answer = await self._upstream.ask(arm, asked, wants_text=True, limit=self._limit)
        try:
            if isinstance(answer, Whole):
                if answer.status != 200:
                    raise Unanswered(answer.status, "the copy was refused")
                return answer.text
            async for _ in answer.events():
                pass
            return answer.seen.text
        finally:
            answer.close()
