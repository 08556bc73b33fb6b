"""The workers: take a key, gather its facts, decide, carry out. The same for both kinds."""

import asyncio
import logging

from retune.act.carry_out import Hands
from retune.api import JobPhase
from retune.decide.booking import settle
from retune.decide.job import decide_job
from retune.decide.run import decide_run
from retune.kube.client import ApiError, NotLeader
from retune.main.handlers import JOB
from retune.main.metrics import Metrics
from retune.main.queue import Key, Queue
from retune.observe.facts import Observer
from retune.observe.ledgers import Ledgers

log = logging.getLogger(__name__)


class Reconciler:
    """Runs reconciles from the queue until it is cancelled."""

    def __init__(self, queue: Queue, observer: Observer, hands: Hands, ledgers: Ledgers, metrics: Metrics) -> None:
        self._queue, self._observer, self._hands, self._ledgers = queue, observer, hands, ledgers
        self._metrics = metrics

    async def work(self, *, only_urgent: bool = False) -> None:
        """One worker. No key can stop it: what fails is logged, counted and tried again later."""
        while True:
            key = await self._queue.get(only_urgent=only_urgent)
            try:
                await self._one(key)
            finally:
                self._queue.done(key)
                self._metrics.depth.set(len(self._queue))

    async def _one(self, key: Key) -> None:
        start = asyncio.get_running_loop().time()
        result = "ok"
        try:
            after = await (self._job(key) if key.kind == JOB else self._run(key))
            self._queue.succeeded(key)
            if after is not None:
                self._queue.add_after(key, after)
        except NotLeader:
            raise
        except ApiError as error:
            if error.code == 404:  # deleted while we looked; if it is not, an event or the next sweep brings it back
                self._queue.succeeded(key)
                return
            result = "retry" if error.code in (0, 409, 429) else "error"
            self._metrics.errors.labels(error.reason[:64]).inc()
            delay = self._queue.failed(key, error.retry_after or 0.0)
            level = logging.DEBUG if error.code == 409 else logging.WARNING
            log.log(level, "%s %s/%s: %s; again in %.1f s", *key, error, delay)
        except Exception as error:
            result = "error"
            self._metrics.errors.labels(type(error).__name__).inc()
            delay = self._queue.failed(key)
            log.exception("%s %s/%s: again in %.1f s", *key, delay)
        finally:
            self._metrics.reconciles.labels(key.kind, result).inc()
            self._metrics.durations.labels(key.kind).observe(asyncio.get_running_loop().time() - start)

    async def _job(self, key: Key) -> float | None:
        facts = self._observer.job(key.namespace, key.name)
        if facts is not None and facts.status.phase is JobPhase.HALTED:  # somebody may have put money into its ledger
            await self._ledgers.again(key.namespace, key.name)
            facts = self._observer.job(key.namespace, key.name)
        if facts is None:
            return await self._estate(key)
        facts = await self._observer.heard(facts)
        decision = decide_job(facts)
        await self._hands.job(facts, decision)
        return decision.requeue_after

    async def _estate(self, key: Key) -> float | None:
        """The job is gone; what its runs have cost is not."""
        books, now = self._observer.estate(key.namespace, key.name)
        ledger, again = settle(books, now)
        if ledger != books.ledger:
            await self._hands.ledger(key.namespace, key.name, ledger)
        return again

    async def _run(self, key: Key) -> float | None:
        facts = await self._observer.run(key.namespace, key.name)
        if facts is None:
            self._metrics.rollouts.gone(key.namespace, key.name)
            return None
        decision = decide_run(facts)
        self._metrics.rollouts.seen(facts, decision.status, asyncio.get_running_loop().time())
        await self._hands.run(facts, decision)
        return decision.requeue_after
