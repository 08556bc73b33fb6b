"""Whether the money for one more run is there, and what the status says about money; the sums are the ledger's."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from retune.api import BudgetStatus, FineTuneRunStatus, MetricName, Milestone, Trigger, TriggerKind, decimal
from retune.decide.booking import bound
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.facts import Meta, RunFacts
from retune.decide.ledger import NOTHING
from retune.decide.limits import hourly
from retune.decide.naming import run_name
from retune.decide.snapshot import Unresolvable, snapshot

LOOK = 60  # s between two looks at a job that is held
EXHAUSTED, MILESTONE, CURRENCY, UNREADABLE = (
    "BudgetExhausted",
    "MilestoneNotReached",
    "CurrencyChanged",
    "LedgerUnreadable",
)
_LOWER_IS_BETTER = frozenset({MetricName.PERPLEXITY})


@dataclass(frozen=True)
class Hold:
    """Why the next run does not start: a PascalCase reason, and the numbers with the cure."""

    reason: str
    message: str


def planned(draft: JobDraft, trigger: Trigger, number: int) -> RunFacts:
    """Run `number` as it would be created now.

    Raises:
        Unresolvable: the spec lacks something that nobody gave.
    """
    facts, meta = draft.facts, draft.facts.meta
    spec = snapshot(facts, draft.spec, trigger, number)
    return RunFacts(
        meta=Meta(meta.namespace, run_name(meta.name, meta.uid, number), ""),
        spec=spec,
        status=FineTuneRunStatus(),
        policy=facts.policy,
        now=facts.now,
    )


def hold(draft: JobDraft, run: RunFacts) -> Hold | None:
    """Why `run` must not start for want of money, if so. What it may cost at most must fit into what is left."""
    ledger, now, currency = draft.ledger, draft.facts.now, run.spec.prices.currency
    if ledger.unreadable:
        said = f"The job's ledger cannot be read ({ledger.unreadable}), so nobody knows what is spent; nothing starts."
        return Hold(UNREADABLE, f"{said} Whoever runs the operator finds it in its namespace: docs/money.md.")
    if ledger.currency != currency and not ledger.free and ledger.currency:
        spent = ledger.spent(now)
        return Hold(
            CURRENCY,
            f"{shown(spent)} {ledger.currency} have been spent, and the next run would be paid in {currency}. "
            f"Set spec.budget.currency to {ledger.currency}, or make a new job under another name.",
        )
    released, locked = _released(draft)
    if released is None:
        return None
    most, spent, committed = bound(run), ledger.spent(now), ledger.committed(now)
    left = released - spent - committed
    if most <= left:
        return None
    budget, training = draft.spec.budget, run.spec.training
    if budget is not None and budget.per_run is not None and most == decimal(budget.per_run):
        why = "spec.budget.perRun"
    else:
        why = f"spec.training.timeout {training.timeout} at {shown(hourly(run))} {currency} an hour, and preflight"
    numbers = (
        f"The next run may cost up to {shown(most)} {currency} ({why}), and {shown(max(left, NOTHING))} are left: "
        f"{shown(released)} released, {shown(spent)} spent, {shown(committed)} set aside."
    )
    lower = "lower spec.training.timeout, or set spec.budget.perRun to at most what is left"
    total = decimal(budget.total) if budget is not None and budget.total is not None else released
    if locked is not None and most <= total - spent - committed:
        return Hold(MILESTONE, f"{numbers} {_unlock(draft, locked, currency)} Or {lower}.")
    return Hold(EXHAUSTED, f"{numbers} Raise spec.budget.total, {lower}.")


def account(draft: JobDraft) -> None:
    """Write into the status where the money is, as the last thing: by then it is known what has been set aside."""
    facts, ledger = draft.facts, draft.ledger
    if facts.spec is None or facts.meta.deleting:
        return
    budget = draft.spec.budget
    if ledger.unreadable:  # no sums: those that were known last stay
        if budget is not None and (unread := _held(draft, _next(draft))) is not None:
            draft.condition("BudgetAvailable", "False", unread.reason, unread.message)
        return
    released, _ = _released(draft)
    spent, committed = ledger.spent(facts.now), ledger.committed(facts.now)
    currency = facts.policy.currency if budget is None or budget.currency is None else budget.currency
    draft.set(
        budget=BudgetStatus(
            released=shown(released) if released is not None else None,
            spent=shown(spent),
            committed=shown(committed),
            currency=currency if ledger.free or not ledger.currency else ledger.currency,
        )
    )
    if budget is None:
        draft.set(conditions=tuple(c for c in draft.status.conditions if c.type != "BudgetAvailable"))
        return
    run = _next(draft)
    held = _held(draft, run)
    if held is not None:
        draft.condition("BudgetAvailable", "False", held.reason, held.message)
        return
    of = f"of {shown(released)} {currency} released" if released is not None else f"{currency}, without a limit,"
    said = f"{shown(spent)} {of} are spent, {shown(committed)} set aside."
    if run is not None and not hourly(run):
        said += " An hour costs nothing here: set spec.budget.gpuHourPrice, or the operator's price list."
    draft.condition("BudgetAvailable", "True", "WithinBudget", said)


def _next(draft: JobDraft) -> RunFacts | None:
    """A run as it would be created now, whatever it were for."""
    try:
        return planned(draft, Trigger(kind=TriggerKind.RETRY), 1)
    except Unresolvable:
        return None


def _held(draft: JobDraft, run: RunFacts | None) -> Hold | None:
    """What holds the run that is due or, with none in flight, would hold one."""
    said = find(draft.status.conditions, "Progressing")
    if said is not None and said.reason in (EXHAUSTED, MILESTONE, CURRENCY, UNREADABLE):
        return Hold(said.reason, said.message)
    return hold(draft, run) if run is not None and not draft.ledger.open else None


def _released(draft: JobDraft) -> tuple[Decimal | None, Milestone | None]:
    """What may be spent now (None: there is no limit), and the next milestone that is still locked."""
    budget = draft.spec.budget
    if budget is None or (budget.total is None and not budget.milestones):
        return None, None
    if not budget.milestones:
        return decimal(budget.total or 0), None
    reached = [m for m in budget.milestones if _reached(draft, m)]
    amount = max((decimal(m.amount) for m in reached), default=NOTHING)
    locked = next((m for m in budget.milestones if decimal(m.amount) > amount), None)
    return amount, locked


def _reached(draft: JobDraft, milestone: Milestone) -> bool:
    unlock, stable = milestone.unlock, draft.status.stable
    if unlock is None:
        return True
    if stable is None:
        return False
    if all(r.meta.name != stable.run for r in draft.facts.runs):  # nobody knows its scores: what was released stays so
        was = draft.facts.status.budget
        return was is not None and was.released is not None and decimal(milestone.amount) <= decimal(was.released)
    score = _score(draft, unlock.metric)
    if score is None:
        return False
    return score <= unlock.minimum if unlock.metric in _LOWER_IS_BETTER else score >= unlock.minimum


def _score(draft: JobDraft, metric: MetricName) -> float | None:
    """Stable's score on the gold set."""
    stable = draft.status.stable
    run = next((r for r in draft.facts.runs if stable is not None and r.meta.name == stable.run), None)
    measured = (run.status.metrics or {}).get(metric.value) if run is not None else None
    return measured.candidate if measured is not None else None


def _unlock(draft: JobDraft, locked: Milestone, currency: str) -> str:
    """What releases more, and how far away that is."""
    assert locked.unlock is not None  # noqa: S101 - a milestone without one is not locked
    metric, minimum, score = locked.unlock.metric, locked.unlock.minimum, _score(draft, locked.unlock.metric)
    word = "at most" if metric in _LOWER_IS_BETTER else "at least"
    if draft.status.stable is None:
        has = "no model is stable yet"
    elif score is None:
        has = f"it is not measured on stable; is {metric} among spec.evaluation.metrics?"
    else:
        has = f"stable has {score:g}"
    return (
        f"spec.budget.milestones releases {shown(decimal(locked.amount))} {currency} once stable's {metric} is "
        f"{word} {minimum:g} ({has})."
    )


def shown(amount: Decimal) -> str:
    """An amount for a reader: cents, and more places only where there would be nothing but zeros."""
    places = Decimal("0.0001") if NOTHING < amount < Decimal("0.005") else Decimal("0.01")
    return str(amount.quantize(places, ROUND_HALF_UP))
