"""When a request counts, and as what: the same rule in both arms. Knows times and outcomes, no network.

Errors: at the outcome; an answer that begins later than a candidate is waited for is bad, whoever's it is. Slow: when
its age is reached or the answer came, whichever is first. Long and InvalidOutput: at the end of an answer. Overrides:
at the end of its window. Client errors do not count, nor cancellations before an edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from retune_tap.arms import Builtin, Edge
from retune_tap.deadlines import Deadlines
from retune_tap.schema import Schema

# (edge's name, bad)
Count = Callable[[str, bool], None]


class Ticket:
    """One request on its way past the edges that were in force when it was routed."""

    __slots__ = ("_begun", "_count", "_edges", "_late", "_schemas", "_slow", "_started", "limit", "overridden")

    def __init__(
        self, edges: tuple[Edge, ...], schemas: dict[str, Schema], count: Count, started: float, deadlines: Deadlines
    ) -> None:
        """`count` is called once for each edge that the request comes to; `started` in the clock of `deadlines`."""
        self._edges = edges
        self._schemas = schemas
        self._count = count
        self._started = started
        self._slow = [edge for edge in edges if edge.builtin is Builtin.SLOW]
        for edge in self._slow:
            deadlines.add(started + edge.seconds, self._aged)
        self._begun = self._late = False
        self.overridden = False
        # Seconds that a candidate is waited for before another is asked: the same makes stable's answer bad.
        self.limit = math.inf

    @property
    def wants_text(self) -> bool:
        """Whether an edge looks at the answer's text."""
        return bool(self._schemas)

    def _settle_slow(self, now: float, *, first_token: bool | None = None) -> None:
        """Count Slow edges: of this kind if an answer came (None: any), and only those past their age if not."""
        if not self._slow:
            return
        still = []
        for edge in self._slow:
            late = now - self._started >= edge.seconds
            if late or first_token is None or edge.first_token == first_token:
                self._count(edge.name, late)
            else:
                still.append(edge)
        self._slow = still

    def _aged(self, now: float) -> None:
        still = []
        for edge in self._slow:
            if now - self._started >= edge.seconds:
                self._count(edge.name, True)
            else:
                still.append(edge)
        self._slow = still

    def first_token(self, now: float) -> None:
        """The first of an answer came."""
        self._begun, self._late = True, now - self._started >= self.limit
        self._settle_slow(now, first_token=True)

    def answered(self, now: float, tokens: int | None, text: str | None) -> None:
        """The whole answer came: of so many tokens (None: not known), this text (None: not text, or too long)."""
        self._settle_slow(now)
        late, self._late = self._late, False
        for edge in self._edges:
            if edge.builtin is Builtin.ERRORS:
                self._count(edge.name, late)
            elif edge.builtin is Builtin.LONG and tokens is not None:
                self._count(edge.name, tokens > edge.tokens)
            elif edge.builtin is Builtin.INVALID_OUTPUT and text is not None and edge.name in self._schemas:
                self._count(edge.name, not self._schemas[edge.name].holds(text))

    def failed(self, now: float) -> None:
        """No answer, or a part of one: 5xx, time-out, connection lost, broken in mid-stream."""
        self._drop_slow(now)
        self._erred()

    def left(self, now: float) -> None:
        """The client went, or erred: what it had not come to does not count."""
        self._drop_slow(now)
        if self._late or (not self._begun and now - self._started >= self.limit):
            self._erred()

    def _drop_slow(self, now: float) -> None:
        self._aged(now)
        self._slow = []

    def _erred(self) -> None:
        self._begun, self._late = True, False
        for edge in self._edges:
            if edge.builtin is Builtin.ERRORS:
                self._count(edge.name, True)

    def windows(self) -> list[Edge]:
        """The edges that wait for an override."""
        return [edge for edge in self._edges if edge.builtin is Builtin.OVERRIDES]

    def settle_override(self, edge: Edge) -> None:
        """The window of this edge is over."""
        self._count(edge.name, self.overridden)
