"""How often people stepped in between drift and promotion, by what the objects still say of it. Pure.

Counted is, once each: an approval signed in that time; a run that a person started or ended, by a change of the spec or
a retry, a promotion by hand, a rollback, a cancellation; and the last resumption, where `kubectl retune resume` has
written its time. What leaves no trace is not counted: a pause, or a halt, that was taken away as an annotation.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from retune.api import RunPhase, TriggerKind
from retune.decide.conditions import moment
from retune.decide.facts import RunFacts
from retune.decide.naming import RESUME_ANNOTATION
from retune.decide.rollout.stages import BACK_BY_HAND, BY_HAND

_STARTED = frozenset({TriggerKind.RETRY, TriggerKind.SPEC_CHANGED})


def interventions(
    cycle: Sequence[RunFacts], annotations: Mapping[str, str], noticed: datetime, promoted: datetime
) -> int:
    """Acts of people.

    Args:
        cycle: runs since the drift was noticed.
        annotations: of the job.
        noticed: from when an act counts.
        promoted: until when.
    """
    signed = {(a.name, a.at) for run in cycle for a in run.status.approvals if noticed <= a.at <= promoted}
    resumed = _time(annotations.get(RESUME_ANNOTATION, ""))
    went_on = resumed is not None and noticed <= resumed <= promoted
    return len(signed) + sum(1 for run in cycle for _ in _by_hand(run)) + went_on


def _by_hand(run: RunFacts) -> Iterator[str]:
    """What people have done to a run."""
    status = run.status
    if run.spec.trigger.kind in _STARTED:
        yield "started"
    ended = status.rollout.held_because if status.rollout is not None else None
    if status.phase is RunPhase.CANCELLED or ended in (BY_HAND, BACK_BY_HAND):
        yield "ended"


def _time(value: str) -> datetime | None:
    """Of an annotation, which may hold anything."""
    try:
        found = moment(value)
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
