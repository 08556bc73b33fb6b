"""How fast automatic runs may follow: the cool-down after any run, and so many runs in thirty days."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from retune.api import seconds
from retune.decide.draft import JobDraft

MONTH = timedelta(days=30)


@dataclass(frozen=True)
class Pause:
    """Until when no automatic run starts, and by which field."""

    at: datetime
    why: str


def pause(draft: JobDraft) -> Pause | None:
    """What holds automatic runs back for a time, if anything does; of two, the one that lasts longer."""
    triggers, times, now = draft.spec.triggers, draft.status.started, draft.facts.now
    if not times:
        return None
    held = []
    try:
        cooldown = timedelta(seconds=seconds(triggers.cooldown))
        held.append(Pause(max(times) + cooldown, f"spec.triggers.cooldown {triggers.cooldown}"))
    except OverflowError:  # longer than there are dates
        held.append(Pause(datetime.max.replace(tzinfo=now.tzinfo), f"spec.triggers.cooldown {triggers.cooldown}"))
    most = triggers.max_runs_per_month
    if most is not None and len(times) >= most:
        text = f"spec.triggers.maxRunsPerMonth {most}"
        held.append(Pause(sorted(times)[-most] + MONTH, text))
    last = max(held, key=lambda one: one.at)
    return last if last.at > now else None
