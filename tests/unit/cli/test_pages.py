"""What a person reads in a report, a list of runs, a description and a comparison of two runs."""

from typing import Any

from tests.unit.cli.objects import EVENTS, FIRST, NOW, SECOND, SPEC, THIRD, condition, job, promoted, run

from retune.cli.view import describe
from retune.cli.view.diff import changes, diff
from retune.cli.view.paper import plain
from retune.cli.view.report import as_data, report
from retune.cli.view.runs import HEADS, runs

Raw = dict[str, Any]
REJECTED = "ExactMatch 0.100 is less than the 0.7 that was asked for."


def line(text: str, start: str) -> str:
    return next(
        " ".join(one.split()) for one in text.splitlines() if one.split()[: len(start.split())] == start.split()
    )


def section(text: str, title: str) -> str:
    """What stands under a heading."""
    return text.partition(f"\n{title}\n")[2].partition("\n\n")[0]


def rejected(number: int = 3) -> Raw:
    conditions = [condition("Accepted", "False", "BelowMinimum", REJECTED)]
    return run(number, "Rejected", endedAt="2026-03-01T11:59:00Z", conditions=conditions, scores={"uplift": -0.05})


def test_a_report_tells_the_verdict_the_gates_numbers_and_their_advice() -> None:
    text = plain(report(promoted(3), NOW))
    assert "Promoted  GoodEnough: ExactMatch 0.800, base 0.100, at least 0.7 was asked for." in text
    gates = section(text, "Gates")
    assert "examples 640, exact duplicates 5, near duplicates 3, duplicate fraction 1.25%" in gates
    assert "EMAIL_ADDRESS 3, rows 3, redacted 0" in gates
    assert "→ Set spec.gates.privacy.redact to true, or remove the rows." in gates
    assert REJECTED in plain(report(rejected(), NOW))


def test_a_report_compares_with_interval_and_with_what_so_many_examples_can_show() -> None:
    found = section(plain(report(promoted(3), NOW)), "Candidate")
    assert line(found, "Gold,") == "Gold, base ExactMatch 0.100 0.800 +0.700 +0.620 to +0.780 240 0.081"
    assert line(found, "Guard,") == "Guard, base TokenF1 0.500 0.490 -0.010 - 40 -"
    assert "look 2 at this gold set; each bound holds with 97.5 %" in found


def test_a_report_shows_segments_cost_payback_approvals_and_where_the_files_lie() -> None:
    text = plain(report(promoted(3), NOW))
    assert line(section(text, "Segments"), "de") == "de 120 0.080 0.750 +0.670 0.031"
    money = section(text, "Cost and payback")
    assert "0.23 EUR (GPU 5:34" in money
    assert "earns back what it costs in 2.4 months" in money
    assert "lena@example.com, 5m ago" in section(text, "Approvals")
    folder = "s3://models/retune/support/triage/triage-3-7f2a"
    assert section(text, "Files").split() == [f"{folder}/report.html", f"{folder}/report.json"]


def test_a_report_of_a_run_that_had_no_chance_to_measure_still_says_why() -> None:
    early = run(
        phase="Failed",
        endedAt="2026-03-01T11:55:00Z",
        gates=None,
        approvals=None,
        resolved=None,
        cost=None,
        conditions=[condition("GatesPassed", "False", "DatasetNotFound", "spec.dataset.train.uri: nothing there")],
    )
    text = plain(report(early, NOW))
    assert "DatasetNotFound: spec.dataset.train.uri: nothing there" in text
    assert "Segments" not in text
    assert "no report lies in the store" in text


def test_the_report_as_data_keeps_the_statuss_own_names() -> None:
    data = as_data(promoted(3))
    assert data["run"] == THIRD
    assert data["comparisons"][0]["smallest"] == 0.081
    assert data["gates"][2]["advice"].startswith("Set ")
    assert "progress" not in data


def test_runs_are_listed_with_their_end_and_the_one_that_serves_is_marked() -> None:
    text = plain(runs([promoted(1), promoted(2), rejected()], job(), NOW))
    lines = text.splitlines()
    assert lines[0].split() == list(HEADS)
    assert lines[1].split()[:4] == ["1", FIRST, "SpecChanged", "Promoted"]
    assert lines[2].endswith("serves")
    assert lines[3].endswith("BelowMinimum")
    assert "-0.050" in lines[3]


def test_the_columns_of_runs_stay_whatever_they_hold() -> None:
    bare = run(phase=None, cost=None)
    bare["status"] = {}
    for found in ([bare], [promoted(1)], [bare, promoted(2)]):
        assert plain(runs(found, None, NOW)).splitlines()[0].split() == list(HEADS)
    assert plain(runs([], job(), NOW)) == "No runs yet.\n"


