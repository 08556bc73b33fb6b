"""Which requests are looked at for drift, and what was seen of them: a ring of rows of numbers. No text, no I/O.

One row a sticky id and hour, so that who asks often does not speak for all, and at most 120 a minute, spread over it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections import deque
from typing import Any

from retune_tap.features import VERSION, features

KEPT = 2048
MOST_ANSWERED = 512
_HOUR = 3600.0
# So many at once and so many a second: in no minute more than 120.
_AT_ONCE, _A_SECOND = 20.0, 100 / 60


class Sample:
    """The rows of one public model."""

    def __init__(self, started_at: float) -> None:
        """`started_at`: Unix seconds of the tap's start. Numbers go on from its milliseconds.

        So they rise over a restart of the container as well, in which the pod and its uid are the same; at most two
        rows a second never catch up with the clock.
        """
        self._next = int(started_at * 1000)
        self._rows: deque[tuple[int, float, bytes]] = deque(maxlen=KEPT)
        # Ids of this hour that have their row; no more than there are rows an hour. Nobody else can know the key.
        self._key = secrets.token_bytes(16)
        self._had: set[bytes] = set()
        self._hour = -1
        self._left, self._at = _AT_ONCE, 0.0
        self.seen = 0

    def wants(self, sticky: str | None, now: float) -> bool:
        """Whether a request is to be looked at; `now` in Unix seconds. To be asked of each that was split."""
        self.seen += 1
        self._left = min(_AT_ONCE, self._left + max(0.0, now - self._at) * _A_SECOND)
        self._at = now
        if self._left < 1:
            return False
        if sticky:
            hour = int(now // _HOUR)
            if hour != self._hour:
                self._hour, self._had = hour, set()
            who = hashlib.blake2b(sticky.encode("utf-8", "surrogateescape"), key=self._key, digest_size=8).digest()
            if who in self._had:
                return False
            self._had.add(who)
        self._left -= 1
        return True

    def look(self, path: str, body: dict[str, Any], now: float) -> None:
        """Make the row of a request."""
        self._rows.append((self._next, now, features(path, body)))
        self._next += 1

    def since(self, since: int) -> dict[str, Any]:
        """The rows from number `since` on, oldest first, at most 512; `next` is where to go on."""
        rows = [row for row in self._rows if row[0] >= since][:MOST_ANSWERED]
        return {
            "version": VERSION,
            "next": rows[-1][0] + 1 if rows else self._next,
            "seen": self.seen,
            "rows": [[number, at, base64.b64encode(row).decode()] for number, at, row in rows],
        }
