"""`replay`: what a stop-loss would have done with counters of the past."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.unit.cli.traces import counters, job, table

from retune.cli.app import verbs

Raw = dict[str, Any]
SHORT = {"steps": [{"weight": 10, "hold": "2m"}, {"weight": 50, "hold": "2m"}], "bake": "5m"}


def replayed(folder: Path, lines: list[str], **rollout: Any) -> list[Raw]:
    """Every poll and the end, as `-o json` prints them."""
    done = CliRunner().invoke(
        verbs, ["replay", "--job", job(folder, **rollout), "--csv", table(folder, lines), "-o", "json"]
    )
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one.get("final", False) for one in found] == [False] * (len(found) - 1) + [True]
    return found


def ending(folder: Path, lines: list[str], **rollout: Any) -> Raw:
    return replayed(folder, lines, **rollout)[-1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("buckets", [0, 32])
def test_a_candidate_as_good_as_stable_is_promoted(tmp_path: Path, seed: int, buckets: int) -> None:
    found = replayed(tmp_path, counters(seed=seed, seconds=3600, buckets=buckets, every=10), **SHORT)
    assert found[-1]["verdict"] == "Promoted"
    assert {one["verdict"] for one in found[:-1]} == {"Hold", "Advance"}
    weights = [one["weight"] for one in found[:-1]]
    assert weights == sorted(weights)
    assert set(weights) == {10, 50, 90}
    assert found[-1]["time"] >= 2 * 60 + 2 * 60 + 5 * 60


@pytest.mark.parametrize("buckets", [0, 32])
def test_a_candidate_that_fails_half_of_its_requests_is_taken_back_within_a_minute(
    tmp_path: Path, buckets: int
) -> None:
    lines = counters(fault=0.5, fault_from=60, seconds=900, buckets=buckets)
    found = replayed(tmp_path, lines, **SHORT)
    assert found[-1]["verdict"] == "RolledBack"
    assert 60 < found[-1]["time"] <= 120
    assert found[-2]["verdict"] == "RollBack"
    assert found[-2]["metrics"][0]["state"] == "Breached"
    assert found[-2]["metrics"][0]["eValue"] >= found[-2]["metrics"][0]["threshold"]
    assert "errors: " in found[-1]["reason"]


def test_counters_that_start_anew_neither_harm_nor_hide(tmp_path: Path) -> None:
    healthy = ending(tmp_path, counters(seconds=3600, reset_at=300), **SHORT)
    assert healthy["verdict"] == "Promoted"
    bad = counters(fault=0.5, fault_from=300, reset_at=300, seconds=900)
    assert ending(tmp_path, bad, **SHORT)["verdict"] == "RolledBack"


def test_without_requests_of_the_candidate_nothing_is_decided_until_the_timeout(tmp_path: Path) -> None:
    found = replayed(tmp_path, counters(canary=False, seconds=3600), timeout="20m", **SHORT)
    assert found[-1]["verdict"] == "Inconclusive"
    assert found[-1]["time"] == 20 * 60
    assert "rollout.timeout (20m)" in found[-1]["reason"]
    assert {one["weight"] for one in found[:-1]} == {10}
    assert {metric["state"] for one in found[:-1] for metric in one["metrics"]} == {"NoTraffic"}


def test_data_that_end_too_early_say_what_was_still_needed(tmp_path: Path) -> None:
    end = ending(tmp_path, counters(seconds=60), **SHORT)
    assert end["verdict"] == "Inconclusive"
    assert "the data end in step 0 (10 %); held for 1:00 of 2:00" in end["reason"]


def test_small_traffic_goes_on_with_no_harm_where_evidence_still_waits(tmp_path: Path) -> None:
    few = counters(per_minute=60, seconds=1800)
    asked = {"minRequests": 5, **SHORT}
    assert ending(tmp_path, few, promotion="NoHarm", **asked)["verdict"] == "Promoted"
    waiting = ending(tmp_path, few, promotion="Evidence", **asked)
    assert waiting["verdict"] == "Inconclusive"
    assert "cannot be ruled out" in waiting["reason"]


def test_data_that_name_their_steps_are_followed_as_they_were(tmp_path: Path) -> None:
    lines = counters(seconds=1200)
    labels = [("0" if time < 300 else "1" if time < 600 else "bake") for time in range(0, 1201, 5) for _ in range(2)]
    named = [f"{lines[0]},step", *(f"{line},{label}" for line, label in zip(lines[1:], labels, strict=True))]
    found = replayed(tmp_path, named, promotion="NoHarm", **SHORT)
    assert [one["step"] for one in found if one.get("time") in (295, 300, 595, 600)] == [0, 1, 1, "bake"]
    assert found[-1]["verdict"] == "Promoted"
    assert found[-1]["time"] == 600 + 5 * 60


@pytest.mark.parametrize("goes_on", [True, False])
def test_counters_kept_apart_by_step_and_counters_that_go_on_mean_the_same(tmp_path: Path, goes_on: bool) -> None:
    lines = ["time,step,metric,arm,bad,total"]
    for at in range(41):
        label, past = ("0", at) if at < 20 else ("1", at if goes_on else at - 20)
        lines += [f"{at * 15},{label},errors,stable,{past * 2},{past * 100}"]
        lines += [f"{at * 15},{label},errors,canary,{past // 2},{past * 25}"]
    last = replayed(tmp_path, lines, **SHORT)[-2]["metrics"][0]
    assert last["stableTotal"] in (2000, 2100)  # of step 1 alone; the poll in which it began may count
    assert last["total"] in (500, 525)


def test_the_same_data_give_the_same_answer_to_the_last_digit(tmp_path: Path) -> None:
    lines = counters(fault=0.05, seconds=1200)
    assert replayed(tmp_path, lines, **SHORT) == replayed(tmp_path, lines, **SHORT)


def test_a_stop_loss_that_the_data_say_nothing_about_is_left_out_and_named(tmp_path: Path) -> None:
    asked = ["replay", "--job", job(tmp_path, stopLoss=None), "--csv", table(tmp_path, counters(seconds=60))]
    done = CliRunner().invoke(verbs, [*asked, "-o", "json"])
    assert done.exit_code == 0, done.output
    assert "left out: overrides, slow" in done.stderr
    assert [metric["name"] for metric in json.loads(done.stdout.splitlines()[0])["metrics"]] == ["errors"]


def test_a_persons_table_shows_each_change_and_ends_with_a_sentence(tmp_path: Path) -> None:
    lines = counters(fault=0.5, fault_from=60, seconds=900)
    done = CliRunner().invoke(verbs, ["replay", "--job", job(tmp_path, **SHORT), "--csv", table(tmp_path, lines)])
    assert done.exit_code == 0, done.output
    rows = done.stdout.splitlines()
    assert rows[0].split() == ["TIME", "WEIGHT", "CANARY", "errors", "VERDICT"]
    assert rows[-3].endswith("RollBack")
    assert rows[-1].startswith("RolledBack after 1:")
    assert "takes it back" in rows[-1]
    assert len(rows) < 30


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--csv", "x.csv"], "name a JOB in the cluster, or --job FILE"),
        (["--job", "job.yaml"], "name one source of counters"),
        (["--job", "job.yaml", "--prometheus", "http://localhost"], "--prometheus needs --from"),
        (["--job", "absent.yaml", "--csv", "x.csv"], "absent.yaml cannot be read"),
    ],
)
def test_wrong_usage_is_said_in_a_line_and_ends_with_2(given: list[str], said: str) -> None:
    done = CliRunner().invoke(verbs, ["replay", *given])
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        ({"confidence": 1.5}, "spec.rollout.confidence (1.5)"),
        ({"bakes": "1h"}, "spec.rollout.bakes ('1h'): is not a field"),
        ({"steps": [{"weight": 50}, {"weight": 10}]}, "let them rise"),
        ({"stopLoss": [{"name": "a", "builtin": "Errors"}] * 2}, "names one twice"),
    ],
)
def test_a_rollout_that_cannot_be_meant_is_named_by_its_field(tmp_path: Path, rollout: Raw, said: str) -> None:
    done = CliRunner().invoke(verbs, ["replay", "--job", job(tmp_path, **rollout), "--csv", "x.csv"])
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
