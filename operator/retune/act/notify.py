"""Tells people what a decision asked for: a bounded queue for each channel, and tasks that no reconcile waits for.

A message is a try of at most 10 s in a thread of its own, 5 tries, and then it is given up. What waits for a channel
while another message is under way goes together, as one. Nothing is kept over a restart: what was not noted in a job's
status is asked for again.
"""

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from retune.act.channels import Channels
from retune.act.receivers import Kind, NotAReceiverError, deliver, load
from retune.api import NotificationEvent
from retune.decide.actions import Tell
from retune.decide.facts import Meta
from retune.decide.news.told import Delivery, Telling, Told

log = logging.getLogger(__name__)
LIMIT = 10.0  # s for one try at one receiver
WAITS = (5.0, 20.0, 80.0, 320.0)  # s before the second to the fifth try
PAUSE = 1.0  # s between two messages on a channel, in which what else happens comes together
LOOK = 10.0  # s between two looks for channels that came or went
WAITING = 1000  # pieces of news that wait for one channel
TOGETHER = 25  # in one message
BODY = 1800  # characters of a message; several chat programs take no more than 2,000
JOBS = 10_000  # that outcomes are kept of until their status has them

_KINDS: dict[NotificationEvent, Kind] = {
    NotificationEvent.PROMOTED: "success",
    NotificationEvent.ROLLED_BACK: "failure",
    NotificationEvent.FAILED: "failure",
    NotificationEvent.HALTED: "warning",
    NotificationEvent.DRIFT_DETECTED: "warning",
    NotificationEvent.AWAITING_APPROVAL: "warning",
}


class Count(Protocol):
    """Where what became of messages is counted."""

    def __call__(self, channel: str, result: str, count: int = 1) -> None:
        """`count` pieces of news on `channel`: sent, failed (a try), given-up or put-off."""


