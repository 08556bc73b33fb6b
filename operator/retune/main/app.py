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
from retune.act.arms import Documents, Push
from retune.act.carry_out import Hands, Serves
from retune.act.channels import Channels
from retune.act.notify import Job, Notifier
from retune.act.serving import Own
from retune.kube.bucket import TokenBucket
from retune.kube.client import ApiError, Client, connect
from retune.kube.envelope import Signer
from retune.main.handlers import JOB, RUN, Watches
from retune.main.health import Endpoints
from retune.main.lease import Leadership
from retune.main.metrics import Jobs, Metrics, Phases
from retune.main.queue import Key, Queue
from retune.main.reconcile import Reconciler
from retune.main.settings import Settings, options, settings
from retune.observe.ask import Ask
from retune.observe.cache import Caches
from retune.observe.facts import ROLLOUT, Observer, Rollouts
from retune.observe.features import Features
from retune.observe.kept import Kept
from retune.observe.ledgers import Ledgers
from retune.observe.prometheus import Prometheus
from retune.observe.resync import PAGE, SELECTORS, Resync
from retune.observe.scalars import Scalars
from retune.observe.taps import Taps

log = logging.getLogger("retune")
STOP_TIMEOUT = 10.0  # s that reconciles in flight are given at shutdown
STUCK = 300.0  # s without progress, while keys are due, after which only a restart helps
URGENT_WORKERS = 2  # besides the others, for rollouts alone
TAP_CONNECTIONS = 1000  # at once: a silent tap holds one for a second and a half, and must not hold up the others
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
        self._signer = _signer(chosen.signing_key)
        self._caches = Caches.empty(self._signer)
        self._stop = asyncio.Event()
        self._watching = False  # the caches hold all that exists
        self._stuck: Callable[[], float] = lambda: 0.0
        self._failed = ""

    async def run(self) -> int:
        """Run until a signal or a lost lease; the process's exit code."""
        loop = asyncio.get_running_loop()
        self._take_signals()
        api = await connect(self._settings.workers + URGENT_WORKERS + 4)
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
        Jobs(self._metrics, self._caches, leadership.held)
        endpoints = Endpoints(self._unhealthy, self._not_ready, self._metrics.registry)
        await endpoints.start(self._settings.listen, self._settings.health_port, self._settings.metrics_port)
        try:
            taps = aiohttp.TCPConnector(limit=TAP_CONNECTIONS)
            async with aiohttp.ClientSession() as session, aiohttp.ClientSession(connector=taps) as tap_session:
                await self._lead(client, leadership, session, tap_session)
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

    def _urgent(self, key: Key) -> bool:
        """A candidate meets its users: nothing else may hold up taking it back."""
        run = self._caches.runs.get(key.namespace, key.name) if key.kind == RUN else None
        return run is not None and run.phase in ROLLOUT

    def _serves(self, client: Client, session: aiohttp.ClientSession) -> Serves | None:
        if self._signer is None:
            return None
        own = Own(self._settings.tap_image, self._settings.server_image, self._signer.public)
        documents = Documents(client, self._caches, self._signer)
        return Serves(documents, Push(session, self._metrics.rollouts), own)

    def _not_ready(self) -> str:
        return "" if self._watching else "the caches are not complete yet\n"

    async def _lead(
        self,
        client: Client,
        leadership: Leadership,
        session: aiohttp.ClientSession,
        tap_session: aiohttp.ClientSession,
    ) -> None:
        queue = Queue(urgent=self._urgent)
        watches = Watches(self._caches, queue)

        namespaces = self._settings.namespaces or ("",)
        resync = Resync(self._caches, client, namespaces, lambda resource, raw: self._gone(queue, resource, raw))
        counted = self._metrics.rollouts
        prometheus = Prometheus(self._settings.prometheus_url, session, counted)
        scalars = Scalars(prometheus)
        rollouts = Rollouts(Taps(tap_session, counted), prometheus, Features(tap_session, counted), scalars)
        channels = Channels(self._settings.channels)
        notifier = Notifier(channels, self._metrics.notified, lambda job: self._news(queue, job))
        observer = Observer(
            self._caches, Ask(client, session), self._settings.policy, rollouts, telling=notifier.telling
        )
        home = self._settings.lease_namespace
        ledgers, kept = Ledgers(self._caches, client, home), Kept(self._caches, client, namespaces)
        hands = Hands(client, self._caches, home, self._serves(client, tap_session), notifier)
        reconciler = Reconciler(queue, observer, hands, ledgers, self._metrics)

        tasks = {
            "watch": asyncio.create_task(self._watch(watches, client)),
            "lease": asyncio.create_task(leadership.hold()),
            "act": asyncio.create_task(self._act(leadership, resync, (ledgers, kept), queue, reconciler)),
            "notify": asyncio.create_task(notifier.run()),
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
        await scalars.close()
        await prometheus.close()

    def _news(self, queue: Queue, job: Job | None) -> None:
        """A job's news was told or given up; without one: a channel came or went, and concerns any job."""
        if job is not None:
            queue.add(Key(JOB, job.namespace, job.name))
            return
        for packed in self._caches.jobs.values():
            queue.add(Key(JOB, packed.meta.namespace, packed.meta.name))

    def _gone(self, queue: Queue, resource: str, raw: Mapping[str, Any]) -> None:
        """The sweep has found that an object is no more."""
        self._metrics.missed.inc()
        kind = {"finetunejobs": JOB, "finetuneruns": RUN}.get(resource)
        if kind is not None:
            queue.add(Key(kind, raw["metadata"]["namespace"], raw["metadata"]["name"]))
        if kind == JOB:
            self._caches.drifts.pop((raw["metadata"]["namespace"], raw["metadata"]["name"]), None)
        owner = raw["owner"]
        for run in self._caches.runs.values():
            if owner in (run.meta.place, f"{run.meta.namespace}/{run.owner}"):  # of a Job or pod, or of what serves
                queue.add(Key(RUN, run.meta.namespace, run.meta.name))
        for job in self._caches.jobs.values():
            if job.meta.place == owner:
                queue.add(Key(JOB, job.meta.namespace, job.meta.name))
        for namespace, name in self._caches.runs.mourning():
            queue.add(Key(JOB, namespace, name))

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
        self,
        leadership: Leadership,
        resync: Resync,
        books: tuple[Ledgers, Kept],
        queue: Queue,
        reconciler: Reconciler,
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
        await self._open_the_books(books, queue)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(reconciler.work())
            for _ in range(URGENT_WORKERS):
                group.create_task(reconciler.work(only_urgent=True))
            group.create_task(self._sweep(resync))

    async def _open_the_books(self, books: tuple[Ledgers, Kept], queue: Queue) -> None:
        """Nothing is decided before it is known what is spent, what the taps were told, and what was counted.

        Jobs that are gone may have left something open in their ledgers.
        """
        while True:
            try:
                for each in books:
                    await each.load()
                break
            except ApiError as error:
                log.warning("Ledgers, arms documents or evidence cannot be read yet: %s", error)
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


def _signer(path: str) -> Signer | None:
    """The key that arms documents are signed with.

    Raises:
        click.BadParameter: there is none where there should be one.
    """
    try:
        return Signer.from_file(path) if path else None
    except ValueError as error:
        raise click.BadParameter(f"--signing-key: {error}") from error


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
