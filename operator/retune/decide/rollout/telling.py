"""What a rollout says of itself: evidence and conditions on the run, and the note for a restart.

Pure. Figures are written when a state changes and at most once in `policy.evidence_every` besides: every write of an
object is a watch event for everybody.
"""

from dataclasses import replace
from math import isfinite

from retune.api import Evidence, RolloutIntent
from retune.decide.actions import WriteMemory
from retune.decide.evidence.judge import MetricVerdict
from retune.decide.rollout.course import Course

KEEP_EVERY = 10.0  # s between two notes at most, unless the stage changes


def tell(course: Course) -> None:
    """Evidence and conditions, by the status as it has become."""
    before, due = course.draft.facts.status, course.due
    judged = course.judgement
    if judged is not None:
        states = {m.name: m.state for m in judged.metrics}
        if due or course.moved or states != {e.name: e.state for e in course.status.evidence}:
            course.change(evidence=tuple(_evidence(m) for m in judged.metrics[:16]))
        _safe(course)
        _metrics(course)
    if due and course.draft.status != before:
        course.change(evidence_at=course.now)


def _evidence(m: MetricVerdict) -> Evidence:
    return Evidence(
        name=m.name,
        e_value=_figure(m.e_value),
        threshold=_figure(m.threshold),
        bad=m.bad,
        total=m.total,
        stable_bad=m.stable_bad,
        stable_total=m.stable_total,
        phi=_figure(max(m.phi, 1.0)),
        harm=_figure(m.upper - m.stable_lower) if m.upper is not None and m.stable_lower is not None else None,
        margin=_figure(m.margin),
        state=m.state,
    )


def _figure(value: float | None) -> float | None:
    """Four significant digits are all that a reader needs; JSON has no infinity."""
    return float(f"{min(value, 1e300):.4g}") if value is not None and (isfinite(value) or value > 0) else None


def _safe(course: Course) -> None:
    judged, status = course.judgement, course.status
    if judged is None or status.intent is not None:
        return
    counted = f"{judged.canary_total} answers of the candidate and {judged.stable_total} of stable at this stage"
    text = f"Evidence of harm {judged.combined:.3g}, rollback from {judged.threshold:.3g}; {counted}."
    text += f" {' '.join(judged.warnings)[:512]}" if judged.warnings else ""
    silent = [f"{pod.name} ({course.seen.silent[pod.uid]})" for pod in course.ready if pod.uid in course.seen.silent]
    text += f" Taps that do not answer: {', '.join(silent[:5])}." if silent else ""
    if course.lost:
        text += " What was counted before could not be read back, so the tests have begun afresh."
    if status.held_because in ("Blind", "ShareMismatch", "Interference"):
        course.say("Safe", "Unknown", status.held_because, f"{status.message} {text}")
    else:
        course.say("Safe", "True", "NoHarmSeen", text)


def _metrics(course: Course) -> None:
    judged = course.judgement
    if judged is None:
        return
    dark = [m for m in judged.metrics if m.name in judged.blind]
    if dark:
        told = "; ".join(f"{m.name} {m.state.value} {m.detail}".strip() for m in dark)
        course.say("MetricsAvailable", "False", dark[0].state.value, told)
    elif course.ready and not course.taps:
        course.say("MetricsAvailable", "False", "SourceDown", f"None of {len(course.ready)} taps answers.")
    else:
        told = ", ".join(f"{m.name} {m.state.value}" for m in judged.metrics)
        course.say("MetricsAvailable", "True", "Measured", f"{len(course.taps)} of {len(course.ready)} taps: {told}.")


def keep(course: Course) -> None:
    """Write the note for a restart when it holds something new."""
    if (course.kept.evidence is None and not course.moved) or course.status.intent in (
        RolloutIntent.PROMOTE,
        RolloutIntent.CANCEL,
    ):
        return
    at, number = course.now.timestamp(), course.draft.facts.spec.number
    series = (s for tap in course.seen.taps.values() for s in tap.series if s.stratum.startswith(f"{number}:"))
    counted = sum(sum(s.total) for s in series) + round(sum(q.total or 0.0 for q in course.seen.queries))
    new = counted != course.kept.counted and at - course.kept.at >= KEEP_EVERY
    if new or course.moved:
        course.kept = replace(course.kept, at=at, counted=counted)
        course.draft.actions.append(WriteMemory(course.kept.text()))
