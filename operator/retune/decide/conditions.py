"""Conditions by Kubernetes' conventions: set in place, the transition time moves only when the status does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from retune.api import Condition
from retune.decide.actions import Event

Truth = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 2000  # characters of text that help a reader; an object stays under 10 kB


def set_condition(
    conditions: Sequence[Condition],
    type_: str,
    status: Truth,
    reason: str,
    message: str,
    *,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """`conditions` with the one of `type_` set; the others, and the order, stay."""
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 1] + "…"
    old = find(conditions, type_)
    since = old.last_transition_time if old is not None and old.status == status else now
    new = Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=since,
    )
    if old is None:
        return (*conditions, new)
    return tuple(new if c.type == type_ else c for c in conditions)


def keep_times(old: Sequence[Condition], new: Sequence[Condition]) -> tuple[Condition, ...]:
    """`new` with the transition times of `old` where the status is the same: on the way it may have been another."""
    return tuple(
        c.model_copy(update={"last_transition_time": was.last_transition_time})
        if (was := find(old, c.type)) is not None and was.status == c.status
        else c
        for c in new
    )


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of that type, if it was ever set."""
    return next((c for c in conditions if c.type == type_), None)


def moment(timestamp: str | None) -> datetime | None:
    """The time that Kubernetes wrote as RFC 3339; None stays None."""
    return datetime.fromisoformat(timestamp) if timestamp else None


# Reasons that are no news: nothing has happened yet, or all is as everybody expects.
_QUIET = frozenset({"Valid", "AllFieldsSupported", "Starting", "Running", "NotMeasured", "ChannelsFound"})
# A False that is what the user wanted.
_GOOD = frozenset({"RunSucceeded", "Suspended", "Paused", "HaltedByPerson", "NoDrift"})


def events_of(old: Sequence[Condition], new: Sequence[Condition]) -> list[Event]:
    """One Event for each condition whose status or reason changed; a False that nobody wanted is a Warning."""
    events = []
    for condition in new:
        before = find(old, condition.type)
        same = before is not None and (before.status, before.reason) == (condition.status, condition.reason)
        if same or condition.reason in _QUIET:
            continue
        kind = "Warning" if condition.status == "False" and condition.reason not in _GOOD else "Normal"
        events.append(Event(kind, condition.reason, condition.message))
    return events
