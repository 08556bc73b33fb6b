"""What a person reads on the status screen: what is happening, is it fine, what happens next, what does it cost."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.cli.objects import EVENTS, FIRST, NOW, SECOND, THIRD, condition, event, job, promoted, run

from retune.api.phases import RunPhase
from retune.cli.view.paper import plain
from retune.cli.view.path import steps
from retune.cli.view.status import Watched, curve, status

Raw = dict[str, Any]
OOM = (
    "The container was killed for using more than its memory limit (6Gi). Raise spec.training.resources.limits.memory."
)


def shown(job: Raw | None, run: Raw | None, events: list[Raw] | None = None, **watched: Any) -> str:
    return plain(status(job, run, events or [], NOW, Watched(**watched)))


def row(text: str, label: str) -> str:
    """The line behind a label."""
    return next(line for line in text.splitlines() if line.startswith(label)).removeprefix(label).strip()


def way(run: Raw, **seen: Any) -> list[str]:
    return [f"{step.state} {step.phase}" for step in steps(run, NOW, seen)]


def test_a_run_in_training_shows_its_way_progress_cost_and_what_comes_next() -> None:
    text = shown(job(), run(), EVENTS)
    assert row(text, "job") == "support/triage  Running"
    assert THIRD in row(text, "run")
    assert "for 6:00" in row(text, "run")
    assert (
        "✓ Preflight 0:20 → ✓ AwaitingApproval 0:03 → ✓ Queued 0:03 → ● Training 5:34 → Evaluating → Promoted" in text
    )
    assert "step 120/240  loss 1.923  140 tok/s  3:10 left" in row(text, "progress")
    assert row(text, "cost") == "0.23 EUR (GPU 5:34, CPU 5:54), of at most 5.00 EUR a run"
    assert row(text, "budget") == "12.40 EUR spent of 20.00 EUR released, 3.10 EUR committed"
    assert row(text, "next") == "evaluation on 240 gold examples, in about 3:10"
    assert row(text, "stable") == f"{SECOND}, since 3d"
    assert "Run triage-3-7f2a is in flight." in text


def test_each_gate_says_its_verdict_and_why_or_what_it_measured() -> None:
    lines = shown(job(), run()).splitlines()
    assert any("privacy   Warned   personal data in 3 of 640 rows" in line for line in lines)
    assert any("leakage   Passed   gold 240, exact 0, near fraction 0.42%" in line for line in lines)


def test_who_waits_for_approval_is_told_which_and_how_to_give_them() -> None:
    approvals = [{"name": "legal", "by": "lena@example.com", "at": "2026-03-01T11:55:00Z"}]
    text = shown(job(phase="Waiting"), run(phase="AwaitingApproval", approvals=approvals, progress=None))
    assert row(text, "approvals") == "legal by lena@example.com, dpo missing"
    assert row(text, "next") == "waits for the approval dpo: `kubectl retune approve triage dpo`"
    assert "● AwaitingApproval" in text


def test_a_failed_run_shows_where_it_broke_why_and_how_to_go_on() -> None:
    attempts = [
        {"stage": "Preflight", "number": 1, "startedAt": "2026-03-01T11:54:00Z", "endedAt": "2026-03-01T11:54:20Z"},
        {"stage": "Train", "number": 1, "startedAt": "2026-03-01T11:55:00Z", "endedAt": NOW.isoformat(), "exit": "OOM"},
    ]
    broken = run(
        phase="Failed",
        endedAt="2026-03-01T11:58:00Z",
        attempts=attempts,
        conditions=[condition("GatesPassed", "True", "GatesPassed"), condition("Trained", "False", "OutOfMemory", OOM)],
    )
    text = shown(job(phase="Idle", fruitlessRuns=2), broken)
    assert "✗ Training 3:00 → ✗ Failed" in text
    assert "Evaluating" not in text
    assert OOM in row(text, "attention")
    assert "train 1 OOM" in row(text, "attempts")
    assert "2 of 3 runs without a promotion" in row(text, "job")
    assert "`kubectl retune retry triage`" in row(text, "next")


def test_what_the_run_says_is_not_repeated_for_its_job() -> None:
    waits = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    queued = run(phase="Queued", progress=None, conditions=[condition("Admitted", "Unknown", "Unschedulable", waits)])
    conditions = [condition("Progressing", "Unknown", "Unschedulable", f"Run {THIRD} waits: {waits}")]
    text = shown(job(phase="Waiting", conditions=conditions), queued)
    assert text.count(waits) == 1
    assert "Unschedulable" in row(text, "attention")


def test_drift_is_bad_news_when_it_is_true_and_all_else_when_it_is_not() -> None:
    drifted = condition("DriftDetected", "True", "PromptDrift", "0.31 beyond 0.2 for 6h")
    fine = condition("Ready", "True", "Serving", "stable serves everywhere")
    text = shown(job(conditions=[drifted, fine]), promoted(3))
    assert "0.31 beyond 0.2" in row(text, "attention")
    assert "stable serves everywhere" not in text
    calm = condition("DriftDetected", "False", "NoDrift", "0.05")
    assert "attention" not in shown(job(conditions=[calm, fine]), promoted(3))


@pytest.mark.parametrize(
    ("phase", "said"),
    [("Halted", "`kubectl retune resume triage`"), ("Invalid", "until the spec is mended")],
)
def test_a_job_that_starts_nothing_says_what_would_change_that(phase: str, said: str) -> None:
    assert said in row(shown(job(phase=phase), promoted(3)), "next")


def test_a_finished_run_shows_its_scores_with_interval_and_when_the_next_one_comes() -> None:
    text = shown(
        job(phase="Idle", nextRun={"at": (NOW + timedelta(hours=5)).isoformat(), "reason": "Schedule"}), promoted(3)
    )
    assert "base 0.100 → candidate 0.800  +0.700 (+0.620 to +0.780)  240 gold examples" in row(text, "scores")
    assert row(text, "next") == "the next run in 5h (Schedule)"
    assert "progress" not in text


@pytest.mark.parametrize(
    ("phase", "status", "wanted"),
    [
        ("Declined", {"attempts": [{"stage": "Preflight", "number": 1}]}, ["done Preflight", "broken Declined"]),
        ("Rejected", {"scores": {"candidate": 0.1}}, ["done Evaluating", "broken Rejected"]),
        ("Cancelled", {"attempts": []}, ["broken Pending", "broken Cancelled"]),
        ("Cancelled", {"attempts": [{"stage": "Train", "number": 1}]}, ["broken Queued", "broken Cancelled"]),
    ],
)
def test_the_way_of_a_run_ends_where_the_run_did(phase: str, status: Raw, wanted: list[str]) -> None:
    assert way(run(phase=phase, **status))[-2:] == wanted


@pytest.mark.parametrize("phase", [phase.value for phase in RunPhase])
def test_every_phase_of_the_api_has_its_place_on_the_way(phase: str) -> None:
    over = RunPhase(phase).is_terminal
    steps_ = way(run(phase=phase))
    assert [s for s in steps_ if s.endswith(f" {phase}")]
    assert sum(s.startswith("here ") for s in steps_) == (0 if over else 1)
    shown(job(), run(phase=phase, rollout={"stage": "Canary", "weight": 25}))


def test_approvals_are_on_the_way_only_of_runs_that_need_them() -> None:
    assert "AwaitingApproval" not in " ".join(way(run(spec={"gates": {}})))


def test_what_an_observer_saw_fills_in_the_times_that_the_status_does_not_tell() -> None:
    evaluating = run(phase="Evaluating")
    seen = {"Evaluating": NOW - timedelta(seconds=30)}
    times = {step.phase: step.seconds for step in steps(evaluating, NOW, seen)}
    assert times["Evaluating"] == 30
    assert times["Training"] == 5 * 60 + 4
    assert {step.phase: step.seconds for step in steps(evaluating, NOW)}["Training"] is None


def test_a_run_of_an_older_or_newer_operator_is_shown_as_far_as_it_is_understood() -> None:
    bare = run(phase=None)
    bare["status"] = {}
    text = shown(None, bare)
    assert "its job is gone" in text
    assert "● Pending" in text
    odd = run(
        conditions=[{"type": "Brand", "status": "False", "reason": "New"}], gates=[{"name": "x", "verdict": "Odd"}]
    )
    assert "Brand" in shown(job(), odd)


def test_a_new_job_without_a_run_says_that_nobody_has_looked_at_it_yet() -> None:
    new = {**job(), "status": {}}
    text = shown(new, None)
    assert row(text, "run") == "none yet"
    assert "has not looked" in row(text, "next")


def test_only_the_newest_events_are_shown_oldest_first_with_their_age() -> None:
    many = [event("Normal", f"Reason{n}", f"event {n}", f"2026-03-01T11:0{n}:00Z") for n in range(9)]
    text = shown(job(), run(), list(reversed(many)))
    assert "event 3" not in text
    assert text.index("event 4") < text.index("event 8")


def test_a_silent_api_server_is_said_under_the_last_picture() -> None:
    text = shown(job(), run(), silent=12.0)
    assert "● Training" in text
    assert "has not answered for 12 s" in text


def test_the_curve_falls_as_the_loss_does_and_stays_short() -> None:
    drawn = curve([3.0 - 0.01 * n for n in range(200)])
    assert drawn[0] == "█"
    assert drawn[-1] == "▁"
    assert len(drawn) <= 16
    assert curve([1.0]) == ""
    assert set(curve([1.0, 1.0, 1.0])) == {"▁"}


def test_the_way_folds_between_phases_only_and_fits_the_width() -> None:
    for width in (40, 60, 80, 100):
        lines = plain(status(job(), run(), [], NOW), width).splitlines()
        assert all(len(line) <= width for line in lines)
        assert any(line.endswith("●") for line in lines) is False
        assert any("● Training 5:34" in line for line in lines)


def test_first_is_not_shown_when_the_third_run_is_meant() -> None:
    assert FIRST not in shown(job(), run())
