"""What a person reads of a rollout: how far it is, what its stop-losses have counted, what it waits for."""

from typing import Any

import pytest
from tests.unit.cli.objects import NOW, THIRD, condition, job, run

from retune.cli.view import describe
from retune.cli.view.ahead import ahead
from retune.cli.view.paper import plain
from retune.cli.view.path import steps
from retune.cli.view.report import as_data, report
from retune.cli.view.rollout import weights
from retune.cli.view.status import status

Raw = dict[str, Any]
STEPS = [{"weight": 10, "hold": "10m"}, {"weight": 25, "hold": "10m"}, {"weight": 50, "hold": "10m"}]
ROLLOUT: Raw = {
    "shadow": {"percent": 10, "duration": "10m"},
    "steps": STEPS,
    "bake": "1h",
    "bakeWeight": 90,
    "minRequests": 50,
    "timeout": "24h",
    "promotion": "Evidence",
}
ERRORS: Raw = {
    "name": "errors",
    "state": "Ok",
    "eValue": 0.41,
    "threshold": 200,
    "bad": 3,
    "total": 412,
    "stableBad": 30,
    "stableTotal": 3712,
    "phi": 1.3,
    "harm": 0.021,
    "margin": 0.04,
}
STANDS: Raw = {
    "stage": "Canary",
    "step": 1,
    "weight": 25,
    "since": "2026-03-01T11:56:40Z",
    "startedAt": "2026-03-01T11:30:00Z",
    "expectedHours": 2.0,
    "taps": "2/2",
    "evidence": [ERRORS],
}


def rolling(phase: str = "Canary", spec: Raw | None = None, **stands: Any) -> Raw:
    """A run in rollout; `stands` replaces parts of its status.rollout, None takes one away."""
    told = {key: value for key, value in {**STANDS, **stands}.items() if value is not None}
    asked = {"serving": {}, "rollout": {**ROLLOUT, **(spec or {})}}
    return run(phase=phase, spec=asked, progress=None, rollout=told)


def shown(run: Raw, width: int = 4000) -> str:
    return plain(status(job(), run, [], NOW), width)


def row(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(label)).removeprefix(label).strip()


def way(run: Raw) -> list[str]:
    return [f"{step.state} {step.phase}" for step in weights(run, NOW)]


def test_the_steps_behind_the_one_in_force_and_those_ahead_are_told_apart() -> None:
    text = shown(rolling())
    assert row(text, "rollout") == "✓ load → ✓ shadow 10 % → ✓ 10 % → ● 25 % 3:20 → 50 % → bake 90 %"
    assert (
        "25 % of traffic, 2/2 pods do as told, expected to take 2 hours, Inconclusive if not over in 24 hours" in text
    )
    assert row(text, "next") == "50 % of traffic after 6:40 more, once harm is ruled out by the evidence"


def test_each_stop_loss_shows_its_evidence_the_one_that_takes_back_and_the_counts() -> None:
    assert " ".join(row(shown(rolling()), "errors").split()) == "Ok 0.41 of 200 3/412 (0.73%) 30/3712 (0.81%) 1.3"
    breached = rolling(evidence=[{**ERRORS, "state": "Breached", "eValue": 5310.2}])
    assert "5,310 of 200" in row(shown(breached), "errors")


def test_what_harm_the_counts_may_hide_is_said_and_how_much_of_it_may_be_left() -> None:
    text = shown(rolling())
    assert row(text, "may hide").startswith("errors: up to 2.1 in 100 answers more")
    assert "8 may be left" in row(
        text, "may hide"
    )  # the margin of 4 in 100 at all traffic is 8 at the next weight, 50 %
    assert "may be left" not in shown(rolling(spec={"promotion": "NoHarm"}))


@pytest.mark.parametrize(
    ("stage", "step", "behind"),
    [("Loading", None, 0), ("Shadow", None, 1), ("Canary", 0, 2), ("Canary", 2, 4), ("Baking", None, 5)],
)
def test_wherever_it_stands_one_stage_is_in_force_and_all_before_it_are_done(
    stage: str, step: int | None, behind: int
) -> None:
    states = [one.split()[0] for one in way(rolling(stage, stage=stage, step=step))]
    assert states == ["done"] * behind + ["here"] + ["ahead"] * (5 - behind)


