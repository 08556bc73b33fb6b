"""Brings a ledger up to what its runs say of themselves, and settles runs that can say nothing any more. Pure.

Every attempt is closed once, in the status of its run, and an entry is the sum over them: it can be booked again at any
time. What remains is a run that was deleted before its attempts were closed: its pod is charged until it ended or was
gone, and never for more than had been reserved.
"""

from dataclasses import replace
from datetime import datetime
from decimal import ROUND_UP, Decimal

from retune.api import Attempt, AttemptStage, FineTuneRunStatus, decimal, seconds
from retune.decide.cost import cost
from retune.decide.facts import Books, Pod, RunFacts, Stage
from retune.decide.ledger import NOTHING, Entry, Ledger
from retune.decide.limits import GRACE, hourly
from retune.decide.settle import cpus_of, of, stage_of

KEPT = 50  # closed entries of runs that are gone, before they become one sum: an object stays small
LEFTOVERS = 10  # s between two looks at the pods of a run that was deleted
_SMALL_PODS = 2  # hours: what preflight (an hour at most) and the report may take between them


def bound(run: RunFacts) -> Decimal:
    """The most that a run may cost: `budget.perRun`, or `training.timeout` and what comes with it at full price."""
    spec = run.spec
    training = (seconds(spec.training.timeout) + GRACE) * spec.training.nodes * hourly(run) / 3600
    small = _SMALL_PODS * cpus_of(run, Stage.PREFLIGHT) * decimal(spec.prices.cpu_hour)
    most = (training + small).quantize(Decimal("0.0001"), ROUND_UP)
    per_run = spec.budget.per_run if spec.budget is not None else None
    return min(most, decimal(per_run)) if per_run is not None else most


def reserve(ledger: Ledger, run: RunFacts) -> Ledger:
    """With the most that a run may cost set aside, before the run is created."""
    name, old = run.meta.name, ledger.get(run.meta.name)
    if old is not None and (old.uid or old.closed):  # of a namesake: what it cost stays spent
        ledger = ledger.fold(name)
    if not ledger.currency or ledger.free:
        ledger = replace(ledger, currency=run.spec.prices.currency)
    return ledger.put(name, Entry(reserved=bound(run), per_hour=hourly(run)))


def booked(books: Books, runs: tuple[RunFacts, ...], now: datetime) -> Ledger:
    """The ledger brought up to the job's `runs` and the rest of `books`.

    A reservation whose run was never seen is dropped; whoever still wants the run reserves again.
    """
    ledger = books.ledger
    if ledger.unreadable:
        return ledger
    there = {run.meta.name: run for run in (*books.former, *runs)}
    for name, run in there.items():
        ledger = _of_run(ledger, name, run, now)
    for run in books.former:
        if _abandoned(run):
            ledger = _of_gone(ledger, run.meta.name, *_last_seen(run, _entry(run)), now)
    last_seen = {run.meta.name: run for run in books.gone}
    for name, booked_last in ledger.open:
        if name in there:
            continue
        if name in last_seen:
            entry, pods = _last_seen(last_seen[name], booked_last)
        else:
            entry, pods = _last_booked(booked_last, books.pods.get(name, ()))
        ledger = _of_gone(ledger, name, entry, pods, now) if entry.uid else ledger.drop(name)
    over = [name for name, entry in ledger.runs if entry.closed and name not in there]
    if len(over) > KEPT:
        for name in over:
            ledger = ledger.fold(name)
    return ledger


def settle(books: Books, now: datetime) -> tuple[Ledger, float | None]:
    """The ledger of a job that is gone; and in how many seconds to look again, as long as something of it runs."""
    ledger = booked(books, (), now)
    return ledger, LEFTOVERS if ledger.open and not ledger.unreadable else None


def _of_run(ledger: Ledger, name: str, run: RunFacts, now: datetime) -> Ledger:
    old = ledger.get(name)
    if old is not None and old.uid and old.uid != run.meta.uid:  # a namesake: what it cost stays spent
        ledger = ledger.put(name, _settled(old, now)).fold(name)
    if not ledger.currency:
        ledger = replace(ledger, currency=run.spec.prices.currency)
    return ledger.put(name, _entry(run))


def _entry(run: RunFacts) -> Entry:
    status, spent = run.status, decimal(cost(run.status.attempts, run.spec.prices).amount)
    attempt = _at_work(status)
    if status.phase is not None and status.phase.is_terminal and attempt is None:
        return Entry(amount=spent, closed=True, uid=run.meta.uid)
    return Entry(
        amount=spent,
        reserved=bound(run),
        running_since=attempt.started_at if attempt is not None else None,
        per_hour=hourly(run),
        uid=run.meta.uid,
    )


def _at_work(status: FineTuneRunStatus) -> Attempt | None:
    """The attempt that is open; a report's is cheap, comes after the end, and keeps no money back."""
    return next((a for a in status.attempts if not a.ended_at and a.stage is not AttemptStage.REPORT), None)


def _abandoned(run: RunFacts) -> bool:
    """Its job is gone, so nobody drives it or closes its attempts any more, and nothing of it runs."""
    open_ = run.status.phase is None or not run.status.phase.is_terminal or _at_work(run.status) is not None
    return open_ and all(c.over for c in run.children) and all(p.over for p in run.pods)


def _last_seen(run: RunFacts, booked_last: Entry) -> tuple[Entry, tuple[Pod, ...]]:
    """A deleted run as it was seen last, and the pods of what it was at."""
    entry, attempt = _entry(run), _at_work(run.status)
    pods = of(run, attempt)[1] if attempt is not None else ()
    if attempt is not None and attempt.stage is not AttemptStage.TRAIN:
        entry = replace(entry, per_hour=cpus_of(run, stage_of(attempt)) * decimal(run.spec.prices.cpu_hour))
    if attempt is not None and entry.running_since is None and entry.amount == booked_last.amount:
        entry = replace(entry, running_since=booked_last.running_since)  # learnt from a pod that may be gone by now
    return entry, pods


def _last_booked(entry: Entry, pods: tuple[Pod, ...]) -> tuple[Entry, tuple[Pod, ...]]:
    """A deleted run of which only its entry is left. Of pods that have ended nobody knows which are in its amount."""
    return entry, tuple(p for p in pods if p.stage is Stage.TRAIN and (entry.running_since is not None or not p.over))


def _of_gone(ledger: Ledger, name: str, entry: Entry, pods: tuple[Pod, ...], now: datetime) -> Ledger:
    """A run that was deleted: closed as soon as none of its pods lives."""
    if entry.running_since is None:
        entry = replace(entry, running_since=_start(pods))
    if not all(p.over for p in pods):
        return ledger.put(name, entry)
    since, ends = entry.running_since, [p.termination.finished for p in pods if p.termination is not None]
    after = [e for e in ends if e is not None and since is not None and e > since]
    return ledger.put(name, _settled(entry, max(after, default=now)))


def _start(pods: tuple[Pod, ...]) -> datetime | None:
    starts = [p.running_since or (p.termination.started if p.termination is not None else None) for p in pods]
    return min((s for s in starts if s is not None), default=None)


def _settled(entry: Entry, until: datetime) -> Entry:
    """Closed, with its pod charged until then, but for no more than was reserved."""
    rest = max(entry.reserved - entry.amount, NOTHING)
    amount = entry.amount + min(entry.charge(until), rest)
    return Entry(amount=amount, closed=True, uid=entry.uid)