def test_a_job_is_described_with_what_is_trained_its_runs_and_all_its_conditions() -> None:
    text = plain(describe.job(job(), [promoted(2), run()], EVENTS, NOW))
    trained = section(text, "What is trained")
    assert "LoRA, rank 16, alpha 32" in trained
    assert "3 epochs, learning rate 0.001, on 1 GPU" in trained
    assert "total 50, a run 5" in section(text, "Money")
    assert SECOND in section(text, "Runs")
    assert "spec.serving, spec.rollout" in section(text, "Conditions")  # in full, unlike on the status screen


def test_a_run_is_described_with_every_attempt_and_why_it_ended() -> None:
    attempts = [
        {
            "stage": "Train",
            "number": 1,
            "startedAt": "2026-03-01T11:50:00Z",
            "endedAt": "2026-03-01T11:52:00Z",
            "exit": "Disrupted",
            "reason": "Evicted",
            "message": "Pod x was evicted: disk",
        },
        {"stage": "Train", "number": 2, "startedAt": "2026-03-01T11:55:00Z"},
    ]
    pods = [{"metadata": {"name": f"{THIRD}-t2-x"}, "status": {"phase": "Running"}, "spec": {"nodeName": "node0"}}]
    asked = run(attempts=attempts)
    asked["metadata"]["annotations"] = {"retune.dev/cancel": "by lena", "kubectl.kubernetes.io/x": "y"}
    text = plain(describe.run(asked, job(), pods, EVENTS, NOW))
    told = section(text, "Attempts")
    assert line(told, "Train 1") == "Train 1 Disrupted 10m 2:00 Evicted: Pod x was evicted: disk"
    assert line(told, "Train 2") == "Train 2 Running 5m 5:00"
    assert "node0" in section(text, "Pods")
    assert "retune.dev/cancel=by lena" in text
    assert "kubectl.kubernetes.io" not in text


def test_a_diff_shows_the_fields_that_differ_and_no_others() -> None:
    changed = {"training": {**SPEC["training"], "epochs": 5}, "evaluation": {"metrics": [{"name": "ExactMatch"}]}}
    asked = section(plain(diff(promoted(2), promoted(3, spec=changed))), "Spec")
    assert line(asked, "training.epochs") == "training.epochs 3 5"
    assert line(asked, "evaluation.metrics[TokenF1]") == "evaluation.metrics[TokenF1] present -"
    assert "baseModel" not in asked
    assert "number" not in asked
    assert "The specs are the same." in plain(diff(promoted(2), promoted(3)))


def test_a_diff_shows_data_that_changed_under_the_same_uri() -> None:
    other = promoted(3)
    other["status"]["resolved"] = {
        **other["status"]["resolved"],
        "train": {"digest": "sha256:" + "d" * 64, "examples": 700},
    }
    found = section(plain(diff(promoted(2), other)), "Found by preflight")
    assert line(found, "train.examples") == "train.examples 640 700"
    assert "gold" not in found


def test_a_diff_sets_scores_cost_and_gates_side_by_side() -> None:
    worse = promoted(
        3,
        scores={"metric": "ExactMatch", "base": 0.1, "candidate": 0.4, "uplift": 0.3},
        gates=[{"name": "data", "verdict": "Failed", "values": {"examples": 400, "exactDuplicates": 5}}],
    )
    text = plain(diff(promoted(2), worse))
    assert line(section(text, "Scores"), "uplift") == "uplift +0.700 (+0.620 to +0.780) +0.300"
    gates = section(text, "Gates")
    assert line(gates, "data") == "data Passed Failed"
    assert line(gates, "examples") == "examples 640 examples 400"
    assert "exact duplicates" not in gates  # the same in both
    assert line(gates, "leakage") == "leakage Passed -"
    assert "0.23 EUR" in line(text, "cost")


def test_a_run_without_scores_can_be_compared_with_one_that_has_them() -> None:
    text = plain(diff(promoted(2), run(3)))
    assert line(section(text, "Scores"), "candidate") == "candidate 0.800 ExactMatch -"


def test_items_of_lists_are_told_apart_by_name_and_order_is_no_difference() -> None:
    one = {"metrics": [{"name": "A", "k": 1}, {"name": "B"}]}
    two = {"metrics": [{"name": "B"}, {"name": "A", "k": 2}]}
    assert changes(one, two) == [("metrics[A].k", "1", "2")]
    assert changes(one, one) == []
