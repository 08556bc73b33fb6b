"""How long a training pod may run: by the clock, and by the money."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import Attempt, AttemptStage, FineTuneRunStatus, decimal
from retune.decide.cost import cost
from retune.decide.facts import RunFacts
from retune.decide.limits import GRACE, PER_RUN, TIMEOUT, Limit, hourly, training_limit


def facts(*attempts: Attempt, timeout: str = "1h", per_run: str | None = None) -> RunFacts:
    budget = {"perRun": per_run} if per_run else None
    spec = make.run_spec(spec=make.job_spec(training=make.training(timeout=timeout), budget=budget))
    return make.run_facts(FineTuneRunStatus(attempts=attempts), spec=spec)


def limit(found: RunFacts) -> Limit:
    return training_limit(found, found.status)


def trained(number: int, seconds: float) -> Attempt:
    gpu, cpu = seconds, seconds / 2
    started = make.at(number * 10_000)
    ended = make.at(number * 10_000 + seconds)
    return make.attempt(number, started_at=started, ended_at=ended, gpu_seconds=gpu, cpu_seconds=cpu)


@pytest.mark.parametrize(("spent", "left"), [([], 3600), ([600], 3000), ([600, 600], 2400), ([3599.5], 0), ([9000], 0)])
def test_the_timeout_counts_all_attempts_together(spent: list[float], left: int) -> None:
    attempts = [trained(n, s) for n, s in enumerate(spent, 1)]
    preflight = make.attempt(1, AttemptStage.PREFLIGHT, started_at=make.at(0), ended_at=make.at(500))
    assert limit(facts(preflight, *attempts)) == Limit(left, TIMEOUT)


def test_an_hour_costs_gpus_and_cpus() -> None:
    assert hourly(facts()) == Decimal("2.50") + Decimal("0.5") * Decimal("0.04")


def test_money_ends_a_run_before_the_clock_does() -> None:
    found = limit(facts(per_run="1.26", timeout="6h"))  # half an hour at 2.52
    assert found == Limit(1800 - GRACE, PER_RUN)


def test_what_earlier_attempts_have_cost_is_gone() -> None:
    assert limit(facts(trained(1, 900), per_run="1.26", timeout="6h")).seconds == 900 - 90
    assert limit(facts(trained(1, 1800), per_run="1.26", timeout="6h")) == Limit(0, PER_RUN)


def test_without_a_price_money_is_no_limit() -> None:
    free = replace(make.POLICY, gpu_hour_price="0", cpu_hour_price="0")
    spec = make.run_spec(spec=make.job_spec(budget={"perRun": "1"}), policy=free)
    assert limit(make.run_facts(spec=spec)).field == TIMEOUT


@given(st.decimals("0.01", "1000", places=2), st.lists(st.floats(1, 5000), max_size=5))
def test_a_run_that_keeps_the_limit_never_costs_more_than_per_run(per_run: Decimal, spent: list[float]) -> None:
    attempts = [trained(n, s) for n, s in enumerate(spent, 1)]
    before = facts(*attempts, timeout="1000d", per_run=str(per_run))
    if decimal(cost(attempts, before.spec.prices).amount) > per_run:
        assert limit(before).seconds == 0
        return
    last = trained(len(attempts) + 1, limit(before).seconds)
    assert decimal(cost([*attempts, last], before.spec.prices).amount) <= per_run + Decimal("0.0001")
