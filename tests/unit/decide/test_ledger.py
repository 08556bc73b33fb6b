"""The ledger as data: what is written is what is read, and what cannot be read is never taken for an empty one."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import Attempt, AttemptStage, FineTuneRunStatus, RunPhase
from retune.decide.actions import WriteLedger
from retune.decide.booking import booked, bound, settle
from retune.decide.cost import cost
from retune.decide.facts import Books, RunFacts, Stage
from retune.decide.job import decide_job
from retune.decide.ledger import Entry, Ledger, read, written
from retune.decide.run import decide_run

MONEY = st.decimals(0, 10**8, places=4)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))  # noqa: DTZ001
ENTRIES = st.builds(
    Entry,
    amount=MONEY,
    reserved=MONEY,
    running_since=st.none() | TIMES,
    per_hour=MONEY,
    closed=st.booleans(),
    uid=st.text(max_size=36),
)
RUNS = st.lists(st.tuples(st.text(min_size=1, max_size=63), ENTRIES), max_size=5, unique_by=lambda run: run[0])
LEDGERS = st.builds(Ledger, currency=st.sampled_from(["EUR", "USD"]), settled=MONEY, runs=RUNS.map(tuple))


def test_a_run_that_outlives_its_job_costs_what_its_pod_ran_and_frees_the_rest() -> None:
    """Deleted with --cascade=orphan: the run stays as it is, and nobody closes its attempts any more."""
    attempt = make.attempt(1, started_at=make.NOW, job_uid=make.child().uid)
    status = FineTuneRunStatus(phase=RunPhase.TRAINING, attempts=(attempt,))
    run = make.run_facts(status, orphaned=True, children=(make.child(),), pods=(make.running(),))
    books = Books(Ledger("EUR", runs=((run.meta.name, Entry(reserved=Decimal(10), uid=run.meta.uid)),)), former=(run,))
    assert settle(books, make.at(60))[0].open, "its pod still runs"
    over = replace(run, children=(make.child(complete=True),), pods=(make.ended(0, make.trained()),))
    ledger, again = settle(replace(books, former=(over,)), make.at(86400))
    assert ledger.spent(make.at(86400)) == Decimal("0.0700")  # 100 s at 2.50 and half a core at 0.04 an hour
    assert (ledger.committed(make.at(86400)), again) == (0, None)


@given(LEDGERS)
def test_what_is_written_is_what_is_read(ledger: Ledger) -> None:
    again = read(written(ledger, "ns/name"), "7")
    assert again == ledger
    assert again.version == "7"
    assert [e.uid for _, e in again.runs] == [e.uid for _, e in ledger.runs]
    assert written(again, "ns/name") == written(ledger, "ns/name")


@given(LEDGERS, st.data())
def test_a_ledger_that_somebody_broke_says_so(ledger: Ledger, data: st.DataObject) -> None:
    raw = json.loads(written(ledger.put("r", Entry()), "ns/name"))
    place = data.draw(
        st.sampled_from(["settled", "currency", "runs", "amount", "reserved", "perHour", "closed", "uid"])
    )
    wrong = data.draw(st.sampled_from([None, 12.5, "-1", "NaN", "Infinity", "x", [], {"a": 1}, "missing"]))
    within = raw if place in raw else raw["runs"]["r"]
    if (place, wrong) in [("currency", w) for w in ("-1", "NaN", "Infinity", "x", "missing")] or (
        place == "uid" and isinstance(wrong, str)
    ):
        return
    if wrong == "missing":
        del within[place]
    else:
        within[place] = wrong
    assert read(json.dumps(raw), "7").unreadable


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '{"runs": {}}'])
def test_an_empty_or_foreign_text_is_no_empty_ledger(text: str) -> None:
    assert read(text, "7").unreadable


def test_what_runs_is_shown_to_the_minute_and_charged_to_the_second() -> None:
    entry = Entry(reserved=Decimal(10), running_since=make.NOW, per_hour=Decimal("3.60"))
    assert [entry.so_far(make.at(s)) for s in (0, 59, 60, 119, 120)] == [
        Decimal(x) for x in ("0", "0", "0.06", "0.06", "0.12")
    ]
    assert entry.charge(make.at(119)) == Decimal("0.119")
    assert entry.so_far(make.at(120)) + entry.committed(make.at(120)) == Decimal(10)


def attempts(gpus: int, cpu: str, seconds: int) -> tuple[RunFacts, RunFacts]:
    """A run whose training pod runs, and the same run when the pod has ended, as the run side writes it."""
    spec = make.job_spec(training=make.training(gpusPerNode=gpus, resources={"requests": {"cpu": cpu}}))
    begun = make.attempt(1, AttemptStage.TRAIN, started_at=make.NOW, job_uid="u")
    status = FineTuneRunStatus(phase=RunPhase.TRAINING, attempts=(begun,))
    flying = make.run_facts(status, spec=make.run_spec(spec=spec), cancel="enough", now=make.at(seconds))
    pod = make.ended(143, finished=make.at(seconds))
    closed = decide_run(replace(flying, pods=(pod,), children=(make.failed_child(143),)))
    return flying, replace(flying, status=closed.status)


@given(st.integers(0, 8), st.sampled_from(["250m", "1", "3500m"]), st.integers(0, 500_000))
def test_a_deleted_run_costs_what_the_same_run_costs_when_it_is_closed(gpus: int, cpu: str, seconds: int) -> None:
    flying, closed = attempts(gpus, cpu, seconds)
    there = booked(Books(), (flying,), make.NOW)
    pod = make.ended(143, finished=make.at(seconds))
    gone = replace(flying, pods=(pod,))
    deleted = booked(Books(there, gone=(gone,)), (), make.at(seconds + 3)).get(flying.meta.name)
    normal = booked(Books(there), (closed,), make.at(seconds + 3)).get(flying.meta.name)
    assert normal is not None
    assert deleted is not None
    assert normal.closed
    assert deleted.closed
    assert normal.amount == Decimal(str(cost(closed.status.attempts, closed.spec.prices).amount))
    if seconds:
        assert deleted.amount == min(normal.amount, bound(flying))
    else:  # a pod that ended in the second in which it began: nobody can tell, so it is charged until it was gone
        assert deleted.amount <= bound(flying)


@pytest.mark.parametrize(
    ("budget", "training", "most"),
    [
        # 2.50 a GPU hour, 0.04 a core: 6 h and two minutes to stop, and two hours of a quarter core around it
        ({}, {}, "15.2240"),
        ({"perRun": "10"}, {}, "10"),
        ({"perRun": "100"}, {}, "15.2240"),
        ({}, {"timeout": "1h"}, "2.6240"),
        ({}, {"gpusPerNode": 4, "nodes": 2, "timeout": "1h"}, "20.7280"),
    ],
)
def test_the_most_that_a_run_may_cost(budget: dict[str, str], training: dict[str, object], most: str) -> None:
    spec = make.job_spec(budget=budget, training=make.training(**training))
    assert bound(make.run_facts(spec=make.run_spec(spec=spec))) == Decimal(most)


def test_what_a_report_costs_keeps_no_money_back() -> None:
    report = make.attempt(1, AttemptStage.REPORT)
    run = make.run_facts(FineTuneRunStatus(phase=RunPhase.PROMOTED, attempts=(report,)))
    assert booked(Books(), (run,), make.NOW).committed(make.NOW) == 0


def test_a_deleted_preflight_is_charged_as_one() -> None:
    begun = make.attempt(1, AttemptStage.PREFLIGHT)
    status = FineTuneRunStatus(phase=RunPhase.PREFLIGHT, attempts=(begun,))
    gone = make.run_facts(status, pods=(make.running(Stage.PREFLIGHT),))
    ledger = booked(Books(), (gone,), make.NOW)
    waiting = booked(Books(ledger, gone=(gone,)), (), make.at(10))
    assert waiting.open, "its pod lives"
    after = booked(Books(waiting, gone=(replace(gone, pods=()),)), (), make.at(3600))
    # nobody has seen the pod's end, and the entry remembers its begin
    assert (after.open, after.spent(make.NOW + timedelta(days=1))) == ((), Decimal("0.0100"))


def of_attempts(*attempts: Attempt, uid: str = "run-uid-1") -> RunFacts:
    run = make.run_facts(FineTuneRunStatus(phase=RunPhase.TRAINING, attempts=attempts))
    return replace(run, meta=replace(run.meta, uid=uid))


FIRST = make.attempt(1, AttemptStage.TRAIN, started_at=make.NOW, job_uid="u")
FIRST_CLOSED = FIRST.model_copy(update={"ended_at": make.at(3600), "gpu_seconds": 3600.0})


def test_a_closed_attempt_is_not_charged_again_when_its_run_is_deleted_before_it_was_booked() -> None:
    running = booked(Books(), (of_attempts(FIRST),), make.NOW)
    gone = of_attempts(FIRST_CLOSED, make.attempt(2, AttemptStage.TRAIN))
    after = booked(Books(running, gone=(gone,)), (), make.at(7200))
    assert after.spent(make.at(7200)) == Decimal("2.50")
    assert not after.open


def test_the_end_of_an_earlier_pod_is_not_the_end_of_the_one_that_ran() -> None:
    second = make.attempt(2, AttemptStage.TRAIN, started_at=make.at(4000), job_uid="u")
    running = booked(Books(), (of_attempts(FIRST_CLOSED, second),), make.at(4000))
    earlier = make.ended(1, finished=make.at(3600))
    (name, _), *_ = running.runs
    after = booked(Books(running, pods={name: (earlier,)}), (), make.at(7600))
    assert after.spent(make.at(7600)) == Decimal("2.50") + Decimal("2.52")


def test_a_namesake_of_a_run_gets_an_entry_of_its_own_and_the_first_stays_spent() -> None:
    first = booked(Books(), (of_attempts(FIRST_CLOSED),), make.NOW)
    both = booked(Books(first), (of_attempts(uid="another"),), make.NOW)
    assert (both.settled, len(both.runs)) == (Decimal("2.50"), 1)
    assert both.runs[0][1].uid == "another"


def test_money_set_aside_for_a_run_that_nobody_wants_any_more_is_free_again() -> None:
    wanted = decide_job(make.job_facts())
    (ledger,) = (a.ledger for a in wanted.actions if isinstance(a, WriteLedger))
    assert ledger.committed(make.NOW)
    facts = make.job_facts(make.job_spec(suspend=True), wanted.status)
    paused = decide_job(replace(facts, books=Books(ledger)))
    (after,) = (a.ledger for a in paused.actions if isinstance(a, WriteLedger))
    assert after.runs == ()
