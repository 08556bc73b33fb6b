"""What serves is applied only where it is the job's own; documents are signed, rise, and overwrite none unseen."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit import make
from tests.unit.serves import META, NS, OTHER, SIGNER, UID, Server, action, arms, configmap, pod

from retune.act.arms import Documents, Push
from retune.act.carry_out import Hands, Serves
from retune.act.deploy import LARGEST
from retune.act.serving import Own
from retune.api import FineTuneJobStatus, FineTuneRunStatus, RunPhase
from retune.decide.actions import JobDecision, PushArms, RunDecision, StopServing, WriteArms, WriteMemory
from retune.decide.readings import Serving, TapReading
from retune.kube.client import ApiError
from retune.observe.cache import Caches

Raw = dict[str, Any]
OWN = Own("tap:1", "server:1", SIGNER.public)


class Tap:
    """A tap's cluster port on loopback; takes what is pushed."""

    def __init__(self) -> None:
        self.taken: list[Raw] = []
        self.status = 200
        self.port = 0

    async def serve(self, request: web.Request) -> web.Response:
        self.taken.append(await request.json())
        return web.json_response({"generation": 1}, status=self.status)


class Counted(list[bool]):
    def push(self, *, ok: bool) -> None:
        self.append(ok)


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    made, app = Tap(), web.Application()
    app.router.add_post("/v1/arms", made.serve)
    async with TestServer(app, host="127.0.0.1") as server:
        made.port = server.port or 0
        yield made


class World:
    """Hands on a server, with caches that believe our key."""

    def __init__(self, push: Push) -> None:
        self.server, self.caches = Server(), Caches.empty(SIGNER)
        documents = Documents(self.server, self.caches, SIGNER)  # type: ignore[arg-type]
        self.hands = Hands(self.server, self.caches, "home", Serves(documents, push, OWN))  # type: ignore[arg-type]

    async def job(self, *actions: Any, **serving: Any) -> None:
        facts = replace(make.job_facts(), serving=Serving(**{"arms": self.arms, **serving}))
        await self.hands.job(facts, JobDecision(facts.status, actions))

    async def run(self, *actions: Any, **serving: Any) -> None:
        facts = make.run_facts(serving=Serving(**{"arms": self.arms, **serving}))
        await self.hands.run(facts, RunDecision(facts.status, actions))

    @property
    def arms(self) -> Any:
        kept = self.caches.kept_arms(NS, "triage")
        return kept.arms if kept is not None else None

    @property
    def written(self) -> Any:
        return SIGNER.opened(self.server.objects["configmaps", "triage-arms"]["data"]["arms.json"])


@pytest.fixture
async def world(tap: Tap) -> AsyncIterator[World]:
    async with aiohttp.ClientSession() as session:
        yield World(Push(session, Counted(), tap.port))


# ------------------------------------------------------------------------------------------------------------ documents


async def test_a_document_is_written_remembered_and_then_pushed_to_every_pod(world: World, tap: Tap) -> None:
    await world.job(WriteArms(arms(weight=10)), pods=(pod(), pod("p2", ready=False), pod("p3", ip="")))
    assert (world.written.generation, world.written.models["triage"].weight) == (1, 10)
    assert world.arms == world.written
    assert [SIGNER.opened(json.dumps(t)) for t in tap.taken] == [world.written] * 2, "also where it is not ready yet"


async def test_generations_rise_whoever_writes(world: World) -> None:
    await world.job(WriteArms(arms()))
    await world.run(WriteArms(arms(weight=10)))
    await world.job(WriteArms(arms()))
    assert world.written.generation == 3


async def test_a_decision_on_an_older_document_does_not_overwrite_a_newer_one(world: World) -> None:
    await world.job(WriteArms(arms()))
    seen = world.arms
    await world.run(WriteArms(arms(weight=10)))
    with pytest.raises(ApiError) as caught:
        await world.job(WriteArms(arms(weight=0)), arms=seen)
    assert (caught.value.code, world.written.models["triage"].weight) == (409, 10)


