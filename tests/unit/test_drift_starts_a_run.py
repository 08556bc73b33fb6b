"""From what users do to a new run: a real tap before a server, and the operator's whole job side, in virtual time.

Only the API server is played (`bank`), and the clock. The operator is restarted on the way.
"""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from unittest import mock

import aiohttp
import pytest
from tests.unit import bank, make
from tests.unit.raw import raw_run
from tests.unit.serves import SIGNER, raw_server
from tests.unit.tap.running import Running

from retune.act.arms import Documents, Push
from retune.act.carry_out import Hands, Serves
from retune.act.serving import Own
from retune.api import Artifact, FineTuneJobStatus, FineTuneRunStatus, RunPhase
from retune.main.handlers import JOB
from retune.main.queue import Key
from retune.main.reconcile import Reconciler
from retune.observe import facts as observing
from retune.observe import taps as asking
from retune.observe.cache import Caches
from retune.observe.facts import Observer, Rollouts
from retune.observe.features import Features
from retune.observe.kept import Kept
from retune.observe.ledgers import Ledgers
from retune.observe.prometheus import Prometheus
from retune.observe.scalars import Scalars
from retune.observe.taps import Taps

Raw = dict[str, Any]
NS, NAME = bank.NS, bank.NAME
POD = "triage-1"
POLICY = replace(bank.POLICY, feedback_window=60.0)
OLD = ["please", "tell", "me", "why", "the", "card", "payment", "was", "declined", "at", "the", "shop", "yesterday"]
NEW = ["kto", "může", "změnit", "heslo", "účtu", "když", "telefon", "nefunguje", "prosím", "pomozte", "rychle"]


class Cluster(bank.Bank):
    """Takes server-side applies of what is not there yet."""

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str = "") -> Raw:
        if body["metadata"].get("resourceVersion"):
            return await super().apply(resource, namespace, body, subresource)
        return self.put(resource, namespace, body["metadata"]["name"], body)


class Counted:
    """Metrics nobody reads here, but for rows."""

    def __init__(self) -> None:
        self.rows = 0

    def poll(self, *, ok: bool) -> None: ...
    def push(self, *, ok: bool) -> None: ...
    def query(self, result: str) -> None: ...
    def feature_rows(self, count: int) -> None:
        self.rows += count


