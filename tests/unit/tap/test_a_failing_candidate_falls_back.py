"""A candidate that fails before its first byte costs the user nothing, and itself one bad count."""

from __future__ import annotations

import pytest
from hack.images.standin.upstream import Behaviour
from tests.unit.tap.running import CANDIDATE, STABLE

from retune_tap.fallback import Fallback


@pytest.mark.parametrize(
    ("how", "stream"),
    [
        (Behaviour(status=500), False),
        (Behaviour(status=503), True),
        (Behaviour(break_after=0), True),
        (Behaviour(break_after=0, says_error=True), True),
        (None, False),
        (None, True),
    ],
)
async def test_the_user_gets_stables_answer_and_the_candidate_one_bad(running, how, stream):
    await running.serve(weight=100)
    if how is None:
        running.upstream.adapters.pop(CANDIDATE)
    else:
        running.upstream.behaviours[CANDIDATE] = how
    reply = await running.ask("ann", stream=stream)
    assert ("[DONE]" if stream else f"answer of {STABLE}") in await reply.text()
    assert len(running.upstream.asked(STABLE)) == 1
    assert (reply.status, reply.headers["x-retune-arm"]) == (200, "stable")
    assert await running.counts() == {"canary": (1, 1)}
    state = await running.state()
    assert state["fallbacks"] == 1
    assert state["quota"] == {"requests": 1, "bad": 1}


async def test_a_candidate_the_server_lost_gets_nothing_until_it_is_loaded_again(running):
    await running.serve(weight=100)
    running.upstream.adapters.clear()
    running.adapters.broken[CANDIDATE] = "the store does not answer"
    await running.look()
    assert (await running.state())["held"] == "NotReady"
    assert (await running.ask("ann")).headers["x-retune-arm"] == "stable"
    running.adapters.broken.clear()
    running.later(6)
    await running.look()
    assert (await running.ask("ann")).headers["x-retune-arm"] == "canary"


async def test_a_broken_stable_is_bad_for_stable_only(running):
    await running.serve(weight=0)
    running.upstream.behaviours[STABLE] = Behaviour(status=500)
    reply = await running.ask("ann")
    assert (reply.status, reply.headers["x-retune-arm"]) == (500, "stable")
    assert await running.counts() == {"stable": (1, 1)}


def test_fallbacks_end_at_a_tenth_of_stables_rate():
    fallback = Fallback()
    for second in range(60):
        for _ in range(10):
            fallback.stable_asked(1000.0 + second)
    assert sum(fallback.allow(1059.0) for _ in range(500)) == 60
    assert fallback.total == 60


def test_a_quiet_service_still_falls_back_a_few_times_a_minute():
    fallback = Fallback()
    assert sum(fallback.allow(5.0) for _ in range(50)) == 5
    assert fallback.allow(66.0)


async def test_beyond_the_limit_requests_fail_at_once_and_stable_is_spared(running):
    await running.serve(weight=100)
    running.upstream.behaviours[CANDIDATE] = Behaviour(status=500)
    statuses = [(await running.ask(f"u{number}")).status for number in range(20)]
    assert statuses == [200] * 5 + [500] * 15
    assert len(running.upstream.asked(STABLE)) == 5
    assert await running.counts() == {"canary": (20, 20)}
