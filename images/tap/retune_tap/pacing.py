"""How many requests of one sticky id enter the evidence: one looping client must not decide.

A table of fixed size that forgets each minute. Ids that share a cell share its allowance, whichever arm they are in, so
a crowded table loses evidence evenly and favours nobody.
"""

from __future__ import annotations

MOST_A_MINUTE = 5
_CELLS = 1 << 17


class Pacing:
    """Admits the first requests of an id in each minute."""

    def __init__(self) -> None:
        self._minute = -1
        self._cells = bytearray(_CELLS)

    def admit(self, identity: int | None, now: float) -> bool:
        """Whether a request may count; `now` in seconds. Requests without an id always may."""
        if identity is None:
            return True
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._cells = minute, bytearray(_CELLS)
        cell = identity % _CELLS
        if self._cells[cell] >= MOST_A_MINUTE:
            return False
        self._cells[cell] += 1
        return True
