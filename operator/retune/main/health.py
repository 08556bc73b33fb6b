"""/healthz, /readyz and /metrics over HTTP."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

# Says what is wrong, or nothing.
Check = Callable[[], str]


class Endpoints:
    """Serves the two ports until it is stopped.

    `/healthz` fails when the process cannot get right by itself (the kubelet then restarts it); `/readyz` fails while
    it could not act on anything yet. A follower that waits for the lease is both healthy and ready.
    """

    def __init__(self, healthy: Check, ready: Check, registry: CollectorRegistry) -> None:
        self._runners: list[web.AppRunner] = []
        self._healthy, self._ready, self._registry = healthy, ready, registry

    async def start(self, listen: str, health_port: int, metrics_port: int) -> None:
        """Listen on both ports."""
        health, metrics = web.Application(), web.Application()
        health.router.add_get("/healthz", self._answer(self._healthy))
        health.router.add_get("/readyz", self._answer(self._ready))
        metrics.router.add_get("/metrics", self._metrics)
        for app, port in ((health, health_port), (metrics, metrics_port)):
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, listen, port).start()
            self._runners.append(runner)

    async def stop(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    @staticmethod
    def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(_: web.Request) -> web.Response:
            wrong = check()
            return web.Response(text=wrong or "ok\n", status=503 if wrong else 200)

        return handler

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
