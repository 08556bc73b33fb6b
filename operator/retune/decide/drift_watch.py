"""A job's look at drift: what taps, Prometheus and probes have told, judged, and kept for the next look. Pure.

What is measured is `drift`'s; here is when it is written down. Between two writes a look changes no object.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from retune.api import DriftBuiltin, DriftStatus, ServingMode, seconds
from retune.decide.actions import Event, RememberDrift
from retune.decide.arms import OVERRIDES, RATED
from retune.decide.draft import JobDraft
from retune.decide.drift.evidence import Counted, DriftEvidence
from retune.decide.drift.memory import Memory
from retune.decide.drift.watch import watch
from retune.decide.facts import RunFacts
from retune.decide.readings import TapReading
from retune.decide.snapshot import resolved
from retune.decide.watch import newest_probe
from retune.decide.watching import unprobed

WRITTEN = 300.0  # s from one write of figures to the next, unless a state changes
LOST = (
    "What was remembered of drift could not be read: the reference is collected anew, and until it is there "
    "PromptDrift is Unknown."
)


def due(at: float, last: Memory | None, every: float) -> bool:
    """Whether it is time for a look. `at`: now, seconds since the epoch; a clock that was set back holds none up."""
    return last is None or not 0 <= at - last.at < every


def looked(draft: JobDraft) -> bool:
    """Judge what a look has brought. It holds nothing up, and goes on while a run is in flight."""
    facts, spec = draft.facts, draft.facts.spec
    if spec is None or not spec.triggers.drift:
        return False
    kept, seen = facts.watch.kept, facts.watch.drift
    every, at = facts.policy.drift_every, facts.now.timestamp()
    last = kept.memory if kept is not None else None
    if seen is None:
        draft.again_in(every if last is None else min(max(last.at + every - at, 0.0), every))
        return False
    draft.again_in(every)
    if kept is not None and last is None:
        draft.events.append(Event("Warning", "DriftMemoryLost", LOST))
    found = watch(spec.triggers.drift, spec.triggers.reference, _evidence(draft, seen), last, facts.now)
    before = draft.status.drift
    write = (
        kept is None or not 0 <= at - kept.written < WRITTEN or _states(before) != _states(_as_written(found.statuses))
    )
    if write:
        draft.set(drift=_as_written(found.statuses))
    draft.actions.append(RememberDrift(found.memory, write))
    return False


def accepted(runs: Iterable[RunFacts], draft: JobDraft) -> float | None:
    """How well the serving model did on gold when it was accepted, by the metric that probes are measured by."""
    stable = draft.status.stable
    run = next((run for run in runs if stable is not None and run.meta.name == stable.run), None)
    if run is None or run.status.scores is None:
        return None
    metric = resolved(draft.spec).evaluation.acceptance.metric
    return run.status.scores.candidate if run.status.scores.metric == metric else None


def _evidence(draft: JobDraft, seen: DriftEvidence) -> DriftEvidence:
    """What was asked for, with what is known of the job."""
    facts, triggers, taps = draft.facts, draft.spec.triggers, _of_stable(draft)
    asked = {trigger.builtin for trigger in triggers.drift}
    return replace(
        seen,
        served=draft.status.stable,
        overrides=_windows(taps, OVERRIDES) if DriftBuiltin.OVERRIDE_RATE in asked else None,
        rated=_windows(taps, RATED) if DriftBuiltin.QUALITY_DROP in asked else None,
        probe=newest_probe(facts.watch.sent),
        probe_every=float(seconds(triggers.probe.every)),
        accuracy_at_promotion=None if unprobed(draft) else accepted(facts.runs, draft),
    )


def _of_stable(draft: JobDraft) -> list[TapReading]:
    """The taps that count what stable answers.

    In mode Deployment those of a candidate's own pods do not, nor does one of stable's pods that has another model: it
    is being rolled.
    """
    serving, stable, taps = draft.spec.serving, draft.status.stable, draft.facts.serving.taps.values()
    if serving is None or serving.mode is not ServingMode.DEPLOYMENT:
        return list(taps)
    digest = stable.digest if stable is not None and stable.uri is not None else ""
    return [tap for tap in taps if (arm := tap.arms.get("stable")) is not None and arm.digest == digest]


def _windows(taps: Iterable[TapReading], edge: str) -> tuple[Counted, ...] | None:
    """Stable's windows of one edge; None: no tap answered. A tap has none before the first answer that counts."""
    telling = list(taps)
    if not telling:
        return None
    return tuple(Counted(tap.pod_uid, *window) for tap in telling for window in tap.windows.get(edge, ()))


def _as_written(statuses: Iterable[DriftStatus]) -> tuple[DriftStatus, ...]:
    """Times in whole seconds, as the status has them, and figures that a reader can take in."""
    return tuple(
        one.model_copy(
            update={
                "breached_since": _whole(one.breached_since),
                "value": _short(one.value),
                "e_value": _short(one.e_value),
                "message": one.message[:1024],
            }
        )
        for one in statuses
    )


def _states(statuses: Iterable[DriftStatus]) -> list[tuple[object, ...]]:
    return [(one.name, one.state, one.breached_since, one.threshold) for one in statuses]


def _whole(at: datetime | None) -> datetime | None:
    return at.replace(microsecond=0) if at is not None else None


def _short(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None else None
