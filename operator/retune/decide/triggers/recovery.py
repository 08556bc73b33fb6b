"""From drift to a model that is fit again, measured: how long it took and what it cost."""

from decimal import Decimal

from retune.api import Recovery, RunPhase, TriggerKind, decimal
from retune.decide.draft import JobDraft
from retune.decide.facts import RunFacts


def recovered(draft: JobDraft) -> bool:
    """The newest run that drift had started and that was promoted; what its report still costs is added."""
    runs = [run for run in draft.facts.runs if _made_good(run)]
    run = max(runs, key=lambda run: run.spec.number, default=None)
    if run is None:
        return False
    noticed, promoted, was = run.spec.trigger.noticed_at, run.status.ended_at, draft.status.recovery
    assert noticed is not None  # noqa: S101 - `_made_good` has seen both
    assert promoted is not None  # noqa: S101
    if was is not None and was.run != run.meta.name and was.promoted_at >= promoted:
        return False  # a later one, whose run is deleted
    draft.set(
        recovery=Recovery(
            run=run.meta.name,
            noticed_at=noticed,
            promoted_at=promoted,
            seconds=max(int((promoted - noticed).total_seconds()), 0),
            cost=_cost(draft, run),
        )
    )
    return False


def _made_good(run: RunFacts) -> bool:
    trigger = run.spec.trigger
    promoted = run.status.phase is RunPhase.PROMOTED and run.status.ended_at is not None
    return promoted and trigger.kind is TriggerKind.DRIFT and trigger.noticed_at is not None


def _cost(draft: JobDraft, last: RunFacts) -> str:
    """Of all runs since the drift was noticed: those that did not make it good are part of what it took."""
    noticed, currency = last.spec.trigger.noticed_at, last.spec.prices.currency
    total = Decimal(0)
    for run in draft.facts.runs:
        of_it = run is last or (
            run.spec.number < last.spec.number
            and run.meta.created is not None
            and noticed is not None
            and run.meta.created >= noticed
        )
        if of_it and run.status.cost is not None and run.spec.prices.currency == currency:
            total += decimal(run.status.cost.amount)
    return str(total)
