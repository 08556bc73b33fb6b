"""What every new run is done with: it is dated, and the calendar and the examples count on from it."""

from datetime import datetime, timedelta

from retune.api import CalendarStatus, TriggerKind
from retune.decide.draft import JobDraft
from retune.decide.facts import RunFacts

KEPT = timedelta(days=31)  # a little more than is counted
MOST = 1000
# A time this far ahead of ours is of a clock that was wrong. Less is believed: clocks differ, and a time of the
# calendar that a run is done with must not come again because ours was set back a little.
AHEAD = timedelta(hours=1)


def started(draft: JobDraft) -> bool:
    """Runs that the status does not know yet; stands before the rule by which it gets to know them."""
    status = draft.status
    known = status.latest_run.number if status.latest_run is not None and status.started else 0
    runs = [run for run in draft.facts.runs if run.spec.number > known]
    now = whole(draft.facts.now)
    times = sorted(_sane(at, now) for at in (*status.started, *(_created(run, now) for run in runs)))
    if runs:
        newest = times[-1:]  # a cool-down may be longer than what is kept
        times = [*(at for at in times[:-1] if at > now - KEPT), *newest][-MOST:]
    if tuple(times) != status.started:
        draft.set(started=tuple(times))
    if runs and status.calendar is not None:
        done = [status.calendar.since, *(_created(run, now) for run in runs), *_noticed(runs)]
        draft.set(calendar=status.calendar.model_copy(update={"since": max(done)}))
    if runs and status.examples is not None:
        there = status.examples.counted + status.examples.corrections
        draft.set(examples=status.examples.model_copy(update={"trained": there}))
    return False


def followed(draft: JobDraft) -> bool:
    """A calendar is followed from when it was written: its times before that were never promised."""
    schedule, now = draft.spec.triggers.schedule, whole(draft.facts.now)
    if schedule is None:
        if draft.status.calendar is not None:
            draft.set(calendar=None)
        return False
    of, was = f"{schedule.cron} {schedule.time_zone}", draft.status.calendar
    if was is None or was.of != of or was.since > now + AHEAD:
        draft.set(calendar=CalendarStatus(of=of, since=now))
    return False


def whole(moment: datetime) -> datetime:
    """`moment` as the status can hold it, in whole seconds."""
    return moment.replace(microsecond=0)


def _created(run: RunFacts, now: datetime) -> datetime:
    return run.meta.created or run.status.started_at or now


def _noticed(runs: list[RunFacts]) -> list[datetime]:
    """Times of the calendar that were the reason: the API server's clock may be behind the one that saw them pass."""
    triggers = (run.spec.trigger for run in runs)
    return [t.noticed_at for t in triggers if t.kind is TriggerKind.SCHEDULE and t.noticed_at is not None]


def _sane(at: datetime, now: datetime) -> datetime:
    return now if at > now + AHEAD else at
