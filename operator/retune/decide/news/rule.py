"""Who is to be told of what: news for the channels that asked for it, once; and the note that they were."""

from retune.api import NotificationEvent
from retune.decide.actions import Event, Tell
from retune.decide.draft import JobDraft
from retune.decide.news.found import found, over
from retune.decide.news.told import Delivery, bounded, closed, mark, marked

CONDITION = "ChannelsKnown"


def tell(draft: JobDraft) -> tuple[Event, ...]:
    """Once all rules have been asked: ask for news to be told, and note what was.

    Returns:
        Events about channels that were given up.
    """
    facts = draft.facts
    if facts.spec is None or facts.meta.deleting:
        return ()
    if not draft.spec.notifications:
        if draft.status.told:
            draft.set(told=())
        draft.set(conditions=tuple(c for c in draft.status.conditions if c.type != CONDITION))
        return ()
    _channels(draft)
    _news(draft)
    return _given_up(facts.telling.delivered)


def _channels(draft: JobDraft) -> None:
    """Names that the administrator's Secret does not have. Which it has is for the administrator to say."""
    missing = [
        f'spec.notifications[{at}].channel is "{one.channel}"'
        for at, one in enumerate(draft.spec.notifications)
        if one.channel not in draft.facts.telling.channels
    ]
    if missing:
        them = "no channel of that name" if len(missing) == 1 else "no channels of these names"
        text = (
            f"{', '.join(missing)}: the operator has {them}. Mend the name, or ask whoever runs the operator for the "
            "channel (docs/notifications.md). What it is to be told of is kept until then."
        )
        draft.condition(CONDITION, "False", "ChannelNotFound", text)
    else:
        draft.condition(CONDITION, "True", "ChannelsFound", "The operator has every channel of spec.notifications.")


def _news(draft: JobDraft) -> None:
    facts, before = draft.facts, draft.status.told
    now, since = facts.now.replace(microsecond=0), marked(draft.status.told, facts.meta.uid)
    if since is None or since > now:  # never begun, or by a clock that was wrong
        entries = tuple(entry for entry in before if "/Since/" not in entry)
        news = list(found(draft, since=now))
        if since is None:  # what happened before anybody asked is no news; that somebody is waited for is
            old = (one.key for one in news if one.event is not NotificationEvent.AWAITING_APPROVAL)
            entries = (*entries, *(key for key in old if key not in entries))
        entries = (mark(facts.meta.uid, now), *entries)
    else:
        entries, news = before, list(found(draft, since))
    entries = tuple(entry for entry in entries if not over(draft, entry))
    delivered = {(one.key, one.channel) for one in facts.telling.delivered}
    for one in news:
        if one.key in entries:
            continue
        asked = [n.channel for n in draft.spec.notifications if one.event in n.on]
        done = [c for c in asked if f"{one.key}/{c}" in entries or (one.key, c) in delivered]
        left = tuple(c for c in asked if c not in done and c in facts.telling.channels)
        if len(done) == len(asked):  # nobody had asked: not for those, either, who ask later
            entries = closed(entries, one.key)
            continue
        entries = (*entries, *(f"{one.key}/{c}" for c in done if f"{one.key}/{c}" not in entries))
        if left:
            draft.actions.insert(0, Tell(one, left))  # nothing that fails comes before it
    entries = bounded(entries, frozenset(one.key for one in news))
    if entries != before:
        draft.set(told=entries)


def _given_up(delivered: tuple[Delivery, ...]) -> tuple[Event, ...]:
    """One Event for a channel, however much it was not told of."""
    events = []
    for channel in sorted({one.channel for one in delivered if one.why}):
        lost = [one for one in delivered if one.channel == channel and one.why]
        what = ", ".join(sorted({one.event.value for one in lost}))
        text = f"Channel {channel} was not told of {what}, and is not tried again: {lost[0].why}."
        events.append(Event("Warning", "NotTold", text))
    return tuple(events)
