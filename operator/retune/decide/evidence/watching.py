"""One stop-loss over one look: its counts, its tests, where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from retune.api.run import EvidenceState
from retune.decide.evidence import combine, counting, dispersion, eprocess, interference
from retune.decide.evidence.counting import Stratum
from retune.decide.evidence.dispersion import Dispersion
from retune.decide.evidence.eprocess import Floats, Test
from retune.decide.evidence.memory import MetricMemory
from retune.decide.evidence.terms import Plan, Watched
from retune.decide.readings import BUCKETS, WINDOW, QueryReading, TapReading

CUT = 3.5  # ln S of stable's own test stays below the threshold's by no more, so that stable can recover


@dataclass(frozen=True)
class Look:
    """What is the same for all stop-losses in one look. `enough`: 1 / alpha; `since`: when counting began."""

    plan: Plan
    stratum: str
    enough: float
    since: float
    at: float


def begin(watched: Watched, at: float) -> MetricMemory:
    """Nothing counted yet."""
    rows = 1 if watched.builtin is None else 1 + BUCKETS
    prior = dispersion.PRIOR_UNGUARDED if watched.builtin is None else dispersion.PRIOR
    rate = watched.max_rate
    return MetricMemory(
        comparative=eprocess.begin((rows,), watched.max_ratio, at),
        absolute=None if rate is None else eprocess.begin((rows,), rate, at),
        baseline=None if rate is None else eprocess.begin((1,), rate, at),
        dispersion=Dispersion(prior=prior),
    )


def restarted(metric: MetricMemory, watched: Watched, at: float) -> MetricMemory:
    """Its tests start afresh; stable's own go on."""
    fresh = begin(watched, at)
    return replace(metric, comparative=fresh.comparative, absolute=fresh.absolute)


def evidence(metric: MetricMemory) -> Floats:
    """Of harm, by row: whole, then without each bucket."""
    absolute = None if metric.absolute is None else eprocess.e_value(metric.absolute)
    return combine.of_metric(eprocess.e_value(metric.comparative), absolute)


def slowed(metric: MetricMemory) -> float:
    """Evidence that stable is slower than it was."""
    return 0.0 if metric.interference is None else float(eprocess.e_value(metric.interference).min())


def tapped(
    metric: MetricMemory, watched: Watched, taps: Sequence[TapReading], found: Sequence[Stratum], look: Look
) -> tuple[MetricMemory, str]:
    """A builtin one: counters and windows of the taps."""
    if not taps:
        return replace(metric, state=EvidenceState.SOURCE_DOWN), "no tap answered"
    tempered = metric.dispersion.eta  # of the past only: what is found now must not choose its own weight
    metric, detail = _counted(metric, watched, found, look, tempered)
    given = {tap.pod_uid: tap.windows[watched.name] for tap in taps if watched.name in tap.windows}
    skews = {tap.pod_uid: tap.skew(look.at) for tap in taps}
    known, after = dispersion.windows(metric.dispersion, given, since=look.since, at=look.at, skews=skews)
    metric = replace(metric, dispersion=known)
    if watched.builtin == interference.SLOW:
        metric = _interfered(metric, watched, after, look, tempered)
    return metric, detail


def queried(
    metric: MetricMemory, watched: Watched, queries: Sequence[QueryReading], look: Look
) -> tuple[MetricMemory, str]:
    """One of the user's own. Frozen around a change of weight: its counters do not say of which step they are."""
    readings = {reading.arm: reading for reading in queries if reading.metric == watched.name}
    stable, canary = readings.get(counting.STABLE), readings.get(counting.CANARY)
    for reading in (stable, canary):
        if reading is not None and reading.error:
            state = EvidenceState.INVALID if reading.error.startswith("Invalid") else EvidenceState.SOURCE_DOWN
            return replace(metric, state=state), reading.error
    if stable is not None and (stable.bad is None or stable.total is None):
        query = "bad" if stable.bad is None else "total"
        return (
            replace(metric, state=EvidenceState.SERIES_ABSENT),
            f"stopLoss {watched.name}: {query} has no series for stable; correct the query, or add `or vector(0)`",
        )
    if look.plan.blocked_user:
        return replace(metric, cursor=None), "frozen until the new weight is verified"
    if stable is None or canary is None:
        return metric, ""
    if canary.total is None:
        return _counted(metric, watched, [], look, metric.dispersion.eta)
    cursor, stratum = counting.read_query(metric.cursor, stable, canary, label=look.stratum)
    metric = replace(metric, cursor=cursor)
    tempered = metric.dispersion.eta
    metric, detail = _counted(metric, watched, [] if stratum is None else [stratum], look, tempered)
    if stratum is not None:
        # No tap keeps windows of these; the looks themselves are put into windows.
        start = look.at - look.at % WINDOW
        window = {start: (int(stratum.stable.bad.sum()), int(stratum.stable.total.sum()))}
        waiting = dict(metric.dispersion.waiting)
        for begins, (bad, total) in window.items():
            old = waiting.get(begins, (0, 0))
            waiting[begins] = old[0] + bad, old[1] + total
        metric = replace(metric, dispersion=replace(metric.dispersion, waiting=waiting))
    known, _ = dispersion.windows(metric.dispersion, {}, since=look.since, at=look.at)
    return replace(metric, dispersion=known), detail


