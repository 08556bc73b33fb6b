"""Past polls in the shapes in which the operator reads counters: as a tap's, or as a user's own. Pure."""

from collections.abc import Sequence

from retune.cli.replay.trace import ARMS, STABLE, Poll
from retune.decide.readings import BUCKETS, QueryReading, Series, TapReading

RUN = 1  # number of the run that is played
WINDOW = 15.0  # s
KEPT = 7200.0  # s of windows that a tap remembers
Slot = tuple[str, str, str]  # metric, arm, stratum
Counts = tuple[list[int], list[int]]  # bad and total, by bucket
Seen = tuple[tuple[TapReading, ...], tuple[QueryReading, ...]]


class Tape:
    """One tap that has been there from the beginning: its counters by bucket, and windows of 15 s of stable.

    All counters are there from the first reading on, at nought: the judge takes a counter's first value as where it
    begins.
    """

    def __init__(self, metrics: Sequence[str], strata: Sequence[str]) -> None:
        slots = [(metric, arm, stratum) for metric in metrics for arm in ARMS for stratum in strata]
        self._counts: dict[Slot, Counts] = {slot: ([0] * BUCKETS, [0] * BUCKETS) for slot in slots}
        self._series = {slot: self._drawn(slot) for slot in slots}
        self._windows: dict[str, list[tuple[float, int, int]]] = {metric: [] for metric in metrics}
        self._started: float | None = None

    def take(self, poll: Poll, stratum: str) -> None:
        """Count what a poll adds; what names no step of its own, under `stratum`."""
        moved = set()
        for key, (bad, total) in poll.added.items():
            if key.metric not in self._windows:
                continue
            slot = (key.metric, key.arm, f"{RUN}:{key.step}" if key.step else stratum)
            counts = self._counts[slot]
            counts[0][key.bucket] += bad
            counts[1][key.bucket] += total
            moved.add(slot)
            if key.arm == STABLE:
                self._count(key.metric, poll.time, bad, total)
        for slot in moved:
            self._series[slot] = self._drawn(slot)

    def read(self, time: float, stratum: str, weight: int) -> Seen:
        """What the tap would answer now."""
        if self._started is None:
            self._started = time - 1.0
        tap = TapReading(
            pod="past",
            pod_uid="past",
            started=self._started,
            now=time,
            generation=1,
            stratum=stratum,
            weight=weight,
            series=tuple(self._series.values()),
            windows={metric: self._completed(metric, time) for metric in self._windows},
        )
        return (tap,), ()

    def _drawn(self, slot: Slot) -> Series:
        bad, total = self._counts[slot]
        return Series(*slot, tuple(bad), tuple(total))

    def _count(self, metric: str, time: float, bad: int, total: int) -> None:
        """Put stable's answers into the window that they were seen in."""
        windows = self._windows[metric]
        start = time // WINDOW * WINDOW
        if windows and windows[-1][0] == start:
            _, before, of = windows.pop()
            bad, total = before + bad, of + total
        windows.append((start, bad, total))
        while windows[0][0] < time - KEPT:
            windows.pop(0)

    def _completed(self, metric: str, time: float) -> tuple[tuple[float, int, int], ...]:
        windows = self._windows[metric]
        return tuple(windows[:-1] if windows and windows[-1][0] + WINDOW > time else windows)


class Totals:
    """Counters by metric and arm alone, as the user's own are: they tell neither steps nor users apart."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._metrics = tuple(metrics)
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def take(self, poll: Poll, stratum: str) -> None:  # noqa: ARG002 - these counters know no stratum
        """Count what a poll adds."""
        for key, (bad, total) in poll.added.items():
            have = self._counts.get((key.metric, key.arm), (0, 0))
            self._counts[key.metric, key.arm] = (have[0] + bad, have[1] + total)

    def read(self, time: float, stratum: str, weight: int) -> Seen:  # noqa: ARG002 - nor this
        """What Prometheus would say now; the candidate has no series until it has answered."""
        found = []
        for metric in self._metrics:
            for arm in ARMS:
                counts = self._counts.get((metric, arm), (0, 0) if arm == STABLE else None)
                bad, total = (None, None) if counts is None else map(float, counts)
                found.append(QueryReading(metric, arm, bad, total, time))
        return (), tuple(found)
