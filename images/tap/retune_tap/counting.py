"""What the operator judges by: bad and total by metric, arm, stratum and bucket; raw, only ever rising. No clock."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, NamedTuple

from retune_tap.splitting import BUCKETS

STABLE = "stable"
CANARY = "canary"
MOST_STRATA = 32
WINDOW = 15
_MOST_WINDOWS = 2 * 3600 // WINDOW


class Label(NamedTuple):
    """What a request is counted under, fixed when it is routed."""

    arm: str
    stratum: str
    bucket: int


class _Stratum:
    """Counts of one stratum: by metric and arm, (bad, total) over the buckets; and how many were routed."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self.routed = {STABLE: 0, CANARY: 0}


class Windows:
    """Stable's bad and total in windows of 15 s, of the last two hours."""

    def __init__(self) -> None:
        self._windows: deque[list[int]] = deque(maxlen=_MOST_WINDOWS + 1)

    def add(self, now: float, *, bad: bool) -> None:
        """Count one at `now`, Unix seconds. A clock that was set back counts in the newest window."""
        start = int(now) // WINDOW * WINDOW
        if not self._windows or start > self._windows[-1][0]:
            self._windows.append([start, 0, 0])
        self._windows[-1][1] += bad
        self._windows[-1][2] += 1

    def since(self, since: float, now: float) -> list[list[int]]:
        """`[start, bad, total]` of the windows that start after `since` and are over; empty ones are absent."""
        first = max(since, now - _MOST_WINDOWS * WINDOW)
        return [list(window) for window in self._windows if window[0] > first and window[0] + WINDOW <= now]


class Counters:
    """All counts of one public model."""

    def __init__(self) -> None:
        self._strata: OrderedDict[str, _Stratum] = OrderedDict()
        self._windows: dict[str, Windows] = {}

    def open(self, stratum: str) -> None:
        """A document with this stratum came into force; the stratum longest out of use is forgotten beyond 32."""
        self._strata.setdefault(stratum, _Stratum())
        self._strata.move_to_end(stratum)
        while len(self._strata) > MOST_STRATA:
            self._strata.popitem(last=False)

    def routed(self, arm: str, stratum: str) -> None:
        """A request was split."""
        self._strata[stratum].routed[arm] += 1

    def count(self, metric: str, label: Label, now: float, *, bad: bool) -> None:
        """Raise total, and bad with it, at `now` (Unix seconds). Outcomes of a forgotten stratum are lost."""
        stratum = self._strata.get(label.stratum)
        if stratum is None:
            return
        key = (metric, label.arm)
        counts = stratum.counts.get(key)
        if counts is None:
            counts = stratum.counts[key] = ([0] * BUCKETS, [0] * BUCKETS)
        counts[0][label.bucket] += bad
        counts[1][label.bucket] += 1
        if label.arm == STABLE:
            self._windows.setdefault(metric, Windows()).add(now, bad=bad)

    def keep_windows(self, metrics: set[str]) -> None:
        """Forget the windows of metrics that no document names any more: job authors may rename them for ever."""
        self._windows = {metric: windows for metric, windows in self._windows.items() if metric in metrics}

    def counters(self) -> dict[str, Any]:
        """By metric, arm and stratum: `{"bad": [32], "total": [32]}`."""
        found: dict[str, Any] = {}
        for name, stratum in self._strata.items():
            for (metric, arm), (bad, total) in stratum.counts.items():
                found.setdefault(metric, {}).setdefault(arm, {})[name] = {"bad": bad, "total": total}
        return found

    def routes(self) -> dict[str, dict[str, int]]:
        """By stratum and arm: how many were split."""
        return {name: stratum.routed for name, stratum in self._strata.items()}

    def windows(self, since: float, now: float) -> dict[str, list[list[int]]]:
        """By metric: completed windows of stable that start after `since` (Unix seconds)."""
        return {metric: windows.since(since, now) for metric, windows in self._windows.items()}
