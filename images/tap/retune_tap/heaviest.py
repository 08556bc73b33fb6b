"""The largest share that one sticky id had of the last ten minutes' requests, in bounded memory.

Ten slices of a minute, each with Space-Saving (Metwally, Agrawal, El Abbadi 2005): 100 counters find every id above
1 % of a slice. Counted is what an id surely had (its counter less the error it inherited): at most 1 % too little.
"""

from __future__ import annotations

from collections import Counter, deque

_COUNTERS = 100
_SLICE = 60.0
_SLICES = 10


class _Slice:
    def __init__(self, number: int) -> None:
        self.number = number
        self.total = 0
        # Of each id: its counter, and how much of that it inherited.
        self.ids: dict[int, tuple[int, int]] = {}

    def add(self, identity: int) -> None:
        held = self.ids.get(identity)
        if held:
            self.ids[identity] = (held[0] + 1, held[1])
        elif len(self.ids) < _COUNTERS:
            self.ids[identity] = (1, 0)
        else:
            least = min(self.ids, key=lambda other: self.ids[other][0])
            count, _ = self.ids.pop(least)
            self.ids[identity] = (count + 1, count)


class Heaviest:
    """Watches who asks."""

    def __init__(self) -> None:
        self._slices: deque[_Slice] = deque(maxlen=_SLICES)

    def saw(self, identity: int | None, now: float) -> None:
        """Note a request; `now` in seconds."""
        number = int(now // _SLICE)
        if not self._slices or self._slices[-1].number != number:
            self._slices.append(_Slice(number))
        slice_ = self._slices[-1]
        slice_.total += 1
        if identity is not None:
            slice_.add(identity)

    def share(self, now: float) -> float:
        """In [0, 1]; 0 without requests."""
        oldest = int(now // _SLICE) - _SLICES
        recent = [slice_ for slice_ in self._slices if slice_.number > oldest]
        total = sum(slice_.total for slice_ in recent)
        had: Counter[int] = Counter()
        for slice_ in recent:
            for identity, (count, inherited) in slice_.ids.items():
                had[identity] += count - inherited
        return max(had.values(), default=0) / total if total else 0.0
