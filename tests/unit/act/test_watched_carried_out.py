"""What is remembered of drift is kept without holding anything up; watch pods are created once, with what they need."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.act.test_watch_job import run_json
from tests.unit.serves import META, NS, Server

from retune.act import deploy
from retune.act.carry_out import Hands
from retune.decide.actions import CreateWatch, DeleteChild, JobDecision, RememberDrift
from retune.decide.conditions import find
from retune.decide.drift.memory import Memory, dump
from retune.decide.facts import JobFacts
from retune.kube.client import ApiError, NotLeader
from retune.observe.cache import Caches

Raw = dict[str, Any]
WATCH = CreateWatch("triage-watch-1", 2, count=True, probe=False, seed=7)
DRIFT = ("configmaps", "triage-drift")
AT = make.NOW.timestamp()


class Refusing(Server):
    """Refuses writes of these resources."""

    def __init__(self, *resources: str, error: Exception | None = None) -> None:
        super().__init__()
        self.refused, self.events = resources, []
        self.error = error or ApiError(403, "Forbidden", "exceeded quota")

    async def create(self, resource: str, namespace: str, body: Raw) -> Raw | None:
        if resource in self.refused:
            raise self.error
        if resource == "events":
            self.events.append(body["reason"])
        return await super().create(resource, namespace, body)

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str = "") -> Raw:
        if resource in self.refused:
            raise self.error
        return await super().apply(resource, namespace, body, subresource)

    async def delete(self, resource: str, namespace: str, name: str, uid: str, *, foreground: bool = False) -> None:
        self.log.append(("delete", f"{resource}/{name}{' in the foreground' if foreground else ''}"))


class Ending(Server):
    """Takes so many writes; then the operator is gone."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    async def create(self, resource: str, namespace: str, body: Raw) -> Raw | None:
        self.writes -= 1
        if self.writes < 0:
            raise NotLeader
        return await super().create(resource, namespace, body)


def facts() -> JobFacts:
    return make.job_facts(make.job_spec(triggers={"newExamples": {"count": 5}}))


async def carried_out(server: Server, *actions: Any) -> Caches:
    caches, found = Caches.empty(), facts()
    await Hands(server, caches).job(found, JobDecision(found.status, actions))  # type: ignore[arg-type]
    return caches


def remembered(caches: Caches) -> Memory | None:
    kept = caches.drifts.get((NS, META.name))
    return kept.memory if kept is not None else None


async def test_a_look_is_remembered_and_written_into_the_jobs_own_configmap() -> None:
    server, memory = Server(), Memory(AT, served="triage-1/x")
    caches = await carried_out(server, RememberDrift(memory, write=True))
    assert server.objects[DRIFT]["data"] == {"drift.json": dump(memory)}
    assert server.objects[DRIFT]["metadata"]["labels"]["retune.dev/kept"] == "drift"
    (owner,) = server.objects[DRIFT]["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (META.uid, True)
    assert remembered(caches) is memory
    assert caches.drifts[NS, META.name].written == AT


async def test_most_looks_write_nothing() -> None:
    server, memory = Server(), Memory(AT)
    caches = await carried_out(server, RememberDrift(memory, write=False))
    assert server.objects == {}
    assert remembered(caches) is memory
    assert caches.drifts[NS, META.name].written == 0


async def test_what_is_too_large_for_a_configmap_is_remembered_here_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "LARGEST", 10)
    server, memory = Server(), Memory(AT)
    caches = await carried_out(server, RememberDrift(memory, write=True))
    assert DRIFT not in server.objects
    assert remembered(caches) is memory


async def test_a_configmap_that_is_not_the_jobs_is_left_alone() -> None:
    server = Server()
    server.put("configmaps", {"metadata": {"name": "triage-drift"}, "data": {"theirs": "yes"}})
    caches = await carried_out(server, RememberDrift(Memory(AT), write=True))
    assert server.objects[DRIFT]["data"] == {"theirs": "yes"}
    assert remembered(caches) is not None


async def test_a_write_that_is_refused_holds_nothing_up() -> None:
    server = Refusing("configmaps")
    caches = await carried_out(server, RememberDrift(Memory(AT), write=True), DeleteChild("triage-watch-0", "u"))
    assert remembered(caches) is not None
    assert server.log == [("delete", "jobs/triage-watch-0 in the foreground")]


async def test_a_process_that_has_lost_the_lease_writes_on_nothing() -> None:
    with pytest.raises(NotLeader):
        await carried_out(Refusing("configmaps", error=NotLeader()), RememberDrift(Memory(AT), write=True))


async def test_a_watch_pods_job_is_created_with_its_configuration_and_seen_at_once() -> None:
    server = Server()
    caches = await carried_out(server, WATCH)
    assert run_json(server.objects["jobs", WATCH.name])["watch"] == {"count": True, "probe": None}
    (watcher,) = caches.watchers.of(META.place)
    assert (watcher.child.attempt, watcher.count, watcher.probe) == (2, True, False)


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_whenever_the_operator_ends_no_watch_pod_is_left_that_waits_for_what_nobody_will_write(
    writes: int,
) -> None:
    server = Ending(writes)
    with contextlib.suppress(NotLeader):
        await carried_out(server, WATCH)
    for (resource, _), job in list(server.objects.items()):
        if resource == "jobs":
            volumes = job["spec"]["template"]["spec"]["volumes"]
            wanted = {("configmaps", volume["configMap"]["name"]) for volume in volumes if "configMap" in volume}
            assert wanted <= server.objects.keys()


async def test_a_second_operator_creates_it_no_second_time() -> None:
    server = Server()
    await carried_out(server, WATCH)
    before = dict(server.objects)
    await carried_out(server, WATCH)
    assert server.objects == before


async def test_a_watch_that_is_refused_says_so_and_is_tried_again_without_a_word_about_runs() -> None:
    server, caches, found = Refusing("jobs"), Caches.empty(), facts()
    with pytest.raises(ApiError, match="exceeded quota"):
        await Hands(server, caches).job(found, JobDecision(found.status, (WATCH,)))  # type: ignore[arg-type]
    assert server.events == ["WatchRefused"]
    assert not any(name == "finetunejobs" for _, name in server.log)
    assert find(found.status.conditions, "Progressing") is None


async def test_without_a_place_for_artifacts_the_reason_is_told() -> None:
    spec = make.job_spec(artifacts=None, triggers={"newExamples": {"count": 5}})
    found = replace(make.job_facts(spec), policy=replace(make.POLICY, artifacts_uri=""))
    server = Refusing()
    with pytest.raises(ApiError, match=r"spec\.artifacts\.uri"):
        await Hands(server, Caches.empty()).job(found, JobDecision(found.status, (WATCH,)))  # type: ignore[arg-type]
    assert server.events == ["WatchRefused"]
