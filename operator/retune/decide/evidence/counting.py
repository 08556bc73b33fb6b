"""From raw counters to what was counted since the last look.

Counters only rise while a tap lives, so a decrease or another start means that all of them began again. Whatever is in
doubt is left out, in both arms alike; nothing is ever counted twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from retune.decide.readings import BUCKETS, QueryReading, Series, TapReading

Ints = npt.NDArray[np.int64]

SILENT = 7 * 86_400.0  # seconds after which a tap that no longer answers is forgotten
PODS = 256  # taps whose cursors are kept at most

STABLE, CANARY = "stable", "canary"


@dataclass(frozen=True, eq=False)
class Count:
    """Answers of one arm: bad ones and all, by bucket (one bucket for the user's own counters)."""

    bad: Ints
    total: Ints


@dataclass(frozen=True, eq=False)
class Stratum:
    """What both arms counted in one pod at one step. `key`: (pod's uid, stratum)."""

    key: tuple[str, str]
    canary: Count
    stable: Count


SeriesKey = tuple[str, str, str]  # metric, arm, stratum


@dataclass(frozen=True, eq=False)
class PodCursor:
    """How far one tap has been read. `now`: its clock then; `at`: ours; `seen`: 2 x 32, bad and total by bucket."""

    started: float
    now: float
    at: float
    seen: Mapping[SeriesKey, Ints] = field(default_factory=dict)


@dataclass(frozen=True)
class QueryCursor:
    """How far the user's counters have been read, of both arms. `at`: the samples' time, (stable, canary)."""

    at: tuple[float, float]
    stable: tuple[float, float]
    canary: tuple[float, float]


def read_taps(
    cursors: Mapping[str, PodCursor],
    taps: Sequence[TapReading],
    *,
    run_number: int,
    since: float,
    at: float,
    pooled: bool = False,
) -> tuple[dict[str, PodCursor], dict[str, list[Stratum]]]:
    """What the taps have counted since the last look, by metric.

    A stratum is handed out once both arms have something new in it, and its cursors stand still until then: what one
    arm counted alone would else be lost to the comparison (at 6 requests/min and a look every 5 s, nearly all of it).

    Args:
        cursors: by pod uid, of the last look.
        taps: those that answered.
        run_number: strata of other runs are not evidence.
        since: when counting began; what a tap that is older counted before it was first seen is not evidence.
        at: now, seconds since the epoch.
        pooled: each tap counts one arm only (mode Deployment), so that all pods together make one stratum.
    """
    after = {uid: cursor for uid, cursor in cursors.items() if at - cursor.at < SILENT}
    found: dict[str, list[Stratum]] = {}
    read: list[_Read] = []
    for tap in taps:
        before = after.get(tap.pod_uid)
        if before is not None and before.started == tap.started and tap.now < before.now:
            continue  # an answer that was overtaken by a later one
        now = {
            (series.metric, series.arm, series.stratum): _counted(series)
            for series in tap.series
            if series.stratum.startswith(f"{run_number}:")
        }
        if before is None or before.started != tap.started:
            # Ages are told by the tap's own clock, so that clocks that differ do no harm.
            young = before is not None or at - (tap.now - tap.started) >= since
            seen = {} if young else dict(now)
        elif any(key not in now or bool((now[key] < old).any()) for key, old in before.seen.items()):
            seen = dict(now)
        else:
            seen = dict(before.seen)
        read.append(_Read(tap.pod_uid, now, seen))
        after[tap.pod_uid] = PodCursor(tap.started, tap.now, at, seen)
    for pool in [read] if pooled else [[each] for each in read]:
        for metric, label in sorted({(metric, label) for each in pool for metric, _, label in each.now}):
            stable, canary = (_new(pool, (metric, arm, label)) for arm in (STABLE, CANARY))
            if not stable[1].any() or not canary[1].any():
                continue
            for each in pool:
                each.seen.update({key: n for key, n in each.now.items() if (key[0], key[2]) == (metric, label)})
            key = ("" if pooled else pool[0].pod, label)
            stratum = Stratum(key, Count(canary[0], canary[1]), Count(stable[0], stable[1]))
            found.setdefault(metric, []).append(stratum)
    kept = sorted(after, key=lambda uid: -after[uid].at)[:PODS]
    return {uid: after[uid] for uid in kept}, found


@dataclass(frozen=True)
class _Read:
    """One tap's counters now, and what of them has been handed out."""

    pod: str
    now: Mapping[SeriesKey, Ints]
    seen: dict[SeriesKey, Ints]


def _new(pool: Sequence[_Read], key: SeriesKey) -> Ints:
    """What these taps have counted under `key` beyond what was handed out."""
    new = np.zeros((2, BUCKETS), dtype=np.int64)
    for each in pool:
        if key in each.now:
            new += each.now[key] - each.seen.get(key, 0)
    return new


def _counted(series: Series) -> Ints:
    """2 x 32: bad, never more than total, and total."""
    counted = np.zeros((2, BUCKETS), dtype=np.int64)
    counted[0, : len(series.bad)] = series.bad[:BUCKETS]
    counted[1, : len(series.total)] = series.total[:BUCKETS]
    counted[0] = np.minimum(counted[0], counted[1])
    return counted


def read_query(
    cursor: QueryCursor | None, stable: QueryReading, canary: QueryReading, *, label: str
) -> tuple[QueryCursor | None, Stratum | None]:
    """What the user's own counters of one stop-loss have counted since the last look; one stratum.

    Samples that are older than the cursor are dropped (two Prometheus servers behind one address), a decrease in any of
    the four moves the cursor and counts nothing. The canary has no series of bad answers until the first one: 0.

    Args:
        cursor: of the last look; None: none, or thawed just now.
        stable: a reading with both counters.
        canary: a reading with a total.
        label: the step's.
    """
    times = (stable.at, canary.at)
    values = (stable.bad or 0.0, stable.total or 0.0), (canary.bad or 0.0, canary.total or 0.0)
    fresh = QueryCursor(times, *values)
    if cursor is None:
        return fresh, None
    if any(new < old for new, old in zip(times, cursor.at, strict=True)):
        return cursor, None
    steps = [
        (new[0] - old[0], new[1] - old[1]) for new, old in zip(values, (cursor.stable, cursor.canary), strict=True)
    ]
    if any(step < 0 for pair in steps for step in pair):
        return fresh, None
    if any(total < 1 for _, total in steps):
        return cursor, None
    counts = [
        Count(np.array([round(min(bad, total))], dtype=np.int64), np.array([round(total)], dtype=np.int64))
        for bad, total in steps
    ]
    return fresh, Stratum(("", label), counts[1], counts[0])
