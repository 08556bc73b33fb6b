"""What does it cost to watch? The operator's CPU, and Prometheus' queries a minute, with many jobs at rest.

    python benchmarks/watch [--jobs 100] [--minutes 1] [--prometheus URL]

Needs the programs of `make cluster` (etcd, kube-apiserver, kube-controller-manager, helm): it starts an API server of
its own, without a kubelet, on free ports, and the real operator with the chart's arguments and rights. Each job serves
with one pod, whose tap is played (`fakes`) and gets 60 requests a minute. Measured one after another, with the same
operator and the same jobs: without triggers; with PromptDrift (its reference of a week is there), QualityDrop,
OverrideRate and a query of the job's own; with one query for all jobs. At the end, the floor: the same answers fetched
by a plain HTTP loop. Without URL Prometheus is the local cluster's, where that is up, and else one that is played.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT), str(HERE)]

from tests.cluster.apiserver import ApiServer, binaries, started
from tests.cluster.cluster import Cluster, eventually
from tests.cluster.conftest import Operator, installed
from world import Made, answer_probe, at_once, job, memory, remember, serve, spec, triggers

import kubernetes
from retune.decide.drift.watch import dump
from retune.observe.scalars import EVERY

NAMESPACE = "watched"
PORT = 9090
SETTLES = 60.0  # s: until each job has had its third look; with the first ones states change, and are written
KIND = "FineTuneJob"


@dataclass
class Bench:
    """Who is measured, and who is asked."""

    operator: Operator
    proxy: str
    jobs: int

    def cpu(self) -> float:
        """Seconds of CPU that the operator has had."""
        assert self.operator.process is not None
        fields = Path(f"/proc/{self.operator.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def asked(self) -> dict[str, int]:
        """What taps and Prometheus were asked since the last time."""
        return dict(httpx.get(f"{self.proxy}/asked", timeout=10).json())

    def metrics(self) -> "Counter[str]":
        """Counters and buckets of the operator, by series."""
        lines = re.findall(r"^(retune_\S+) (\S+)$", self.operator.get(self.operator.metrics, "/metrics"), re.MULTILINE)
        return Counter({name: float(value) for name, value in lines})  # type: ignore[arg-type]

    def measure(self, name: str, seconds: float) -> "Measured":
        """Look at it for so long."""
        self.asked()
        metrics, began, cpu = self.metrics(), time.monotonic(), self.cpu()
        time.sleep(seconds)
        cpu, took = self.cpu() - cpu, time.monotonic() - began
        asked, after = self.asked(), self.metrics()
        after.subtract(metrics)
        return Measured(name, took, cpu, asked, after)


@dataclass
class Measured:
    """What came of so many `seconds`. `cpu`: in seconds; `asked`: of taps and Prometheus; `metrics`: the operator's."""

    name: str
    seconds: float
    cpu: float
    asked: dict[str, int]
    metrics: "Counter[str]"

    def a_minute(self, count: float) -> float:
        """That many in these seconds, a minute."""
        return count * 60 / self.seconds

    def total(self, name: str) -> float:
        """The sum over a counter's series."""
        return sum(value for series, value in self.metrics.items() if series.partition("{")[0] == name)

    def quantile(self, share: float) -> float:
        """Milliseconds that a job's reconcile takes, its waiting included; linear within a bucket of the histogram."""
        pattern = re.compile(rf'retune_reconcile_duration_seconds_bucket{{kind="{KIND}",le="([^"]+)"}}')
        found = [(float(m[1]), value) for series, value in self.metrics.items() if (m := pattern.fullmatch(series))]
        buckets = sorted(found)
        wanted, below, least = share * buckets[-1][1], 0.0, 0.0
        for most, count in buckets:
            if count >= wanted and count > below:
                return 1000 * (least + (most - least) * (wanted - below) / (count - below))
            below, least = count, most
        return float("nan")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The operator's CPU and Prometheus' queries while it watches.")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=1.0, help="of a measurement; half of it for the last")
    parser.add_argument(
        "--prometheus", default=None, help='where queries go on to; "": nowhere, they are answered here'
    )
    asked = parser.parse_args()
    folder = binaries()
    if folder is None:
        sys.exit("no etcd and kube-apiserver: run `make cluster` once, or set KUBEBUILDER_ASSETS to their folder")
    url = _local() if asked.prometheus is None else asked.prometheus
    print(f"python benchmarks/watch --jobs {asked.jobs} --minutes {asked.minutes:g}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; Prometheus: {'real' if url else 'played'}")
    began = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = ApiServer(stack.enter_context(started(folder)), str(folder / "kubectl"))
        for command in (
            ("apply", "--server-side", "-f", str(ROOT / "crds")),
            ("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds")),
        ):
            if (said := server.run(*command)).returncode:
                sys.exit(said.stderr)
        watched(server, scratch, asked, url, stack)
    print(f"{time.monotonic() - began:.0f} s in all; load average {os.getloadavg()[0]:.1f}")