@dataclass(frozen=True)
class Job:
    """Whose news it is."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class _Item:
    job: Job
    told: Told


@dataclass
class _Outbox:
    """What one channel is to be told, by key."""

    waiting: dict[str, _Item] = field(default_factory=dict)
    under_way: dict[str, _Item] = field(default_factory=dict)
    put_off: set[Job] = field(default_factory=set)  # whose news found no room
    worker: "asyncio.Task[None] | None" = None
    threads: dict[str, threading.Thread] = field(default_factory=dict)  # by receiver: one that hangs gets no second


class Notifier:
    """Takes what is to be told, sends it, and says what became of it.

    Args:
        channels: where they are read.
        count: counts by channel and result.
        wake: has a job looked at, so that its status notes what became of its news; None: all jobs.
        waits: s before each try but the first.
        limit: s for one try at one receiver.
        pause: s between two messages on a channel.
        look: s between two looks for channels that came or went.
    """

    def __init__(
        self,
        channels: Channels,
        count: Count,
        wake: Callable[[Job | None], None],
        *,
        waits: Sequence[float] = WAITS,
        limit: float = LIMIT,
        pause: float = PAUSE,
        look: float = LOOK,
    ) -> None:
        self._channels, self._count, self._wake = channels, count, wake
        self._waits, self._limit, self._pause, self._look = waits, limit, pause, look
        self._outboxes: dict[str, _Outbox] = {}
        self._delivered: dict[str, dict[tuple[str, str], Delivery]] = {}  # by the job's uid
        self._new = asyncio.Event()

    def tell(self, meta: Meta, action: Tell) -> None:
        """Put news into the queues of its channels, once however often it is asked for. Returns at once, always."""
        job, key = Job(meta.namespace, meta.name, meta.uid), action.told.key
        for channel in action.channels:
            outbox = self._outboxes.setdefault(channel, _Outbox())
            known = key in outbox.waiting or key in outbox.under_way
            if known or (key, channel) in self._delivered.get(meta.uid, {}):
                continue
            if len(outbox.waiting) >= WAITING:
                outbox.put_off.add(job)
                self._count(channel, "put-off")
                continue
            outbox.waiting[key] = _Item(job, action.told)
        self._new.set()

    def telling(self, uid: str) -> Telling:
        """What a decision on the job of this uid may know."""
        return Telling(self._channels.names(), tuple(self._delivered.get(uid, {}).values()))

    def noted(self, uid: str, delivered: Sequence[Delivery]) -> None:
        """The job's status was written by one who knew of these."""
        known = self._delivered.get(uid)
        if known is None:
            return
        for one in delivered:
            known.pop((one.key, one.channel), None)
        if not known:
            del self._delivered[uid]

    async def run(self) -> None:
        """Send, until it is cancelled. Nothing that goes wrong ends it."""
        before = self._channels.names()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look):  # Python 3.11's wait_for can swallow a cancellation
                        await self._new.wait()
                self._new.clear()
                before = self._round(before)
        finally:
            for outbox in self._outboxes.values():
                if outbox.worker is not None:
                    outbox.worker.cancel()

    def _round(self, before: frozenset[str]) -> frozenset[str]:
        """Have every queue with news in it emptied; the channels that there are now."""
        for channel, outbox in self._outboxes.items():
            if outbox.waiting and (outbox.worker is None or outbox.worker.done()):
                outbox.worker = asyncio.create_task(self._work(channel, outbox))
        now = self._channels.names()
        if now != before:
            self._wake(None)
        return now

    async def _work(self, channel: str, outbox: _Outbox) -> None:
        """Empty the queue of one channel."""
        while outbox.waiting:
            keys = list(outbox.waiting)[:TOGETHER]
            batch = outbox.under_way = {key: outbox.waiting.pop(key) for key in keys}
            try:
                why = await self._message(channel, outbox, list(batch.values()))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next message must go out
                # Neither its text nor its trace: they may hold the receiver's URL.
                log.error("A message on channel %s has met a %s", channel, type(error).__name__)  # noqa: TRY400
                why = f"an error of the operator ({type(error).__name__})"
            outbox.under_way = {}
            if why is not None:
                self._count(channel, "given-up" if why else "sent", len(batch))
                for key, item in batch.items():
                    self._keep(item.job, Delivery(key, channel, item.told.event, why))
            for job in {item.job for item in batch.values()} | outbox.put_off:
                self._wake(job)
            outbox.put_off.clear()
            await asyncio.sleep(self._pause)

    async def _message(self, channel: str, outbox: _Outbox, batch: Sequence[_Item]) -> str | None:
        """One message in up to five tries.

        Returns:
            "" once every receiver has it; why it is given up; None if the channel is gone: the news is then asked for
            again when it is back.
        """
        await asyncio.to_thread(load)  # the first time it takes longer than a receiver may on a busy node
        taken: set[str] = set()  # receivers that have it
        why = ""
        for wait in (0.0, *self._waits):
            await asyncio.sleep(wait)
            urls = self._channels.urls(channel)
            if urls is None:
                return None
            left = {name: url for url in urls if (name := _name(url)) not in taken}
            tries = [self._try(outbox, name, url, batch, taken) for name, url in left.items()]
            said = [one for one in await asyncio.gather(*tries) if one] if urls else ["it names no receiver"]
            if not said:
                return ""
            why = said[0]
            self._count(channel, "failed")
            log.warning("Channel %s: %s", channel, why)
        return f"{why}, in {len(self._waits) + 1} tries"

    async def _try(self, outbox: _Outbox, name: str, url: str, batch: Sequence[_Item], taken: set[str]) -> str:
        """One try at one receiver; "", or what went wrong. A receiver that answers too late is not told again."""
        hanging = outbox.threads.get(name)
        if hanging is not None and hanging.is_alive():
            return "a receiver still does not answer"
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        result = [f"a receiver did not answer within {self._limit:g} s"]
        kind, title, body = compose(batch)

        def work() -> None:
            try:
                done = deliver(url, kind, title, body)
                result[0] = "" if done else "a receiver did not take the message"
            except NotAReceiverError:
                result[0] = "one of its URLs is none that Apprise knows"
            except BaseException as error:  # noqa: BLE001 - a thread has nobody else to say it to
                result[0] = f"a receiver could not be spoken to ({type(error).__name__})"
            if not result[0]:
                taken.add(name)
            with contextlib.suppress(RuntimeError):  # the loop is closed: the operator has stopped
                loop.call_soon_threadsafe(ended.set)

        # Not the loop's pool: it is waited for when the operator stops, and a thread that hangs would fill it.
        outbox.threads[name] = threading.Thread(target=work, name="notify", daemon=True)
        outbox.threads[name].start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limit):
                await ended.wait()
        if not ended.is_set():
            return f"a receiver did not answer within {self._limit:g} s"
        outbox.threads.pop(name, None)
        return result[0]

    def _keep(self, job: Job, delivery: Delivery) -> None:
        self._delivered.setdefault(job.uid, {})[delivery.key, delivery.channel] = delivery
        if len(self._delivered) > JOBS:  # of jobs that were deleted before they could note it
            del self._delivered[next(iter(self._delivered))]


def compose(batch: Sequence[_Item]) -> tuple[Kind, str, str]:
    """Kind, title and body of the message that tells a batch: in full as long as that is short, else titles alone."""
    if len(batch) == 1:
        told = batch[0].told
        return _KINDS.get(told.event, "info"), told.title, f"{told.text}\n{told.link}"[:BODY]
    title = f"Retune: {len(batch)} pieces of news"
    full = "\n\n".join(f"{item.told.title}\n{item.told.text}\n{item.told.link}" for item in batch)
    if len(full) <= BODY:
        return "info", title, full
    lines, used = [], 0
    for number, item in enumerate(batch):
        used += len(item.told.title) + 1
        if used > BODY - 50:
            lines.append(f"and {len(batch) - number} more")
            break
        lines.append(item.told.title)
    return "info", title, "\n".join(lines)


def _name(url: str) -> str:
    """A receiver's name, under which nobody finds its URL."""
    return hashlib.sha256(url.encode()).hexdigest()
