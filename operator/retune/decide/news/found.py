"""What there is to tell of a job as it stands now. Looking twice finds the same, under the same keys."""

from collections.abc import Iterator
from datetime import datetime

from retune.api import AttemptStage, DriftState, JobPhase, NotificationEvent, RunPhase
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.facts import RunFacts
from retune.decide.news import words
from retune.decide.news.told import Told

RUNS = 3  # the newest: of older ones everybody has been told, or a restart of the operator was too long ago
# How the message of a calm end waits for the run's report, to lead to it. An alarm does not wait.
PATIENCE = 60.0  # s
_CALM = frozenset({RunPhase.PROMOTED, RunPhase.DECLINED, RunPhase.REJECTED, RunPhase.INCONCLUSIVE})
STORM = 3600.0  # s within which a drift trigger that fires again is no news
BY_PERSON = "HaltedByPerson"


def found(draft: JobDraft, since: datetime) -> Iterator[Told]:
    """The news that came `since` then, or still holds; the oldest first."""
    newest = sorted(draft.facts.runs, key=lambda run: run.spec.number)[-RUNS:]
    for run in newest:
        if run.status.phase is not None and run.status.phase.is_terminal:
            if (run.status.ended_at or since) >= since and _reported(draft, run):
                yield _ended(draft, run)
        elif run is draft.latest and (missing := words.waits_for_approval(run)):
            yield _awaited(draft, run, missing)
    fired = find(draft.status.conditions, "DriftDetected")
    for one in draft.status.drift:
        if one.state is DriftState.FIRING:
            key = f"{draft.facts.meta.uid}/{NotificationEvent.DRIFT_DETECTED}/"
            begun = one.breached_since or (fired.last_transition_time if fired is not None else since)
            if not _again(draft, key, one.name, begun):
                yield Told(
                    key=f"{key}{int(begun.timestamp())}.{one.name}",
                    event=NotificationEvent.DRIFT_DETECTED,
                    title=words.title(draft, f"drift {one.name}"),
                    text=words.sentence(words.drift(one, f"{begun:%Y-%m-%d %H:%M} UTC"), _next(draft)),
                    link=words.of_job(draft),
                )
    if draft.status.phase is JobPhase.HALTED:
        yield _halted(draft)


def over(draft: JobDraft, key: str) -> bool:
    """Whether the entry is about something that is over and, if it comes again, is news again."""
    by_person = key.startswith(f"{draft.facts.meta.uid}/{NotificationEvent.HALTED}/") and f".{BY_PERSON}" in key
    said = find(draft.status.conditions, "Progressing")
    return by_person and not (draft.status.phase is JobPhase.HALTED and said is not None and said.reason == BY_PERSON)


def _reported(draft: JobDraft, run: RunFacts) -> bool:
    status = run.status
    if status.phase not in _CALM or status.report_uri or status.ended_at is None:
        return True
    tries = [a for a in status.attempts if a.stage is AttemptStage.REPORT]
    left = PATIENCE - (draft.facts.now - status.ended_at).total_seconds()
    if left <= 0 or (tries and tries[-1].ended_at is not None):
        return True
    draft.again_in(left)
    return False


def _ended(draft: JobDraft, run: RunFacts) -> Told:
    assert run.status.phase is not None  # noqa: S101 - it has ended
    event = words.event_of(run.status.phase)
    said = {NotificationEvent.ROLLED_BACK: "rolled back"}.get(event, event.value.lower())
    return Told(
        key=f"{run.meta.uid}/{event}/{run.spec.number}",
        event=event,
        title=words.title(draft, f"run {run.spec.number} {said}"),
        text=words.ending(draft, run),
        link=words.of_run(run),
    )


def _awaited(draft: JobDraft, run: RunFacts, missing: str) -> Told:
    event = NotificationEvent.AWAITING_APPROVAL
    what = "gates" if run.status.phase is RunPhase.AWAITING_APPROVAL else "promotion"
    return Told(
        key=f"{run.meta.uid}/{event}/{run.spec.number}.{what}",
        event=event,
        title=words.title(draft, f"run {run.spec.number} waits for approval"),
        text=words.sentence(missing),
        link=words.of_run(run),
    )


def _halted(draft: JobDraft) -> Told:
    said = find(draft.status.conditions, "Progressing")
    reason = said.reason if said is not None else "Halted"
    number = draft.status.latest_run.number if draft.status.latest_run is not None else 0
    return Told(
        key=f"{draft.facts.meta.uid}/{NotificationEvent.HALTED}/{number}.{reason}",
        event=NotificationEvent.HALTED,
        title=words.title(draft, f"halted ({reason})"),
        text=words.sentence(said.message if said is not None else ""),
        link=words.of_job(draft),
    )


def _again(draft: JobDraft, prefix: str, name: str, begun: datetime) -> bool:
    """Whether people heard of this trigger shortly before it fired this time."""
    entries = (e.removeprefix(prefix).split("/")[0] for e in draft.status.told if e.startswith(prefix))
    times = [int(time) for time, _, whose in (entry.partition(".") for entry in entries) if whose == name]
    at = int(begun.timestamp())
    return at not in times and any(0 < at - time < STORM for time in times)


def _next(draft: JobDraft) -> str:
    coming = draft.status.next_run
    if coming is None:
        return ""
    at = f" at {coming.at:%Y-%m-%d %H:%M} UTC" if coming.at is not None else ""
    return f"Next run{at}: {coming.reason}."
