"""promote and rollback: what they write, what they say will happen, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.cli.apiserver import serving
from tests.unit.cli.objects import DIGEST, FIRST, SECOND, THIRD, job, promoted, run

from retune.cli import live, writing
from retune.cli.app import verbs

Raw = dict[str, Any]
OURS = "/apis/retune.dev/v1alpha1/namespaces/support"
JOB, RUNS, RUN = f"{OURS}/finetunejobs/triage", f"{OURS}/finetuneruns", f"{OURS}/finetuneruns/{THIRD}"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
CANARY = {"stage": "Canary", "step": 1, "weight": 25}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PAUSE", 0)


def canary(**stands: Any) -> Raw:
    return run(phase="Canary", rollout={**CANARY, **stands})


def world(*runs: Raw, **status: Any) -> dict[str, Any]:
    previous = {"previous": {"run": FIRST, "digest": DIGEST}}
    return {
        JOB: (200, job(**{**previous, **status})),
        RUNS: (200, {"items": list(runs)}),
        RUN: (200, runs[-1] if runs else {}),
        WHO: (200, {"status": {"userInfo": {"username": "lena"}}}),
    }


def call(folder: Path, answers: dict[str, Any], *arguments: str, answer: str = "") -> tuple[Result, list[Raw]]:
    """What was said, and the annotations that were written, in order."""
    with serving(folder, answers) as api:
        done = CliRunner().invoke(verbs, [*arguments, f"--kubeconfig={api.kubeconfig}"], input=answer)
    written = [(path.rsplit("?")[0], body["metadata"]) for path, body in api.sent if "metadata" in body]
    return done, [{"of": path.rsplit("/", 1)[1], **metadata["annotations"]} for path, metadata in written]


def test_promote_writes_who_asked_for_it_on_the_run_in_rollout(tmp_path: Path) -> None:
    said, written = call(tmp_path, world(promoted(2), canary()), "promote", "triage", "--yes")
    assert said.exit_code == 0, said.output
    assert written == [{"of": THIRD, "retune.dev/promote": "by lena"}]
    assert "25 % of traffic" in said.output
    assert "kubectl retune rollback triage" in said.output


def test_a_run_that_is_not_in_rollout_cannot_be_promoted(tmp_path: Path) -> None:
    said, written = call(tmp_path, world(run()), "promote", "triage", "--yes")
    assert said.exit_code == 1
    assert "is not in rollout (it is Training)" in said.stderr
    assert written == []


def test_with_a_candidate_in_rollout_rollback_takes_that_one_back(tmp_path: Path) -> None:
    said, written = call(tmp_path, world(promoted(2), canary()), "rollback", "triage", answer="y\n")
    assert said.exit_code == 0, said.output
    assert written == [{"of": "triage", "retune.dev/rollback": THIRD}]
    assert f"{THIRD} loses its 25 % of traffic (Canary) and ends as RolledBack. {SECOND} keeps serving." in said.output


def test_without_a_candidate_rollback_goes_to_the_previous_model_or_to_the_one_that_is_named(tmp_path: Path) -> None:
    runs = [promoted(1), promoted(2), promoted(3)]
    said, written = call(tmp_path, world(*runs), "rollback", "triage", "-y")
    assert written == [{"of": "triage", "retune.dev/rollback": FIRST}]
    assert f"{FIRST} will serve all traffic again, instead of {SECOND}" in said.output
    for named in ("3", THIRD):
        assert call(tmp_path, world(*runs), "rollback", "triage", named, "-y")[1][0]["retune.dev/rollback"] == THIRD


def test_a_no_or_nobody_at_the_terminal_changes_nothing(tmp_path: Path) -> None:
    for answer, why in (("n\n", "nothing was done"), ("", "--yes goes on without asking")):
        said, written = call(tmp_path, world(canary()), "rollback", "triage", answer=answer)
        assert said.exit_code == 1
        assert why in said.stderr
        assert written == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("3", "was never promoted (it is Rejected). Promoted runs to go back to: triage-1-7f2a"),
        ("2", "serves already"),
        ("9", 'has no run "9"'),
    ],
)
def test_only_a_promoted_run_that_does_not_serve_can_be_gone_back_to(tmp_path: Path, target: str, why: str) -> None:
    runs = [promoted(1), promoted(2), run(phase="Rejected")]
    said, written = call(tmp_path, world(*runs), "rollback", "triage", target, "--yes")
    assert said.exit_code == 1
    assert why in said.stderr
    assert written == []


def test_where_nothing_served_before_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    said, _ = call(tmp_path, world(promoted(2), previous=None), "rollback", "triage", "--yes")
    assert said.exit_code == 1
    assert f"no model served before {SECOND}" in said.stderr


def test_going_back_to_the_same_model_a_second_time_is_a_new_wish(tmp_path: Path) -> None:
    answers = world(promoted(1), promoted(2))
    before, after = job(previous={"run": FIRST, "digest": DIGEST}, rolledBack=FIRST), job()
    answers[JOB] = [(200, before), (200, before), (200, before), (200, after)]
    said, written = call(tmp_path, answers, "rollback", "triage", "--yes")
    assert said.exit_code == 0, said.output
    assert [one["retune.dev/rollback"] for one in written] == [None, FIRST]


def test_pausing_a_rollout_says_that_the_weight_is_held_and_the_stop_loss_armed(tmp_path: Path) -> None:
    said, written = call(tmp_path, world(canary()), "pause", "triage")
    assert "holds the candidate at 25 % of traffic. Its stop-loss stays armed" in said.output
    assert "retune.dev/pause" in written[0]
    assert "stop-loss" not in call(tmp_path, world(run()), "pause", "triage")[0].output
    assert "goes on from the weight" in call(tmp_path, world(canary()), "resume", "triage")[0].output
    assert "begins again" in call(tmp_path, world(canary()), "halt", "triage", "--reason", "why")[0].output


def test_watching_without_a_terminal_prints_each_weight_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL", 0)
    answers = world()
    stands = [canary(step=0, weight=10), canary(step=0, weight=10), canary(), promoted(3)]
    answers[RUNS] = [(200, {"items": [one]}) for one in stands]
    answers[JOB] = [(200, job())] * 3 + [(200, job(phase="Idle"))]
    answers["/api/v1/namespaces/support/events"] = (200, {"items": []})
    said, _ = call(tmp_path, answers, "status", "triage", "--watch")
    told = [line.partition("  ")[2] for line in said.stdout.splitlines()]
    assert [one for one in told if "% of traffic" in one] == ["Canary 10 % of traffic", "Canary 25 % of traffic"]
