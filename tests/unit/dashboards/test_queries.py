"""No query of a dashboard or an alert names a series or a label that nobody exports."""

import promql_parser as promql
import pytest
from tests.unit.dashboards.exported import exported
from tests.unit.dashboards.queries import Asked, Reading, of_alerts, of_panels, of_variables

EXPORTED = exported()
ASKED = [*of_panels(), *of_variables(), *of_alerts()]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.where)
def test_every_series_and_label_that_is_asked_for_exists(asked: Asked) -> None:
    reading = Reading(EXPORTED)
    answered = reading.labels(promql.parse(asked.expr))
    assert reading.mistakes == []
    assert asked.expected <= answered, f"{asked.expr} answers with {sorted(answered)}"


@pytest.mark.parametrize(
    ("expr", "mistake"),
    [
        ("sum(retune_jobz)", "nobody exports retune_jobz"),
        ('retune_jobs{fase="Idle"}', "no label fase"),
        ("sum by (arm) (retune_jobs)", "no label arm"),
        ("histogram_quantile(0.9, sum(rate(retune_tap_latency_seconds_bucket[5m])))", "no label le"),
        ("max by (job) (retune_budget_spent) / max by (namespace) (retune_budget_released)", "never match"),
    ],
)
def test_a_wrong_name_is_found(expr: str, mistake: str) -> None:
    reading = Reading(EXPORTED)
    reading.labels(promql.parse(expr))
    assert any(mistake in said for said in reading.mistakes), reading.mistakes


def test_a_job_adds_few_labels_besides_its_own_names() -> None:
    bounded = {"phase", "reason", "state", "stage", "currency", "arm", "of", "when", "trigger", "metric"}
    told_once = {"retune_job_info", "retune_latest_run_info"}  # one series a job, whatever their labels say
    for name, labels in EXPORTED.items():
        if {"namespace", "job"} <= labels and name not in told_once:
            assert labels - {"namespace", "job", "pod"} <= bounded, name
