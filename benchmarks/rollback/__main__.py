"""How long do users keep a bad candidate after its harm is there to be seen? On the local cluster, without a model.

    uv run python benchmarks/rollback [--rollbacks 60] [--jobs 6] [--pods 2] [--fail 0.5] [--rate 8]

Needs `make install`. Real operator, taps and store; the model server is the stand-in, whose candidate fails a share of
its requests. Every tap is asked for its counters ten times a second, which are put to the operator's own judge
afterwards. Of each rollback: from the first of these looks at which there is a breach (or at which the counts are
there by which the operator decided, if that is sooner) until every tap says that it gives the candidate nothing.
Beside it, in the same run, single writes to the API server.
"""

import argparse
import re
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
for folder in ("images/tap", "images/stores", "operator", "."):
    sys.path.insert(0, str(ROOT / folder))

from hack.cluster import backend
from hack.demo import taps
from hack.load.answers import quantile
from tests.cluster.cluster import Cluster, eventually
from tests.e2e import standin
from tests.e2e.conftest import KEYS, SYSTEM, Bucket
from tests.e2e.standin import Shop

import kubernetes
from retune.api import Evaluation, FineTuneRunSpec, Rollout
from retune.decide.evidence.judge import Plan, begin, judge
from retune.decide.readings import ServingPod, TapReading
from retune.decide.rollout.stop_losses import edges, watched
from retune.observe.tap_state import read_state

PACE = 0.1  # s between two looks at the taps
WRITES = 5  # to the API server after each rollback
LONGEST = 150.0  # s for one rollout, from the verdict on
SETTLES = 60.0


@dataclass
class Look:
    """What all taps said: asked at `begun`, all there at `ended`, seconds of a monotonic clock; `at`: of the epoch."""

    begun: float
    ended: float
    at: float
    taps: list[TapReading]


@dataclass
class Found:
    """What one job's thread brings home; times in seconds."""

    # (latency, breach after the first user, whether our judge saw it first and not the operator)
    rollbacks: list[tuple[float, float, bool]] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Taps:
    """The taps of one job's pods."""

    def __init__(self, shop: Shop) -> None:
        self._model, self._http = shop.job, httpx.Client(timeout=5)
        self._pods = []
        for pod in shop.pods():
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            url = f"{shop._reach.pod(pod, taps.PORT)}/v1/state"  # noqa: SLF001 - the addresses, once, not each time
            self._pods.append((ServingPod(name, uid), url))

    def look(self) -> Look:
        """Ask all of them, without the windows of stable."""
        begun, at, told = time.monotonic(), time.time(), []
        for pod, url in self._pods:
            answer = self._http.get(url, params={"windows": f"{at:.3f}"})
            told.append(read_state(answer.content, pod, self._model))
        return Look(begun, time.monotonic(), at, told)


def rolled_back(shop: Shop, watch: Taps, run: str, fail: float, found: Found) -> None:
    """One rollback: looks at the taps until they give nothing any more, and then at what they had shown."""
    looks: list[Look] = []
    met = zero = None
    deadline = time.monotonic() + LONGEST
    while zero is None:
        if time.monotonic() > deadline:
            found.failed.append(f"{run}: no rollback within {LONGEST:.0f} s of a candidate that fails {fail:.0%}")
            return
        look = watch.look()
        looks.append(look)
        giving = [tap.weight for tap in look.taps]
        if met is None and any(giving):
            met = look.begun
        elif met is not None and not any(giving) and all(tap.stratum == "-" for tap in look.taps):
            zero = look.ended
        time.sleep(max(0.0, PACE - (time.monotonic() - look.begun)))
    status = shop.until(run, "RolledBack", seconds=SETTLES)
    snapshot: Any = shop.cluster.run(run)
    spec = FineTuneRunSpec.model_validate(snapshot["spec"])
    ours, theirs = breach(looks, spec), counted(looks, spec, status)
    sooner = min(seen for seen in (ours, theirs) if seen is not None)
    found.rollbacks.append((zero - sooner, sooner - (met or sooner), ours is not None and ours <= sooner))


def breach(looks: list[Look], spec: FineTuneRunSpec) -> float | None:
    """When the operator's judge, asked at every look, would first have taken it back."""
    rollout = spec.rollout or Rollout()
    plan = Plan(
        spec.number,
        watched(rollout, edges(rollout, spec.evaluation or Evaluation(), 5.0)),
        rollout.confidence,
        rollout.promote_confidence,
    )
    memory = begin(plan, looks[0].at)
    for look in looks:
        memory, judged = judge(
            memory,
            plan,
            look.taps,
            (),
            stratum=f"{spec.number}:0",
            baking=False,
            w_next=1.0,
            at=look.at,
        )
        if judged.breached:
            return look.begun
    return None


def counted(looks: list[Look], spec: FineTuneRunSpec, status: dict[str, Any]) -> float | None:
    """When the counts by which the operator decided were first all there."""
    said = next(one for one in status["rollout"]["evidence"] if one["name"] == "errors")
    for look in looks:
        sums = {"canary": [0, 0], "stable": [0, 0]}
        for series in (s for tap in look.taps for s in tap.series):
            if (series.metric, series.stratum) == ("errors", f"{spec.number}:0"):
                sums[series.arm][0] += sum(series.bad)
                sums[series.arm][1] += sum(series.total)
        there = (*sums["canary"], *sums["stable"])
        if all(n >= said.get(k, 0) for n, k in zip(there, ("bad", "total", "stableBad", "stableTotal"), strict=True)):
            return look.begun
    return None


