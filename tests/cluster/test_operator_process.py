"""The operator as a process: leadership, crashes, rights, and what it writes."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import CHECKED, Cluster, Kubelet, eventually, spec, trained
from tests.cluster.conftest import SYSTEM, Operator
from tests.cluster.test_lifecycle import to_training

# Every write of one run that is promoted, in a job that does not serve. More would cost every user's API server, fewer
# would leave something out: change this number only on purpose.
LIFECYCLE = {
    "apply finetunejobs/status": 4,  # a run is due; it is there; the base model is pinned; idle, with a stable model
    "create finetuneruns": 1,
    "apply finetuneruns/status": 4,  # Preflight; Queued; Training; Promoted
    "create configmaps": 1,
    "create jobs": 2,
    "create events": 6,
}


def settled(operator: Operator) -> dict[str, int]:
    """The writes so far, once they have stopped growing for a moment in which every key was looked at again."""
    before = operator.writes()

    def same() -> bool:
        nonlocal before
        now = operator.writes()
        calm = now == before and "retune_queue_depth 0.0" in operator.get(operator.metrics, "/metrics")
        before = now
        return calm

    for _ in range(5):
        eventually(same)
    return before


def everywhere(cluster: Cluster, plural: str) -> list[Any]:
    """Objects of one of our kinds in all namespaces."""
    return list(cluster.custom.list_cluster_custom_object("retune.dev", "v1alpha1", plural)["items"])


def test_a_lifecycle_takes_exactly_so_many_writes(cluster: Cluster, kubelet: Kubelet, operator: Operator) -> None:
    # What other tests leave to the garbage collector has gone first: its end is written about, too.
    eventually(lambda: not everywhere(cluster, "finetunejobs") and not everywhere(cluster, "finetuneruns"), 120)
    before = settled(operator)
    cluster.apply_job("count", spec())
    run, pod = to_training(cluster, kubelet, "count")
    kubelet.ended(pod, 0, trained())
    cluster.phase(run, "Promoted")
    eventually(lambda: cluster.job("count")["status"]["phase"] == "Idle")
    after = settled(operator)
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == LIFECYCLE


@pytest.mark.parametrize("after", ["apply", "preflight", "queued", "training", "ended"])
def test_a_killed_operator_goes_on_where_it_was_and_does_nothing_twice(
    cluster: Cluster, kubelet: Kubelet, operator: Operator, after: str
) -> None:
    def crash_if(point: str) -> None:
        if point == after:
            operator.kill(signal.SIGKILL)

    def restart_if(point: str) -> None:
        if point == after:
            operator.start()

    if after == "apply":
        operator.kill(signal.SIGKILL)
    cluster.apply_job("killed", spec())
    restart_if("apply")
    run = eventually(lambda: cluster.runs("killed")[0], 60)["metadata"]["name"]
    pod = eventually(lambda: cluster.pod(run, "preflight-1"), 60)
    crash_if("preflight")
    kubelet.ended(pod, 0, CHECKED)
    restart_if("preflight")
    pod = eventually(lambda: cluster.pod(run, "train-1"), 60)
    crash_if("queued")
    kubelet.running(pod)
    restart_if("queued")
    cluster.phase(run, "Training", 60)
    crash_if("training")
    restart_if("training")
    crash_if("ended")
    kubelet.ended(pod, 0, trained())
    restart_if("ended")
    status = cluster.phase(run, "Promoted", 60)["status"]
    assert set(cluster.jobs(run)) == {"preflight-1", "train-1"}
    assert len(cluster.runs("killed")) == 1
    assert [a["exit"] for a in status["attempts"]] == ["Succeeded", "Succeeded"]
    eventually(operator.leads, 60)


def test_a_result_whose_pod_vanished_unread_is_read_again_by_the_next_attempt(
    cluster: Cluster, kubelet: Kubelet, operator: Operator
) -> None:
    cluster.apply_job("unread", spec(training={**spec()["training"], "maxRetries": 0}))
    run, pod = to_training(cluster, kubelet, "unread")
    operator.kill(signal.SIGKILL)
    kubelet.ended(pod, 0, trained())
    eventually(lambda: cluster.jobs(run)["train-1"].status.completion_time)
    cluster.core.delete_namespaced_pod(pod, cluster.namespace)
    operator.start()
    pod = eventually(lambda: cluster.pod(run, "train-2"), 60)
    kubelet.running(pod)
    kubelet.ended(pod, 0, trained())
    attempts = cluster.phase(run, "Promoted")["status"]["attempts"]
    assert [(a["exit"], a["reason"]) for a in attempts[1:]] == [("Lost", "ResultLost"), ("Succeeded", "Succeeded")]


def test_a_standby_acts_only_after_the_leader_is_gone(
    cluster: Cluster, operator: Operator, apiserver: ApiServer, chart: dict[str, Any], tmp_path: Path
) -> None:
    standby = Operator(tmp_path, "operator-standby", chart["arguments"], chart["kubeconfig"]).start()
    try:
        eventually(standby.ready, 60)
        cluster.apply_job("one", spec())
        cluster.first_run("one")
        assert not standby.leads()
        assert standby.writes() == {}
        assert operator.kill(signal.SIGTERM) == 0, operator.log()[-2000:]  # it gives the Lease up: no 15 s to wait for
        eventually(standby.leads, 8)
        cluster.apply_job("two", spec())
        cluster.first_run("two")
    finally:
        standby.kill(signal.SIGTERM)
        operator.start()
        eventually(operator.leads, 60)


def test_a_leader_whose_lease_is_taken_stops_at_once(
    cluster: Cluster, operator: Operator, apiserver: ApiServer
) -> None:
    taken = {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 3600}}
    apiserver.run("patch", "lease", "retune", "-n", SYSTEM, "--type=merge", "-p", json.dumps(taken))
    try:
        assert operator.process is not None
        assert operator.process.wait(20) == 1
        assert "was not renewed" in operator.log()
    finally:
        apiserver.run("delete", "lease", "retune", "-n", SYSTEM)
        operator.start()
        eventually(operator.leads, 60)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("get", "pods/log"),
        ("update", "finetunejobs"),
        ("patch", "finetunejobs"),
        ("patch", "finetuneruns"),
        ("patch", "jobs"),
        ("get", "configmaps"),
        ("create", "serviceaccounts/token"),
        ("*", "*"),
    ],
)
def test_the_operator_may_not(apiserver: ApiServer, operator: Operator, verb: str, resource: str) -> None:
    name, _, part = resource.partition("/")
    account = f"--as=system:serviceaccount:{SYSTEM}:retune"
    asked = apiserver.run("auth", "can-i", verb, name, f"--subresource={part}", account, "-A")
    assert asked.stdout.strip() == "no"


def test_settings_come_from_flags_or_the_environment_and_are_printed_once(operator: Operator) -> None:
    printed = [line for line in operator.log().splitlines() if "trainer_image=" in line]
    starts = operator.log().count("retune: Retune ")
    assert len(printed) == starts
    assert "workers=8" in printed[0]


def test_an_unknown_setting_is_refused_with_its_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retune.main.app", "--trainer-image=x", "--workers=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--workers" in done.stderr
