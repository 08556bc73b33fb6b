"""Mode Deployment with a real Gateway: Traefik splits by the weights that the operator writes, and takes them back."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from hack.cluster.process import ClusterError
from hack.images.standin.upstream import Behaviour
from kubernetes.client import ApiException

from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import ADAPTER, Cluster, Kubelet, Raw, condition, eventually, spec, trained
from tests.cluster.gateway import (
    GATEWAY_API,
    LocalPod,
    LocalPods,
    Users,
    deployments,
    gateway,
    own_address,
    shares,
    traefik,
)
from tests.cluster.test_lifecycle import to_training

ROLLOUT: Raw = {
    # Some hundred requests must fit into the first step, one after the other.
    "steps": [{"weight": 20, "hold": "20s"}, {"weight": 50, "hold": "1h"}],
    "promotion": "NoHarm",
    "minRequests": 20,
    "timeout": "2h",
    "stopLoss": [{"name": "errors", "builtin": "Errors"}],
}
SERVING: Raw = {
    "mode": "Deployment",
    "replicas": 1,
    "image": "registry.example/server:1",
    "stickyHeader": "x-user-id",
}
FULL: Raw = {"method": {"type": "Full"}}


@pytest.fixture(scope="module")
def port(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Traefik that follows the API server."""
    with contextlib.ExitStack() as stack:
        try:
            own_address()
        except OSError as error:
            pytest.skip(f"EndpointSlices take no loopback addresses, and this machine has no other: {error}")
        try:
            yield stack.enter_context(traefik(apiserver, tmp_path_factory.mktemp("gateway") / "traefik.log"))
        except ClusterError as error:
            pytest.skip(f"no Gateway: {error}")


@pytest.fixture
def pods(cluster: Cluster, tmp_path: Path) -> Iterator[LocalPods]:
    """Runs the taps of the test's pods."""
    with LocalPods(cluster, tmp_path) as pods:
        yield pods


def stands_at(cluster: Cluster, run: str, weight: int) -> bool:
    """Whether the rollout has that weight, and has seen by the taps' counters that it is given."""
    rollout = (cluster.run(run) or {})["status"]["rollout"]
    return bool(rollout["weight"] == weight and rollout.get("verifiedAt"))


def arms(found: Counter[tuple[str, int]]) -> Counter[str]:
    """Answers by arm."""
    total: Counter[str] = Counter()
    for (arm, _), count in found.items():
        total[arm] += count
    return total


@dataclass
class Canary:
    """A job whose first candidate meets its users."""

    cluster: Cluster
    pods: LocalPods
    users: Users
    run: str
    stable: LocalPod
    candidate: LocalPod

    @classmethod
    def begin(cls, cluster: Cluster, kubelet: Kubelet, pods: LocalPods, port: int, **rollout: Any) -> Self:
        """From nothing to the first step, with base as stable."""
        cluster.custom.create_namespaced_custom_object(*GATEWAY_API, cluster.namespace, "gateways", gateway(port))
        # Of its own: the routes of a namespace that is being deleted may still be there.
        host = f"{cluster.namespace}.example"
        serving = {**SERVING, "httpRoute": {"parentRefs": [{"name": "gate"}], "hostnames": [host]}}
        cluster.apply_job("triage", spec(**FULL, serving=serving, rollout={**ROLLOUT, **rollout}))
        run, training = to_training(cluster, kubelet, "triage")
        stable, users = pods.start("triage", "stable"), Users(port, host)
        eventually(lambda: condition(cluster.job("triage") or {}, "Ready")["status"] == "True", 60)
        eventually(lambda: users.ask(1) == {("stable", 200): 1}, 20)
        assert shares(cluster, "triage") == {"triage": 100}, "a Service that gets nothing need not be there"
        whole = {"uri": "s3://models/retune/support/triage/run/model/cccccccccccc", "digest": ADAPTER}
        kubelet.ended(training, 0, {**trained(), "artifact": whole})
        candidate = pods.start("triage-canary", "canary")
        assert candidate.model == f"triage-{ADAPTER.removeprefix('sha256:')[:12]}"
        made = cls(cluster, pods, users, run, stable, candidate)
        made.asking(lambda: shares(cluster, "triage").get("triage-canary"))
        eventually(lambda: arms(users.ask(20))["canary"], 10)
        users.statuses.clear()
        return made

    def asking(self, check: Callable[[], Any], seconds: float = 120) -> None:
        """Users keep asking until `check` holds."""

        def asked() -> Any:
            self.users.ask(20)
            return check()

        eventually(asked, seconds)


