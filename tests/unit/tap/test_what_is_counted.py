"""Counts are the truth: each request once, under its own label, when its outcome is known."""

from __future__ import annotations

import asyncio

import aiohttp
from hack.images.standin.upstream import Behaviour
from tests.unit.tap.running import CANDIDATE, ERRORS, STABLE

SLOW = {"name": "slow", "builtin": "Slow", "seconds": 2.0, "of": "FirstToken"}
SLOW_RESPONSE = {**SLOW, "name": "slowResponse", "of": "Response"}


async def read(reply: aiohttp.ClientResponse) -> None:
    try:
        await reply.read()
    except aiohttp.ClientError:
        return


async def test_counts_equal_the_truth_under_a_mixed_load(running):
    await running.serve(weight=30, edges=[ERRORS])
    running.upstream.behaviours[STABLE] = Behaviour(status=500)
    gate = asyncio.Semaphore(32)
    truth = {"stable": 0, "canary": 0}

    async def one(number: int) -> None:
        async with gate:
            kind = number % 4
            more = {"temperature": -1} if kind == 3 else {}
            reply = await running.ask(f"u{number}", stream=kind == 1, **more)
            await read(reply)
            if kind != 3 or reply.status == 500:
                truth[reply.headers["x-retune-arm"]] += 1

    await asyncio.gather(*(one(number) for number in range(400)))
    counts = await running.counts()
    assert counts == {"stable": (truth["stable"], truth["stable"]), "canary": (0, truth["canary"])}
    routed = (await running.state())["routed"]["3:1"]
    assert sum(routed.values()) == 400


async def test_a_break_in_mid_stream_is_bad_and_the_user_can_see_it(running):
    await running.serve(weight=100)
    running.upstream.behaviours[CANDIDATE] = Behaviour(break_after=2)
    reply = await running.ask("ann", stream=True)
    body = b""
    try:
        async for part in reply.content.iter_any():
            body += part
    except aiohttp.ClientError:
        pass
    assert b"[DONE]" not in body
    assert b"error" in body
    assert await running.counts() == {"canary": (1, 1)}


async def test_an_error_that_the_server_says_in_mid_stream_is_bad(running):
    await running.serve(weight=100)
    running.upstream.behaviours[CANDIDATE] = Behaviour(break_after=2, says_error=True)
    assert "engine died" in await (await running.ask("ann", stream=True)).text()
    assert await running.counts() == {"canary": (1, 1)}


async def test_a_request_is_counted_under_the_stratum_it_was_routed_in(running):
    await running.serve(weight=100)
    running.upstream.behaviours[CANDIDATE] = Behaviour(before=(wait := asyncio.Event()))
    asked = asyncio.create_task(running.ask("ann"))
    await running.upstream.arrived.wait()
    await running.serve(2, weight=0, stratum="3:0")
    wait.set()
    assert (await asked).status == 200
    counters = (await running.state())["counters"]["errors"]
    assert list(counters) == ["canary"]
    assert list(counters["canary"]) == ["3:1"]


async def test_slow_is_counted_at_its_age_before_the_answer_is_there(running):
    await running.serve(weight=100, edges=[SLOW, SLOW_RESPONSE, ERRORS])
    running.upstream.behaviours[CANDIDATE] = Behaviour(before=(wait := asyncio.Event()))
    asked = asyncio.create_task(running.ask("ann"))
    await running.upstream.arrived.wait()
    running.later(1.9)
    assert await running.counts("slow") == {}
    running.later(0.2)
    assert await running.counts("slow") == {"canary": (1, 1)}
    assert await running.counts("errors") == {}
    wait.set()
    await asked
    assert await running.counts("slow") == {"canary": (1, 1)}
    assert await running.counts("errors") == {"canary": (0, 1)}


async def test_a_first_token_in_time_is_good_though_the_response_is_slow(running):
    await running.serve(weight=100, edges=[SLOW, SLOW_RESPONSE])
    running.upstream.behaviours[CANDIDATE] = Behaviour(between=(wait := asyncio.Event()))
    reply = await running.ask("ann", stream=True)
    assert await running.counts("slow") == {"canary": (0, 1)}
    running.later(3)
    assert await running.counts("slowResponse") == {"canary": (1, 1)}
    wait.set()
    await reply.read()
    assert await running.counts("slowResponse") == {"canary": (1, 1)}


async def test_a_request_that_is_cancelled_before_the_edge_does_not_count(running):
    await running.serve(weight=100, edges=[SLOW, ERRORS])
    running.upstream.behaviours[CANDIDATE] = Behaviour(before=asyncio.Event())
    asked = asyncio.create_task(running.ask("ann"))
    await running.upstream.arrived.wait()
    asked.cancel()
    await asyncio.wait_for(running.upstream.cancelled.wait(), 5)
    running.later(10)
    assert await running.counts("slow") == {}
    assert await running.counts("errors") == {}


