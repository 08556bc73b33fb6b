"""A deduplicating queue of keys, with delays: what is due is handed out, each key to one worker at a time.

Delays serve both requeue-after and the back-off of keys that failed. Nothing else is remembered: a key says only that
somebody should look.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

URGENT_LIMIT = 2.0  # s, the longest back-off of an urgent key


class Key(NamedTuple):
    """What to look at."""

    kind: str
    namespace: str
    name: str


class Queue:
    """Keys that wait to be looked at.

    Args:
        now: the monotonic clock, in seconds; tests move it.
        base: the first back-off, in seconds; it doubles with each failure of a key.
        limit: the longest back-off, in seconds.
        urgent: whether a key goes before all that are not; asked when it becomes ready.
    """

    def __init__(
        self,
        now: Callable[[], float] | None = None,
        base: float = 0.1,
        limit: float = 60.0,
        urgent: Callable[[Key], bool] = lambda _: False,
    ) -> None:
        self._now = now or asyncio.get_running_loop().time
        self._base, self._limit, self._is_urgent = base, limit, urgent
        self._ready: deque[Key] = deque()
        self._urgent: deque[Key] = deque()  # ready, too
        self._waiting: set[Key] = set()  # in _ready, or to go there once its worker is done
        self._working: set[Key] = set()
        self._timers: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        # Since when the head of each line has waited for a worker.
        self._taken_at = {id(self._ready): self._now(), id(self._urgent): self._now()}

    def add(self, key: Key) -> None:
        """Have `key` looked at as soon as a worker is free; while one is at it, once more after that."""
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._working:
            self._now_ready(key)

    def add_after(self, key: Key, delay: float) -> None:
        """Have `key` looked at after `delay` seconds, or earlier if it was to be earlier anyway."""
        at = self._now() + delay
        if self._due.get(key, float("inf")) <= at:
            return
        self._due[key] = at
        heapq.heappush(self._timers, (at, key))
        self._wake.set()

    def failed(self, key: Key, at_least: float = 0.0) -> float:
        """Have `key` looked at again after its back-off, with jitter; how long that is, in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        limit = min(self._limit, URGENT_LIMIT) if self._is_urgent(key) else self._limit
        backoff = min(self._base * 2.0 ** min(failures - 1, 20), limit)
        delay = max(backoff * random.uniform(0.5, 1.0), at_least)  # noqa: S311 - jitter, not a secret
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: Key) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    async def get(self, *, only_urgent: bool = False) -> Key:
        """The next key that is due, urgent ones first; the caller says `done` when it has looked."""
        while True:
            self._ripen()
            for line in (self._urgent,) if only_urgent else (self._urgent, self._ready):
                if line:
                    key = line.popleft()
                    self._waiting.discard(key)
                    self._working.add(key)
                    self._taken_at[id(line)] = self._now()
                    return key
            self._wake.clear()
            delay = self._timers[0][0] - self._now() if self._timers else None
            try:
                await asyncio.wait_for(self._wake.wait(), delay)
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """The worker has looked; if the key was added meanwhile, it is ready again."""
        self._working.discard(key)
        if key in self._waiting:
            self._now_ready(key)

    def stuck_for(self) -> float:
        """Seconds for which keys have been ready and none was taken; 0 if none is ready."""
        lines = (line for line in (self._ready, self._urgent) if line)
        return max((self._now() - self._taken_at[id(line)] for line in lines), default=0.0)

    def _now_ready(self, key: Key) -> None:
        line = self._urgent if self._is_urgent(key) else self._ready
        if not line:
            self._taken_at[id(line)] = self._now()
        line.append(key)
        self._wake.set()

    def _ripen(self) -> None:
        now = self._now()
        while self._timers and self._timers[0][0] <= now:
            at, key = heapq.heappop(self._timers)
            if self._due.get(key) == at:  # else it was moved to an earlier time, and has been looked at since
                del self._due[key]
                self.add(key)

    def __len__(self) -> int:
        return len(self._ready) + len(self._urgent)
