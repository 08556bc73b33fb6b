"""Whole commands: what comes out, what an error says, and what is asked of the API server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.cli.apiserver import serving
from tests.unit.cli.objects import THIRD, job, promoted, run

from retune.cli import live, logs
from retune.cli.app import verbs

Raw = dict[str, Any]
CHECKOUT = Path(__file__).resolve().parents[3]
OURS = "/apis/retune.dev/v1alpha1/namespaces/support"
PODS = "/api/v1/namespaces/support/pods"
JOB, RUNS, RUN = f"{OURS}/finetunejobs/triage", f"{OURS}/finetuneruns", f"{OURS}/finetuneruns/{THIRD}"
EVENTS = "/api/v1/namespaces/support/events"
FORBIDDEN = {
    "reason": "Forbidden",
    "message": 'events is forbidden: User "lena" cannot list resource "events" in API group "" in the namespace "s"',
}


def world(*runs: Raw) -> dict[str, Any]:
    return {
        JOB: (200, job()),
        RUNS: (200, {"items": list(runs)}),
        EVENTS: (200, {"items": []}),
        PODS: (200, {"items": []}),
    }


def pod(stage: str, attempt: int, phase: str) -> Raw:
    labels = {"retune.dev/run": THIRD, "retune.dev/stage": stage, "retune.dev/attempt": str(attempt)}
    name = f"{THIRD}-{stage[0]}{attempt}-x"
    return {"metadata": {"name": name, "labels": labels, "creationTimestamp": ""}, "status": {"phase": phase}}


def call(folder: Path, answers: dict[str, Any], *arguments: str) -> Result:
    with serving(folder, answers) as api:
        return CliRunner().invoke(verbs, [*arguments, f"--kubeconfig={api.kubeconfig}"], catch_exceptions=False)


def error(folder: Path, answers: dict[str, Any], *arguments: str) -> str:
    """The one line that a failing command writes."""
    said = call(folder, answers, *arguments)
    assert said.exit_code == 1, said.output
    assert said.stderr.startswith("error: ")
    assert said.stderr.count("\n") == 1
    return said.stderr


def test_without_a_terminal_status_prints_once_and_without_colour_codes(tmp_path: Path) -> None:
    said = call(tmp_path, world(promoted(2), run()), "status", "triage")
    assert said.exit_code == 0
    assert "● Training" in said.stdout
    assert "\x1b" not in said.stdout
    assert not [line for line in said.stdout.splitlines() if line != line.rstrip()]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL", 0)
    monkeypatch.setattr(logs, "POLL", 0)


def test_watching_without_a_terminal_prints_each_change_until_the_run_ends(tmp_path: Path) -> None:
    answers = world()
    answers[RUNS] = [(200, {"items": [run(phase=p)]}) for p in ("Training", "Training", "Evaluating")]
    answers[RUNS].append((200, {"items": [promoted(3)]}))
    answers[JOB] = [(200, job()), (503, "overloaded"), *[(200, job())] * 4, (200, job(phase="Idle"))]
    said = call(tmp_path, answers, "status", "triage", "--watch")
    told = [line.partition("  ")[2] for line in said.stdout.splitlines()]
    assert [t.removeprefix(f"{THIRD} ") for t in told if t.startswith(THIRD)] == ["Training", "Evaluating", "Promoted"]
    assert "the API server does not answer; waiting for it" in told
    assert any(t.startswith("Accepted=True GoodEnough: ExactMatch 0.800") for t in told)


def test_status_as_json_holds_job_run_and_events(tmp_path: Path) -> None:
    data = json.loads(call(tmp_path, world(run()), "status", "triage", "-o", "json").stdout)
    assert data["job"]["metadata"]["name"] == "triage"
    assert data["run"]["status"]["progress"]["step"] == 120
    assert data["events"] == []
    assert "managedFields" not in data["job"]["metadata"]


def test_who_may_not_read_events_still_gets_the_rest(tmp_path: Path) -> None:
    answers = world(run()) | {EVENTS: (403, FORBIDDEN)}
    assert "● Training" in call(tmp_path, answers, "status", "triage").stdout


def test_a_run_is_found_by_its_own_name_too(tmp_path: Path) -> None:
    answers = world(run()) | {RUN: (200, run())}
    assert THIRD in call(tmp_path, answers, "report", THIRD).stdout
    assert "leave the number 3 out" in error(tmp_path, answers, "report", THIRD, "3")


def test_runs_of_a_deleted_namesake_are_not_the_jobs(tmp_path: Path) -> None:
    stranger = run(7)
    stranger["spec"]["jobRef"]["uid"] = "another"
    assert "triage-7" not in call(tmp_path, world(promoted(2), stranger), "runs", "triage").stdout


def test_options_may_stand_before_the_verb_as_with_kubectl(tmp_path: Path) -> None:
    with serving(tmp_path, {f"{OURS.replace('support', 'other')}/finetunejobs": (200, {"items": [job()]})}) as api:
        arguments = [f"--kubeconfig={api.kubeconfig}", "-n", "other", "status", "triag"]
        said = CliRunner().invoke(verbs, arguments)
        assert "in namespace other. Jobs there: triage" in said.stderr


def test_diff_compares_the_two_newest_runs_two_numbers_or_two_names(tmp_path: Path) -> None:
    answers = world(promoted(1), promoted(2), run()) | {RUN: (200, run()), f"{RUNS}/triage-1-7f2a": (200, promoted(1))}
    for words, pair in (
        (["triage"], ("triage-2-7f2a", THIRD)),
        (["triage", "1"], ("triage-1-7f2a", THIRD)),
        (["triage", "1", "2"], ("triage-1-7f2a", "triage-2-7f2a")),
        (["triage-1-7f2a", THIRD], ("triage-1-7f2a", THIRD)),
    ):
        assert call(tmp_path, answers, "diff", *words).stdout.splitlines()[0].split() == ["RUN", *pair]
    assert "two are needed" in error(tmp_path, world(run()), "diff", "triage")
    assert call(tmp_path, answers, "diff", "triage", "1", "x").exit_code == 2


def test_the_log_of_the_newest_pod_is_printed_and_others_are_chosen_by_stage(tmp_path: Path) -> None:
    pods = [pod("train", 1, "Running"), pod("preflight", 1, "Succeeded")]
    answers = world(run()) | {PODS: (200, {"items": pods}), f"{PODS}/{THIRD}-t1-x/log": (200, "step 1\nstep 2\n")}
    said = call(tmp_path, answers, "logs", "triage")
    assert said.stdout == "step 1\nstep 2\n"
    assert "(train, attempt 1)" in said.stderr  # a header that does not get into the file
    answers |= {PODS: (200, {"items": pods[1:]}), f"{PODS}/{THIRD}-p1-x/log": (200, "checked\n")}
    assert call(tmp_path, answers, "logs", "triage", "--stage", "preflight").stdout == "checked\n"


def test_following_goes_from_pod_to_pod_until_the_run_is_over(tmp_path: Path) -> None:
    first, second = pod("train", 1, "Failed"), pod("train", 2, "Succeeded")
    answers = world(run()) | {
        RUN: [(200, run()), (200, run()), (200, run(phase="Failed"))],
        PODS: [(200, {"items": [first]}), (200, {"items": [first]}), (200, {"items": [first, second]})],
        f"{PODS}/{THIRD}-t1-x/log": (200, "one\n"),
        f"{PODS}/{THIRD}-t2-x/log": (200, "two\n"),
    }
    answers[PODS].insert(0, (200, {"items": [first]}))
    assert call(tmp_path, answers, "logs", "triage", "-f").stdout == "one\ntwo\n"


def test_the_last_word_of_a_pod_that_is_gone_is_told(tmp_path: Path) -> None:
    attempts = [{"stage": "Train", "number": 1, "exit": "Crashed", "message": "exit code 1 (Error)"}]
    said = error(tmp_path, world(run(phase="Failed", attempts=attempts)), "logs", "triage")
    assert f"the pod of train 1 of run {THIRD} is gone" in said
    assert "Crashed: exit code 1 (Error)" in said


def test_an_attempt_without_its_stage_is_a_wrong_usage(tmp_path: Path) -> None:
    assert call(tmp_path, world(run()), "logs", "triage", "--attempt", "2").exit_code == 2


def test_every_refusal_of_the_api_server_becomes_one_line_with_a_cure(tmp_path: Path) -> None:
    assert "Log in again" in error(tmp_path, {JOB: (401, {"message": "Unauthorized"})}, "runs", "triage")
    assert "Retune is not installed" in error(tmp_path, {JOB: (404, "404 page not found\n")}, "runs", "triage")
    quota = {"message": 'finetuneruns "x" is forbidden: exceeded quota'}
    assert "exceeded quota" in error(tmp_path, {JOB: (403, quota)}, "runs", "triage")
    assert "upstream has gone" in error(tmp_path, {JOB: (502, "upstream has gone")}, "runs", "triage")
    assert "may not list" in error(tmp_path, world() | {RUNS: (403, FORBIDDEN)}, "runs", "triage")
    assert "no job at all" in error(tmp_path, {f"{OURS}/finetunejobs": (200, {"items": []})}, "runs", "triage")


def test_an_api_server_that_is_not_there_is_named_with_its_context(tmp_path: Path) -> None:
    with serving(tmp_path, {}) as api:
        pass
    said = CliRunner().invoke(verbs, ["runs", "triage", f"--kubeconfig={api.kubeconfig}"])
    assert said.exit_code == 1
    assert "does not answer (Connection refused)" in said.stderr
    assert 'is "test" the right context?' in said.stderr


@pytest.mark.parametrize("content", ["", "a: [", "just words", "contexts: []\n"])
def test_a_broken_kubeconfig_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    said = CliRunner().invoke(verbs, ["runs", "triage", f"--kubeconfig={path}"], catch_exceptions=False)
    assert said.exit_code == 1
    assert said.stderr.startswith("error: no usable kubeconfig: ")
    assert said.stderr.count("\n") == 1


def test_a_credential_plugin_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, world()) as api:
        plugin = (
            "{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never}}"
        )
        api.kubeconfig.write_text(
            api.kubeconfig.read_text().replace("token: t", "token:").replace("user:\n    token:", f"user: {plugin}")
        )
        said = CliRunner().invoke(verbs, ["runs", "triage", f"--kubeconfig={api.kubeconfig}"])
    assert "no-such-plugin" in said.stderr
    assert said.stderr.count("\n") == 1


def test_help_comes_at_once_and_needs_neither_the_cluster_nor_its_client() -> None:
    probe = (
        "import json, resource, sys; sys.argv[1:] = ['--help']\nfrom retune.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {m.split('.')[0] for m in sys.modules} & {'kubernetes', 'kopf', 'pydantic', 'rich', 'aiohttp'}\n"
        "print(json.dumps({'heavy': sorted(heavy), 'cpu': used.ru_utime + used.ru_stime}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "operator")}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["heavy"] == []
    assert told["cpu"] < 0.7  # s; wall time says more of the machine's other tenants
    for verb in ("status", "describe", "runs", "logs", "report", "diff", "approve", "pause", "resume", "halt", "retry"):
        assert f"\n  {verb} " in done.stdout
    assert "...\n" not in done.stdout.partition("Commands:")[2]  # every verb's sentence fits
