"""After the end: one small pod writes the report. It changes nothing of the verdict, and two tries are enough."""

import json

from retune.api import Attempt, AttemptStage, Recovery, RunPhase, TrackingStatus, TriggerKind
from retune.decide.actions import CreateChild
from retune.decide.attempts import MAX_ATTEMPTS
from retune.decide.draft import RunDraft
from retune.decide.facts import Stage
from retune.decide.outcome import Exit, Outcome, outcome
from retune.decide.settle import REPORT_MEMORY_LIMIT, close, of

TRIES = 2
PATIENCE = 3600  # s after the run's end in which a report is begun; a node that is lost may hold its pods for longer
RECKONING = 60  # s that the job is given to reckon up the recovery that the run was for
LONGEST_URI = LONGEST_TEXT = 1024  # characters that the status can hold


def report(draft: RunDraft) -> None:
    """Have the report written once nothing else of the run is left, find that it is, or give up."""
    facts, status = draft.facts, draft.status
    if facts.meta.deleting or facts.orphaned or not all(c.over for c in facts.children if c.stage is not Stage.REPORT):
        return
    late = (facts.now - (status.ended_at or facts.now)).total_seconds() > PATIENCE
    tries = [a for a in status.attempts if a.stage is AttemptStage.REPORT]
    if not tries:
        if not late:
            _first(draft)
        return
    last = tries[-1]
    if last.ended_at:
        return
    child, pods = of(facts, last)
    if child is None:
        if late:  # a quota that never lets it be created, or somebody who takes it away each time
            close(draft, last, Outcome(Exit.LOST, "ReportGivenUp", "The report's Job could not be created", {}))
        else:
            _create(draft, last)
        return
    ended = outcome(child, pods, REPORT_MEMORY_LIMIT)
    if ended is None:
        return
    close(draft, last, ended)
    uri = ended.result.get("reportUri")
    if ended.exit is Exit.SUCCEEDED and isinstance(uri, str) and 0 < len(uri) <= LONGEST_URI:
        draft.set(report_uri=uri, tracking=_tracked(ended.result.get("tracking")))
    elif last.number < TRIES and not late:
        _start(draft, last.number + 1)


def _first(draft: RunDraft) -> None:
    """Begin. Without any pod that ever ran, neither would this one."""
    if not any(a.started_at for a in draft.status.attempts):
        return
    if _reckoning(draft):
        draft.again_in(1)
    else:
        _start(draft, 1)


def _tracked(said: object) -> TrackingStatus | None:
    """Where the pod says that the run is tracked, or why it is not. Nothing in it can keep a report from counting."""
    told = {place: _place(said.get(place)) for place in TrackingStatus.model_fields} if isinstance(said, dict) else {}
    return TrackingStatus(**told) if any(told.values()) else None


def _place(said: object) -> str | None:
    if not isinstance(said, dict):
        return None
    parts = [part for key in ("url", "error") if isinstance(part := said.get(key), str) and part]
    return "; ".join(parts)[:LONGEST_TEXT] or None


def _start(draft: RunDraft, number: int) -> None:
    if len(draft.status.attempts) >= MAX_ATTEMPTS:
        return
    attempt = Attempt(stage=AttemptStage.REPORT, number=number)
    draft.set(attempts=(*draft.status.attempts, attempt))
    _create(draft, attempt)


def _reckoning(draft: RunDraft) -> bool:
    """The job has yet to say what this recovery came to: the report is to tell it."""
    trigger, status = draft.facts.spec.trigger, draft.status
    owed = trigger.kind is TriggerKind.DRIFT and trigger.noticed_at is not None and status.phase is RunPhase.PROMOTED
    waited = (draft.facts.now - (status.ended_at or draft.facts.now)).total_seconds()
    return owed and _recovery(draft) is None and waited < RECKONING


def _recovery(draft: RunDraft) -> Recovery | None:
    known = draft.facts.job.recovery
    return known if known is not None and known.run == draft.facts.meta.name else None


def _create(draft: RunDraft, attempt: Attempt) -> None:
    status, recovery = draft.status.model_dump(mode="json", by_alias=True, exclude_none=True), _recovery(draft)
    if recovery is not None:
        status["recovery"] = recovery.model_dump(mode="json", by_alias=True, exclude_none=True)
    told = json.dumps(status, separators=(",", ":"), ensure_ascii=False)
    draft.actions.append(CreateChild(Stage.REPORT, attempt.number, status=told))
    draft.again_in(15)
