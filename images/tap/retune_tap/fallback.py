"""Whether stable may be asked in the candidate's place: a broken candidate must not overload it. No clock."""

from __future__ import annotations

from collections import deque

_RECENT = 60.0
_FRACTION = 0.1
# Where there is little traffic 10 % of it is nothing, and so many a minute overload nobody.
_FLOOR = 5


class Fallback:
    """Compares fallbacks of the last minute with stable's own requests."""

    def __init__(self) -> None:
        self.total = 0
        # Seconds and how many of stable's requests came in each.
        self._stable: deque[list[int]] = deque()
        self._stable_recent = 0
        self._fallbacks: deque[float] = deque()

    def stable_asked(self, now: float) -> None:
        """Stable was given a request of its own."""
        second = int(now)
        if self._stable and self._stable[-1][0] == second:
            self._stable[-1][1] += 1
        else:
            self._stable.append([second, 1])
        self._stable_recent += 1
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._stable and self._stable[0][0] < now - _RECENT:
            self._stable_recent -= self._stable.popleft()[1]
        while self._fallbacks and self._fallbacks[0] < now - _RECENT:
            self._fallbacks.popleft()

    def allow(self, now: float) -> bool:
        """Take one fallback, if there is one left."""
        self._forget(now)
        if len(self._fallbacks) >= max(_FLOOR, _FRACTION * self._stable_recent):
            return False
        self._fallbacks.append(now)
        self.total += 1
        return True
