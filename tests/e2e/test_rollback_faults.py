"""Rollbacks while something else breaks: a tap that hangs, an operator that dies, a pod that restarts, a neighbour.

The candidates fail every second or third request that they are given. `test_rollout.py` has the rollbacks without
Prometheus and without the store.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hack.cluster import backend
from hack.cluster.own_node import OwnNode
from hack.load.answers import Answer

from tests.cluster.cluster import Cluster, Raw, condition, eventually
from tests.e2e import standin
from tests.e2e.conftest import Bucket
from tests.e2e.standin import SHARE, Shop
from tests.e2e.test_rollout import kill_operator

RATE = 10.0
FAILS = 0.5
RARELY = 0.35  # fails so seldom that there is time to see it meet users before it is taken back
ENDS = 90.0  # s, from the candidate's first user to the end of its rollout, with an operator that dies in between
THAWS = 60.0
LOADS = 3.0  # s that a candidate takes to load where a test must see that it does; a tap waits for two minutes


@dataclass
class Shops:
    """Two jobs that serve the base; `bad` on two pods. What their users got."""

    bad: Shop
    good: Shop
    answers: list[Answer]


@pytest.fixture(scope="module")
def shops(shared_cluster: Cluster, bucket: Bucket) -> Iterator[Shops]:
    """Both with users, after a first rollout each, which brought the servers up."""
    standin.prepare(shared_cluster)
    base = standin.put_base(bucket)
    bad, good = (Shop(shared_cluster, name, bucket, base, pods) for name, pods in (("bad", 2), ("good", 1)))
    with ExitStack() as stack:
        for shop in (bad, good):
            stack.callback(shop.close)
        runs = [(shop, shop.candidate(fail=FAILS)) for shop in (bad, good)]
        for shop, _ in runs:
            shop.ready(shop.replicas)
        loads = [stack.enter_context(shop.shoppers(RATE)) for shop in (bad, good)]
        for shop, run in runs:
            taken_back(shop, run)
        yield Shops(bad, good, loads[0].traffic.answers)


def taken_back(shop: Shop, run: str) -> Raw:
    """The rollout's end: rolled back for its evidence, and nobody is given anything by the candidate any more."""
    status = shop.until(run, "RolledBack", seconds=ENDS)
    assert condition({"status": status}, "Safe")["reason"] == "StopLoss", status["rollout"]
    assert shop.stable() == ""
    return status


def test_of_two_canaries_at_once_only_the_bad_one_is_taken_back(shops: Shops) -> None:
    met = len(shops.answers)
    good = shops.good.candidate(fail=0.0)
    shops.good.in_canary(good)
    bad = shops.bad.candidate(fail=FAILS)
    taken_back(shops.bad, bad)
    eventually(lambda: set(shops.bad.weights().values()) == {0})
    weights = eventually(shops.good.weights)
    assert weights == dict.fromkeys(weights, SHARE)
    assert shops.good.until(good, "Canary", seconds=1)["rollout"]["weight"] == SHARE
    stables = [answer for answer in shops.answers[met:] if answer.arm == "stable"]
    assert len(stables) > 10
    assert not [answer for answer in stables if answer.failed], "the users of stable noticed nothing"


def test_a_pod_that_restarts_in_mid_canary_comes_back_without_the_candidate(shops: Shops) -> None:
    shop = shops.bad
    run = shop.candidate(fail=FAILS)
    shop.until(run, "Canary", seconds=ENDS)
    gone = shop.pods()[0]["metadata"]["name"]
    shop.cluster.core.delete_namespaced_pod(gone, shop.cluster.namespace)
    taken_back(shop, run)
    names = {pod["metadata"]["name"] for pod in shop.ready(2)}
    assert gone not in names
    eventually(lambda: shop.weights() == dict.fromkeys(names, 0))


@contextmanager
def frozen(uid: str) -> Iterator[None]:
    """The tap of a pod of this machine stands still: its connections are taken, and nothing is ever answered."""
    pids = [process for process in _processes(uid) if b"retune_tap" in _command(process)]
    assert pids, "the tap's process is not among this machine's"
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _processes(uid: str) -> Iterator[int]:
    for place in Path("/proc").glob("[0-9]*"):
        try:
            groups = (place / "cgroup").read_text()
        except OSError:  # it has ended meanwhile
            continue
        if uid in groups or uid.replace("-", "_") in groups:
            yield int(place.name)


def _command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(not isinstance(backend.choose(), OwnNode), reason="pods are no processes of this machine")
def test_a_tap_that_cannot_be_reached_does_not_hold_a_rollback_up(shops: Shops) -> None:
    shop = shops.bad
    run = shop.candidate(fail=RARELY)
    shop.until(run, "Canary", seconds=ENDS)
    pods = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in shop.ready(2)}
    eventually(lambda: set(shop.weights().values()) == {SHARE})
    hangs = min(pods)
    with frozen(pods[hangs]):
        taken_back(shop, run)
    # The one that stood still is told as soon as it hears again.
    assert eventually(lambda: w if set((w := shop.weights()).values()) == {0} else {}, THAWS).keys() == pods.keys()


def test_a_rollback_survives_an_operator_that_dies_at_each_of_its_steps(shops: Shops) -> None:
    shop = shops.bad
    run = shop.candidate(fail=FAILS, pause=LOADS)

    def at(step: str) -> bool:
        rollout = (shop.cluster.run(run) or {}).get("status", {}).get("rollout", {})
        return step in (rollout.get("stage"), rollout.get("intent"))

    for step in ("Loading", "Canary", "RollBack"):
        eventually(lambda step=step: at(step), ENDS)
        kill_operator(shop.cluster)
    status = taken_back(shop, run)
    assert status["rollout"]["intent"] == "RollBack"
    eventually(lambda: set(shop.weights().values()) == {0}, ENDS)