async def test_what_somebody_else_wrote_meanwhile_is_read_and_decided_on_anew(world: World) -> None:
    await world.job(WriteArms(arms()))
    theirs = SIGNER.sealed(arms(weight=50, generation=9))
    world.server.put("configmaps", configmap(theirs))
    with pytest.raises(ApiError) as caught:
        await world.run(WriteArms(arms(weight=0)))
    assert (caught.value.code, world.arms.generation) == (409, 9)
    await world.run(WriteArms(arms(weight=0)))
    assert (world.written.generation, world.written.models["triage"].weight) == (10, 0)


async def test_a_lost_document_is_written_anew_above_what_the_taps_have_seen(world: World) -> None:
    await world.job(WriteArms(arms()))
    del world.server.objects["configmaps", "triage-arms"]
    tap = TapReading("triage-p1", "p1", 0.0, 0.0, generation=41)
    await world.job(WriteArms(arms(weight=5)), taps={"p1": tap})
    assert world.written.generation == 42


async def test_a_forged_document_is_neither_believed_nor_kept(world: World) -> None:
    raw = world.server.put("configmaps", configmap(OTHER.sealed(arms(weight=90, generation=99))))
    world.caches.arms(NS, "triage", raw)
    assert world.arms is None
    await world.job(WriteArms(arms()))
    assert (world.written.generation, world.written.models["triage"].weight) == (1, 0)


async def test_a_configmap_of_somebody_else_is_left_alone(world: World) -> None:
    foreign = configmap("mine", uid="somebody")
    world.server.put("configmaps", foreign)
    with pytest.raises(ApiError, match="does not belong"):
        await world.hands.run(make.run_facts(), RunDecision(FineTuneRunStatus(), (WriteArms(arms()),)))
    assert world.server.objects["configmaps", "triage-arms"]["data"] == {"arms.json": "mine"}


async def test_a_document_that_was_known_of_a_deleted_namesake_holds_no_new_job_up(world: World) -> None:
    """Its deletion was missed, or a write for it came back late: the cache still has the old one's."""
    theirs = replace(arms(generation=9), uid="namesake")
    world.caches.arms(NS, "triage", configmap(SIGNER.sealed(theirs), uid="namesake"))
    await world.job(WriteArms(arms(weight=0)), arms=None)
    assert (world.written.uid, world.written.generation) == (UID, 1)


async def test_a_tap_that_is_behind_gets_the_document_as_it_was_written(world: World, tap: Tap) -> None:
    await world.job(WriteArms(arms(weight=10)))
    before = len(world.server.log)
    await world.run(PushArms((pod(),)))
    assert [SIGNER.opened(json.dumps(t)) for t in tap.taken] == [world.written]
    assert len(world.server.log) == before


async def test_slow_and_refusing_taps_hold_nobody_up_and_nothing_is_raised(tap: Tap) -> None:
    slow = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.2", tap.port)
    tap.status, counted = 409, Counted()
    start = time.monotonic()
    async with aiohttp.ClientSession() as session:
        pods = (pod(), pod("p2", "127.0.0.2"), pod("p3", "127.0.0.3"))
        await Push(session, counted, tap.port).to(pods, SIGNER.sealed(arms()))
    assert time.monotonic() - start < 1.5
    assert counted == [False, False, False]
    slow.close()


# ------------------------------------------------------------------------------------------------------------ what runs


async def test_the_deployment_comes_last_since_it_says_that_all_is_done(world: World) -> None:
    await world.job(action())
    applied = ["services", "services", "poddisruptionbudgets", "deployments"]
    assert world.server.log == [("apply", resource) for resource in applied]
    (deployed,) = world.caches.deployments.of(META.place)
    assert deployed.digest == "sha256:d1", "a decision must see its own writes"


@pytest.mark.parametrize("resource", ["services", "poddisruptionbudgets", "deployments"])
async def test_what_is_not_the_jobs_is_not_taken_over(world: World, resource: str) -> None:
    """Whoever may write a FineTuneJob need not be allowed to change Deployments or Services."""
    theirs = {"metadata": {"namespace": NS, "name": "triage"}, "spec": "theirs"}
    world.server.put(resource, theirs)
    with pytest.raises(ApiError, match="give the job another name"):
        await world.job(action())
    assert world.server.objects[resource, "triage"]["spec"] == "theirs"
    assert ("apply", "finetunejobs/status") in world.server.log, "the condition says so"


