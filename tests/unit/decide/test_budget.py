"""When the money holds a job back, in what words, and what lets it go on."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import (
    Artifact,
    AttemptStage,
    Condition,
    FineTuneJobStatus,
    FineTuneRunStatus,
    JobPhase,
    MetricScores,
    RunPhase,
)
from retune.decide.actions import CreateRun, JobDecision, WriteLedger
from retune.decide.conditions import find
from retune.decide.facts import Books, RunFacts
from retune.decide.job import decide_job
from retune.decide.ledger import Entry, Ledger
from retune.decide.naming import RETRY_ANNOTATION

AGAIN = {RETRY_ANNOTATION: "again"}
# With 2.50 a GPU hour, 0.04 a core and half a core, an hour and what comes with it costs this much at most.
MOST = Decimal("2.6240")
HOUR = make.training(timeout="1h")


def decide(
    budget: dict[str, Any] | None,
    ledger: Ledger | None = None,
    *runs: RunFacts,
    status: FineTuneJobStatus | None = None,
    **changes: Any,
) -> JobDecision:
    """What happens to a job of which a run is due."""
    spec = make.job_spec(budget=budget, training=HOUR, **changes)
    facts = make.job_facts(spec, status or FineTuneJobStatus(), runs, annotations=AGAIN)
    return decide_job(replace(facts, books=Books(ledger or Ledger())))


def spent(amount: str, currency: str = "EUR") -> Ledger:
    return Ledger(currency, settled=Decimal(amount))


def said(decision: JobDecision, type_: str = "Progressing") -> Condition:
    found = find(decision.status.conditions, type_)
    assert found is not None
    return found


def starts(decision: JobDecision) -> bool:
    return any(isinstance(action, CreateRun) for action in decision.actions)


# ---------------------------------------------------------------------------------------------------------- the total


@given(st.decimals(0, 20, places=4), st.decimals(0, 20, places=4))
def test_a_run_starts_only_if_the_most_that_it_may_cost_is_left(total: Decimal, gone: Decimal) -> None:
    decision = decide({"total": str(total)}, spent(str(gone)))
    assert starts(decision) == (gone + MOST <= total)
    assert (said(decision, "BudgetAvailable").status == "True") == starts(decision)
    assert (decision.status.phase is JobPhase.HALTED) != starts(decision)
    assert starts(decision) or decision.requeue_after == 60


def test_a_hold_says_all_numbers_and_the_cure() -> None:
    decision = decide({"total": "600"}, spent("598.50"))
    reason, message = said(decision).reason, said(decision).message
    assert reason == "BudgetExhausted"
    for number in ("2.62 EUR", "1.50 are left", "600.00 released", "598.50 spent", "0.00 set aside", "timeout 1h"):
        assert number in message
    for cure in ("Raise spec.budget.total", "lower spec.training.timeout", "spec.budget.perRun"):
        assert cure in message
    assert said(decision, "BudgetAvailable").message == message
    assert not [a for a in decision.actions if isinstance(a, WriteLedger)], "nothing is set aside for what is held"


def test_the_reservation_is_written_before_the_run_is_created() -> None:
    decision = decide({"total": "600"})
    kinds = [type(action) for action in decision.actions]
    assert kinds == [WriteLedger, CreateRun]
    assert decision.status.budget is not None
    shown = decision.status.budget.model_dump()
    assert shown == {"released": "600.00", "spent": "0.00", "committed": "2.62", "currency": "EUR"}


def test_per_run_lets_a_run_start_that_its_timeout_would_hold() -> None:
    assert not starts(decide({"total": "2"}))
    assert starts(decide({"total": "2", "perRun": "2"}))
    assert "spec.budget.perRun" in said(decide({"total": "2", "perRun": "2"}, spent("1"))).message


@pytest.mark.parametrize("budget", [None, {}, {"perRun": "1"}])
def test_without_a_total_nothing_is_held_but_all_is_counted(budget: dict[str, Any] | None) -> None:
    decision = decide(budget, spent("1000000"))
    assert starts(decision)
    assert decision.status.budget is not None
    assert (decision.status.budget.spent, decision.status.budget.released) == ("1000000.00", None)


def test_what_another_run_has_set_aside_is_not_there_twice() -> None:
    """The run of a job of the same name that was deleted a moment ago: its pods still stop."""
    other = Ledger("EUR", runs=(("triage-1-old", Entry(reserved=Decimal(3), running_since=make.NOW, uid="u")),))
    facts = make.job_facts(make.job_spec(budget={"total": "5"}, training=HOUR))
    books = Books(other, pods={"triage-1-old": (make.running(),)})
    decision = decide_job(replace(facts, books=books))
    assert not starts(decision)
    assert "3.00 set aside" in said(decision).message
    assert starts(decide_job(replace(facts, books=Books(spent("0.5")))))


def test_an_hour_that_costs_nothing_is_pointed_out() -> None:
    policy = replace(make.POLICY, gpu_hour_price="0", cpu_hour_price="0")
    facts = make.job_facts(make.job_spec(budget={"total": "1"}), policy=policy)
    assert "gpuHourPrice" in said(decide_job(facts), "BudgetAvailable").message


def test_a_budget_that_is_taken_away_leaves_no_condition_behind() -> None:
    held = decide({"total": "1"}).status
    assert find(decide(None, status=held).status.conditions, "BudgetAvailable") is None


def test_a_status_shows_a_run_that_costs_once_a_minute_not_at_every_look() -> None:
    begun = make.attempt(1, AttemptStage.TRAIN, started_at=make.NOW, job_uid="u")
    run = make.run_facts(FineTuneRunStatus(phase=RunPhase.TRAINING, attempts=(begun,)))
    shown = []
    for second in range(0, 600, 10):
        decision = decide_job(make.job_facts(runs=(run,), now=make.at(second)))
        assert decision.status.budget is not None
        shown.append(decision.status.budget.spent)
    assert len(set(shown)) == 10
    assert shown[-1] == "0.38"  # nine whole minutes at 2.52 an hour


# ----------------------------------------------------------------------------------------------------------- currency


def test_another_currency_holds_what_has_spent_money_in_the_first() -> None:
    decision = decide({"currency": "USD", "total": "600", "gpuHourPrice": "3"}, spent("12.34"))
    assert not starts(decision)
    assert said(decision).reason == "CurrencyChanged"
    for word in ("12.34 EUR", "USD", "Set spec.budget.currency to EUR"):
        assert word in said(decision).message
    assert starts(decide({"currency": "USD", "total": "600", "gpuHourPrice": "3"}, Ledger("EUR")))


# --------------------------------------------------------------------------------------------------------- milestones

STEPS = [
    {"amount": "5"},
    {"amount": "50", "unlock": {"metric": "ExactMatch", "minimum": 0.8}},
    {"amount": "500", "unlock": {"metric": "ExactMatch", "minimum": 0.9}},
]
MILESTONES = {"total": "500", "milestones": STEPS}


def stable(metric: str = "ExactMatch", score: float = 0.85) -> RunFacts:
    status = FineTuneRunStatus(
        phase=RunPhase.PROMOTED,
        ended_at=make.NOW,
        artifact=Artifact(uri="s3://m", digest="sha256:1"),
        metrics={metric: MetricScores(base=0.1, candidate=score)},
    )
    return make.run_facts(status, spec=make.run_spec(spec=make.job_spec(training=HOUR)))


@pytest.mark.parametrize(
    ("runs", "released"),
    [((), "5.00"), ((stable(score=0.79),), "5.00"), ((stable(score=0.8),), "50.00"), ((stable(score=0.95),), "500.00")],
)
def test_money_is_released_as_far_as_stable_has_earned_it(runs: tuple[RunFacts, ...], released: str) -> None:
    decision = decide(MILESTONES, None, *runs)
    assert decision.status.budget is not None
    assert decision.status.budget.released == released


def test_a_milestone_that_is_not_reached_is_named_with_the_score() -> None:
    held = decide(MILESTONES, spent("4"), stable(score=0.79))
    assert not starts(held)
    assert said(held).reason == "MilestoneNotReached"
    for word in ("50.00 EUR", "ExactMatch", "at least 0.8", "stable has 0.79"):
        assert word in said(held).message
    assert starts(decide(MILESTONES, spent("4"), stable(score=0.81)))
    assert "no model is stable yet" in said(decide(MILESTONES, spent("4"))).message
    assert "spec.evaluation.metrics" in said(decide(MILESTONES, spent("4"), stable("TokenF1"))).message
    assert said(decide(MILESTONES, spent("499"), stable(score=1.0))).reason == "BudgetExhausted"


@pytest.mark.parametrize(("score", "enough"), [(3.0, True), (2.9, True), (3.1, False)])
def test_a_lower_perplexity_is_the_better_one(score: float, enough: bool) -> None:
    unlock = {"metric": "Perplexity", "minimum": 3.0}
    budget = {"total": "50", "milestones": [{"amount": "5"}, {"amount": "50", "unlock": unlock}]}
    decision = decide(budget, spent("4"), stable("Perplexity", score))
    assert starts(decision) == enough
    assert enough or "at most 3" in said(decision).message


def test_deleting_the_run_of_stable_takes_no_released_money_back_and_releases_none() -> None:
    before = decide(MILESTONES, None, stable(score=0.85)).status
    assert before.budget is not None
    after = decide(MILESTONES, spent("4"), status=before).status
    assert after.budget is not None
    assert before.budget.released == after.budget.released == "50.00"


# ---------------------------------------------------------------------------------------------------------- kill date


def test_after_the_kill_date_nothing_starts_and_what_runs_goes_on() -> None:
    at = make.at(3600)
    spec = make.job_spec(budget={"endsAt": at.isoformat()}, training=HOUR)
    done = make.run_facts(FineTuneRunStatus(phase=RunPhase.PROMOTED), spec=make.run_spec(spec=spec))
    facts = make.job_facts(spec, runs=(done,))
    before = decide_job(facts)
    assert before.status.phase is JobPhase.IDLE
    assert before.requeue_after == 3600, "it looks again by itself when the time has come"
    wanted = replace(facts, meta=replace(facts.meta, annotations=AGAIN), status=before.status)
    assert starts(decide_job(wanted))
    ended = decide_job(replace(wanted, now=at))
    assert not starts(ended)
    assert (ended.status.phase, said(ended).reason) == (JobPhase.HALTED, "Ended")
    assert "spec.budget.endsAt (2026-03-01T13:00:00Z)" in said(ended).message
    flying = replace(done, status=FineTuneRunStatus(phase=RunPhase.TRAINING))
    flies = decide_job(replace(wanted, runs=(flying,), now=at + timedelta(days=1)))
    assert flies.status.phase is JobPhase.RUNNING
    assert "it is the last one" in said(flies).message
