"""Which Kubernetes client should the operator write with: kubernetes.aio, or the sync client in threads?

    KUBECONFIG=$(make -s kubeconfig) uv run python benchmarks/api_client

Each client creates, server-side applies and deletes the same ConfigMaps, 16 requests in flight, in turn and several
times; `raw` is aiohttp alone, as the floor. Prints the median of the rounds: writes per second, p50/p99 latency, CPU
per write.
"""

import asyncio
import json
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import kubernetes.aio as kubernetes_aio

import kubernetes

OBJECTS, IN_FLIGHT, ROUNDS = 200, 16, 5
NAMESPACE = "default"
PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
Call = Callable[[str, str, str, dict[str, object] | None], Awaitable[dict[str, object]]]


def body(name: str, value: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value * 100}}


async def round_(call: Call) -> dict[str, float]:
    latencies: list[float] = []
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def timed(method: str, path: str, content: str, payload: dict[str, object] | None) -> None:
        async with gate:
            start = time.perf_counter()
            await call(method, path, content, payload)
            latencies.append(time.perf_counter() - start)

    async def life(i: int) -> None:
        name = f"bench-{i}"
        await timed("POST", PATH, "application/json", body(name, "a"))
        apply = f"{PATH}/{name}?fieldManager=bench&force=true"
        await timed("PATCH", apply, "application/apply-patch+yaml", body(name, "b"))
        await timed("DELETE", f"{PATH}/{name}", "application/json", None)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(life(i) for i in range(OBJECTS)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ordered = sorted(latencies)
    return {
        "writes/s": len(ordered) / wall,
        "p50 ms": 1000 * ordered[len(ordered) // 2],
        "p99 ms": 1000 * ordered[int(len(ordered) * 0.99)],
        "cpu ms/write": 1000 * cpu / len(ordered),
    }


async def main() -> None:
    await kubernetes_aio.config.load_config()
    kubernetes.config.load_config()
    kubernetes.client.Configuration._default.connection_pool_maxsize = IN_FLIGHT  # noqa: SLF001

    aio = kubernetes_aio.client.ApiClient()
    sync = kubernetes.client.ApiClient()
    pool = ThreadPoolExecutor(IN_FLIGHT)
    config = kubernetes_aio.client.Configuration.get_default_copy()
    context = ssl.create_default_context(cafile=config.ssl_ca_cert)
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file)
    if not config.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    token = config.api_key.get("BearerToken") or config.api_key.get("authorization")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=IN_FLIGHT), headers={"Authorization": token} if token else {}
    )

    async def with_raw(method: str, path: str, content: str, payload: dict[str, object] | None) -> dict[str, object]:
        data = None if payload is None else json.dumps(payload)
        async with session.request(
            method, config.host + path, data=data, headers={"Content-Type": content}
        ) as response:
            response.raise_for_status()
            return await response.json()  # type: ignore[no-any-return]

    async def with_aio(method: str, path: str, content: str, payload: dict[str, object] | None) -> dict[str, object]:
        headers = {"Content-Type": content}
        await aio.update_params_for_auth(headers, [], ["BearerToken"], path, method, payload)
        response = await aio.call_api(method, aio.configuration.host + path, headers, payload)
        data = await response.read()
        if response.status >= 300:
            raise RuntimeError(data)
        return json.loads(data)  # type: ignore[no-any-return]

    def blocking(method: str, path: str, content: str, payload: dict[str, object] | None) -> dict[str, object]:
        headers = {"Content-Type": content}
        sync.update_params_for_auth(headers, [], ["BearerToken"], path, method, payload)
        response = sync.call_api(method, sync.configuration.host + path, headers, payload)
        data = response.read()
        if response.status >= 300:
            raise RuntimeError(data)
        return json.loads(data)  # type: ignore[no-any-return]

    async def with_threads(
        method: str, path: str, content: str, payload: dict[str, object] | None
    ) -> dict[str, object]:
        return await asyncio.get_running_loop().run_in_executor(pool, blocking, method, path, content, payload)

    calls: dict[str, Call] = {"raw": with_raw, "kubernetes.aio": with_aio, "sync in threads": with_threads}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            results[name].append(await round_(call))
    for name, rounds in results.items():
        medians = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        print(f"{name:16}", "  ".join(f"{key} {value:8.2f}" for key, value in medians.items()))
    await session.close()
    await aio.close()


if __name__ == "__main__":
    asyncio.run(main())
