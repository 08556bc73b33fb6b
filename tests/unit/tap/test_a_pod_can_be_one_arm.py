"""Mode Deployment: a pod is one arm, and a Gateway splits before it. What it answers, it counts under that arm."""

from __future__ import annotations

import asyncio

import pytest
from hack.images.standin.upstream import Behaviour
from tests.unit.tap.running import CANDIDATE, STABLE, Running, model
from tests.unit.tap.s3_in_memory import bucket

from retune_tap.settings import Settings, SettingsError

DIGEST = "sha256:" + "b" * 64


def whole(name: str) -> dict[str, object]:
    return {**model()["candidate"], "kind": "Model", "name": name}


@pytest.fixture
async def canary(tmp_path):
    async with Running(tmp_path, arm="canary", serves=CANDIDATE, digest=DIGEST) as tap:
        tap.upstream.adapters[CANDIDATE] = ""  # what the server was started with
        await tap.serve(stable=whole(STABLE), candidate=whole(CANDIDATE), weight=10)
        yield tap


async def test_every_request_is_answered_and_counted_as_the_candidates_whatever_the_weight(canary):
    for number in range(20):
        reply = await canary.ask(f"user-{number}")
        assert reply.headers["x-retune-arm"] == "canary"
    assert await canary.counts() == {"canary": (0, 20)}
    state = await canary.state()
    assert state["routed"] == {"3:1": {"stable": 0, "canary": 20}}
    assert state["weight"] == 10
    assert {body["model"] for _, body, _ in canary.upstream.seen} == {CANDIDATE}


async def test_only_its_own_arm_is_told_of_by_what_its_server_really_has(canary):
    assert (await canary.state())["arms"] == {
        "canary": {"name": CANDIDATE, "digest": DIGEST, "state": "Ready", "message": ""}
    }
    del canary.upstream.adapters[CANDIDATE]
    await canary.look()
    assert (await canary.state())["arms"]["canary"]["state"] == "Loading"
    assert not canary.tap.ready


async def test_a_failing_candidate_has_no_stable_to_fall_back_to_and_is_counted(canary):
    canary.upstream.behaviours[CANDIDATE] = Behaviour(status=500)
    assert (await canary.ask()).status >= 500
    assert await canary.counts() == {"canary": (1, 1)}


async def test_a_candidate_alone_is_waited_for_as_long_as_stable_and_is_not_bad_for_being_slow(tmp_path):
    wait = asyncio.Event()
    async with Running(tmp_path, arm="canary", serves=CANDIDATE, digest=DIGEST, candidate_whole_time=0.1) as tap:
        tap.upstream.adapters[CANDIDATE] = ""
        tap.upstream.behaviours[CANDIDATE] = Behaviour(before=wait)
        await tap.serve(stable=whole(STABLE), candidate=whole(CANDIDATE), weight=10)
        asking = asyncio.create_task(tap.ask())
        await tap.upstream.arrived.wait()
        tap.clock.now += 1.0
        assert not (await asyncio.wait({asking}, timeout=0.3))[0], "given up, with nobody to ask instead"
        wait.set()
        assert (await asking).status == 200
        assert await tap.counts() == {"canary": (0, 1)}


async def test_a_pod_of_stable_goes_on_with_the_old_model_while_its_document_names_the_new_one(tmp_path):
    async with Running(tmp_path, arm="stable", serves=STABLE, digest=DIGEST) as tap:
        tap.upstream.adapters[STABLE] = ""
        await tap.serve(stable=whole(CANDIDATE), candidate=None, stage="Idle", weight=0)
        assert tap.tap.ready
        assert (await tap.ask()).headers["x-retune-arm"] == "stable"
        assert tap.adapters.ensured == [], "nothing is to be loaded"


async def test_nothing_is_unloaded_from_a_server_of_one_model(canary):
    await canary.serve(2, stable=whole(STABLE), candidate=None, stage="Idle", weight=0)
    await canary.look()
    await canary.look()
    assert CANDIDATE in canary.upstream.adapters
    assert canary.tap.ready


def test_an_arm_that_is_none_is_refused():
    variables = {"RETUNE_ARMS_KEY": "A" * 43 + "=", "RETUNE_ARM": "both"}
    with pytest.raises(SettingsError, match="RETUNE_ARM"):
        Settings.of(variables)


