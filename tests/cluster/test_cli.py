"""`kubectl retune` against a real API server: what it writes, and what it says when it may not.

The runs are made here, without an owner: an operator that happens to be at work leaves them alone.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import kubernetes
from retune.cli.app import verbs
from retune.decide.naming import run_name
from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import Cluster, eventually, spec

Raw = dict[str, Any]
_ARMS = (("stable", 0), ("canary", 25))  # bad ones of 50 in 5 s
PHASES = ("Promoted", "Rejected", "Training")
_numbers = itertools.count(1)


class Cli:
    """The plugin with one user's kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def __call__(self, *arguments: str) -> Result:
        done = CliRunner().invoke(verbs, [*arguments, f"--kubeconfig={self.kubeconfig}"], catch_exceptions=False)
        assert done.exit_code in {0, 1}, done.output
        return done

    def fails(self, *arguments: str) -> str:
        """The one line of an error."""
        said = self(*arguments)
        assert said.exit_code == 1, said.output
        assert said.stdout == ""
        assert said.stderr.startswith("error: ")
        assert said.stderr.count("\n") == 1
        return said.stderr


@pytest.fixture(scope="module")
def cluster(apiserver: ApiServer) -> Iterator[Cluster]:
    """A namespace with the job triage, and its runs 1 to 3, the last of which is in flight."""
    api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(apiserver.kubeconfig)))
    name = f"cli-{next(_numbers)}"
    api.create_namespace({"metadata": {"name": name}})
    made = Cluster(api.api_client, name)
    wanted = spec(suspend=True, gates={"approvals": {"required": [{"name": "legal"}, {"name": "dpo"}]}})
    job = made.apply_job("triage", wanted)
    for number, phase in enumerate(PHASES, 1):
        _make_run(made, job, number, phase)
    yield made
    api.delete_namespace(name)


def _make_run(cluster: Cluster, job: Raw, number: int, phase: str) -> None:
    copied = ("baseModel", "dataset", "gates", "method", "training", "evaluation", "artifacts")
    name = run_name("triage", job["metadata"]["uid"], number)
    body = {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "FineTuneRun",
        "metadata": {"name": name, "labels": {"retune.dev/job": "triage"}},
        "spec": {
            **{key: job["spec"][key] for key in copied},
            "jobRef": {"name": "triage", "uid": job["metadata"]["uid"]},
            "number": number,
            "trigger": {"kind": "Created"},
            "prices": {"currency": "EUR", "gpuHour": "2.50", "cpuHour": "0.04"},
            "image": "registry.example/trainer:1",
            "modelDigest": "sha256:" + "a" * 64,
            "operatorVersion": "0.1.0",
        },
    }
    place = ("retune.dev", "v1alpha1", cluster.namespace, "finetuneruns")
    cluster.custom.create_namespaced_custom_object(*place, body)
    cluster.custom.patch_namespaced_custom_object_status(*place, name, {"status": {"phase": phase}})


@pytest.fixture(scope="module")
def user(apiserver: ApiServer, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cli]:
    """Users by name; each with these rules in the namespace, or with all rights there if there are none."""

    def make(name: str, *rules: Raw) -> Cli:
        rules = rules or ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},)
        rbac = kubernetes.client.RbacAuthorizationV1Api(cluster.api)
        account = f"system:serviceaccount:{cluster.namespace}:{name}"
        cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": name}})
        rbac.create_namespaced_role(cluster.namespace, {"metadata": {"name": name}, "rules": list(rules)})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": account}],
        }
        rbac.create_namespaced_role_binding(cluster.namespace, binding)
        token = apiserver.run("create", "token", name, "-n", cluster.namespace).stdout.strip()
        config = yaml.safe_load(apiserver.kubeconfig.read_text())
        config["users"] = [{"name": name, "user": {"token": token}}]
        config["contexts"][0]["context"].update({"user": name, "namespace": cluster.namespace})
        path = tmp_path_factory.mktemp("user") / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return Cli(path)

    return make


@pytest.fixture(scope="module")
def lena(user: Callable[..., Cli]) -> Cli:
    """A user with all rights in the namespace, which is her context's."""
    return user("lena")


def annotations(cluster: Cluster, run: str | None = None) -> dict[str, str]:
    found = cluster.run(run) if run else cluster.job("triage")
    assert found is not None
    return found["metadata"].get("annotations") or {}


