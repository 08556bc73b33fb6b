"""The one door to the evidence: what has been counted since the last look, and what it says.

A look updates every stop-loss (`watching`), and puts them together: evidence of harm takes the candidate back, evidence
of no harm lets it advance, missing evidence does neither.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from retune.api.run import EvidenceState
from retune.decide.evidence import combine, counting, interference, promotion, watching
from retune.decide.evidence.memory import Memory, MetricMemory, dump, load
from retune.decide.evidence.promotion import expected_hours
from retune.decide.evidence.terms import Plan, Watched
from retune.decide.evidence.verdict import Judgement, MetricVerdict
from retune.decide.evidence.watching import Look
from retune.decide.readings import QueryReading, TapReading

__all__ = [
    "Judgement",
    "Memory",
    "MetricVerdict",
    "Plan",
    "Watched",
    "begin",
    "dump",
    "expected_hours",
    "judge",
    "load",
    "restart_for_bake",
]

HEAVY = 0.10  # share of requests of one id above which there is a warning
BLIND = (EvidenceState.SOURCE_DOWN, EvidenceState.INVALID)


def begin(plan: Plan, at: float) -> Memory:
    """Nothing counted yet. `at`: seconds since the epoch; what was counted before is not evidence."""
    metrics = {watched.name: watching.begin(watched, at) for watched in plan.watched}
    return Memory(run_number=plan.run_number, since=at, began=at, at=at, metrics=metrics)


def restart_for_bake(memory: Memory, plan: Plan, at: float) -> Memory:
    """The tests start afresh, with the other half of alpha; cursors and what is known of stable stay."""
    metrics = {
        watched.name: watching.restarted(memory.metrics[watched.name], watched, at)
        for watched in plan.watched
        if watched.name in memory.metrics
    }
    return replace(memory, began=at, metrics=metrics)


def judge(
    memory: Memory,
    plan: Plan,
    taps: Sequence[TapReading],
    queries: Sequence[QueryReading],
    *,
    stratum: str,
    baking: bool,
    w_next: float,
    at: float,
) -> tuple[Memory, Judgement]:
    """One look at the evidence.

    Args:
        memory: of the last look; its run is the plan's.
        plan: what is watched.
        taps: those that answered; none: the builtin stop-losses are blind.
        queries: what Prometheus said since the last look, at most one per stop-loss and arm; none: nothing new.
        stratum: of the current step, as in the arms document.
        baking: the candidate is in its bake. Its half of alpha is as large as the canary's, so nothing else follows.
        w_next: the next step's weight as a fraction; 1 after the last.
        at: now, seconds since the epoch.

    Returns:
        What to keep, and what is to be said.
    """
    del baking  # the same threshold serves both; kept in the interface for the reader at the call
    at = max(at, memory.at)
    cursors, found = counting.read_taps(
        memory.cursors, taps, run_number=plan.run_number, since=memory.since, at=at, pooled=plan.pooled
    )
    enough = combine.threshold(plan.confidence)
    share = _share(plan)
    builtin = {watched.name for watched in plan.watched if watched.builtin is not None}
    borrowed = max((one.dispersion.phi for name, one in memory.metrics.items() if name in builtin), default=1.0)
    metrics: dict[str, MetricMemory] = {}
    details: dict[str, str] = {}
    for watched in plan.watched:
        metric = memory.metrics.get(watched.name) or watching.begin(watched, at)
        if memory.stratum != stratum:
            metric = replace(metric, step=(0, 0, 0, 0))
        look = Look(plan, stratum, enough, memory.since, at)
        if watched.builtin is None:
            metric = replace(metric, dispersion=replace(metric.dispersion, floor=borrowed))
            metric, details[watched.name] = watching.queried(metric, watched, queries, look)
        else:
            metric, details[watched.name] = watching.tapped(metric, watched, taps, found.get(watched.name, []), look)
        metrics[watched.name] = metric
    kept = replace(memory, at=at, stratum=stratum, cursors=cursors, metrics=metrics)
    return kept, _judgement(plan, metrics, details, taps, enough=enough, share=share, w_next=w_next)


def _share(plan: Plan) -> float:
    """v_m: the same for all metrics, less what stable's own slowness is given."""
    slow = any(watched.builtin == interference.SLOW for watched in plan.watched)
    return (1 - combine.INTERFERENCE * slow) / max(1, len(plan.watched))


def _judgement(
    plan: Plan,
    metrics: Mapping[str, MetricMemory],
    details: Mapping[str, str],
    taps: Sequence[TapReading],
    *,
    enough: float,
    share: float,
    w_next: float,
) -> Judgement:
    by_row = {name: watching.evidence(metric) for name, metric in metrics.items()}
    value, row = combine.combined(list(by_row.values()), share)
    there = {name: float(rows[min(row, len(rows) - 1)]) for name, rows in by_row.items()}
    own = {name: float(rows.min()) for name, rows in by_row.items()}
    breached = combine.carried(there, enough, share) if value >= enough else ()
    slowed = [watching.slowed(metric) for metric in metrics.values() if metric.interference is not None]
    slower = bool(slowed) and combine.INTERFERENCE / len(slowed) * sum(slowed) >= enough
    verdicts = tuple(
        _verdict(
            plan,
            watched,
            metrics[watched.name],
            e_value=own[watched.name],
            threshold=enough / share,
            breached=watched.name in breached,
            w_next=w_next,
            detail=details[watched.name],
        )
        for watched in plan.watched
    )
    return Judgement(
        breached=breached,
        combined=value,
        threshold=enough,
        metrics=verdicts,
        canary_total=max((verdict.total for verdict in verdicts), default=0),
        stable_total=max((verdict.stable_total for verdict in verdicts), default=0),
        interference=slower,
        warnings=tuple(
            f"one sticky id sends {tap.heaviest:.0%} of the requests at {tap.pod}; its share of the evidence is capped"
            for tap in sorted(taps, key=lambda tap: tap.pod)
            if tap.heaviest > HEAVY
        ),
        blind=tuple(verdict.name for verdict in verdicts if metrics[verdict.name].state in BLIND),
    )


def _verdict(
    plan: Plan,
    watched: Watched,
    metric: MetricMemory,
    *,
    e_value: float,
    threshold: float,
    breached: bool,
    w_next: float,
    detail: str,
) -> MetricVerdict:
    bad, total, stable_bad, stable_total = metric.step
    return MetricVerdict(
        name=watched.name,
        state=EvidenceState.BREACHED if breached else metric.state,
        e_value=e_value if math.isfinite(e_value) else 1e300,
        threshold=threshold,
        bad=bad,
        total=total,
        stable_bad=stable_bad,
        stable_total=stable_total,
        phi=metric.dispersion.phi,
        detail=detail,
        asked=promotion.margin(watched, stable_bad, stable_total),
        w_next=w_next,
        alpha=(1 - plan.promote_confidence) / 2,
    )