async def test_what_is_asked_of_a_candidate_alone_is_told_for_drift_as_in_every_tap(canary):
    await canary.serve(2, stable=whole(STABLE), candidate=whole(CANDIDATE), weight=10, features=True)
    for number in range(5):
        assert (await canary.ask(f"user-{number}")).status == 200
    async with canary.http.get(f"{canary.cluster}/v1/features?model=triage") as reply:
        told = await reply.json()
    assert (told["seen"], len(told["rows"])) == (5, 5)


async def test_what_people_say_of_a_candidates_answers_is_counted_under_its_arm_and_their_corrections_are_kept(canary):
    edges = [{"name": "drift:overrides", "builtin": "Overrides", "window": 60}]
    to = {"uri": "s3://models/support/triage/corrections/", "entities": ["EMAIL_ADDRESS"], "most": 10}
    with bucket() as store:
        canary.tap.corrections._open = store.open
        await canary.serve(2, stable=whole(STABLE), candidate=whole(CANDIDATE), weight=10, edges=edges, corrections=to)
        answer = (await canary.ask("user-1")).headers["x-retune-id"]
        said = {"id": answer, "correction": "operations"}
        async with canary.http.post(f"{canary.users}/v1/feedback", json=said) as reply:
            assert reply.status == 202
        assert await canary.tap.corrections.flush()
        (written,) = store.objects.values()
    assert b'"operations"' in written
    canary.later(61)
    assert await canary.counts("drift:overrides") == {"canary": (1, 1)}
    assert (await canary.state("?windows=0"))["windows"] == {}, "windows are stable's"


REST = {"stable": whole(STABLE), "candidate": None, "stage": "Idle", "stratum": "-", "weight": 0}
OPTED_OUT = {"x-retune-stable": "1"}


async def asked(tap: Running) -> int:
    """How many requests count as users' for drift."""
    async with tap.http.get(f"{tap.cluster}/v1/features?model=triage") as reply:
        return (await reply.json())["seen"]


async def test_gold_questions_asked_of_stable_at_rest_are_no_users_requests(tmp_path):
    async with Running(tmp_path, arm="stable", serves=STABLE, digest=DIGEST) as tap:
        tap.upstream.adapters[STABLE] = ""
        await tap.serve(**REST, features=True)
        assert (await tap.ask("ann", headers=OPTED_OUT)).headers["x-retune-arm"] == "stable"
        assert (await tap.ask(headers=OPTED_OUT)).status == 200
        assert (await asked(tap), await tap.counts()) == (0, {})
        await tap.ask("ann")
        assert (await asked(tap), await tap.counts()) == (1, {"stable": (0, 1)})
        assert (await tap.state())["routed"] == {"-": {"stable": 1, "canary": 0}}


async def test_where_the_document_names_no_header_every_request_is_a_users(tmp_path):
    async with Running(tmp_path, arm="stable", serves=STABLE, digest=DIGEST) as tap:
        tap.upstream.adapters[STABLE] = ""
        await tap.serve(**REST, features=True, optOutHeader=None)
        await tap.ask("ann", headers=OPTED_OUT)
        assert (await asked(tap), await tap.counts()) == (1, {"stable": (0, 1)})


async def test_nobody_hides_from_the_stop_losses_by_a_header_that_the_gateway_does_not_follow(canary):
    canary.upstream.behaviours[CANDIDATE] = Behaviour(status=500)
    for generation, changes in enumerate(({}, REST), 2):  # to its end the candidate's pods may be asked
        await canary.serve(generation, **{"stable": whole(STABLE), "candidate": whole(CANDIDATE), **changes})
        await canary.ask("ann", headers=OPTED_OUT)
        assert await canary.counts() == {"canary": (generation - 1, generation - 1)}


async def test_in_a_rollout_both_arms_count_whom_the_gateway_sent_them_lest_one_of_them_looks_better(tmp_path):
    async with Running(tmp_path, arm="stable", serves=STABLE, digest=DIGEST) as tap:
        tap.upstream.adapters[STABLE] = ""
        await tap.serve(stable=whole(STABLE), candidate=whole(CANDIDATE), weight=10)
        await tap.ask("ann", headers=OPTED_OUT)
        assert await tap.counts() == {"stable": (0, 1)}
        assert (await tap.state())["routed"] == {"3:1": {"stable": 1, "canary": 0}}