def test_a_real_gateway_follows_the_weights_and_a_rollback_leaves_the_candidate_nobody(
    cluster: Cluster, kubelet: Kubelet, port: int, pods: LocalPods
) -> None:
    canary = Canary.begin(cluster, kubelet, pods, port)
    users = canary.users
    assert shares(cluster, "triage") == {"triage": 80, "triage-canary": 20}
    assert abs(arms(users.ask(500))["canary"] - 100) <= 30, "3.3 standard deviations of 500 draws"
    one = arms(users.ask(60, "always-the-same"))
    assert one.keys() == {"stable", "canary"}, "no header keeps anybody on an arm here"
    assert {users.feedback(answer) for answer in last_ids(users, 8)} == {202}, "whichever pod gave it or is told"

    canary.asking(lambda: stands_at(cluster, canary.run, 50))
    assert shares(cluster, "triage") == {"triage": 50, "triage-canary": 50}
    assert abs(arms(users.ask(400))["canary"] - 200) <= 34

    pods.behave(canary.candidate, Behaviour(status=500))
    assert users.ask(20)["canary", 500] > 0, "there is nobody to fall back to"
    canary.asking(lambda: shares(cluster, "triage") == {"triage": 100})
    eventually(lambda: users.ask(100) == {("stable", 200): 100}, 10)
    before = len(canary.candidate.upstream.seen)
    status = cluster.phase(canary.run, "RolledBack", 30)["status"]
    assert users.ask(300) == {("stable", 200): 300}
    assert len(canary.candidate.upstream.seen) == before
    assert condition({"status": status}, "Safe")["status"] == "False"
    eventually(lambda: deployments(cluster) == {"triage"}, 60)

    cluster.apply_job("triage", spec(**FULL))
    eventually(lambda: not deployments(cluster), 60)
    with pytest.raises(ApiException, match="404"):
        shares(cluster, "triage")
    eventually(lambda: users.ask(1) == {("", 404): 1}, 20)


def test_a_promotion_gives_stable_the_new_model_while_the_candidate_keeps_its_users_and_nobody_sees_an_error(
    cluster: Cluster, kubelet: Kubelet, port: int, pods: LocalPods
) -> None:
    canary = Canary.begin(cluster, kubelet, pods, port, steps=[{"weight": 50, "hold": "1s"}], bake="1s", bakeWeight=90)
    canary.asking(lambda: pods.waiting("stable"))
    assert shares(cluster, "triage") == {"triage": 10, "triage-canary": 90}, "users stay where they were watched"
    new = pods.start("triage", "stable")
    assert new.model == canary.candidate.model
    canary.asking(lambda: not pods.there(canary.stable))
    pods.leave(canary.stable)
    canary.asking(lambda: shares(cluster, "triage") == {"triage": 100})
    cluster.phase(canary.run, "Promoted", 30)
    canary.asking(lambda: deployments(cluster) == {"triage"})
    before = len(new.upstream.seen)
    canary.users.ask(50)
    assert len(new.upstream.seen) - before == 50, "nobody is left at the pods that are gone"
    assert canary.users.statuses == {200}
    job = cluster.job("triage")
    assert job is not None
    assert job["status"]["stable"]["run"] == canary.run


def last_ids(users: Users, count: int) -> list[str]:
    """The ids of so many answers."""
    found = []
    for _ in range(count):
        users.ask(1)
        found.append(users.last_id)
    return found
