"""Asks Prometheus for the drift triggers' own queries: each once in half a minute, whoever asks for it.

The value may be any finite number, of one sample or of a scalar. Staleness is told as for stop-losses (`prometheus`).
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time

from retune.decide.drift.evidence import QueryReading
from retune.observe.prometheus import DOWN, INVALID, LOOKBACK, Prometheus, Unanswered, short

EVERY = 30.0  # s: a query is asked once in each slot of this length
WAIT = 1.0  # s that a reconcile waits for answers
AT_ONCE = 4  # beside those of stop-losses, which must not wait for these
USABLE = 300.0  # s that an answer stands in for one that has not come yet
IDLE = 600.0  # s after which a query that nobody asks for is forgotten


@dataclass
class _Entry:
    """A query: what is known of it, and what is under way."""

    asked: float
    slot: float = -math.inf
    under_way: "asyncio.Task[None] | None" = None
    last: QueryReading | None = None


class Scalars:
    """The triggers' side of the shared poller.

    Args:
        prometheus: who is asked.
        clock: seconds since the epoch, as Prometheus counts them.
    """

    def __init__(self, prometheus: Prometheus, clock: Callable[[], float] = time) -> None:
        self._prometheus, self._clock = prometheus, clock
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._entries: dict[str, _Entry] = {}

    async def read(self, queries: Mapping[str, str]) -> dict[str, QueryReading]:
        """What the queries said, by the names they are given under; within a second. None has been heard: left out."""
        if not queries:
            return {}
        now = self._clock()
        if not self._prometheus.url:
            missing = (
                f"{DOWN}: spec.triggers.drift has a query, and the operator knows no Prometheus: an administrator sets "
                "the value prometheus.url"
            )
            return {name: QueryReading(None, now, missing) for name in queries}
        self._forget(now)
        under_way = {task for query in queries.values() if (task := self._start(query, now)) is not None}
        if under_way:
            await asyncio.wait(under_way, timeout=WAIT)
        found = {name: self._entries[query].last for name, query in queries.items()}
        return {name: last for name, last in found.items() if last is not None and now - last.at <= USABLE}

    async def close(self) -> None:
        """End what is under way."""
        tasks = [entry.under_way for entry in self._entries.values() if entry.under_way is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, query: str, now: float) -> "asyncio.Task[None] | None":
        """See that the answer of this slot is known or under way."""
        entry = self._entries.setdefault(query, _Entry(now))
        entry.asked = now
        slot = math.floor(now / EVERY) * EVERY
        if entry.under_way is None and (entry.slot < slot or entry.slot > now + EVERY):
            entry.slot = slot
            entry.under_way = asyncio.create_task(self._ask(query, entry, now))
        return entry.under_way

    def _forget(self, now: float) -> None:
        for key in [k for k, e in self._entries.items() if e.under_way is None and now - e.asked > IDLE]:
            del self._entries[key]

    async def _ask(self, query: str, entry: _Entry, at: float) -> None:
        try:
            async with self._turn:
                value = await self._value(query, at)
            entry.last = QueryReading(value, at)
            self._prometheus.counted.query("absent" if value is None else "ok")
        except Unanswered as error:
            entry.last = QueryReading(None, at, str(error))
            self._prometheus.counted.query(str(error).partition(":")[0])
        finally:
            entry.under_way = None

    async def _value(self, query: str, at: float) -> float | None:
        """The one value; None: there is no such series.

        Raises:
            Unanswered: there is no value, for another reason.
        """
        value = await self._instant(query, at, {"lookback_delta": f"{LOOKBACK}s"})
        if value is None and await self._instant(query, at, {}) is not None:
            raise Unanswered(f"{INVALID}: {short(query)} has had no new sample for {LOOKBACK} s")
        return value

    async def _instant(self, query: str, at: float, more: dict[str, str]) -> float | None:
        value = await self._prometheus.instant(query, at, more, scalar=True)
        if value is not None and not math.isfinite(value):
            raise Unanswered(f"{INVALID}: {short(query)} is {value}, not a number")
        return value
