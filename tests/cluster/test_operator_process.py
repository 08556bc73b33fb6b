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
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1", "train-1", "report-1"})
    assert len(cluster.runs("killed")) == 1
    assert [a["exit"] for a in status["attempts"][:2]] == ["Succeeded", "Succeeded"]
    assert [a["stage"] for a in status["attempts"]] == ["Preflight", "Train", "Report"]
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
    assert [(a["exit"], a["reason"]) for a in attempts[1:3]] == [("Lost", "ResultLost"), ("Succeeded", "Succeeded")]


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
        assert operator.process.wait(40) == 1
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
        ("delete", "configmaps"),
        ("delete", "pods"),
        ("update", "services"),
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