def _rows(counts: Sequence[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]], rows: int) -> list[Floats]:
    """By what is counted: strata x rows; the first row is everything, the others lack one bucket each."""
    stacked = [np.stack(each).astype(np.float64) for each in zip(*counts, strict=True)]
    whole = [each.sum(axis=-1, keepdims=True) for each in stacked]
    return [
        total if rows == 1 else np.concatenate([total, total - each], axis=-1)
        for total, each in zip(whole, stacked, strict=True)
    ]


def _counted(
    metric: MetricMemory, watched: Watched, found: Sequence[Stratum], look: Look, tempered: float
) -> tuple[MetricMemory, str]:
    """With new counts in its tests, and where it stands after them."""
    metric = _with_limits(metric, watched, look.at)
    rows = metric.comparative.logs.shape[0]
    counts = [(each.canary.bad, each.canary.total, each.stable.bad, each.stable.total) for each in found]
    bad, total, stable_bad, stable_total = _rows(counts, rows) if counts else [np.zeros((1, rows))] * 4
    moved = eprocess.comparative(bad, total, stable_bad, stable_total, metric.comparative.limit).sum(axis=0)
    comparative = eprocess.update(metric.comparative, moved, look.at, tempered)
    absolute, baseline, unhealthy = metric.absolute, metric.baseline, False
    if absolute is not None and baseline is not None:
        one = eprocess.absolute(stable_bad.sum(axis=0)[:1], stable_total.sum(axis=0)[:1], baseline.limit)
        baseline = eprocess.update(baseline, one, look.at, tempered, ceiling=float(np.log(look.enough)) + CUT)
        unhealthy = bool((eprocess.e_value(baseline) >= look.enough).any())
        moved = eprocess.absolute(bad.sum(axis=0), total.sum(axis=0), absolute.limit)
        # Time goes on for a frozen test, its evidence does not.
        absolute = eprocess.update(absolute, moved * (not unhealthy), look.at, tempered)
    known = metric.dispersion
    step = metric.step
    for each in found:
        if rows > 1:
            known = dispersion.counted(known, each.stable.bad, each.stable.total)
        if each.key[1] == look.stratum:
            new = (each.canary.bad, each.canary.total, each.stable.bad, each.stable.total)
            step = tuple(old + int(count.sum()) for old, count in zip(step, new, strict=True))  # type: ignore[assignment]
    state, detail = EvidenceState.OK, ""
    if unhealthy:
        state, detail = EvidenceState.BASELINE_UNHEALTHY, f"stable itself is above maxRate {watched.max_rate}"
    elif not step[1]:
        state, detail = EvidenceState.NO_TRAFFIC, "the candidate has answered nothing yet in this step"
    return (
        replace(
            metric,
            comparative=comparative,
            absolute=absolute,
            baseline=baseline,
            dispersion=known,
            step=step,
            state=state,
        ),
        detail,
    )


def _with_limits(metric: MetricMemory, watched: Watched, at: float) -> MetricMemory:
    """A limit that was tightened leaves what was found valid; after one that was raised or is new, the test is new."""
    fresh = begin(watched, at)

    def kept(old: Test | None, new: Test | None) -> Test | None:
        return old if old is not None and new is not None and new.limit <= old.limit else new

    comparative = kept(metric.comparative, fresh.comparative)
    assert comparative is not None  # noqa: S101 (there is always one)
    return replace(
        metric,
        comparative=comparative,
        absolute=kept(metric.absolute, fresh.absolute),
        baseline=kept(metric.baseline, fresh.baseline),
    )


def _interfered(
    metric: MetricMemory, watched: Watched, after: tuple[int, int], look: Look, tempered: float
) -> MetricMemory:
    """Stable against itself, once its hour before is known."""
    test = metric.interference
    if test is None:
        limit = interference.limit(metric.dispersion.before, metric.dispersion.phi, watched.max_ratio, 1 / look.enough)
        if limit is None:
            return metric
        test = eprocess.begin((1,), limit, look.at)
    return replace(
        metric, interference=interference.update(test, after, look.at, tempered, look.enough / combine.INTERFERENCE)
    )
