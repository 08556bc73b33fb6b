"""What was seen of the world comes into the status: examples by their count; drift that nobody asks for goes."""

from retune.api import ExamplesStatus
from retune.decide.draft import JobDraft
from retune.decide.triggers.started import whole


def watched(draft: JobDraft) -> bool:
    """A count that says what is known already changes nothing, so that a job at rest is not written again and again."""
    seen, triggers = draft.facts.watch, draft.spec.triggers
    if triggers.new_examples is None:
        if draft.status.examples is not None:
            draft.set(examples=None)
    elif seen.examples is not None:
        count, was = seen.examples, draft.status.examples
        if was is None or (was.counted, was.corrections) != (count.train, count.corrections):
            # With the first count counting begins: what lies there already is not new.
            trained = was.trained if was is not None else None
            draft.set(
                examples=ExamplesStatus(
                    counted=count.train,
                    corrections=count.corrections,
                    trained=count.train + count.corrections if trained is None else trained,
                    at=whole(count.at),
                )
            )
    names = {trigger.name for trigger in triggers.drift}
    if any(one.name not in names for one in draft.status.drift):
        draft.set(drift=tuple(one for one in draft.status.drift if one.name in names))
    return False
