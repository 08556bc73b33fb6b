"""On any doubt stable serves: not loaded, nobody watching, enough served, or unloaded by mistake."""

from __future__ import annotations

import asyncio

from hack.images.standin.upstream import Behaviour
from tests.unit.tap.running import CANDIDATE, STABLE, adapter, envelope, payload

from retune_tap.arms import Arm


async def arms(running, count: int) -> list[str]:
    return [(await running.ask(f"u{number}")).headers["x-retune-arm"] for number in range(count)]


async def test_a_quota_of_requests_is_kept_whatever_the_weight(running):
    await running.serve(weight=100, quota={"requests": 3, "bad": None})
    assert await arms(running, 5) == ["canary"] * 3 + ["stable"] * 2
    state = await running.state()
    assert (state["held"], state["weight"], state["quota"]["requests"]) == ("Quota", 0, 3)


async def test_a_quota_of_bad_answers_is_kept_and_a_new_rollout_starts_afresh(running):
    await running.serve(weight=100, quota={"requests": None, "bad": 2})
    running.upstream.behaviours[CANDIDATE] = Behaviour(status=500)
    await arms(running, 4)
    assert len(running.upstream.asked(CANDIDATE)) == 2
    await running.serve(2, weight=100, quota={"requests": None, "bad": 2}, salt="another-run")
    assert (await running.state())["quota"] == {"requests": 0, "bad": 0}


async def test_a_tap_nobody_asks_serves_stable_until_it_is_asked_again(running):
    await running.serve(weight=100, patience=120.0)
    assert await arms(running, 1) == ["stable"]
    assert (await running.state())["weight"] == 100
    assert await arms(running, 1) == ["canary"]
    running.later(119)
    assert await arms(running, 1) == ["canary"]
    running.later(2)
    assert await arms(running, 1) == ["stable"]
    assert running.tap.models["triage"].held() == "Patience"
    await running.state()
    assert await arms(running, 1) == ["canary"]


async def test_a_candidate_that_cannot_be_loaded_says_why_and_gets_nothing(running):
    running.adapters.broken[CANDIDATE] = "the files are not those of its digest"
    await running.serve(weight=100)
    state = await running.state()
    assert state["arms"]["canary"]["state"] == "Failed"
    assert state["arms"]["canary"]["message"] == "the files are not those of its digest"
    assert (state["held"], state["weight"]) == ("NotReady", 0)
    assert await arms(running, 2) == ["stable"] * 2
    await running.look()
    assert running.adapters.ensured.count(CANDIDATE) == 1
    running.adapters.broken.clear()
    running.later(6)
    await running.look()
    assert await arms(running, 1) == ["canary"]


async def test_a_tap_is_ready_when_stable_is_loaded_and_not_before(running):
    running.adapters.broken[STABLE] = "not there"
    await running.serve()
    async with running.http.get(f"{running.cluster}/readyz") as reply:
        assert reply.status == 503
    running.adapters.broken.clear()
    running.later(6)
    await running.look()
    async with running.http.get(f"{running.cluster}/readyz") as reply:
        assert reply.status == 200


async def test_what_the_document_names_stays_loaded_and_the_rest_goes(running):
    kept = adapter("triage-cccccccccccc")
    await running.serve(keep=[kept])
    running.upstream.adapters["another-job-dddddddddddd"] = "/models/adapters/dddddddddddd"
    await running.serve(2, candidate=None, weight=0, stage="Idle", keep=[kept])
    assert CANDIDATE in running.upstream.adapters
    await running.look()
    assert set(running.upstream.adapters) == {STABLE, "triage-cccccccccccc", "another-job-dddddddddddd"}


async def test_one_look_that_the_busy_server_misses_changes_nothing(running):
    await running.serve(weight=100)
    loaded = running.adapters.loaded

    async def silent() -> frozenset[str]:
        raise OSError

    running.adapters.loaded = silent
    await running.look()
    assert running.tap.ready
    await running.look()
    await running.look()
    assert not running.tap.ready
    running.adapters.loaded = loaded
    await running.look()
    assert running.tap.ready


async def test_a_weight_outside_canary_and_bake_gives_nothing(running):
    for generation, stage in enumerate(("Idle", "Loading", "Shadow"), start=1):
        assert await running.push(envelope(payload(generation, stage=stage, weight=100))) == 200
        await running.look()
        assert await arms(running, 1) == ["stable"]


async def test_what_is_loaded_while_the_server_makes_its_list_stays_ready(running):
    ensure, loaded, go = running.adapters.ensure, running.adapters.loaded, asyncio.Event()

    async def slow(arm: Arm) -> None:
        await go.wait()
        await ensure(arm)

    async def late() -> frozenset[str]:
        names = await loaded()
        go.set()
        await running.tap.loading.settled()
        return names

    running.adapters.ensure = slow
    assert await running.push(envelope(payload(weight=100))) == 200
    await running.tap.loading.look()
    running.adapters.loaded = late
    await running.tap.loading.look()
    # Before anything is loaded a second time.
    assert running.tap.ready
    assert await arms(running, 1) == ["canary"]