class World:
    """A job that serves a promoted model through one tap, and operators that come and go."""

    def __init__(self, folder: Path, triggers: Raw) -> None:
        self.cluster, self.counted = Cluster(), Counted()
        self.tap = Running(folder, job_uid="job-uid", pod_uid=POD, pod=POD)
        self.random = random.Random(5)
        self.writes: list[datetime] = []
        spec = make.written(serving={}, triggers={"cooldown": "0s", **triggers})
        self.cluster.put("finetunejobs", NS, NAME, {"metadata": {"uid": "job-uid", "generation": 1}, "spec": spec})
        stack = AsyncExitStack()
        self.stack = stack

    async def __aenter__(self) -> Self:
        self.tap = await self.stack.enter_async_context(self.tap)
        self.http = await self.stack.enter_async_context(aiohttp.ClientSession())
        artifact = Artifact(uri="s3://models/1", digest=make.ADAPTER)
        ended = FineTuneRunStatus(phase=RunPhase.PROMOTED, ended_at=self.now, artifact=artifact)
        resolved = ended.model_validate({**ended.model_dump(by_alias=True), "resolved": make.RESOLVED})
        run = raw_run(resolved, serving={})
        run["metadata"]["creationTimestamp"] = self.now.isoformat()
        self.cluster.put("finetuneruns", NS, run["metadata"]["name"], run)
        await self.start()
        await self.reconcile()
        await self.tap.look()  # stable is loaded
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.tap.clock.now, UTC)

    async def start(self) -> None:
        """A new process: it knows what lists tell."""
        self.caches = Caches.empty(SIGNER)
        self.watch()
        port = self.tap.ports.cluster
        prometheus = Prometheus("", self.http, self.counted)
        rollouts = Rollouts(
            Taps(self.http, self.counted, port),
            prometheus,
            Features(self.http, self.counted, port),
            Scalars(prometheus),
        )
        observer = Observer(self.caches, None, POLICY, rollouts)  # type: ignore[arg-type]
        ledgers = Ledgers(self.caches, self.cluster, bank.HOME)  # type: ignore[arg-type]
        await ledgers.load()
        await Kept(self.caches, self.cluster, (NS,)).load()  # type: ignore[arg-type]
        documents = Documents(self.cluster, self.caches, SIGNER)  # type: ignore[arg-type]
        serves = Serves(
            documents, Push(self.http, self.counted, port), Own("registry.example/tap:1", "server:1", SIGNER.public)
        )
        hands = Hands(self.cluster, self.caches, bank.HOME, serves)  # type: ignore[arg-type]
        self.reconciler = Reconciler(None, observer, hands, ledgers, None)  # type: ignore[arg-type]

    def watch(self) -> None:
        """The caches see what is."""
        takers = {
            "finetunejobs": self.caches.job,
            "finetuneruns": self.caches.run,
            "deployments": self.caches.deployment,
        }
        for (resource, _, _), raw in self.cluster.objects.items():
            if resource in takers:
                takers[resource](raw)
        self.caches.server(raw_server(POD, ip="127.0.0.1"))

    async def reconcile(self) -> None:
        """Until nothing is written any more."""
        with mock.patch.object(observing, "_now", return_value=self.now), mock.patch.object(asking, "SHARED", 0.0):
            for _ in range(10):
                self.watch()
                before, job = self.cluster.versions, self.job["metadata"]["resourceVersion"]
                await self.reconciler._job(Key(JOB, NS, NAME))
                if self.job["metadata"]["resourceVersion"] != job:
                    self.writes.append(self.now)
                if self.cluster.versions == before:
                    return
        raise AssertionError("it never comes to rest")

    async def half_a_minute(self, words: list[str], *, asks: int, overridden: float = 0.0) -> None:
        """Users ask and override; the operator looks."""
        for _ in range(asks):
            self.tap.later(30 / asks)
            text = " ".join(self.random.choices(words, k=self.random.randint(6, 14)))
            reply = await self.tap.ask(messages=[{"role": "user", "content": text}])
            if self.random.random() < overridden:
                said = {"id": reply.headers["x-retune-id"], "override": True}
                async with self.http.post(f"{self.tap.users}/v1/feedback", json=said) as taken:
                    assert taken.status == 202
        await self.reconcile()

    @property
    def job(self) -> Raw:
        return self.cluster.objects["finetunejobs", NS, NAME]

    @property
    def status(self) -> FineTuneJobStatus:
        return FineTuneJobStatus.model_validate(self.job.get("status", {}))

    @property
    def triggers(self) -> list[Raw]:
        runs = [o for (r, _, _), o in self.cluster.objects.items() if r == "finetuneruns"]
        return [run["spec"]["trigger"] for run in sorted(runs, key=lambda run: run["spec"]["number"])]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def test_people_who_override_more_and_more_start_a_run_also_over_a_restart(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    rate = {"name": "overridden", "builtin": "OverrideRate", "threshold": 0.2, "for": "5m"}
    world = await stack.enter_async_context(World(tmp_path, {"drift": [rate]}))
    for _ in range(12):
        await world.half_a_minute(OLD, asks=15, overridden=0.02)
    (seen,) = world.status.drift
    assert seen.state.value == "Ok"
    assert seen.samples is not None
    assert seen.samples >= 100
    assert len(world.writes) <= 3 + 6 * 60 / 300, "a healthy job is written every five minutes"
    started = world.now
    for look in range(60):
        await world.half_a_minute(OLD, asks=15, overridden=0.8)
        if look == 14:
            before = world.status.drift[0].breached_since
            await world.start()
        if len(world.triggers) > 1:
            break
    trigger = world.triggers[1]
    assert (trigger["kind"], trigger["name"], trigger["threshold"]) == ("Drift", "overridden", 0.2)
    assert trigger["value"] > 0.2
    assert trigger["samples"] >= 100
    assert before is not None, "it was beyond before the restart"
    assert datetime.fromisoformat(trigger["noticedAt"]) == before
    assert 5 * 60 <= (world.now - started).total_seconds() <= 20 * 60


async def test_requests_of_a_kind_never_seen_before_start_a_run_and_no_text_leaves_the_pod(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    mix = {"name": "mix", "builtin": "PromptDrift", "threshold": 0.2, "for": "2m", "minSamples": 200}
    triggers = {"drift": [mix], "reference": {"window": "5m", "minSamples": 200}}
    world = await stack.enter_async_context(World(tmp_path, triggers))
    for _ in range(20):
        await world.half_a_minute(OLD, asks=25)
    assert world.counted.rows == 20 * 25, "each row came once"
    for _ in range(4):
        await world.half_a_minute(OLD, asks=25)
    assert len(world.triggers) == 1
    started = world.now
    for _ in range(40):
        await world.half_a_minute(NEW, asks=25)
        if len(world.triggers) > 1:
            break
    trigger = world.triggers[1]
    assert (trigger["kind"], trigger["name"]) == ("Drift", "mix")
    assert datetime.fromisoformat(trigger["noticedAt"]) >= started
    assert (world.now - started).total_seconds() <= 20 * 60
    kept = world.cluster.objects["configmaps", NS, f"{NAME}-drift"]
    assert kept["metadata"]["ownerReferences"][0]["uid"] == "job-uid"
    assert not any(word in str(world.cluster.objects) for word in ("declined", "heslo"))
