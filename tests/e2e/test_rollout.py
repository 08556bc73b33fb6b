"""Canary, promotion and rollback with a real model server, real taps, the real operator and users that keep asking.

The good models answer " billing" to everything, the bad one " refund"; to their users, " billing" is right.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from hack.cluster.settings import LOCAL_NAMESPACE
from hack.load import answers
from hack.load.answers import Answer
from hack.load.questions import Question

import kubernetes
from tests.cluster.cluster import Cluster, Raw, condition, eventually
from tests.e2e import tiny
from tests.e2e.conftest import SYSTEM, Bucket
from tests.e2e.quiet import Quiet
from tests.e2e.served import STARTS, Served
from tests.e2e.tiny import BAD, GOOD

TRAINS = 420.0  # s, from a change of the spec to a candidate that meets users, on a busy machine
MOVES = 420.0  # s, from there to the end of the rollout
AT_ONCE = 60.0
RATE = 3.0
USERS = 50  # so few that each comes back during a rollout
ROLLBACK, PROMOTE = "retune.dev/rollback", "retune.dev/promote"
JOB = "triage"


@dataclass
class Shop:
    """A job whose good model has been promoted before its users' eyes."""

    served: Served
    run: str
    seen: list[str]
    answers: list[Answer]
    asked: list[Question]
    seeds: Iterator[int] = field(default_factory=lambda: iter(range(100, 200)))

    def good(self) -> Raw:
        """A spec for another good model."""
        return tiny.served(GOOD, seed=next(self.seeds))

    def bad(self) -> Raw:
        """A spec for another bad model."""
        return tiny.served(BAD, seed=next(self.seeds))

    @contextmanager
    def users(self) -> Iterator[list[Answer]]:
        """Users who know that " billing" is right; what they get."""
        with self.served.users(self.asked, RATE, users=USERS) as load:
            yield load.traffic.answers


@pytest.fixture(scope="module")
def shop(shared_cluster: Cluster, bucket: Bucket) -> Iterator[Shop]:
    """The first rollout: from the bare base to the good model."""
    tiny.put_answers(bucket, GOOD, BAD)
    served = Served(shared_cluster, JOB)
    seen: list[str] = []
    with ExitStack() as stack:
        stack.callback(served.close)
        run = served.change(tiny.served(GOOD))
        asked = tiny.questions(bucket, GOOD)
        with served.users(asked, RATE, users=USERS) as load:
            served.until(run, "Promoted", seconds=STARTS + TRAINS + MOVES, seen=seen)
        yield Shop(served, run, seen, list(load.traffic.answers), asked)


def test_a_good_model_goes_through_its_stages_and_is_promoted(shop: Shop) -> None:
    met = [phase for phase in shop.seen if phase in ("Canary", "Baking", "Promoted")]
    assert met == ["Canary", "Baking", "Promoted"], "Loading can be over between two looks"
    assert eventually(lambda: shop.served.stable() == shop.run)
    by_arm = answers.by_arm(shop.answers)
    assert by_arm["canary"].accuracy is not None
    assert by_arm["canary"].accuracy > 0.9
    first = [answer for answer in shop.answers if answer.arm == "stable"][:20]
    assert not any(answer.right for answer in first), "until then, the base had answered"


def test_a_user_who_has_met_the_candidate_never_goes_back(shop: Shop) -> None:
    by_user: dict[str, list[bool]] = defaultdict(list)
    for answer in sorted(shop.answers, key=lambda found: found.at):
        if answer.right is not None:
            by_user[answer.user].append(answer.right)
    assert sum(len(met) > 2 for met in by_user.values()) > USERS / 4, "users came back often enough for this to show"
    back = [user for user, met in by_user.items() if True in met and not all(met[met.index(True) :])]
    assert not back


def test_after_promotion_everybody_is_answered_by_the_adapter(shop: Shop) -> None:
    served = shop.served
    eventually(lambda: set(served.weights().values()) == {0})
    for question in shop.asked[:10]:
        assert served.ask(question.prompt) == ("stable", GOOD)
        assert served.ask(question.prompt, **{"x-retune-stable": "1"}) == ("stable", GOOD)


def taken_back(shop: Shop, run: str, before: str) -> None:
    """The run was rolled back for its evidence; nobody is given anything by it, and stable is what it was."""
    served = shop.served
    status = served.until(run, "RolledBack", seconds=MOVES)
    evidence = {one["name"]: one for one in status["rollout"]["evidence"]}["overrides"]
    assert evidence["state"] == "Breached", status["rollout"]
    assert condition({"status": status}, "Safe")["reason"] == "StopLoss"
    weights = eventually(served.weights)
    assert set(weights.values()) == {0}
    assert served.stable() == before
    for question in shop.asked[:10]:
        assert served.ask(question.prompt) == ("stable", GOOD)


