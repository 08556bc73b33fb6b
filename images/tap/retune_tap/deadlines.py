"""What is to happen when: a heap that the tap's tick works off. One timer for all requests instead of one for each."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Deadlines:
    """Calls what is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, call: Callable[[float], None]) -> None:
        """Have `call(now)` called at the first tick at or after `at`."""
        heapq.heappush(self._heap, (at, next(self._order), call))

    def run(self, now: float) -> None:
        """Call all that is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2](now)
