"""What a person reads of triggers: why a run started, what the next one waits for, how drift stands."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.cli.objects import NOW, condition, job, promoted, run

from retune.cli.view import describe
from retune.cli.view.paper import plain
from retune.cli.view.report import report
from retune.cli.view.status import status

Raw = dict[str, Any]
DRIFT = {
    "kind": "Drift",
    "name": "mix",
    "value": 0.31,
    "threshold": 0.2,
    "samples": 3200,
    "noticedAt": "2026-03-01T11:00:00Z",
}


def started(trigger: Raw) -> Raw:
    found = run()
    found["spec"]["trigger"] = trigger
    return found


def next_line(**coming: Any) -> str:
    text = plain(status(job(phase="Idle", nextRun=coming), promoted(3), [], NOW))
    return next(line for line in text.splitlines() if line.startswith("next"))


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        (DRIFT, "Drift mix: 0.31 beyond 0.2, 3200 samples, since 2026-03-01 11:00 UTC"),
        ({"kind": "Drift", "name": "mix"}, "Drift mix"),
        (
            {"kind": "NewExamples", "value": 520, "threshold": 500, "samples": 10520},
            "NewExamples: 520 new, 500 asked for, 10520 in all",
        ),
        ({"kind": "Schedule", "noticedAt": "2026-03-01T02:00:00Z"}, "Schedule of 2026-03-01 02:00 UTC"),
        ({"kind": "Schedule"}, "Schedule"),
        ({"kind": "Retry", "name": "x"}, "Retry"),
    ],
)
def test_each_page_of_a_run_says_what_started_it_with_its_numbers(trigger: Raw, said: str) -> None:
    found = started(trigger)
    for page in (status(job(), found, [], NOW), describe.run(found, job(), [], [], NOW), report(found, NOW)):
        assert said in " ".join(plain(page).split())


def test_the_next_run_has_its_time_or_what_it_waits_for() -> None:
    soon = (NOW + timedelta(hours=5)).isoformat()
    text = next_line(at=soon, reason="Drift mix, not before the end of spec.triggers.cooldown 24h")
    assert "the next run in 5h (Drift mix, not before the end of spec.triggers.cooldown 24h)" in text
    assert "the next run by itself waits for NewExamples 0 of 500" in next_line(reason="waits for NewExamples 0 of 500")


def test_drift_that_is_not_measured_is_not_hidden() -> None:
    unknown = condition("DriftDetected", "Unknown", "NotMeasured", "mix: Unknown (420 of 500 samples).")
    text = plain(status(job(phase="Idle", conditions=[unknown]), promoted(3), [], NOW))
    assert "420 of 500 samples" in text


def test_a_job_is_described_with_its_triggers_its_drift_and_its_last_recovery() -> None:
    seen = [
        {"name": "mix", "state": "Firing", "value": 0.31, "threshold": 0.2, "samples": 3200},
        {"name": "slow", "state": "Unknown", "message": "Prometheus does not answer"},
    ]
    recovery = {
        "run": "triage-2-7f2a",
        "noticedAt": "2026-02-26T09:00:00Z",
        "promotedAt": "2026-02-26T12:00:00Z",
        "seconds": 10800,
        "cost": "7.75",
        "interventions": 2,
        "before": {"p95Seconds": 1.37, "costPer1k": "0.42"},
        "after": {"costPer1k": "0.40"},
    }
    found = job(drift=seen, recovery=recovery, examples={"counted": 10400, "corrections": 20, "trained": 10000})
    found["spec"]["triggers"] = {
        "newExamples": {"count": 500},
        "schedule": {"cron": "0 3 * * 1", "timeZone": "Europe/Berlin"},
        "cooldown": "24h",
        "maxRunsPerMonth": 4,
    }
    text = " ".join(plain(describe.job(found, [promoted(2)], [], NOW)).split())
    assert "500 examples, 420 so far (10420 in all, 20 of them corrections)" in text
    assert "one in 24h, 4 in 30 days" in text
    assert "Firing 0.31 0.2 3200" in text
    assert "Prometheus does not answer" in text
    assert "3:00:00" in text
    assert "interventions 2" in text
    assert "p95 1.37 s -> ?" in text
    assert "cost per 1,000 answers 0.42" in text
    assert "7.75 EUR" in text
