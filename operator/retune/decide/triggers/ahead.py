"""What the status says of the next automatic run and of drift: what is waited for, and when to look again."""

from datetime import datetime

from retune.api import DriftState, DriftStatus, DriftTrigger, JobPhase, NextRun, Trigger, TriggerKind
from retune.decide.actions import CreateRun
from retune.decide.budget import CURRENCY, EXHAUSTED, MILESTONE, UNREADABLE
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.halting import ends, stop
from retune.decide.triggers import calendar
from retune.decide.triggers.due import automatic, firing, fresh, heard_from
from retune.decide.triggers.pace import Pause, pause

LOOK = 3600.0  # s: the longest wait for a time of the wall clock, which may be set while we wait
_NO_MONEY = frozenset({EXHAUSTED, MILESTONE, CURRENCY, UNREADABLE})
_LINE, _WHY = 256, 200  # characters of status.nextRun.reason, and of a trigger's own words in the condition


def foresee(draft: JobDraft) -> None:
    """Write `status.nextRun` and the condition DriftDetected, once all rules have been asked."""
    if draft.facts.spec is None or draft.facts.meta.deleting:
        return
    triggers = draft.spec.triggers
    coming = None
    if triggers.schedule is not None or triggers.new_examples is not None or triggers.drift:
        coming = _coming(draft)
        if coming.at is not None:
            draft.again_in(min((coming.at - draft.facts.now).total_seconds(), LOOK))
    for trigger, _ in firing(draft):
        heard = heard_from(draft, trigger)
        if heard is not None and heard > draft.facts.now:
            draft.again_in(min((heard - draft.facts.now).total_seconds(), LOOK))
    if coming != draft.status.next_run:
        draft.set(next_run=coming)
    _drift_detected(draft, coming)


def _coming(draft: JobDraft) -> NextRun:
    """When the next automatic run starts at the earliest, and why; or what it waits for that has no time."""
    stands = _stands(draft)
    if stands:
        return _next_run(None, f"waits {stands}")
    held, wanted = pause(draft), automatic(draft)
    if wanted is not None:
        return _next_run(held.at if held else None, f"{_named(wanted)}{_held_back(held)}")
    others, schedule, followed = _others(draft), draft.spec.triggers.schedule, draft.status.calendar
    time = calendar.after(schedule.cron, schedule.time_zone, followed.since) if schedule and followed else None
    if time is None:
        back = _held_back(held)
        return _next_run(held.at if held else None, f"{'' if back else 'waits for '}{' or '.join(others)}{back}")
    earlier = f", or earlier for {' or '.join(others)}" if others else ""
    if held is not None and held.at > time:
        return _next_run(held.at, f"Schedule{earlier}{_held_back(held)}")
    return _next_run(time, f"Schedule{earlier}")


def _stands(draft: JobDraft) -> str:
    """What keeps any run from starting that is no matter of time, to follow "waits"; "" if nothing does."""
    if draft.status.phase is JobPhase.INVALID:
        return "until the spec is mended"
    wanted = stop(draft)
    if wanted is not None:
        return wanted.until
    over = ends(draft)
    if over:
        return f"until spec.budget.endsAt is moved: {over}"
    run = draft.active.meta.name if draft.active is not None else _created(draft)
    if run:
        return f"for the end of run {run}"
    if draft.status.fruitless_runs >= draft.spec.triggers.halt_after_fruitless_runs:
        return "until a person resumes the job: FruitlessRuns"
    said = find(draft.status.conditions, "Progressing")
    return f"for money: {said.reason}" if said is not None and said.reason in _NO_MONEY else ""


def _created(draft: JobDraft) -> str:
    return next((action.name for action in draft.actions if isinstance(action, CreateRun)), "")


def _next_run(at: datetime | None, reason: str) -> NextRun:
    return NextRun(at=at, reason=reason if len(reason) <= _LINE else f"{reason[: _LINE - 1]}…")


def _named(wanted: Trigger) -> str:
    match wanted.kind:
        case TriggerKind.DRIFT:
            return f"Drift {wanted.name}"
        case TriggerKind.NEW_EXAMPLES:
            return f"NewExamples {wanted.value:.0f} of {wanted.threshold:.0f}"
    return wanted.kind.value


def _held_back(held: Pause | None) -> str:
    return f", not before the end of {held.why}" if held is not None else ""


def _others(draft: JobDraft) -> list[str]:
    """What would start a run besides the calendar."""
    triggers = draft.spec.triggers
    found = []
    if triggers.new_examples is not None:
        found.append(f"NewExamples {fresh(draft)} of {triggers.new_examples.count}")
    if triggers.drift:
        found.append(f"Drift {', '.join(trigger.name for trigger in triggers.drift)}")
    return found


def _drift_detected(draft: JobDraft, coming: NextRun | None) -> None:
    asked = draft.spec.triggers.drift
    if not asked:
        if find(draft.status.conditions, "DriftDetected") is not None:
            draft.set(conditions=tuple(c for c in draft.status.conditions if c.type != "DriftDetected"))
        return
    seen = {one.name: one for one in draft.status.drift}
    by_state: dict[DriftState, list[str]] = {state: [] for state in DriftState}
    for trigger in asked:
        one = seen.get(trigger.name)
        by_state[one.state if one is not None else DriftState.UNKNOWN].append(_told(trigger, one))
    firing, unknown = by_state[DriftState.FIRING], by_state[DriftState.UNKNOWN]
    rest = (*by_state[DriftState.BREACHED], *by_state[DriftState.OK], *unknown)
    text = " ".join(rest)
    if firing:
        draft.condition("DriftDetected", "True", "Firing", " ".join((*firing, _retraining(coming), *rest)))
    elif len(unknown) == len(asked):
        draft.condition("DriftDetected", "Unknown", "NotMeasured", text)
    else:
        draft.condition("DriftDetected", "False", "NoDrift", text)


def _told(trigger: DriftTrigger, one: DriftStatus | None) -> str:
    """One trigger in a sentence."""
    if one is None:
        return f"{trigger.name}: Unknown, not measured yet."
    numbers = f" {one.value:.4g}, threshold {trigger.threshold:g}" if one.value is not None else ""
    samples = f", {one.samples} samples" if one.samples is not None else ""
    since = f", since {one.breached_since:%Y-%m-%dT%H:%M:%SZ}" if one.breached_since is not None else ""
    why = f" ({one.message[:_WHY].rstrip('.')})" if one.message else ""
    return f"{trigger.name}: {one.state.value}{numbers}{samples}{since}{why}."


def _retraining(coming: NextRun | None) -> str:
    """What holds the retraining back."""
    assert coming is not None  # noqa: S101 - a job with a drift trigger always waits for something
    at = f" at {coming.at:%Y-%m-%dT%H:%M:%SZ}" if coming.at is not None else ""
    return f"Retraining{at}: {coming.reason}."