def _local() -> str:
    """The Prometheus of the local cluster, or "" where there is none."""
    from hack.cluster import backend, infra
    from hack.cluster.process import ClusterError

    with contextlib.suppress(ClusterError, OSError, httpx.HTTPError):
        url = infra.endpoint(backend.choose(), "prometheus")
        return url if httpx.get(f"{url}/-/ready", timeout=3).is_success else ""
    return ""


def watched(server: ApiServer, scratch: Path, asked: argparse.Namespace, url: str, stack: ExitStack) -> None:
    """Make the world, measure, tell."""
    chart, count, seconds = installed(server, scratch), asked.jobs, 60 * asked.minutes
    cluster = Cluster(kubernetes.config.new_client_from_config(str(server.kubeconfig)), NAMESPACE)
    cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
    made = at_once(lambda number: job(cluster, f"job-{number:03}"), range(count))
    known = memory()
    size = max(at_once(lambda each: remember(cluster, each, known), made))
    port = _free_port()
    arguments = [*chart["arguments"], f"--prometheus-url=http://127.0.0.1:{port}"]
    operator = Operator(scratch, "operator-0", arguments, chart["kubeconfig"]).start()
    stack.callback(operator.kill, 15)
    eventually(operator.leads, 60)
    bench = Bench(operator, f"http://127.0.0.1:{port}", count)
    taps = _serving(cluster, count)
    stack.enter_context(_fakes({"port": port, "prometheus": url, "taps": taps}))
    at_once(lambda tap: serve(cluster, tap["pod"], tap["ip"]), taps)
    eventually(lambda: sum(_ready(each) for each in _jobs(cluster)) == count, 120)
    found = [bench.measure("without triggers", seconds)]
    _watch(cluster, made, lambda number: f"sum(rate(prometheus_http_requests_total[5m])) + {number}")
    _answer_probes(cluster, count)
    time.sleep(SETTLES)
    found.append(bench.measure("watched, each its own query", seconds))
    states = Counter((one["name"], _stands(one)) for each in _jobs(cluster) for one in each["status"]["drift"])
    _watch(cluster, made, lambda _: "sum(rate(prometheus_http_requests_total[5m]))")
    time.sleep(EVERY)
    found.append(bench.measure("watched, one query for all", seconds / 2))
    floor = asyncio.run(_fetched(taps, f"{bench.proxy}/api/v1/query"))
    begin = time.process_time()
    for _ in range(5):
        dump(known)
    packing = (time.process_time() - begin) / 5
    told(found, floor, count)
    print(f"written every 5 minutes and job: {size / 1000:.0f} kB, {1000 * packing:.0f} ms of CPU to pack")
    print("states: " + ", ".join(f"{name} {state} {n}" for (name, state), n in sorted(states.items())))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _serving(cluster: Cluster, count: int) -> list[dict[str, Any]]:
    """The pods that the operator's Deployments have come to, each with an address of its own."""
    selector = "retune.dev/serving=stable"

    def there() -> list[Any]:
        found = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=selector).items
        return found if len(found) == count else []

    return [
        {
            "ip": f"127.77.{number // 250}.{number % 250 + 1}",
            "pod": pod.metadata.name,
            "uid": pod.metadata.uid,
            "model": pod.metadata.labels["retune.dev/job"],
        }
        for number, pod in enumerate(eventually(there, 120))
    ]


