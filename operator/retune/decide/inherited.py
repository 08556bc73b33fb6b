"""What a job keeps of its runs so that later runs need not start from nothing: approvals, and looks at the gold set."""

from retune.api import Approval, FineTuneJobStatus, GoldLooks, RunPhase
from retune.decide.facts import RunFacts


def approvals(status: FineTuneJobStatus, newest: RunFacts) -> tuple[Approval, ...]:
    """The job's approvals with those of its newest run in the place of older ones of the same name.

    While that run waits for others to sign, its own can still be withdrawn, and nobody inherits them.
    """
    if newest.status.phase is RunPhase.AWAITING_APPROVAL:
        return status.approvals
    merged = {a.name: a for a in (*status.approvals, *newest.status.approvals)}
    return tuple(merged.values())[-16:]  # as many as the status holds


def gold_looks(status: FineTuneJobStatus, runs: tuple[RunFacts, ...]) -> GoldLooks | None:
    """The look that the newest judged run took at its gold set; what is known stays where no newer run was judged."""
    judged = [r for r in runs if r.status.look is not None and r.status.scores is not None and r.status.resolved]
    newest = max(judged, key=lambda r: r.spec.number, default=None)
    if newest is None or (status.gold is not None and newest.spec.number <= status.gold.run):
        return status.gold
    look, resolved = newest.status.look, newest.status.resolved
    assert look is not None  # noqa: S101 - both chosen above
    assert resolved is not None  # noqa: S101
    gold = resolved.gold
    return GoldLooks(digest=gold.digest, sketch=gold.sketch, looks=look.number, run=newest.spec.number)
