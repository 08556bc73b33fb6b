"""Money on a real API server: what holds a job, what is counted, and that no crash loses or doubles a cent.

A GPU hour costs 3,600, so a training pod costs 1.00 a second, and the played kubelet says how many seconds it ran.
"""

import json
import random
import signal
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from retune.decide.ledger import Ledger, read
from retune.decide.naming import ledger_name
from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import CHECKED, Cluster, Kubelet, condition, eventually, spec, trained
from tests.cluster.conftest import SYSTEM, Operator

MOST = 3720  # an hour of timeout, and two minutes to stop
Raw = dict[str, Any]


def paid(total: int | None = 100_000, triggers: Raw | None = None, **training: Any) -> Raw:
    """A spec whose training costs 1.00 a second."""
    budget = {"currency": "EUR", "gpuHourPrice": "3600", **({"total": str(total)} if total is not None else {})}
    hours = {**spec()["training"], "gpusPerNode": 1, "timeout": "1h", **training}
    return spec(budget=budget, training=hours, triggers=triggers or {})


class Pods:
    """Plays pods whose times are chosen."""

    def __init__(self, cluster: Cluster, kubelet: Kubelet) -> None:
        self._cluster, self._kubelet = cluster, kubelet
        self._began: dict[str, datetime] = {}

    def preflight(self, run: str) -> None:
        """Preflight succeeds."""
        self._kubelet.ended(self._cluster.pod(run, "preflight-1"), 0, CHECKED)

    def begin(self, run: str, attempt: int = 1) -> str:
        """A training pod runs."""
        pod = eventually(lambda: self._cluster.pod(run, f"train-{attempt}"), 60)
        self._began[pod] = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
        self._set(pod, "Running", {"running": {"startedAt": _text(self._began[pod])}})
        return pod

    def end(self, pod: str, seconds: int, code: int = 0, message: Raw | None = None) -> None:
        """It has run for so many seconds."""
        state = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "message": json.dumps(message or {}),
        }
        times = {
            "startedAt": _text(self._began[pod]),
            "finishedAt": _text(self._began[pod] + timedelta(seconds=seconds)),
        }
        self._set(pod, "Succeeded" if code == 0 else "Failed", {"terminated": {**state, **times}})

    def _set(self, pod: str, phase: str, state: Raw) -> None:
        container = {"name": "trainer", "state": state, "image": "x", "imageID": "x", "ready": False, "restartCount": 0}
        status = {"status": {"phase": phase, "containerStatuses": [container]}}
        self._cluster.core.patch_namespaced_pod_status(pod, self._cluster.namespace, status)


@pytest.fixture
def pods(cluster: Cluster, kubelet: Kubelet) -> Pods:
    return Pods(cluster, kubelet)


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def one_run(cluster: Cluster, pods: Pods, job: str, number: int, seconds: int, candidate: float = 0.1) -> str:
    """Run `number` trains for so long; with the score of its base it is rejected."""
    run = cluster.first_run(job, number)
    pods.preflight(run)
    pod = pods.begin(run)
    cluster.phase(run, "Training", 60)
    pods.end(pod, seconds, 0, trained(candidate=candidate, base=0.1))
    cluster.phase(run, "Promoted" if candidate > 0.2 else "Rejected", 60)
    return run


def ledger(cluster: Cluster, job: str) -> Ledger:
    found = cluster.core.read_namespaced_config_map(ledger_name(cluster.namespace, job), SYSTEM)
    return read(found.data["ledger.json"], "1")


def spent(cluster: Cluster, job: str) -> Decimal:
    """What the ledger says that closed runs have cost."""
    book = ledger(cluster, job)
    assert not book.open
    return book.spent(datetime.now(UTC))


def halted(cluster: Cluster, job: str, reason: str) -> str:
    """The message of a job that is halted for that reason."""

    def check() -> str:
        found = cluster.job(job)
        assert found is not None
        said = condition(found, "Progressing")
        assert (found["status"]["phase"], said["reason"]) == ("Halted", reason), said
        return str(said["message"])

    return eventually(check, 60)


def test_a_job_is_held_with_its_numbers_and_goes_on_when_the_total_is_raised(
    cluster: Cluster, pods: Pods, apiserver: ApiServer
) -> None:
    cluster.apply_job("dear", paid(MOST + 99))
    assert eventually(lambda: cluster.job("dear")["status"]["budget"]["committed"]) == "3720.00"
    one_run(cluster, pods, "dear", 1, 100)
    cluster.annotate("finetunejobs", "dear", {"retune.dev/retry": "1"})
    message = halted(cluster, "dear", "BudgetExhausted")
    for number in ("up to 3720.00 EUR", "3719.00 are left", "3819.00 released", "100.00 spent", "timeout 1h"):
        assert number in message
    assert "Raise spec.budget.total" in message
    assert condition(cluster.job("dear"), "BudgetAvailable")["status"] == "False"
    table = apiserver.run("get", "ftj", "dear", "-n", cluster.namespace).stdout.splitlines()
    column = table[0].index("SPENT")
    assert table[1][column:].split()[0] == "100.00"
    assert len(cluster.runs("dear")) == 1
    cluster.apply_job("dear", paid(MOST + 100), {"retune.dev/retry": "1"})
    cluster.first_run("dear", 2)


