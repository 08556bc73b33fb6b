"""Asks Prometheus for the stop-losses' own queries: one poller for all runs, bounded, and never waited for long.

Those of drift triggers go through it, too (`scalars`).

`$arm` is put in as data. All queries of a stop-loss are evaluated at the same instant, so that both arms and both
counters speak of the same time; the instant is a multiple of `EVERY`, so that whoever asks in the same slot shares one
answer.

Staleness. An instant query answers with the time it was evaluated at, not with that of its samples, and `timestamp()`
only sees through a bare selector. So each query is asked with a look-back of `LOOKBACK`: a series without a sample for
longer is not there. If nothing is there, it is asked again with Prometheus's own look-back, which tells counters that
have stopped coming (`Invalid`) from those that never were (no value). A server that does not know the parameter ignores
it, and then its own look-back is the limit.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from retune.api import StopLoss
from retune.decide.readings import QueryReading

EVERY = 5.0  # s: a query is asked once in each slot of this length
WAIT = 1.0  # s that a reconcile waits for answers; the taps' stop-loss must not wait for Prometheus
TIMEOUT = 3.0  # s of one query
LOOKBACK = 120  # s
AT_ONCE = 8
USABLE = 15.0  # s that answers stand in for ones that have not come yet
IDLE = 60.0  # s after which a query that nobody asks for is forgotten
LARGEST = 2**20  # bytes of an answer
ARMS = ("stable", "canary")
DOWN, INVALID = "SourceDown", "Invalid"
_PLACE = re.compile(r"\$arm(?![A-Za-z0-9_])")


class Queried(Protocol):
    """Counts queries; the metrics of `main` implement it."""

    def query(self, result: str) -> None:
        """One query that was sent: ok, absent, Invalid or SourceDown."""


class Unanswered(Exception):  # noqa: N818 - an answer too, of a kind
    """There is no value; the text says why, beginning with the state that follows."""


@dataclass(frozen=True)
class Pair:
    """What both arms' counters were at an instant: by arm (bad, total), or why there are none."""

    at: float
    values: dict[str, tuple[float | None, float | None]]
    error: str = ""


@dataclass
class _Entry:
    """A pair of queries: what is known of it, and what is under way."""

    asked: float
    slot: float = -math.inf
    under_way: "asyncio.Task[None] | None" = None
    last: Pair | None = None


def for_arm(query: str, arm: str) -> str:
    """The query for one arm: every `$arm` becomes its name, as data; `$army` and all else stays as it is."""
    return _PLACE.sub(arm, query)


