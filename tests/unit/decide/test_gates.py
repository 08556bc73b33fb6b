"""Gates: which numbers pass, which do not, and what a person is told."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import BudgetStatus, Cost, FineTuneJobStatus, FineTuneRunStatus, GateResult, GateVerdict
from retune.decide import gates
from retune.decide.facts import RunFacts


def facts(job: FineTuneJobStatus | None = None, status: FineTuneRunStatus | None = None, **spec: Any) -> RunFacts:
    run = make.run_facts(status, spec=make.run_spec(spec=make.job_spec(**spec)))
    return replace(run, job=job or FineTuneJobStatus())


def verdict(name: str, measured: dict[str, Any] | None = None, **spec: Any) -> GateResult:
    told = {**make.CHECKED, "measured": {**make.MEASURED, **(measured or {})}}
    return next(g for g in gates.judge(facts(**spec), told) if g.name == name)


def data(**numbers: float) -> dict[str, Any]:
    return {"data": {**make.MEASURED["data"], **numbers}}


def test_every_gate_has_its_say_and_those_without_inputs_are_skipped() -> None:
    verdicts = {g.name: g.verdict.value for g in gates.judge(facts(), make.CHECKED)}
    assert verdicts == {
        "data": "Passed",
        "leakage": "Passed",
        "privacy": "Passed",
        "baseline": "Skipped",
        "payback": "Skipped",
        "budget": "Skipped",
    }


@pytest.mark.parametrize(
    ("numbers", "gate", "says"),
    [
        ({"examples": 499}, {}, "499 examples to train on; gates.data.minExamples asks for 500"),
        ({"duplicateFraction": 0.06}, {}, "6.0%"),
        ({"conflictFraction": 0.02, "conflicts": 13}, {}, "2.0% of the rows (13)"),
        ({"empty": 3}, {}, "3 rows are empty"),
        ({"agreement": 0.61}, {"minLabelAgreement": 0.8}, "alpha 0.61"),
        ({}, {"minLabelAgreement": 0.8}, "no example has labels of several annotators"),
        (
            {"divergence": 0.31},
            {"productionBalance": {"classifiedBy": "team", "expected": {"a": 0.5, "b": 0.5}}},
            "0.31 away from production's",
        ),
    ],
)
def test_bad_data_fails_with_its_number_the_limit_and_a_cure(
    numbers: dict[str, float], gate: dict[str, Any], says: str
) -> None:
    found = verdict("data", data(**numbers), gates={"data": gate})
    assert found.verdict is GateVerdict.FAILED
    assert says in found.reason
    assert found.advice.endswith(".")
    warned = verdict("data", data(**numbers), gates={"data": {**gate, "mode": "Warn"}})
    assert (warned.verdict, warned.reason) == (GateVerdict.WARNED, found.reason)


@pytest.mark.parametrize(
    "numbers", [{"examples": 500}, {"duplicateFraction": 0.05}, {"conflictFraction": 0.01}, {"empty": 0}]
)
def test_a_limit_that_is_just_met_passes(numbers: dict[str, float]) -> None:
    assert verdict("data", data(**numbers)).verdict is GateVerdict.PASSED


def test_examples_that_will_be_cut_are_a_warning_only() -> None:
    found = verdict("data", data(tooLong=12))
    assert found.verdict is GateVerdict.WARNED
    assert "12 are longer than training.maxLength" in found.reason


def test_a_single_leaked_example_fails_by_default() -> None:
    leaked = {"leakage": {"gold": 240, "exact": 1, "near": 1, "nearFraction": 0.004}}
    found = verdict("leakage", leaked)
    assert found.verdict is GateVerdict.FAILED
    assert "1 of 240" in found.reason
    allowed = verdict("leakage", leaked, gates={"leakage": {"maxExact": 1}})
    assert allowed.verdict is GateVerdict.PASSED


def test_near_copies_of_gold_examples_fail_beyond_the_limit() -> None:
    found = verdict("leakage", {"leakage": {"gold": 100, "exact": 0, "near": 3, "nearFraction": 0.03}})
    assert found.verdict is GateVerdict.FAILED
    assert "3.0%" in found.reason


PII = {"privacy": {"EMAIL_ADDRESS": 12, "PHONE_NUMBER": 3, "rows": 14, "redacted": 0}}


def test_personal_data_fails_without_redact_and_is_named_by_kind_and_count() -> None:
    found = verdict("privacy", PII)
    assert found.verdict is GateVerdict.FAILED
    assert "12 EMAIL_ADDRESS, 3 PHONE_NUMBER" in found.reason
    assert "redact" in found.advice


def test_personal_data_that_was_scrubbed_passes() -> None:
    scrubbed = {"privacy": {**PII["privacy"], "redacted": 1}}
    assert verdict("privacy", scrubbed, gates={"privacy": {"redact": True}}).verdict is GateVerdict.PASSED


def test_asking_for_redaction_is_not_enough_if_the_trainer_did_not_do_it() -> None:
    assert verdict("privacy", PII, gates={"privacy": {"redact": True}}).verdict is GateVerdict.FAILED


ENDPOINT = {"url": "http://gateway:8000/v1", "model": "base"}


@pytest.mark.parametrize(("score", "expected"), [(0.9, "Failed"), (0.93, "Failed"), (0.899, "Passed")])
def test_a_prompted_model_that_is_good_enough_declines_and_its_score_is_told(score: float, expected: str) -> None:
    found = verdict("baseline", {"baseline": {"score": score, "n": 240}}, gates={"baseline": {"endpoint": ENDPOINT}})
    assert found.verdict.value == expected
    assert f"ExactMatch {score:.3f} on 240 gold examples" in found.reason


def test_a_prompted_model_that_could_not_be_asked_is_a_warning() -> None:
    told = {
        **make.CHECKED,
        "measured": {**make.MEASURED, "baseline": {}},
        "notes": {"baseline": "http://gateway:8000 timed out."},
    }
    warn = facts(gates={"baseline": {"endpoint": ENDPOINT, "mode": "Warn"}})
    found = next(g for g in gates.judge(warn, told) if g.name == "baseline")
    assert (found.verdict, found.reason) == (GateVerdict.WARNED, "http://gateway:8000 timed out.")


@pytest.mark.parametrize("gate", ["data", "leakage", "privacy"])
def test_a_trainer_that_does_not_measure_is_no_way_around_a_gate(gate: str) -> None:
    told = {**make.CHECKED, "measured": {k: v for k, v in make.MEASURED.items() if k != gate}}
    found = next(g for g in gates.judge(facts(), told) if g.name == gate)
    assert found.verdict is GateVerdict.FAILED
    assert "spec.training.image" in found.advice
    off = next(g for g in gates.judge(facts(gates={gate: {"mode": "Off"}}), told) if g.name == gate)
    assert off.verdict is GateVerdict.SKIPPED


PAYBACK = {"monthlyRequests": 10000, "baselineCostPer1k": "30", "tunedCostPer1k": "7.50", "oneOffCost": "3500"}


def payback(job: FineTuneJobStatus | None = None, status: FineTuneRunStatus | None = None, **gate: Any) -> GateResult:
    found = gates.judge(facts(job, status, gates={"payback": {**PAYBACK, **gate}}), make.CHECKED)
    return next(g for g in found if g.name == "payback")


def test_10000_requests_at_3_cents_against_75_a_month_and_3500_once_pay_back_in_15_6_months() -> None:
    found = payback()
    assert found.verdict is GateVerdict.PASSED
    assert found.values is not None
    assert round(found.values["months"], 1) == 15.6
    assert "300.00 - 75.00 + 0.00 = 225.00 EUR a month" in found.reason


def test_payback_counts_what_training_has_cost_so_far() -> None:
    spent = FineTuneJobStatus(budget=BudgetStatus(spent="225"))
    found = payback(spent)
    assert found.values is not None
    assert found.values["months"] == round(3725 / 225, 3)
    assert "225.00 for training" in found.reason


def test_the_own_preflight_counts_where_the_ledger_has_not_seen_it_yet() -> None:
    found = payback(status=FineTuneRunStatus(cost=Cost(amount="4.5")))
    assert found.values is not None
    assert found.values["spentOnTraining"] == 4.5


def test_too_long_a_payback_declines() -> None:
    found = payback(maxMonths=15)
    assert found.verdict is GateVerdict.FAILED
    assert "pays back in 15.6 months; gates.payback.maxMonths allows 15" in found.reason


def test_a_model_that_costs_more_than_it_saves_never_pays_back() -> None:
    found = payback(tunedCostPer1k="30")
    assert found.verdict is GateVerdict.FAILED
    assert "never pays back" in found.reason
    assert found.values is not None
    assert "months" not in found.values


@given(st.integers(0, 10**9), *(st.decimals(0, 10**6, places=4) for _ in range(4)), st.integers(1, 120))
def test_payback_is_what_the_arithmetic_says(
    requests: int, today: Decimal, tuned: Decimal, value: Decimal, once: Decimal, months: int
) -> None:
    found = payback(
        monthlyRequests=requests,
        baselineCostPer1k=str(today),
        tunedCostPer1k=str(tuned),
        monthlyValue=str(value),
        oneOffCost=str(once),
        maxMonths=months,
    )
    gain = (today - tuned) * requests / 1000 + value
    pays = gain > 0 and once <= months * gain
    assert found.verdict is (GateVerdict.PASSED if pays else GateVerdict.FAILED)


@pytest.mark.parametrize("measured", [[], {"data": []}, {"data": {"examples": "many"}}, {"data": {"examples": None}}])
def test_what_is_not_of_the_contracts_shape_is_an_error_that_the_run_can_show(measured: Any) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        gates.judge(facts(), {**make.CHECKED, "measured": measured or [1]})
