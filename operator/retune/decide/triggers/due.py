"""What makes a run due: a person, a change of the spec, and by itself drift, new examples, the calendar.

One run is for all of them: whichever is first in this order is named in it, the others are thereby done.
"""

from datetime import datetime, timedelta
from math import isfinite

from retune.api import DriftState, DriftStatus, DriftTrigger, Trigger, TriggerKind, seconds
from retune.decide.digest import model_digest
from retune.decide.draft import JobDraft
from retune.decide.naming import RETRY_ANNOTATION
from retune.decide.snapshot import resolved
from retune.decide.triggers import calendar
from retune.decide.triggers.pace import pause

AUTOMATIC = frozenset({TriggerKind.DRIFT, TriggerKind.NEW_EXAMPLES, TriggerKind.SCHEDULE})


def due(draft: JobDraft) -> Trigger | None:
    """What a run starts for now, if for anything. What is automatic may have to wait; a person never waits."""
    wanted = by_hand(draft)
    if wanted is not None:
        return wanted
    wanted = automatic(draft)
    return wanted if wanted is not None and pause(draft) is None else None


def by_hand(draft: JobDraft) -> Trigger | None:
    """The first run, a person's retry, a change of what makes the model."""
    last, latest = draft.status.latest_run, draft.latest
    # Every run carries the annotation of its time: whatever started it, a retry asked for before it is done with it.
    retry = draft.facts.meta.annotations.get(RETRY_ANNOTATION, "")[:256] or None  # as long as a Trigger's name may be
    if last is None:
        return Trigger(kind=TriggerKind.CREATED, name=retry)
    if retry and retry != draft.status.retried:
        return Trigger(kind=TriggerKind.RETRY, name=retry)
    # Two specs are compared, not two stored digests: a new version may have new fields, and no model changes for that.
    known = model_digest(latest.spec) if latest is not None else last.model_digest
    if draft.spec.triggers.on_change and model_digest(resolved(draft.spec)) != known:
        return Trigger(kind=TriggerKind.SPEC_CHANGED, name=retry)
    return None


def automatic(draft: JobDraft) -> Trigger | None:
    """Drift, new examples or the calendar, whether or not something holds them back."""
    return _drift(draft) or _new_examples(draft) or _schedule(draft)


def fresh(draft: JobDraft) -> int:
    """How many examples are new since the newest run."""
    there = draft.status.examples
    if there is None or there.trained is None:
        return 0
    return max(there.counted + there.corrections - there.trained, 0)


def firing(draft: JobDraft) -> list[tuple[DriftTrigger, DriftStatus]]:
    """The drift triggers that fire, in the order of the spec."""
    seen = {one.name: one for one in draft.status.drift if one.state is DriftState.FIRING}
    return [(trigger, seen[trigger.name]) for trigger in draft.spec.triggers.drift if trigger.name in seen]


def heard_from(draft: JobDraft, trigger: DriftTrigger) -> datetime | None:
    """From when on a trigger may speak of what serves now: a new model has as long as its `for` to make good."""
    stable = draft.status.stable
    if stable is None or stable.since is None:
        return None
    return stable.since + timedelta(seconds=seconds(trigger.for_))


def _drift(draft: JobDraft) -> Trigger | None:
    """Of several that fire, the one that has been beyond its threshold for longest."""
    now = draft.facts.now
    for trigger, one in sorted(firing(draft), key=lambda pair: pair[1].breached_since or now):
        heard = heard_from(draft, trigger)
        if heard is not None and heard > now:
            continue
        stable, since = draft.status.stable, one.breached_since
        if since is not None and stable is not None and stable.since is not None:
            since = max(since, stable.since)  # what was before is made good for, or was said of another model
        return Trigger(
            kind=TriggerKind.DRIFT,
            name=one.name,
            query=trigger.query,
            value=one.value if one.value is not None and isfinite(one.value) else None,
            threshold=trigger.threshold,
            window=trigger.for_,
            samples=one.samples,
            noticed_at=since,
        )
    return None


def _new_examples(draft: JobDraft) -> Trigger | None:
    asked, there = draft.spec.triggers.new_examples, draft.status.examples
    if asked is None or there is None or fresh(draft) < asked.count:
        return None
    return Trigger(
        kind=TriggerKind.NEW_EXAMPLES,
        value=fresh(draft),
        threshold=asked.count,
        window=asked.check_every,
        samples=there.counted + there.corrections,
        noticed_at=there.at,
    )


def _schedule(draft: JobDraft) -> Trigger | None:
    """However many of its times have passed while nothing could start, they make one run."""
    schedule, followed = draft.spec.triggers.schedule, draft.status.calendar
    if schedule is None or followed is None:
        return None
    passed = calendar.newest(schedule.cron, schedule.time_zone, followed.since, draft.facts.now)
    return Trigger(kind=TriggerKind.SCHEDULE, noticed_at=passed) if passed is not None else None