class Prometheus:
    """The shared poller.

    Args:
        url: of Prometheus, such as http://prometheus.monitoring:9090; "" if the operator has none.
        session: for the requests.
        counted: told of each query.
        clock: seconds since the epoch, as Prometheus counts them.
    """

    def __init__(
        self, url: str, session: aiohttp.ClientSession, counted: Queried, clock: Callable[[], float] = time.time
    ) -> None:
        self.url, self._session, self.counted, self._clock = url.rstrip("/"), session, counted, clock
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._entries: dict[tuple[str, str], _Entry] = {}

    async def read(self, stop_losses: Iterable[StopLoss]) -> tuple[QueryReading, ...]:
        """What the queries of those stop-losses that have some said, for both arms; within a second."""
        own = [(s.name, (s.bad, s.total)) for s in stop_losses if s.bad is not None and s.total is not None]
        if not own:
            return ()
        if not self.url:
            missing = (
                f"{DOWN}: spec.rollout.stopLoss has queries of its own, and the operator knows no Prometheus: an "
                "administrator sets the value prometheus.url"
            )
            return tuple(QueryReading(name, arm, None, None, self._clock(), missing) for name, _ in own for arm in ARMS)
        now = self._clock()
        self._forget(now)
        under_way = {task for _, key in own if (task := self._start(key, now)) is not None}
        if under_way:
            await asyncio.wait(under_way, timeout=WAIT)
        return tuple(reading for name, key in own for reading in self._told(name, key, now))

    async def close(self) -> None:
        """End what is under way."""
        tasks = [entry.under_way for entry in self._entries.values() if entry.under_way is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: tuple[str, str], now: float) -> "asyncio.Task[None] | None":
        """See that the answers of this slot are known or under way."""
        entry = self._entries.setdefault(key, _Entry(now))
        entry.asked = now
        slot = math.floor(now / EVERY) * EVERY
        if entry.under_way is None and entry.slot < slot:
            entry.slot = slot
            entry.under_way = asyncio.create_task(self._ask(key, entry, slot))
        return entry.under_way

    def _told(self, name: str, key: tuple[str, str], now: float) -> Iterable[QueryReading]:
        last = self._entries[key].last
        if last is None or now - last.at > USABLE + EVERY:
            last = Pair(now, {}, f"{DOWN}: Prometheus has not answered within {USABLE:g} s")
        for arm in ARMS:
            bad, total = last.values.get(arm, (None, None))
            yield QueryReading(name, arm, bad, total, last.at, last.error)

    def _forget(self, now: float) -> None:
        for key in [k for k, e in self._entries.items() if e.under_way is None and now - e.asked > IDLE]:
            del self._entries[key]

    async def _ask(self, key: tuple[str, str], entry: _Entry, at: float) -> None:
        """All four queries of a stop-loss, at one instant."""
        try:
            said = await asyncio.gather(*(self._value(for_arm(query, arm), at) for arm in ARMS for query in key))
            pairs = {arm: (said[2 * i], said[2 * i + 1]) for i, arm in enumerate(ARMS)}
            entry.last = Pair(at, pairs)
        except Unanswered as error:
            entry.last = Pair(at, {}, str(error))
        finally:
            entry.under_way = None

    async def _value(self, query: str, at: float) -> float | None:
        """One counter's value; None: there is no such series.

        Raises:
            Unanswered: there is no value, for another reason.
        """
        try:
            value = await self._fresh(query, at)
        except Unanswered as error:
            self.counted.query(str(error).partition(":")[0])
            raise
        self.counted.query("absent" if value is None else "ok")
        return value

    async def _fresh(self, query: str, at: float) -> float | None:
        value = await self._counter(query, at, {"lookback_delta": f"{LOOKBACK}s"})
        if value is None and await self._counter(query, at, {}) is not None:
            raise Unanswered(f"{INVALID}: {short(query)} has had no new sample for {LOOKBACK} s")
        return value

    async def _counter(self, query: str, at: float, more: dict[str, str]) -> float | None:
        async with self._turn:
            value = await self.instant(query, at, more)
        if value is not None and (not math.isfinite(value) or value < 0):
            raise Unanswered(f"{INVALID}: {short(query)} is {value}, which no counter is")
        return value

    async def instant(self, query: str, at: float, more: dict[str, str], *, scalar: bool = False) -> float | None:
        """The one value of a query at an instant; None: there is no series.

        Args:
            query: PromQL.
            at: seconds since the epoch.
            more: parameters beside.
            scalar: whether the result may also be a scalar, not only the one sample of a series.

        Raises:
            Unanswered: there is no value, for another reason.
        """
        form = {"query": query, "time": f"{at:.3f}", "timeout": f"{TIMEOUT:g}s", **more}
        try:
            async with self._session.post(
                f"{self.url}/api/v1/query",
                data=form,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                allow_redirects=False,
            ) as response:
                body = await _bounded(response)
        except TimeoutError:
            raise Unanswered(f"{DOWN}: Prometheus has not answered within {TIMEOUT:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(f"{DOWN}: Prometheus cannot be reached ({type(error).__name__})") from None
        return _read(query, response.status, body, scalar=scalar)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        body += chunk
        if len(body) > LARGEST:
            raise Unanswered(f"{INVALID}: the answer is larger than {LARGEST} bytes; let the query sum its series")
    return bytes(body)


def _read(query: str, status: int, body: bytes, *, scalar: bool) -> float | None:
    """The one value in an answer; None if there is no series. `scalar`: the result may be one.

    Raises:
        Unanswered: there is none, or it is of no use.
    """
    try:
        told = json.loads(body)
        kind = told.get("errorType", "")
    except (ValueError, AttributeError):
        raise Unanswered(f"{DOWN}: Prometheus answered {status} and no JSON") from None
    if status in (400, 422) and kind in ("bad_data", "execution"):
        raise Unanswered(f"{INVALID}: Prometheus refuses {short(query)}: {str(told.get('error', ''))[:200]}")
    if status != 200 or told.get("status") != "success":
        raise Unanswered(f"{DOWN}: Prometheus answered {status} {kind}".rstrip())
    try:
        kind, samples = told["data"]["resultType"], told["data"]["result"]
        if scalar and kind == "scalar":
            return float(samples[1])
        if kind != "vector":
            raise Unanswered(f"{INVALID}: {short(query)} gives a {str(kind)[:32]}; it must select a series")
        if not samples:
            return None
        if len(samples) > 1:
            raise Unanswered(f"{INVALID}: {short(query)} gives {len(samples)} series; sum() them into one")
        return float(samples[0]["value"][1])
    except (KeyError, TypeError, ValueError, IndexError):
        raise Unanswered(f"{DOWN}: Prometheus answered something that is no result of a query") from None


def short(query: str) -> str:
    """A query as messages quote it."""
    return repr(query if len(query) <= 120 else query[:117] + "...")
