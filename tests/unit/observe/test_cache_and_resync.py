"""What the operator believes exists: versions, namesakes, ghosts, and what a list of the API server corrects."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.make import virtually

from retune.observe.cache import Cache, Caches
from retune.observe.resync import Resync

Raw = dict[str, Any]
LABELS = {
    "retune.dev/run": "r",
    "retune.dev/run-uid": "run-uid",
    "retune.dev/stage": "train",
    "retune.dev/attempt": "1",
}


def raw(name: str = "x", version: int = 1, uid: str = "u", namespace: str = "ns", **more: Any) -> Raw:
    metadata = {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(version), "labels": LABELS}
    return {"metadata": metadata, **more}


def test_an_older_version_is_ignored_and_the_same_one_is_no_harm() -> None:
    cache: Cache[str] = Cache()
    assert cache.put(raw(version=5), "five", "o")
    assert not cache.put(raw(version=4), "four", "o")
    assert cache.put(raw(version=5), "five again", "o")
    assert cache.get("ns", "x") == "five again"
    assert cache.put(raw(version=10), "ten: versions are numbers, not texts", "o")


def test_the_late_end_of_an_object_does_not_take_its_namesake() -> None:
    cache: Cache[str] = Cache()
    cache.put(raw(version=1, uid="old"), "old", "o")
    cache.put(raw(version=7, uid="new"), "new", "o")
    cache.drop(raw(version=3, uid="old"))
    assert cache.get("ns", "x") == "new"
    cache.drop(raw(version=9, uid="new"))
    assert cache.get("ns", "x") is None
    assert (cache.of("o"), len(cache)) == ((), 0)


def test_an_object_belongs_to_the_owner_it_was_last_seen_with() -> None:
    cache: Cache[str] = Cache()
    cache.put(raw(version=1), "v", "one")
    cache.put(raw(version=2), "v", "two")
    assert (cache.of("one"), cache.of("two")) == ((), ("v",))


OPS = st.lists(
    st.tuples(st.booleans(), st.sampled_from("ab"), st.sampled_from(["u", "v"]), st.sampled_from(["o", "p"])),
    max_size=30,
)


@given(OPS)
def test_by_name_and_by_owner_it_always_shows_the_same(ops: list[tuple[bool, str, str, str]]) -> None:
    cache: Cache[tuple[str, str]] = Cache()
    for version, (put, name, uid, owner) in enumerate(ops, 1):
        if put:
            cache.put(raw(name, version, uid), (name, owner), owner)
        else:
            cache.drop(raw(name, version, uid))
    by_name = [v for v in (cache.get("ns", n) for n in "ab") if v]
    by_owner = [v for owner in "op" for v in cache.of(owner)]
    assert sorted(by_name) == sorted(by_owner) == sorted(cache.values())
    assert all(owner == o for o in "op" for _, owner in cache.of(o))


def test_jobs_and_runs_are_counted_by_phase() -> None:
    caches = Caches.empty()
    caches.job(raw("a", spec={}, status={"phase": "Idle"}))
    caches.job(raw("b", spec={}))
    caches.run(raw("c", spec={"n": 1}, status={"phase": "Training"}))
    assert caches.job_phases() == {"Idle": 1, "Pending": 1}
    assert caches.run_phases() == {"Training": 1}
    found = caches.runs.get("ns", "c")
    assert found is not None
    assert found.content() == {"spec": {"n": 1}, "status": {"phase": "Training"}}


# -------------------------------------------------------------------------------------------------------------- resync


class Server:
    """Lists and gets; `objects` is what exists, by resource."""

    def __init__(self, version: int = 100, page: int = 2) -> None:
        self.objects: dict[str, list[Raw]] = {}
        self.version, self.page, self.queries = version, page, []

    async def list_page(self, resource: str, namespace: str, query: Mapping[str, str], *, metadata: bool) -> Raw:
        assert metadata, "whole objects are not needed"
        self.queries.append((resource, namespace, dict(query)))
        items = [o for o in self.objects.get(resource, []) if namespace in ("", o["metadata"]["namespace"])]
        start = int(query.get("continue", 0))
        more = {"continue": str(start + self.page)} if len(items) > start + self.page else {}
        return {"metadata": {"resourceVersion": str(self.version), **more}, "items": items[start : start + self.page]}

    async def get(self, resource: str, namespace: str, name: str) -> Raw | None:
        return next((o for o in self.objects.get(resource, []) if o["metadata"]["name"] == name), None)


def names(caches: Caches) -> list[str]:
    return sorted(run.meta.name for run in caches.runs.values())


def resync(caches: Caches, server: Server, namespaces: tuple[str, ...] = ("",)) -> tuple[Resync, list[tuple[str, str]]]:
    gone: list[tuple[str, str]] = []
    told = Resync(caches, server, namespaces, lambda r, o: gone.append((r, o["metadata"]["name"])))  # type: ignore[arg-type]
    return told, gone


def test_a_sweep_drops_what_no_watch_said_was_gone_and_tells() -> None:
    caches, server = Caches.empty(), Server()
    for name in "abcde":
        caches.run(raw(name, uid=name, spec={}))
    server.objects["finetuneruns"] = [raw(n, uid=n) for n in "abd"]  # more than a page
    sweep, gone = resync(caches, server)
    assert virtually(sweep.sweep()) == 2
    assert gone == [("finetuneruns", "c"), ("finetuneruns", "e")]
    assert names(caches) == ["a", "b", "d"]


def test_a_sweep_leaves_what_is_younger_than_its_list() -> None:
    caches, server = Caches.empty(), Server(version=100)
    caches.run(raw("old", 99, "1", spec={}))
    caches.run(raw("young", 101, "2", spec={}))
    assert virtually(resync(caches, server)[0].sweep()) == 1
    assert names(caches) == ["young"]


def test_a_namesake_in_the_list_does_not_hide_a_ghost() -> None:
    caches, server = Caches.empty(), Server()
    caches.run(raw("x", 5, "ghost", spec={}))
    server.objects["finetuneruns"] = [raw("x", 50, "real")]
    assert virtually(resync(caches, server)[0].sweep()) == 1
    caches.run(raw("x", 50, "real", spec={}))
    assert virtually(resync(caches, server)[0].sweep()) == 0


def test_only_the_namespaces_served_are_looked_at_and_only_our_jobs_and_pods() -> None:
    server = Server()
    virtually(resync(Caches.empty(), server, ("a", "b"))[0].sweep())
    assert {n for _, n, _ in server.queries} == {"a", "b"}
    selectors = {r: q.get("labelSelector") for r, _, q in server.queries}
    assert selectors == {
        "finetunejobs": None,
        "finetuneruns": None,
        "jobs": "app.kubernetes.io/managed-by=retune",
        "pods": "app.kubernetes.io/managed-by=retune",
        "deployments": "retune.dev/serving",
    }


def test_the_caches_are_complete_once_all_that_is_listed_was_seen_or_is_gone() -> None:
    async def scenario() -> None:
        caches, server = Caches.empty(), Server()
        server.objects["finetunejobs"] = [raw("seen", 3, "1"), raw("late", 4, "2"), raw("deleted", 5, "3")]
        caches.job(raw("seen", 3, "1", spec={}))
        waiting = asyncio.create_task(resync(caches, server)[0].complete())
        await asyncio.sleep(5)
        assert not waiting.done()
        caches.job(raw("late", 4, "2", spec={}))
        await asyncio.sleep(5)
        assert not waiting.done()
        server.objects["finetunejobs"].pop()
        await asyncio.wait_for(waiting, 5)

    virtually(scenario())


@pytest.mark.parametrize(("seen", "complete"), [(3, True), (4, True), (2, False)])
def test_an_older_version_than_the_listed_one_is_not_enough(seen: int, complete: bool) -> None:
    async def scenario() -> bool:
        caches, server = Caches.empty(), Server()
        server.objects["finetunejobs"] = [raw("x", 3, "1")]
        caches.job(raw("x", seen, "1", spec={}))
        waiting = asyncio.create_task(resync(caches, server)[0].complete())
        await asyncio.sleep(5)
        done = waiting.done()
        waiting.cancel()
        return done

    assert virtually(scenario()) == complete