def test_deleting_and_creating_a_job_again_refills_nothing(cluster: Cluster, pods: Pods) -> None:
    cluster.apply_job("again", paid(MOST + 250))
    one_run(cluster, pods, "again", 1, 200)
    eventually(lambda: spent(cluster, "again") == 200)
    cluster.delete_job("again")
    eventually(lambda: cluster.job("again") is None and not cluster.runs("again"), 40)
    cluster.apply_job("again", paid(MOST + 250))
    one_run(cluster, pods, "again", 1, 60)
    cluster.annotate("finetunejobs", "again", {"retune.dev/retry": "1"})
    assert "260.00 spent" in halted(cluster, "again", "BudgetExhausted")


def test_a_run_that_is_deleted_while_it_trains_is_paid_for(cluster: Cluster, pods: Pods) -> None:
    cluster.apply_job("rm", paid())
    run = cluster.first_run("rm")
    pods.preflight(run)
    pod = pods.begin(run)
    hold = {"metadata": {"finalizers": ["test.retune.dev/hold"]}}
    cluster.core.patch_namespaced_pod(pod, cluster.namespace, hold)
    cluster.phase(run, "Training")
    cluster.custom.delete_namespaced_custom_object("retune.dev", "v1alpha1", cluster.namespace, "finetuneruns", run)
    eventually(lambda: cluster.run(run) is None)
    eventually(lambda: cluster.core.read_namespaced_pod(pod, cluster.namespace).metadata.deletion_timestamp, 40)
    assert ledger(cluster, "rm").open, "its pod still runs"
    pods.end(pod, 77, 143)
    eventually(lambda: spent(cluster, "rm") == 77)
    cluster.core.patch_namespaced_pod(pod, cluster.namespace, {"metadata": {"finalizers": []}})


def test_runs_for_nothing_halt_the_job_until_a_person_resumes_it(cluster: Cluster, pods: Pods) -> None:
    cluster.apply_job("vain", paid(triggers={"haltAfterFruitlessRuns": 2}))
    one_run(cluster, pods, "vain", 1, 10)
    cluster.annotate("finetunejobs", "vain", {"retune.dev/retry": "1"})
    second = one_run(cluster, pods, "vain", 2, 10)
    message = halted(cluster, "vain", "FruitlessRuns")
    assert f"{second} (Rejected)" in message
    assert "retune.dev/resume" in message
    cluster.annotate("finetunejobs", "vain", {"retune.dev/retry": "2"})
    changed = paid(triggers={"haltAfterFruitlessRuns": 2}, learningRate=0.001)
    cluster.apply_job("vain", changed, {"retune.dev/retry": "2"})
    eventually(lambda: cluster.job("vain")["status"]["observedGeneration"] == 2)
    halted(cluster, "vain", "FruitlessRuns")
    assert len(cluster.runs("vain")) == 2
    cluster.annotate("finetunejobs", "vain", {"retune.dev/resume": "ann"})
    third = cluster.run(cluster.first_run("vain", 3))
    assert third["spec"]["training"]["learningRate"] == 0.001


@pytest.mark.parametrize(("annotation", "phase"), [("pause", "Suspended"), ("halt", "Halted")])
def test_an_annotation_stops_the_run_and_its_end_lets_it_go_on(
    cluster: Cluster, pods: Pods, annotation: str, phase: str
) -> None:
    cluster.apply_job("held", paid())
    run = cluster.first_run("held")
    pods.preflight(run)
    pods.begin(run)
    cluster.phase(run, "Training")
    cluster.annotate("finetunejobs", "held", {f"retune.dev/{annotation}": "lunch"})
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1"})
    eventually(lambda: cluster.job("held")["status"]["phase"] == phase)
    cluster.annotate("finetunejobs", "held", {f"retune.dev/{annotation}": None})
    cluster.pod(run, "train-2")
    eventually(lambda: cluster.job("held")["status"]["phase"] in ("Running", "Waiting"))


def test_no_kill_of_the_operator_loses_or_doubles_a_cent(
    cluster: Cluster, pods: Pods, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, truth, kills = random.Random(7), 0, 0
    cluster.apply_job("killed", paid(maxRetries=20))
    run = cluster.first_run("killed")
    pods.preflight(run)
    for attempt in range(1, 9):
        seconds, kill = chance.randrange(1, 300), attempt % 4
        pod = pods.begin(run, attempt)
        if kill == 1:  # somewhere between two writes of what the running pod brings about
            operator.kill(signal.SIGKILL)
            operator.start()
        cluster.phase(run, "Training", 60)
        if kill == 2:
            operator.kill(signal.SIGKILL)
        if attempt == 8:
            pods.end(pod, seconds, 0, trained(candidate=0.1, base=0.1))
        else:
            pods.end(pod, seconds, 1)
        if kill == 3:
            operator.kill(signal.SIGKILL)
        if kill in (2, 3):
            operator.start()
        kills += kill != 0
        truth += seconds
    cluster.phase(run, "Rejected", 60)
    eventually(operator.leads, 60)
    eventually(lambda: spent(cluster, "killed") == truth, 60)
    assert len(cluster.runs("killed")) == 1
    assert Decimal(cluster.run(run)["status"]["cost"]["amount"]) == truth
    eventually(lambda: cluster.job("killed")["status"]["budget"]["spent"] == f"{truth}.00")
    with capsys.disabled():
        print(f"\n{kills} kills of the operator: ledger {spent(cluster, 'killed')} EUR, pods {truth} EUR")