@contextlib.contextmanager
def _fakes(told: dict[str, Any]) -> Iterator[None]:
    """Taps and Prometheus, in a process of their own, so that their CPU is not in any figure."""
    with subprocess.Popen([sys.executable, str(HERE / "fakes.py")], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        try:
            eventually(lambda: _listens(told["port"]), 30)
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _jobs(cluster: Cluster) -> list[dict[str, Any]]:
    at = ("retune.dev", "v1alpha1", cluster.namespace, "finetunejobs")
    return list(cluster.custom.list_namespaced_custom_object(*at)["items"])


def _ready(found: dict[str, Any]) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def _stands(one: dict[str, Any]) -> str:
    """The state of a trigger; of one that is Unknown, why."""
    return f"{one['state']} ({one.get('message', '')})" if one["state"] == "Unknown" else str(one["state"])


def _watch(cluster: Cluster, made: list[Made], query: Callable[[int], str]) -> None:
    """Give every job its triggers."""
    at_once(lambda each: cluster.apply_job(each[1].name, spec(*triggers(query(each[0])))), list(enumerate(made)))


def _answer_probes(cluster: Cluster, count: int) -> None:
    """Each job sends one watch pod, and all of them come back."""
    done: set[str] = set()

    def all_done() -> bool:
        found = cluster.core.list_namespaced_pod(cluster.namespace, label_selector="retune.dev/stage=watch").items
        new = {pod.metadata.name for pod in found} - done
        at_once(lambda pod: answer_probe(cluster, pod), new)
        done.update(new)
        return len(done) >= count

    eventually(all_done, 120)


async def _fetched(taps: list[dict[str, Any]], prometheus: str) -> float:
    """Seconds of CPU to fetch what a look at every job fetches, with nothing done to the answers."""
    rounds = 2
    async with aiohttp.ClientSession() as session:

        async def one(tap: dict[str, Any]) -> None:
            now, base = time.time(), f"http://{tap['ip']}:{PORT}/v1"
            for url, parameters in (
                (f"{base}/state", {"windows": f"{now - 210:.3f}"}),
                (f"{base}/features", {"model": tap["model"], "since": str(tap["since"])}),
            ):
                async with session.get(url, params=parameters) as answer:
                    await answer.read()
            async with session.post(prometheus, data={"query": "vector(1)", "time": f"{now:.3f}"}) as answer:
                await answer.read()

        for tap in taps:
            parameters = {"model": tap["model"], "since": "0"}
            async with session.get(f"http://{tap['ip']}:{PORT}/v1/features", params=parameters) as answer:
                rows = (await answer.json())["rows"]
            tap["since"] = rows[-1][0] - 30 if rows else 0
        begin = time.process_time()
        for _ in range(rounds):
            await asyncio.gather(*(one(tap) for tap in taps))
        return (time.process_time() - begin) / rounds


def told(found: list[Measured], floor: float, count: int) -> None:
    """Print the table. `floor`: seconds of CPU to fetch what one look at each of `count` jobs fetches."""
    print(
        f"{'':30}{'core':>7}{'reconc.':>8}{'state':>8}{'features':>10}{'queries':>9}{'p50':>7}{'p99':>7}{'writes':>8}"
    )
    print(f"{'':30}{'%':>7}{'/min':>8}{'/min':>8}{'/min':>10}{'/min':>9}{'ms':>7}{'ms':>7}{'/min':>8}")
    for one in found:
        series = f'retune_reconciles_total{{kind="{KIND}"'
        looks = sum(value for name, value in one.metrics.items() if name.startswith(series))
        figures = (looks, *(one.asked[what] for what in ("state", "features", "queries")))
        reconciles, state, features, queries = (one.a_minute(each) for each in figures)
        writes = one.a_minute(one.total("retune_api_writes_total"))
        print(
            f"{one.name:30}{100 * one.cpu / one.seconds:7.2f}{reconciles:8.0f}{state:8.0f}{features:10.0f}"
            f"{queries:9.1f}{one.quantile(0.5):7.1f}{one.quantile(0.99):7.1f}{writes:8.1f}"
        )
    rest, watch = found[0], found[1]
    looked = watch.asked["features"]
    each = (watch.cpu - rest.cpu * watch.seconds / rest.seconds) / max(looked, 1)
    print(f"{'plain HTTP loop, same answers':30}{100 * floor * looked / count / watch.seconds:7.2f}")
    print(f"a look at drift: {1000 * each:.1f} ms of CPU more than none; fetched alone {1000 * floor / count:.1f} ms")
    print(f"queries at once: at most {max(one.asked['at once'] for one in found)}")


if __name__ == "__main__":
    main()
