"""What users corrected becomes rows to train on: collected here, cleaned in a process of its own, written to the store.

Nothing here is waited for by an answer. What waits to be written is bounded; what is too much is counted and lost. A
row may be written twice (a write that failed may have come through), never half.

Files are `<day>/<pod uid>-<n>.jsonl`, where n is how many rows the pod has written with this one. So one listing says
how many there are, of all pods together, without a byte being read; a pod that starts anew goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from prometheus_client import Counter

from retune_stores.base import Store
from retune_tap.arms import Corrections as To
from retune_tap.conversations import Conversations, Turns
from retune_tap.redact import redacted

_LOG = logging.getLogger(__name__)
BATCH = 100
EVERY = 60.0
MOST_WAITING = 1000
MOST_BYTES = 16 * 1024 * 1024
# The worst of texts takes 40 s of CPU a megabyte to clean.
MOST_OF_BATCH = 256 * 1024
_FILE = re.compile(r"[^/]+/(?P<pod>[^/]+)-(?P<rows>[0-9]{1,15})\.jsonl")


class Corrections:
    """Collects, and writes. `run` is to be a task; `close` writes what is left."""

    def __init__(
        self, open_store: Callable[[str], Store] | None, counter: Counter, pod_uid: str, wall: Callable[[], float]
    ) -> None:
        """`open_store` opens a folder by its address (None: nothing can be written); `counter` has the label result."""
        self.conversations = Conversations()
        self._open, self._counter, self._pod, self._wall = open_store, counter, pod_uid, wall
        self._waiting: deque[tuple[To, bytes]] = deque()
        self._bytes = 0
        self._full = asyncio.Event()
        self._writing = asyncio.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, to: To, response: str, correction: str) -> None:
        """Take a user's correction of an answer; at most one each."""
        turns = self.conversations.take(response)
        if turns is None:
            self._count("unusable")
            return
        row = _row(turns, correction)
        if self._closed or self._open is None or len(self) >= MOST_WAITING or self._bytes + len(row) > MOST_BYTES:
            self._count("dropped")
            return
        self._waiting.append((to, row))
        self._bytes += len(row)
        if len(self) >= BATCH:
            self._full.set()

    def _count(self, result: str, number: int = 1) -> None:
        self._counter.labels(result).inc(number)

    async def run(self) -> None:
        """Write at 100 rows or after a minute, whichever is first; until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), EVERY)
            if not await self.flush():
                await asyncio.sleep(EVERY)

    async def close(self, seconds: float) -> None:
        """Take no more, and write what is there, in at most so many seconds."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.flush()
        self._count("dropped", len(self))

    async def flush(self) -> bool:
        """Write all that waits; False if the store took it not: then it waits on."""
        async with self._writing:
            while self._waiting:
                to, batch = self._next()
                if not await self._write(to, batch):
                    return False
                for row in batch:
                    self._waiting.popleft()
                    self._bytes -= len(row)
            self._full.clear()
        return True

    def _next(self) -> tuple[To, list[bytes]]:
        """The oldest rows, of one place, no more than one process cleans in its time."""
        to, size = self._waiting[0][0], 0
        batch: list[bytes] = []
        for other, row in islice(self._waiting, BATCH):
            size += len(row)
            if other != to or (batch and size > MOST_OF_BATCH):
                break
            batch.append(row)
        return to, batch

    async def _write(self, to: To, batch: list[bytes]) -> bool:
        try:
            rows = await redacted(batch, to.entities)
        except OSError:
            rows = None
        written = 0
        if rows is not None:
            try:
                written = await asyncio.to_thread(self._put, to, rows)
            except Exception as error:  # noqa: BLE001 - whatever it is, the store can't be written now
                _LOG.warning("corrections cannot be written and wait: %s", type(error).__name__)
                return False
        self._count("written", written)
        self._count("failed" if rows is None else "full", len(batch) - written)
        return True

    def _put(self, to: To, rows: list[bytes]) -> int:
        """Write as many rows as there is still room for; how many that were. Blocking."""
        if self._open is None:
            return 0
        store = self._open(to.uri)
        held: dict[str, int] = {}
        for entry in store.entries():
            if found := _FILE.fullmatch(entry.path):
                held[found["pod"]] = max(held.get(found["pod"], 0), int(found["rows"]))
        rows = rows[: max(0, to.most - sum(held.values()))]
        if rows:
            day = time.strftime("%Y-%m-%d", time.gmtime(self._wall()))
            store.put(f"{day}/{self._pod}-{held.get(self._pod, 0) + len(rows)}.jsonl", b"\n".join(rows) + b"\n")
        return len(rows)


def _row(turns: Turns, correction: str) -> bytes:
    """A row in the chat format, whose last message is the answer to learn."""
    messages = [{"role": role, "content": text} for role, text in (*turns, ("assistant", correction))]
    return json.dumps({"messages": messages}, separators=(",", ":")).encode()