async def test_wordy_answers_are_told_by_their_tokens_streamed_or_not(running):
    long = {"name": "wordy", "builtin": "Long", "tokens": 20}
    await running.serve(weight=100, edges=[long])
    running.upstream.behaviours[CANDIDATE] = Behaviour(text="word " * 30, tokens=21)
    await running.ask("ann")
    await (await running.ask("bob", stream=True)).read()
    running.upstream.behaviours[CANDIDATE] = Behaviour(text="word " * 30, tokens=20)
    await running.ask("cyn")
    assert await running.counts("wordy") == {"canary": (2, 3)}


async def test_answers_that_are_not_of_the_schema_are_invalid_streamed_or_not(running):
    schema = {"type": "object", "required": ["team"], "properties": {"team": {"enum": ["billing", "ops"]}}}
    await running.serve(weight=100, edges=[{"name": "json", "builtin": "InvalidOutput", "schema": schema}])
    for text in ('{"team": "billing"}', '{"team": "nobody"}', "billing"):
        running.upstream.behaviours[CANDIDATE] = Behaviour(text=text)
        await running.ask(text)
        await (await running.ask(text, stream=True)).read()
    assert await running.counts("json") == {"canary": (4, 6)}


async def test_an_override_counts_at_the_end_of_its_window(running):
    await running.serve(weight=100, edges=[{"name": "overrides", "builtin": "Overrides", "window": 600.0}])
    replies = [await running.ask(f"u{number}") for number in range(3)]
    said = {"id": replies[1].headers["x-retune-id"], "override": True}
    for _ in range(2):
        async with running.http.post(f"{running.users}/v1/feedback", json=said) as reply:
            assert reply.status == 202
    running.later(599)
    assert await running.counts("overrides") == {}
    running.later(2)
    assert await running.counts("overrides") == {"canary": (1, 3)}


async def test_feedback_names_what_is_wrong_and_forgets_after_an_hour(running):
    await running.serve(weight=100)
    response = (await running.ask("ann")).headers["x-retune-id"]

    async def say(**body):
        async with running.http.post(f"{running.users}/v1/feedback", json=body) as reply:
            return reply.status, (await reply.json()).get("error", {}).get("param")

    assert await say(id=response, thumbs="up") == (202, None)
    assert await say(id=response, score=0.3, frustration=True) == (202, None)
    assert await say(id=response, score=1.5) == (400, "score")
    assert await say(id=response, thumbs="sideways") == (400, "thumbs")
    assert await say(id=response, override="yes") == (400, "override")
    assert await say(thumbs="up") == (400, "id")
    assert await say(id="never-given", thumbs="up") == (404, "id")
    running.later(3601)
    assert await say(id=response, thumbs="up") == (404, "id")


async def test_one_looping_client_enters_the_evidence_five_times_a_minute(running):
    await running.serve(weight=100, quota={"requests": None, "bad": 1000})
    for _ in range(12):
        await running.ask("looper")
    assert await running.counts() == {"canary": (0, 5)}
    state = await running.state()
    assert state["routed"]["3:1"]["canary"] == 12
    assert state["heaviest"] == 1.0
    running.later(60)
    await running.ask("looper")
    assert await running.counts() == {"canary": (0, 6)}


async def test_windows_of_stable_are_complete_and_those_after_the_cursor(running):
    running.clock.now = 1_790_000_010.0
    await running.serve(weight=0)
    await running.ask("ann")
    running.later(15)
    running.upstream.behaviours[STABLE] = Behaviour(status=500)
    await running.ask("bob")
    assert (await running.state("?windows=0"))["windows"]["errors"] == [[1_790_000_010, 0, 1]]
    running.later(15)
    both = [[1_790_000_010, 0, 1], [1_790_000_025, 1, 1]]
    assert (await running.state("?windows=0"))["windows"]["errors"] == both
    assert (await running.state("?windows=1790000010"))["windows"]["errors"] == both[1:]


async def test_only_the_last_32_strata_are_kept(running):
    for generation in range(1, 41):
        await running.serve(generation, weight=100, stratum=f"3:{generation}")
        await running.ask(f"user-{generation}")
    assert list((await running.state())["counters"]["errors"]["canary"]) == [f"3:{n}" for n in range(9, 41)]


async def test_prometheus_sees_requests_by_arm(running):
    await running.serve(weight=100)
    await running.ask("ann")
    async with running.http.get(f"{running.cluster}/metrics") as reply:
        text = await reply.text()
    assert 'retune_tap_requests_total{arm="canary",model="triage"} 1.0' in text
    assert 'retune_tap_tokens_total{arm="canary",model="triage"} 4.0' in text