async def test_what_serves_is_deleted_and_the_deployment_goes_last(world: World) -> None:
    await world.job(action())
    world.server.log.clear()
    await world.job(StopServing())
    gone = list(world.server.log)
    assert gone[-1] == ("delete", "deployments"), "while it is there, the rest is asked for again"
    left = [resource for resource, _ in world.server.objects]
    assert not {"services", "poddisruptionbudgets", "deployments"} & set(left)
    await world.job(StopServing())
    assert world.server.log == gone, "what is gone is gone"


@pytest.mark.parametrize("resource", ["services", "poddisruptionbudgets", "deployments"])
async def test_what_is_not_the_jobs_is_not_deleted(world: World, resource: str) -> None:
    world.server.put(resource, {"metadata": {"namespace": NS, "name": "triage"}, "spec": "theirs"})
    await world.job(StopServing())
    assert world.server.objects[resource, "triage"]["spec"] == "theirs"


async def test_a_refusal_is_said_once_however_often_it_is_tried_and_taken_back_when_it_is_over(world: World) -> None:
    theirs = {"metadata": {"namespace": NS, "name": "triage"}, "spec": "theirs"}
    world.server.put("services", theirs)
    facts = make.job_facts()
    for _ in range(3):
        with pytest.raises(ApiError):
            await world.hands.job(facts, JobDecision(facts.status, (action(),)))
        said = FineTuneJobStatus.model_validate(world.server.objects["finetunejobs", "triage"]["status"])
        facts = replace(facts, status=said)
    assert world.server.log == [("apply", "finetunejobs/status")]
    del world.server.objects["services", "triage"]
    await world.hands.job(facts, JobDecision(facts.status, (action(),)))
    said = FineTuneJobStatus.model_validate(world.server.objects["finetunejobs", "triage"]["status"])
    assert [(c.type, c.status) for c in said.conditions] == [("ServingApplied", "True")]


@pytest.mark.parametrize(
    ("told", "word"), [({"args": ["--trust-remote-code"]}, "spec.serving.args"), ({"args": ["--port=1"]}, "--port=1")]
)
async def test_protected_arguments_are_refused_with_the_field(world: World, told: Raw, word: str) -> None:
    with pytest.raises(ApiError, match=word):
        await world.job(action(**told))
    assert not [entry for entry in world.server.log if entry[1] == "deployments"]


async def test_an_operator_without_a_key_serves_nothing_and_says_why() -> None:
    server = Server()
    hands = Hands(server, Caches.empty())  # type: ignore[arg-type]
    facts = make.job_facts()
    with pytest.raises(ApiError, match="--signing-key"):
        await hands.job(facts, JobDecision(facts.status, (action(),)))
    said = server.objects["finetunejobs", "triage"]["status"]["conditions"]
    assert any("--signing-key" in c["message"] for c in said)


async def test_evidence_too_large_to_be_kept_holds_up_nothing(world: World) -> None:
    text = "x" * (LARGEST + 1)
    await world.run(WriteMemory(text), WriteArms(arms(weight=0)))
    assert ("configmaps", f"{make.RUN}-evidence") not in world.server.objects
    assert world.caches.memories[NS, make.RUN] == text, "this life of the operator goes on counting"
    assert world.written.models["triage"].weight == 0


async def test_the_evidence_lies_beside_its_run_until_the_run_is_over(world: World) -> None:
    await world.run(WriteMemory('{"a": 1}'))
    name = f"{make.RUN}-evidence"
    written = world.server.objects["configmaps", name]
    assert written["data"] == {"evidence.json": '{"a": 1}'}
    assert written["metadata"]["ownerReferences"][0]["kind"] == "FineTuneRun"
    assert world.caches.memories[NS, make.RUN] == '{"a": 1}'
    metadata = {"namespace": NS, "name": make.RUN, "uid": "u", "resourceVersion": "99"}
    world.caches.run({"metadata": metadata, "status": {"phase": RunPhase.PROMOTED.value}})
    assert world.caches.memories == {}
