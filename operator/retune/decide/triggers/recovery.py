"""From drift to a model that is fit again, measured: how long it took, what it cost, how often people stepped in."""

from collections.abc import Iterator
from decimal import Decimal

from retune.api import Recovery, RunPhase, TriggerKind, decimal
from retune.decide.draft import JobDraft
from retune.decide.facts import RunFacts
from retune.decide.triggers.interventions import interventions


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
    cycle, rollout = tuple(_cycle(draft, run)), run.status.rollout
    cost, acts = _cost(cycle), interventions(cycle, draft.facts.meta.annotations, noticed, promoted)
    if was is not None and was.run == run.meta.name:  # runs of it that are deleted have still been
        cost, acts = max(cost, decimal(was.cost)), max(acts, was.interventions)
    draft.set(
        recovery=Recovery(
            run=run.meta.name,
            noticed_at=noticed,
            promoted_at=promoted,
            seconds=max(int((promoted - noticed).total_seconds()), 0),
            cost=str(cost),
            interventions=acts,
            before=rollout.before if rollout is not None else None,
            after=rollout.after if rollout is not None else None,
        )
    )
    return False


def _made_good(run: RunFacts) -> bool:
    trigger = run.spec.trigger
    promoted = run.status.phase is RunPhase.PROMOTED and run.status.ended_at is not None
    return promoted and trigger.kind is TriggerKind.DRIFT and trigger.noticed_at is not None


def _cycle(draft: JobDraft, last: RunFacts) -> Iterator[RunFacts]:
    """All runs since the drift was noticed, `last` at the end: those that did not make it good are part of it."""
    noticed = last.spec.trigger.noticed_at
    for run in draft.facts.runs:
        created = run.meta.created
        if run.spec.number < last.spec.number and created is not None and noticed is not None and created >= noticed:
            yield run
    yield last


def _cost(cycle: tuple[RunFacts, ...]) -> Decimal:
    """In the currency of the last."""
    of_it = (r for r in cycle if r.spec.prices.currency == cycle[-1].spec.prices.currency)
    return sum((decimal(r.status.cost.amount) for r in of_it if r.status.cost is not None), Decimal(0))
