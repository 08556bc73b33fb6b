"""/healthz, /readyz and /metrics, over real HTTP on ports of their own."""

from collections import Counter

import aiohttp
from prometheus_client import Gauge
from prometheus_client.registry import CollectorRegistry

from retune.main.health import Endpoints
from retune.main.metrics import Metrics, Phases


class Served:
    """The endpoints, on ports that the system chose."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sick = self.late = ""
        self.endpoints = Endpoints(lambda: self.sick, lambda: self.late, registry)

    async def get(self, site: int, path: str) -> tuple[int, str]:
        host, port = self.endpoints._runners[site].addresses[0][:2]
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as response:
            return response.status, await response.text()


async def test_health_and_readiness_say_what_is_wrong() -> None:
    served = Served(CollectorRegistry())
    await served.endpoints.start("127.0.0.1", 0, 0)
    try:
        assert await served.get(0, "/healthz") == (200, "ok\n")
        assert await served.get(0, "/readyz") == (200, "ok\n")
        served.late = "the caches are not complete yet\n"
        assert await served.get(0, "/readyz") == (503, "the caches are not complete yet\n")
        assert (await served.get(0, "/healthz"))[0] == 200, "a restart would not make it ready any sooner"
        served.sick = "lease: lost"
        assert await served.get(0, "/healthz") == (503, "lease: lost")
        assert (await served.get(0, "/metrics"))[0] == 404
        assert (await served.get(1, "/healthz"))[0] == 404
    finally:
        await served.endpoints.stop()


async def test_metrics_of_this_process_only_and_every_phase_from_the_start() -> None:
    metrics = Metrics()
    Phases(metrics, lambda: Counter({"Running": 2}), Counter)
    metrics.api_write("create", "jobs")
    Gauge("somebody_elses", "in the library's global registry", registry=CollectorRegistry())
    served = Served(metrics.registry)
    await served.endpoints.start("127.0.0.1", 0, 0)
    try:
        status, text = await served.get(1, "/metrics")
    finally:
        await served.endpoints.stop()
    assert status == 200
    lines = text.splitlines()
    assert 'retune_jobs{phase="Running"} 2.0' in lines
    assert 'retune_jobs{phase="Halted"} 0.0' in lines
    assert 'retune_runs{phase="Promoted"} 0.0' in lines
    assert 'retune_api_writes_total{resource="jobs",verb="create"} 1.0' in lines
    assert "somebody_elses" not in text
