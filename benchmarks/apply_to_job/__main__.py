"""From `kubectl apply` of a FineTuneJob to its first Kubernetes Job, against the bare API's time for the same writes.

    uv run python benchmarks/apply_to_job [JOBS] [PER_SECOND]

Starts an etcd, an API server and controllers of its own, and one operator with its chart's rights and defaults.
Jobs are created at a steady rate; a watch takes the time at which each one's preflight Job appears. In the same run, a
plain client makes the same five writes one after the other (job, run, run's status, ConfigMap, Job), without operator.
Prints p50, p99 of both and the operator's RSS before and after. Rates above what the token bucket lets through (50
requests a second by default, 5 a job) measure the bucket: it is raised here with --api-rate unless --default-bucket.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.cluster.apiserver import ApiServer, binaries, started
from tests.cluster.cluster import spec
from tests.cluster.conftest import Operator, installed

from kubernetes import aio

NAMESPACE = "bench"
OURS = "/apis/retune.dev/v1alpha1/namespaces/bench"


class Api:
    """Raw requests."""

    def __init__(self, client: aio.client.ApiClient) -> None:
        self._client = client

    async def __call__(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        headers = {"Content-Type": content, "Accept": "application/json"}
        client = self._client
        await client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        response = await client.call_api(method, client.configuration.host + path, headers, body)
        data = await response.read()
        if response.status >= 300:
            raise RuntimeError(data)
        return data


def job(name: str) -> dict[str, Any]:
    return {"apiVersion": "retune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}, "spec": spec()}


async def through_operator(api: Api, client: aio.client.ApiClient, count: int, rate: float) -> list[float]:
    applied: dict[str, float] = {}
    seen: dict[str, float] = {}

    async def watch() -> None:
        batch = aio.client.BatchV1Api(client)
        async with aio.watch.Watch() as stream:
            async for event in stream.stream(batch.list_namespaced_job, NAMESPACE):
                name = event["object"].metadata.labels.get("retune.dev/job", "")
                seen.setdefault(name, time.perf_counter())
                if len(seen) == count:
                    return

    async def apply(name: str) -> None:
        await api("POST", f"{OURS}/finetunejobs", job(name))
        applied[name] = time.perf_counter()

    watching = asyncio.create_task(watch())
    begin = time.perf_counter()
    tasks = []
    for i in range(count):
        await asyncio.sleep(max(0.0, begin + i / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(apply(f"job-{i}")))
    await asyncio.gather(*tasks)
    await asyncio.wait_for(watching, 300)
    return [seen[name] - applied[name] for name in applied]


async def bare(api: Api, client: aio.client.ApiClient, count: int, rate: float) -> list[float]:
    """The operator's writes for one of its own jobs, replayed by a plain client under other names."""
    custom, batch, core = (
        aio.client.CustomObjectsApi(client),
        aio.client.BatchV1Api(client),
        aio.client.CoreV1Api(client),
    )
    run = (await custom.list_namespaced_custom_object("retune.dev", "v1alpha1", NAMESPACE, "finetuneruns"))["items"][0]
    child = client.sanitize_for_serialization((await batch.list_namespaced_job(NAMESPACE)).items[0])
    maps = await core.list_namespaced_config_map(NAMESPACE, label_selector="retune.dev/run")
    config = client.sanitize_for_serialization(maps.items[0])
    for part in ("controller-uid", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "job-name"):
        child["spec"]["template"]["metadata"]["labels"].pop(part, None)
    child["spec"].pop("selector", None)

    def copy(source: dict[str, Any], name: str) -> dict[str, Any]:
        kept = {k: v for k, v in source.items() if k != "status"}
        return {**kept, "metadata": {"name": name, "labels": {"bench": "bare"}}}

    times: list[float] = []

    async def one(i: int) -> None:
        name = f"bare-{i}"
        start = time.perf_counter()
        await api("POST", f"{OURS}/finetuneruns", copy(run, name))
        body = {**copy(run, name), "status": run["status"]}
        body["metadata"] = {"name": name}
        del body["spec"]
        path = f"{OURS}/finetuneruns/{name}/status?fieldManager=bench&force=true"
        await api("PATCH", path, body, "application/apply-patch+yaml")
        await api("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", {**copy(config, name), "kind": "ConfigMap"})
        await api("POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", {**copy(child, name), "kind": "Job"})
        times.append(time.perf_counter() - start)

    begin = time.perf_counter()
    tasks = []
    for i in range(count):
        await asyncio.sleep(max(0.0, begin + i / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(i)))
    await asyncio.gather(*tasks)
    return times


def show(name: str, times: list[float]) -> None:
    ordered = sorted(1000 * t for t in times)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    print(f"{name:28} p50 {p50:8.1f} ms   p99 {p99:8.1f} ms   n {len(ordered)}")


def rss(pid: int) -> float:
    """Resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def measure(server: ApiServer, operator: Operator, count: int, rate: float) -> None:
    client = await aio.config.new_client_from_config(str(server.kubeconfig))
    api = Api(client)
    server.run("create", "namespace", NAMESPACE)
    assert operator.process is not None
    idle = rss(operator.process.pid)
    operated = await through_operator(api, client, count, rate)
    loaded = rss(operator.process.pid)
    plain = await bare(api, client, count, rate)
    show("apply → Job, operator", operated)
    show("the same writes, bare API", plain)
    median = statistics.median(operated) - statistics.median(plain)
    print(f"median beyond the API's own time: {1000 * median:.1f} ms")
    print(f"operator RSS: {idle:.0f} MiB idle, {loaded:.0f} MiB with {count} jobs; writes: {operator.writes()}")
    await client.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", nargs="?", type=int, default=200)
    parser.add_argument("per_second", nargs="?", type=float, default=5.0)
    parser.add_argument("--default-bucket", action="store_true")
    given = parser.parse_args()
    folder = binaries()
    if folder is None:
        raise SystemExit("no control plane binaries: run `make cluster` once")
    import tempfile

    with started(folder) as kubeconfig, tempfile.TemporaryDirectory() as scratch:
        server = ApiServer(kubeconfig, str(folder / "kubectl"))
        server.run("apply", "--server-side", "-f", "crds")
        server.run("wait", "--for=condition=Established", "-f", "crds")
        chart = installed(server, Path(scratch))
        extra = [] if given.default_bucket else ["--api-rate=5000", "--api-burst=5000"]
        operator = Operator(Path(scratch), "bench", [*chart["arguments"], *extra], chart["kubeconfig"]).start()
        try:
            deadline = time.monotonic() + 60
            while not operator.leads() and time.monotonic() < deadline:
                time.sleep(0.1)
            asyncio.run(measure(server, operator, given.jobs, given.per_second))
        finally:
            operator.kill(15)


if __name__ == "__main__":
    main()
