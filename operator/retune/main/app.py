"""The operator process: wires everything together, runs it, and stops it cleanly."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import click
import kopf

from retune import __version__
from retune.act.carry_out import Hands
from retune.kube.bucket import TokenBucket
from retune.kube.client import ApiError, Client, connect
from retune.main.handlers import JOB, RUN, Watches
from retune.main.health import Endpoints
from retune.main.lease import Leadership
from retune.main.metrics import Metrics, Phases
from retune.main.queue import Key, Queue
from retune.main.reconcile import Reconciler
from retune.main.settings import Settings, options, settings
from retune.observe.ask import Ask
from retune.observe.cache import Caches
from retune.observe.facts import Observer
from retune.observe.ledgers import Ledgers
from retune.observe.resync import PAGE, SELECTORS, Resync

log = logging.getLogger("retune")
STOP_TIMEOUT = 10.0  # s that reconciles in flight are given at shutdown
STUCK = 300.0  # s without progress, while keys are due, after which only a restart helps
WATCH_TIMEOUT = 300  # s after which the API server ends a watch, and a new one starts


@click.command(context_settings={"show_default": True})
@click.version_option(__version__)
@options
def main(**given: Any) -> None:  # noqa: ANN401 - click's values
    """Run the Retune operator."""
    chosen = settings(**given)
    logging.basicConfig(
        level=chosen.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for noisy in ("kopf", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    log.info("Retune %s: %s", __version__, " ".join(chosen.lines()))
    sys.exit(asyncio.run(Operator(chosen).run()))


class Operator:
    """One operator process."""

    def __init__(self, chosen: Settings) -> None:
        self._settings = chosen
        self._metrics = Metrics()
        self._caches = Caches.empty()
        self._stop = asyncio.Event()
        self._watching = False  # the caches hold all that exists
        self._stuck: Callable[[], float] = lambda: 0.0
        self._failed = ""

    async def run(self) -> int:
        """Run until a signal or a lost lease; the process's exit code."""
        loop = asyncio.get_running_loop()
        self._take_signals()
        api = await connect(self._settings.workers + 4)
        leadership: Leadership
        client = Client(
            api,
            TokenBucket(self._settings.api_rate, self._settings.api_burst),
            lambda: leadership.held(),  # noqa: PLW0108 - bound below: client and leadership need each other
            self._metrics,
        )
        leadership = Leadership(
            client, self._settings.lease_namespace, self._settings.lease_name, self._settings.identity, loop.time
        )
        self._metrics.leading.set_function(lambda: float(leadership.held()))
        Phases(self._metrics, self._caches.job_phases, self._caches.run_phases)
        endpoints = Endpoints(self._unhealthy, self._not_ready, self._metrics.registry)
        await endpoints.start(self._settings.listen, self._settings.health_port, self._settings.metrics_port)
        try:
            async with aiohttp.ClientSession() as session:
                await self._lead(client, leadership, session)
        finally:
            await leadership.release()
            await endpoints.stop()
            await client.close()
        log.info("Stopped%s", f": {self._failed}" if self._failed else "")
        return 1 if self._failed else 0

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    def _unhealthy(self) -> str:
        stuck = self._stuck() if self._watching else 0.0
        return self._failed or (f"no worker has taken a key for {stuck:.0f} s\n" if stuck > STUCK else "")

    def _not_ready(self) -> str:
        return "" if self._watching else "the caches are not complete yet\n"

    async def _lead(self, client: Client, leadership: Leadership, session: aiohttp.ClientSession) -> None:
        queue = Queue()
        watches = Watches(self._caches, queue)

        def gone(resource: str, raw: Mapping[str, Any]) -> None:
            self._metrics.missed.inc()
            kind = {"finetunejobs": JOB, "finetuneruns": RUN}.get(resource)
            if kind is not None:
                queue.add(Key(kind, raw["metadata"]["namespace"], raw["metadata"]["name"]))
            for run in self._caches.runs.values():
                if run.meta.place == raw["owner"]:  # of a Job or pod
                    queue.add(Key(RUN, run.meta.namespace, run.meta.name))
            for namespace, name in self._caches.runs.mourning():
                queue.add(Key(JOB, namespace, name))

        namespaces = self._settings.namespaces or ("",)
        resync = Resync(self._caches, client, namespaces, gone)
        observer = Observer(self._caches, Ask(client, session), self._settings.policy)
        home = self._settings.lease_namespace
        ledgers = Ledgers(self._caches, client, home)
        hands = Hands(client, self._caches, home)
        reconciler = Reconciler(queue, observer, hands, ledgers, self._metrics)

        tasks = {
            "watch": asyncio.create_task(self._watch(watches, client)),
            "lease": asyncio.create_task(leadership.hold()),
            "act": asyncio.create_task(self._act(leadership, resync, ledgers, queue, reconciler)),
            "stop": asyncio.create_task(self._stop.wait()),
        }
        self._stuck = queue.stuck_for
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        for name, task in tasks.items():
            if task.done() and name != "stop":
                error = _cause(task.exception())
                self._failed = f"{name}: {error}" if error else f"{name} has ended"
                log.error("Stopping because %s", self._failed)
        for task in tasks.values():
            task.cancel()
        # A lost lease fences writes at once (Client asks `held`); what is awaited here is only the end of the tasks.
        await asyncio.wait(tasks.values(), timeout=STOP_TIMEOUT)

    async def _watch(self, watches: Watches, client: Client) -> None:
        while missing := await client.missing_kinds():  # kopf looks for them once, when it starts
            log.warning("Waiting for the CustomResourceDefinitions of %s", ", ".join(missing))
            await asyncio.sleep(2)
        started = asyncio.Event()
        started_task = asyncio.create_task(started.wait())
        started_task.add_done_callback(lambda _: self._take_signals())  # kopf has taken them for itself
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(kopf.login_via_client)
        watches.register(registry)
        configured = kopf_settings()
        await kopf.operator(
            registry=registry,
            settings=configured,
            standalone=True,
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
            ready_flag=started,
        )

    async def _act(
        self, leadership: Leadership, resync: Resync, ledgers: Ledgers, queue: Queue, reconciler: Reconciler
    ) -> None:
        while not self._watching:
            try:
                await resync.complete()
                self._watching = True
            except ApiError as error:
                log.warning("The caches are not complete yet: %s", error)
                await asyncio.sleep(1)
        log.info("Watching: %d jobs, %d runs", len(self._caches.jobs), len(self._caches.runs))
        await leadership.acquired.wait()
        await self._open_the_books(ledgers, queue)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(reconciler.work())
            group.create_task(self._sweep(resync))

    async def _open_the_books(self, ledgers: Ledgers, queue: Queue) -> None:
        """Nothing is decided before it is known what is spent; jobs that are gone may have left something open."""
        while True:
            try:
                await ledgers.load()
                break
            except ApiError as error:
                log.warning("The ledgers cannot be read yet: %s", error)
                await asyncio.sleep(1)
        served = self._settings.namespaces
        for namespace, name in self._caches.ledgers:
            if self._caches.jobs.get(namespace, name) is None and (not served or namespace in served):
                queue.add(Key(JOB, namespace, name))

    async def _sweep(self, resync: Resync) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            with contextlib.suppress(ApiError):  # the next sweep comes
                missed = await resync.sweep()
                if missed:
                    log.warning("%d deletions had been missed by the watches", missed)


def _cause(error: BaseException | None) -> BaseException | None:
    """What went wrong inside of a task group: its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf as a watcher only: server-side selectors, no events, no scanning, bounded requests."""
    configured = kopf.OperatorSettings()
    configured.posting.enabled = False
    configured.scanning.disabled = True
    for resource, selector in SELECTORS.items():
        configured.watching.label_selectors[resource] = selector
    configured.watching.chunk_size = int(PAGE)
    configured.watching.server_timeout = WATCH_TIMEOUT
    configured.watching.client_timeout = WATCH_TIMEOUT + 30
    configured.watching.connect_timeout = 10
    configured.networking.request_timeout = 30
    configured.networking.enforce_retry_after = True
    return configured


if __name__ == "__main__":
    main()