def work(shop: Shop, first: str, rollbacks: int, fail: float, found: Found) -> None:
    """The rollbacks of one job, one after another, and the writes between them."""
    try:
        shop.until(first, "RolledBack", seconds=LONGEST)
        watch = Taps(shop)
        for number in range(rollbacks):
            rolled_back(shop, watch, shop.candidate(fail=fail), fail, found)
            for write in range(WRITES):
                begun = time.monotonic()
                body = {"metadata": {"name": f"bench-{shop.job}"}, "data": {"n": f"{number}-{write}"}}
                shop.cluster.core.patch_namespaced_config_map(f"bench-{shop.job}", shop.cluster.namespace, body)
                found.writes.append(time.monotonic() - begun)
    except Exception as error:  # noqa: BLE001 - one job that fails is told, and takes no other along
        found.failed.append(f"{shop.job}: {error!r}"[:500])


def own_figures(cluster: Cluster) -> tuple[float, float]:
    """(rollbacks, seconds in all) that the operator has measured itself, from seeing a breach to reading back 0."""
    total = [0.0, 0.0]
    for pod in cluster.core.list_namespaced_pod(SYSTEM, label_selector="app.kubernetes.io/name=retune").items:
        text = httpx.get(f"http://{pod.status.pod_ip}:9090/metrics").text
        for place, suffix in enumerate(("count", "sum")):
            if match := re.search(rf"^retune_breach_to_zero_seconds_{suffix} (\S+)", text, re.MULTILINE):
                total[place] += float(match[1])
    return total[0], total[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Breach to weight 0, on the local cluster.")
    parser.add_argument("--rollbacks", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--pods", type=int, default=2)
    parser.add_argument("--fail", type=float, default=0.5)
    parser.add_argument("--rate", type=float, default=8.0, help="requests a second, of each job")
    asked = parser.parse_args()
    config = str(backend.choose().kubeconfig)
    cluster = Cluster(kubernetes.config.new_client_from_config(config), f"bench-{int(time.time()) % 100000}")
    cluster.core.create_namespace({"metadata": {"name": cluster.namespace}})
    try:
        cluster.core.create_namespaced_secret(cluster.namespace, {"metadata": {"name": "store"}, "stringData": KEYS})
        measure(cluster, config, asked)
    finally:
        cluster.core.delete_namespace(cluster.namespace)


def measure(cluster: Cluster, config: str, asked: argparse.Namespace) -> None:
    """Bring the jobs up, let each be rolled back again and again, print what came of it."""
    begun = time.monotonic()
    standin.prepare(cluster)
    base = standin.put_base(Bucket())
    with ExitStack() as stack:
        shops = []
        for number in range(asked.jobs):
            own = Cluster(kubernetes.config.new_client_from_config(config), cluster.namespace)
            shop = Shop(own, f"shop-{number}", Bucket(), base, asked.pods)
            stack.callback(shop.close)
            shops.append(shop)
            cluster.core.create_namespaced_config_map(
                cluster.namespace, {"metadata": {"name": f"bench-{shop.job}"}, "data": {}}
            )
        first = [shop.candidate(fail=asked.fail) for shop in shops]
        for shop in shops:
            shop.ready(asked.pods)
        loads = [stack.enter_context(shop.shoppers(asked.rate)) for shop in shops]
        print(f"{asked.jobs} jobs of {asked.pods} pods serve after {time.monotonic() - begun:.0f} s", flush=True)
        before = eventually(lambda: own_figures(cluster))
        founds = [Found() for _ in shops]
        each = -(-asked.rollbacks // asked.jobs)
        threads = [
            threading.Thread(target=work, args=(shop, run, each, asked.fail, found), daemon=True)
            for shop, run, found in zip(shops, first, founds, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            print("interrupted; what there is so far:")
        after = own_figures(cluster)
        answers = [answer for load in loads for answer in load.traffic.answers]
    told(founds, answers, (after[0] - before[0], after[1] - before[1]))
    print(f"{time.monotonic() - begun:.0f} s in all")


def told(founds: list[Found], answers: list[Any], own: tuple[float, float]) -> None:
    """Print it."""
    rollbacks = [one for found in founds for one in found.rollbacks]
    latencies = sorted(one[0] for one in rollbacks)
    # Where the operator was first, its wait for the next look is not in the figure: the judge depends on its looks.
    by_judge = sorted(one[0] for one in rollbacks if one[2])
    until = sorted(one[1] for one in rollbacks)
    writes = sorted(write for found in founds for write in found.writes)
    for text in (text for found in founds for text in found.failed):
        print(f"FAILED {text}")
    print(f"{len(rollbacks)} rollbacks, {len(rollbacks) - len(by_judge)} decided before our judge saw a breach")
    for name, values, unit in (
        ("breach visible in the taps' counters → weight 0 on every pod", latencies, 1.0),
        ("of these, those that our judge saw first", by_judge, 1.0),
        ("first user at the candidate → breach visible", until, 1.0),
        ("one write to the API server, ms", writes, 1000.0),
    ):
        if values:
            p50, p99 = (unit * (quantile(values, share) or 0.0) for share in (0.5, 0.99))
            print(f"  {name}: p50 {p50:.2f}, p99 {p99:.2f}, max {unit * values[-1]:.2f} (n = {len(values)})")
    if own[0]:
        print(f"  the operator's own metric, seen → read back at 0: mean {own[1] / own[0]:.2f} s (n = {own[0]:.0f})")
    failed = sum(answer.failed for answer in answers)
    print(f"  users: {len(answers)} requests, {failed} without an answer")


if __name__ == "__main__":
    main()