def test_a_bad_model_is_taken_back_by_its_users_overrides(shop: Shop, quiet: Quiet | None) -> None:
    before = shop.served.stable()
    others = quiet.weight() if quiet is not None and quiet.ready.is_set() else None
    with shop.users() as got:
        run = shop.served.change(shop.bad())
        shop.served.until(run, "Canary", seconds=TRAINS)
        taken_back(shop, run, before)
    met = [answer for answer in got if answer.arm == "canary" and answer.right is not None]
    assert met
    assert not any(answer.right for answer in met)
    if quiet is not None and others is not None:
        assert quiet.weight() == others, "another job's canary, at the same time, is not touched"


@contextmanager
def unreachable(core: kubernetes.client.CoreV1Api, *services: str) -> Iterator[None]:
    """Services of the store and of Prometheus that lead nowhere. Their pods stay: the store's data lives in its pod."""
    before = {name: core.read_namespaced_service(name, LOCAL_NAMESPACE).spec.selector for name in services}

    def select(name: str, selector: dict[str, str | None]) -> None:
        core.patch_namespaced_service(name, LOCAL_NAMESPACE, {"spec": {"selector": selector}})

    try:
        for name in services:
            select(name, {"retune.dev/nowhere": "true"})
        yield
    finally:
        for name in services:
            select(name, {"retune.dev/nowhere": None, **before[name]})


def test_a_rollback_needs_neither_prometheus_nor_the_store(shop: Shop) -> None:
    before = shop.served.stable()
    with shop.users():
        run = shop.served.change(shop.bad())
        shop.served.until(run, "Canary", seconds=TRAINS)
        with unreachable(shop.served.cluster.core, "s3", "prometheus"):
            taken_back(shop, run, before)


def kill_operator(cluster: Cluster) -> None:
    """Its pods, without a second to finish anything."""
    for pod in cluster.core.list_namespaced_pod(SYSTEM, label_selector="app.kubernetes.io/name=retune").items:
        cluster.core.delete_namespaced_pod(pod.metadata.name, SYSTEM, grace_period_seconds=0)


@pytest.fixture(scope="module")
def second(shop: Shop) -> tuple[str, str]:
    """(run, the stable one before it): a second good model was promoted; the operator was killed in its canary."""
    before = shop.served.stable()
    with shop.users():
        run = shop.served.change(shop.good())
        shop.served.until(run, "Canary", seconds=TRAINS)
        kill_operator(shop.served.cluster)
        shop.served.until(run, "Promoted", seconds=MOVES + STARTS)
    return run, before


def test_a_rollout_goes_on_after_the_operator_was_killed(shop: Shop, second: tuple[str, str]) -> None:
    run, before = second
    assert run != before
    eventually(lambda: shop.served.stable() == run)
    digest = shop.served.digest(run)
    states = eventually(shop.served.states)
    for state in states.values():
        assert (state["arms"]["stable"]["digest"], state["weight"]) == (digest, 0)


def test_a_promoted_model_can_be_taken_back_for_the_one_before_it(shop: Shop, second: tuple[str, str]) -> None:
    _, before = second
    cluster, served = shop.served.cluster, shop.served
    digest = served.digest(before)
    cluster.annotate("finetunejobs", JOB, {ROLLBACK: before})
    eventually(lambda: served.stable() == before, AT_ONCE)
    eventually(lambda: all(s["arms"]["stable"]["digest"] == digest for s in served.states().values()), AT_ONCE)
    assert served.ask("Where is my parcel?\nTeam:") == ("stable", GOOD)


def test_a_pod_that_restarts_in_mid_canary_gets_its_share_again(shop: Shop) -> None:
    served = shop.served
    two = tiny.serving(replicas=2)
    stays: Raw = {**tiny.served(GOOD, seed=next(shop.seeds)), "serving": two}
    # The step lasts until it is ended here: the new pod must come into it, however long its server takes to start.
    stays["rollout"] = tiny.rollout(steps=[{"weight": 50, "hold": "1h"}], timeout="2h")
    with shop.users() as got:
        run = served.change(stays)
        served.ready(2)
        served.until(run, "Canary", seconds=TRAINS)
        eventually(lambda: sorted(served.weights().values()) == [50, 50], AT_ONCE)
        gone = served.pods()[0]["metadata"]["name"]
        served.cluster.core.delete_namespaced_pod(gone, served.cluster.namespace)
        served.ready(2)
        weights = eventually(served.weights)
        assert gone not in weights
        eventually(lambda: sorted(served.weights().values()) == [50, 50], STARTS)
        served.until(run, "Canary", seconds=AT_ONCE)  # one pod that restarts is no harm
        served.cluster.annotate("finetuneruns", run, {PROMOTE: "the tests"})
        served.until(run, "Promoted", seconds=MOVES)
    assert answers.by_arm(got)["canary"].accuracy is not None