def test_a_rollback_says_why_with_its_numbers_and_at_which_weight() -> None:
    bad = {**ERRORS, "state": "Breached", "bad": 34, "total": 600, "eValue": 5310.2}
    back = rolling("RolledBack", evidence=[bad])
    back["status"]["endedAt"] = "2026-03-01T11:58:00Z"
    text = shown(back)
    assert row(text, "rollout") == "✓ load → ✓ shadow 10 % → ✓ 10 % → ✗ 25 % 1:20"
    assert "34/600 (5.7%) of the candidate's answers bad" in row(text, "why")
    assert "evidence 5,310, and 200 takes it back" in row(text, "why")
    assert "✓ Canary → ✗ RolledBack" in text

    back["status"]["rollout"]["message"] = "Evidence of harm 5310, rollback from 200: errors"
    assert row(shown(back), "why") == "Evidence of harm 5310, rollback from 200: errors"


def test_the_report_of_a_rollback_has_the_rollout_too() -> None:
    back = rolling("RolledBack")
    assert "✗ 25 %" in plain(report(back, NOW))
    assert as_data(back)["rollout"]["evidence"][0]["eValue"] == 0.41


def test_a_promoted_run_has_all_its_steps_behind_it() -> None:
    done = rolling("Promoted", stage="Baking", step=None)
    done["status"]["endedAt"] = "2026-03-01T11:58:00Z"
    assert {one.split()[0] for one in way(done)} == {"done"}
    assert "why" not in shown(done)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("NoTraffic", "no answers of the candidate"),
        ("SourceDown", "frozen"),
        ("SeriesAbsent", "mend rollout.stopLoss"),
        ("BaselineUnhealthy", "stable itself"),
    ],
)
def test_a_stop_loss_that_cannot_judge_says_what_that_means(state: str, said: str) -> None:
    text = shown(rolling(evidence=[{"name": "errors", "state": state}]))
    assert f"errors {state}: " in row(text, "hindered")
    assert said in row(text, "hindered")


def test_a_paused_rollout_says_that_the_stop_loss_stays_armed_and_how_to_go_on() -> None:
    paused = rolling(pausedSince="2026-03-01T11:58:00Z")
    text = plain(status(job(phase="Suspended"), paused, [], NOW))
    assert row(text, "paused") == "for 2:00; the stop-loss stays armed"
    assert row(text, "next") == ("the weight is held, with the stop-loss armed, until `kubectl retune resume triage`")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (rolling("Loading", stage="Loading"), "copies of requests, once the candidate is loaded and read back"),
        (rolling("Shadow", stage="Shadow"), "10 % of traffic after 6:40 more"),
        (
            rolling("Baking", stage="Baking"),
            "promotion after 56:40 more, once harm is ruled out by the evidence",
        ),
        (
            rolling(evidence=[{**ERRORS, "total": 12}], spec={"promotion": "NoHarm"}, step=2),
            (
                "the bake at 90 % of traffic after 6:40 more, once 50 requests of this step are counted "
                "and no stop-loss is breached"
            ),
        ),
        (
            rolling("Baking", stage="Baking", heldBecause="AwaitingApproval"),
            "waits for a person to promote it: `kubectl retune promote triage`",
        ),
    ],
)
def test_what_comes_next_names_the_weight_the_time_and_the_condition(run: Raw, said: str) -> None:
    assert ahead(job(), run, NOW) == said


def test_a_job_that_serves_has_the_rollout_on_its_way_from_the_beginning() -> None:
    ahead_of_it = [step.phase for step in steps(run(spec={"serving": {}, "rollout": ROLLOUT}), NOW)]
    assert ahead_of_it[-5:] == ["Loading", "Shadow", "Canary", "Baking", "Promoted"]
    assert "Canary" not in [step.phase for step in steps(run(), NOW)]  # trains and publishes only


def test_a_rollout_of_which_little_is_known_is_still_shown() -> None:
    bare = rolling(since=None, startedAt=None, expectedHours=None, taps=None, evidence=None, step=None)
    del bare["spec"]["rollout"]
    assert row(shown(bare), "rollout")
    assert "● Canary" in shown(bare)


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_fits_the_terminal_and_no_figure_is_cut(width: int) -> None:
    slow = {**ERRORS, "name": "overrides", "state": "NoTraffic", "stableBad": 8120, "stableTotal": 371200}
    stands = rolling(evidence=[ERRORS, slow], heldBecause="MoreEvidence", message="Harm is not ruled out yet: " * 4)
    conditions = [condition("Safe", "Unknown", "NotExposed", "No user has met the candidate yet.")]
    stands["status"]["conditions"] = conditions
    for page in (status(job(), stands, [], NOW), describe.run(stands, job(), [], [], NOW)):
        text = plain(page, width)
        assert all(len(line) <= width for line in text.splitlines())
        assert "8120/371200 (2.2%)" in text
        assert "0.41 of 200" in text
    assert THIRD in shown(stands)