def name_of(cluster: Cluster, number: int) -> str:
    return str(cluster.runs("triage")[number - 1]["metadata"]["name"])


def test_pause_halt_and_retry_annotate_the_job_and_resume_takes_pause_and_halt_away(
    cluster: Cluster, lena: Cli
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert lena("pause", "triage").exit_code == 0
    assert lena("halt", "triage", "--reason", "the data are wrong").exit_code == 0
    assert lena("retry", "triage").exit_code == 0
    asked = annotations(cluster)
    assert before <= datetime.fromisoformat(asked["retune.dev/pause"]) <= datetime.now(UTC)
    assert before <= datetime.fromisoformat(asked["retune.dev/retry"]) <= datetime.now(UTC)
    assert asked["retune.dev/halt"] == "the data are wrong"

    said = lena("resume", "triage")
    assert said.exit_code == 0
    assert "spec.suspend" in said.output  # which resume does not touch
    asked = annotations(cluster)
    assert "retune.dev/pause" not in asked
    assert "retune.dev/halt" not in asked
    assert before <= datetime.fromisoformat(asked["retune.dev/resume"]) <= datetime.now(UTC)


def test_cancel_ends_the_run_in_flight_in_the_users_name_and_no_other_one(cluster: Cluster, lena: Cli) -> None:
    first, third = name_of(cluster, 1), name_of(cluster, 3)
    assert f"{first} has ended (Promoted)" in lena.fails("cancel", first)
    assert "has ended" in lena.fails("cancel", "triage", "1")

    assert third in lena("cancel", "triage").stdout
    assert annotations(cluster, third)["retune.dev/cancel"] == f"by system:serviceaccount:{cluster.namespace}:lena"
    assert "retune.dev/cancel" not in annotations(cluster, first)


def test_an_approval_carries_the_name_by_which_the_api_server_knows_the_user(cluster: Cluster, lena: Cli) -> None:
    said = lena("approve", "triage", "legal")
    assert said.exit_code == 0
    assert "still missing: dpo" in said.output
    given = annotations(cluster, name_of(cluster, 3))
    assert given["approval.retune.dev/legal"] == f"system:serviceaccount:{cluster.namespace}:lena"
    assert "legal and dpo" in lena.fails("approve", "triage", "legl")


@pytest.mark.usefixtures("chart")  # the policy is the chart's
def test_who_may_not_approve_is_told_which_right_is_missing(
    apiserver: ApiServer, cluster: Cluster, user: Callable[..., Cli]
) -> None:
    rights = [
        {"apiGroups": ["retune.dev"], "resources": ["finetunejobs", "finetuneruns"], "verbs": ["get", "list"]},
        {"apiGroups": ["retune.dev"], "resources": ["finetuneruns"], "verbs": ["patch"]},
    ]
    dan = user("dan", *rights)
    run = name_of(cluster, 3)
    probe = ("-n", cluster.namespace, "annotate", "finetunerun", run, "approval.retune.dev/probe=x", "--dry-run=server")
    as_dan = f"--as=system:serviceaccount:{cluster.namespace}:dan"
    eventually(lambda: "denied" in apiserver.run(*probe, as_dan).stderr)  # policies take a moment to be in force

    said = dan.fails("approve", "triage", "dpo")
    assert 'the approval "dpo" is refused' in said
    assert "the verb approve on finetuneruns (group retune.dev) with the resource name dpo" in said
    assert "approval.retune.dev/dpo" not in annotations(cluster, run)


def test_a_missing_right_is_named_with_its_verb_and_resource(user: Callable[..., Cli]) -> None:
    reader = user("reader", {"apiGroups": ["retune.dev"], "resources": ["finetunejobs"], "verbs": ["get", "list"]})
    said = reader.fails("pause", "triage")
    assert "may not patch finetunejobs.retune.dev in namespace cli-" in said
    assert ":reader" in said
    assert 'verbs: [patch], resources: [finetunejobs], apiGroups: ["retune.dev"]' in said
    assert "may not list finetuneruns.retune.dev" in reader.fails("runs", "triage")


def test_a_wrong_name_brings_the_names_that_there_are(cluster: Cluster, lena: Cli) -> None:
    said = lena.fails("status", "triag")
    assert f'"triag" in namespace {cluster.namespace}' in said
    assert "Jobs there: triage" in said
    assert "Runs that are kept: 1, 2, 3" in lena.fails("report", "triage", "9")
    assert "name its job: triage" in lena.fails("retry", name_of(cluster, 3))
    assert 'no context "nowhere"' in lena.fails("runs", "triage", "--context", "nowhere")


def test_runs_and_status_show_what_lies_in_the_cluster(cluster: Cluster, lena: Cli) -> None:
    rows = [line.split() for line in lena("runs", "triage").stdout.splitlines()]
    assert [row[0] for row in rows] == ["N", "1", "2", "3"]
    assert [row[3] for row in rows[1:]] == list(PHASES)

    shown = lena("status", "triage", "--no-watch").stdout
    assert name_of(cluster, 3) in shown
    assert "● Training" in shown
    assert json.loads(lena("status", "triage", "-o", "json").stdout)["run"]["metadata"]["name"] == name_of(cluster, 3)
    first = json.loads(lena("describe", name_of(cluster, 1), "-o", "json").stdout)
    assert first["run"]["status"]["phase"] == "Promoted"


def test_kubectl_finds_the_plugin_and_its_namespace_is_the_contexts(
    apiserver: ApiServer, cluster: Cluster, lena: Cli
) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(lena.kubeconfig)}
    done = subprocess.run(
        [apiserver.kubectl, "retune", "runs", "triage"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert name_of(cluster, 3) in done.stdout


def test_logs_of_a_pod_that_cannot_start_say_why(cluster: Cluster, lena: Cli) -> None:
    run = name_of(cluster, 3)
    labels = {"retune.dev/run": run, "retune.dev/stage": "preflight", "retune.dev/attempt": "1"}
    pod = {
        "metadata": {"name": f"{run}-p1-abcde", "labels": labels},
        "spec": {"containers": [{"name": "trainer", "image": "registry.example/none"}]},
    }
    assert "has no pod yet" in lena.fails("logs", "triage")
    cluster.core.create_namespaced_pod(cluster.namespace, pod)
    waiting = {"name": "trainer", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    waiting |= {"image": "x", "imageID": "x", "ready": False, "restartCount": 0}
    status = {"status": {"phase": "Pending", "containerStatuses": [waiting]}}
    cluster.core.patch_namespaced_pod_status(pod["metadata"]["name"], cluster.namespace, status)
    assert "ImagePullBackOff: no such image" in lena.fails("logs", "triage")


def test_promote_and_rollback_annotate_the_run_in_rollout_and_the_job(cluster: Cluster, lena: Cli) -> None:
    first, third = name_of(cluster, 1), name_of(cluster, 3)
    assert "is not in rollout" in lena.fails("promote", "triage", "--yes")
    assert "no model served before" in lena.fails("rollback", "triage", "--yes")

    said = lena("rollback", "triage", "1", "--yes")
    assert f"{first} will serve all traffic again" in said.stdout
    assert annotations(cluster)["retune.dev/rollback"] == first

    place = ("retune.dev", "v1alpha1", cluster.namespace, "finetuneruns", third)
    stands = {"stage": "Canary", "step": 1, "weight": 25}
    cluster.custom.patch_namespaced_custom_object_status(*place, {"status": {"phase": "Canary", "rollout": stands}})
    assert "25 % of traffic" in lena("status", "triage", "--no-watch").stdout
    assert lena("promote", "triage", "--yes").exit_code == 0
    assert annotations(cluster, third)["retune.dev/promote"] == f"by system:serviceaccount:{cluster.namespace}:lena"
    assert "ends as RolledBack" in lena("rollback", "triage", "--yes").stdout
    assert annotations(cluster)["retune.dev/rollback"] == third


def test_a_job_in_the_cluster_is_replayed_with_its_own_rollout(lena: Cli, tmp_path: Path) -> None:
    rows = [f"{at},errors,{arm},{at // 5 * bad},{at * 10}" for at in range(0, 300, 5) for arm, bad in _ARMS]
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(["time,metric,arm,bad,total", *rows]))
    said = lena("replay", "triage", f"--csv={trace}", "-o", "json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout.splitlines()[-1])["verdict"] == "RolledBack"
