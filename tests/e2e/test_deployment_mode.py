"""Mode Deployment on real pods: two whole models on two model servers, and a Gateway that splits between them.

Trains on the tiny model, by all its weights; the good one answers " billing" to everything, the bad one " refund".
Traefik runs on this machine, before the real pods of the local cluster.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import pytest
from hack.cluster import backend, binaries
from hack.cluster.own_node import OwnNode
from hack.cluster.process import ClusterError
from hack.load.answers import Answer, by_arm, since
from hack.load.questions import Question

import kubernetes
from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import Cluster, Raw, condition, eventually
from tests.cluster.gateway import GATEWAY_API, deployments, gateway, shares, traefik
from tests.e2e import tiny
from tests.e2e.conftest import Bucket
from tests.e2e.served import STARTS, Served
from tests.e2e.test_rollout import MOVES, TRAINS, USERS, kill_operator
from tests.e2e.tiny import BAD, GOOD

JOB = "triage"
CANARY = f"{JOB}-canary"
RATE = 6.0
WEIGHT = 50
GOES = 60.0  # s, from a run's end until nothing is left of its candidate


class Gated(Served):
    """A job whose users come through a Gateway on this machine."""

    def __init__(self, cluster: Cluster, job: str, port: int) -> None:
        super().__init__(cluster, job)
        self._port = port

    def url(self) -> str:
        """The Gateway, of which the job's route has all hosts."""
        return f"http://127.0.0.1:{self._port}"


@dataclass
class Got:
    """What users got; `feedback`: of their overrides, by HTTP status."""

    answers: list[Answer]
    feedback: Counter[int]

    def all_well(self) -> None:
        """Nobody saw an error, and overrides found the pod that had given the answer."""
        assert not [answer for answer in self.answers if answer.failed]
        # Half of them come to the other arm's pod. The right one has a second to say that it is, of two busy cores.
        assert self.feedback[202] > 0.95 * self.feedback.total(), self.feedback


@dataclass
class Shop:
    """A job whose first model, a good one, has been promoted from the base; `split`: what the canary's weight gave."""

    served: Gated
    run: str
    got: Got
    split: list[Answer]
    asked: list[Question]

    @contextmanager
    def users(self) -> Iterator[Got]:
        """Users who know that " billing" is right."""
        with self.served.users(self.asked, RATE, users=USERS) as load:
            yield Got(load.traffic.answers, load.traffic.feedback)


def spec(answer: str, seed: int = 7) -> Raw:
    """A full fine-tune that gives one answer, served behind the Gateway."""
    serving = tiny.serving(mode="Deployment", httpRoute={"parentRefs": [{"name": "gate"}]})
    del serving["optOutHeader"]  # takes a tap that has both models
    rollout = tiny.rollout(steps=[{"weight": WEIGHT, "hold": "30s"}], bake="10s")
    return tiny.served(answer, seed, method={"type": "Full"}, serving=serving, rollout=rollout)


@pytest.fixture(scope="module")
def port(real: kubernetes.client.ApiClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Traefik that follows the local cluster."""
    cluster = backend.choose()
    if not isinstance(cluster, OwnNode):
        pytest.skip("a Gateway on this machine cannot reach the pods of a cluster in containers")
    with ExitStack() as stack:
        try:
            server = ApiServer(cluster.kubeconfig, str(binaries.path("kubectl")))
            found = stack.enter_context(traefik(server, tmp_path_factory.mktemp("gateway") / "traefik.log"))
        except ClusterError as error:
            pytest.skip(f"no Gateway: {error}")
        yield found


@pytest.fixture(scope="module")
def shop(shared_cluster: Cluster, bucket: Bucket, port: int) -> Iterator[Shop]:
    """The first rollout: from the base to the good model."""
    cluster = shared_cluster
    tiny.put_answers(bucket, GOOD, BAD)
    cluster.custom.create_namespaced_custom_object(*GATEWAY_API, cluster.namespace, "gateways", gateway(port))
    with closing(Gated(cluster, JOB, port)) as served:
        run = served.change(spec(GOOD))
        shop = Shop(served, run, Got([], Counter()), [], tiny.questions(bucket, GOOD))
        with shop.users() as shop.got:
            served.until(run, "Canary", seconds=STARTS + TRAINS)
            eventually(lambda: rollout(cluster, run).get("verifiedAt"), MOVES)
            began = time.time()
            served.until(run, "Baking", seconds=MOVES)
            shop.split = since(shop.got.answers, began)
            served.until(run, "Promoted", seconds=MOVES + STARTS)
            eventually(lambda: deployments(cluster) == {JOB}, GOES)
        yield shop


def rollout(cluster: Cluster, run: str) -> Raw:
    """Where a run's rollout stands."""
    found = cluster.run(run)
    assert found is not None
    return dict(found["status"]["rollout"])


def test_users_meet_a_full_fine_tune_by_the_routes_weight_and_no_error_until_all_have_it(shop: Shop) -> None:
    arms = by_arm(shop.split)
    asked = len(shop.split)
    assert asked > 20
    assert abs(arms["canary"].requests - asked / 2) <= 3.3 * (asked / 4) ** 0.5
    assert arms["canary"].accuracy == 1
    assert arms["stable"].accuracy == 0, "that is the base"
    shop.got.all_well()
    served = shop.served
    assert eventually(lambda: served.stable() == shop.run)
    assert shares(served.cluster, JOB) == {JOB: 100}
    for question in shop.asked[:10]:
        assert served.ask(question.prompt) == ("stable", GOOD)


def test_a_bad_full_fine_tune_is_taken_back_though_the_operator_died_in_its_canary(shop: Shop) -> None:
    served, cluster = shop.served, shop.served.cluster
    with shop.users() as got:
        run = served.change(spec(BAD, seed=100))
        served.until(run, "Canary", seconds=TRAINS)
        eventually(lambda: shares(cluster, JOB).get(CANARY) == WEIGHT)
        kill_operator(cluster)
        assert "intent" not in rollout(cluster, run), "it died before anything was decided"
        status = served.until(run, "RolledBack", seconds=MOVES)
        assert shares(cluster, JOB) == {JOB: 100}
        eventually(lambda: deployments(cluster) == {JOB}, GOES)
        after = time.time()
        eventually(lambda: len(since(got.answers, after)) > 20)
    evidence = {one["name"]: one for one in status["rollout"]["evidence"]}["overrides"]
    assert evidence["state"] == "Breached", status["rollout"]
    assert condition({"status": status}, "Safe")["reason"] == "StopLoss"
    assert served.stable() == shop.run
    met = [answer for answer in got.answers if answer.arm == "canary"]
    assert met
    assert not any(answer.right for answer in met)
    assert {(answer.arm, answer.text) for answer in since(got.answers, after)} == {("stable", GOOD)}
    got.all_well()
