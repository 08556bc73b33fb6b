"""What makes a candidate's answer bad makes stable's bad too, and nothing that the candidate did stands at stable's."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from hack.images.standin.upstream import Behaviour
from tests.unit.tap.running import CANDIDATE, ERRORS, STABLE, Running, adapter

from retune_tap.arms import Builtin, Edge
from retune_tap.deadlines import Deadlines
from retune_tap.edges import Ticket
from retune_tap.events import Stream, text_of


@pytest.mark.parametrize(("arm", "weight"), [("stable", 0), ("canary", 100)])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_comes_too_late_to_be_waited_for_is_bad_in_both_arms(tmp_path, arm, weight, stream):
    """A slow hour of the server must not look like a fault of the candidate, which alone falls back."""
    async with Running(tmp_path, candidate_whole_time=0.3, candidate_first_time=0.3) as running:
        # The tap's own clock, since the time-out of the candidate is real.
        running.tap.clock = asyncio.get_running_loop().time
        await running.serve(weight=weight)
        running.tap.models["triage"]._clock = running.tap.clock
        wait = asyncio.Event()
        for name in (STABLE, CANDIDATE):
            running.upstream.behaviours[name] = Behaviour(before=wait)
        asked = asyncio.create_task(running.ask("ann", stream=stream))
        await running.upstream.arrived.wait()
        asyncio.get_running_loop().call_later(0.5, wait.set)
        reply = await asked
        await reply.read()
        assert (reply.status, reply.headers["x-retune-arm"]) == (200, "stable")
        assert await running.counts() == {arm: (1, 1)}


async def test_stables_answer_in_time_is_good_however_long_the_rest_of_it_takes(running):
    await running.serve(weight=0)
    running.upstream.behaviours[STABLE] = Behaviour(between=(go := asyncio.Event()))
    reply = await running.ask("ann", stream=True)
    running.later(500)
    go.set()
    await reply.read()
    assert await running.counts() == {"stable": (0, 1)}


def late() -> tuple[Ticket, list[bool]]:
    counted: list[bool] = []
    ticket = Ticket((Edge("errors", Builtin.ERRORS),), {}, lambda _, bad: counted.append(bad), 0.0, Deadlines())
    ticket.limit = 30.0
    ticket.first_token(31.0)
    return ticket, counted


@pytest.mark.parametrize("ends", [["answered", "left"], ["failed", "left"], ["left"]])
def test_what_came_late_is_bad_once_however_it_ends(ends):
    ticket, counted = late()
    for end in ends:
        getattr(ticket, end)(*((40.0, 5, None) if end == "answered" else (40.0,)))
    assert counted == [True]


async def test_who_leaves_stable_later_than_the_candidate_is_waited_for_has_seen_an_error(running):
    await running.serve(weight=0)
    running.upstream.behaviours[STABLE] = Behaviour(before=asyncio.Event())
    asked = asyncio.create_task(running.ask("ann"))
    await running.upstream.arrived.wait()
    running.later(121)
    asked.cancel()
    await asyncio.wait_for(running.upstream.cancelled.wait(), 5)
    assert await running.counts() == {"stable": (1, 1)}


async def test_a_stream_that_stands_still_is_given_up_and_bad(tmp_path):
    async with Running(tmp_path, stable_time=1.0) as running:
        await running.serve(weight=100)
        running.upstream.behaviours[CANDIDATE] = Behaviour(between=asyncio.Event())
        reply = await running.ask("ann", stream=True)
        text = b""
        async with asyncio.timeout(5):
            while b"error" not in text:
                text += await reply.content.readany()
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.content.readany()
        assert await running.counts() == {"canary": (1, 1)}


def streamed(*deltas: dict[str, object]) -> Stream:
    seen = Stream(wants_text=True, hides_usage=False)
    for delta in deltas:
        seen.saw(b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n")
    return seen


CALL = {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("message", "deltas", "text"),
    [
        ({"content": ""}, [{"role": "assistant", "content": ""}, {"content": ""}], ""),
        ({"content": "hi"}, [{"role": "assistant", "content": ""}, {"content": "hi"}], "hi"),
        ({"content": "", **CALL}, [{"role": "assistant", "content": ""}, CALL], None),
        ({"content": None}, [{"role": "assistant", "content": None}], None),
    ],
)
def test_an_answer_that_says_nothing_is_a_text_and_a_call_of_a_tool_is_none_streamed_or_not(message, deltas, text):
    assert text_of({"choices": [{"message": message}]}) == text
    assert streamed(*deltas).text == text


async def test_what_stable_says_in_the_candidates_place_is_in_no_graph_of_stables(running):
    await running.serve(weight=100)
    running.upstream.behaviours[CANDIDATE] = Behaviour(status=500)
    running.upstream.behaviours[STABLE] = Behaviour(break_after=2)
    reply = await running.ask("ann", stream=True)
    assert reply.headers["x-retune-arm"] == "stable"
    async with running.http.get(f"{running.cluster}/metrics") as page:
        lines = (await page.text()).splitlines()
    told = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    assert told['retune_tap_errors_total{arm="canary",model="triage"}'] == 1
    for name in ("requests_total", "errors_total", "latency_seconds_count", "first_token_seconds_count"):
        assert told[f'retune_tap_{name}{{arm="stable",model="triage"}}'] == 0, name


async def test_a_candidate_that_is_stables_own_adapter_is_asked_by_its_one_name(running):
    await running.serve(weight=50, candidate={**adapter(STABLE), "run": "triage-2"})
    users = {arm: running.user_of(arm) for arm in ("stable", "canary")}
    for arm, user in users.items():
        assert (await running.ask(user)).headers["x-retune-arm"] == arm
    assert len(running.upstream.asked(STABLE)) == 2
    assert await running.counts() == {"stable": (0, 1), "canary": (0, 1)}
    state = await running.state()
    assert {arm["state"] for arm in state["arms"].values()} == {"Ready"}
    await running.serve(2, weight=0, stage="Idle", candidate=None, edges=[ERRORS])
    await running.look()
    assert set(running.upstream.adapters) == {STABLE}


@pytest.mark.parametrize(
    ("told", "failed"),
    [
        ({"error": {"message": "engine died"}}, True),
        ({"type": "error", "message": "engine died"}, True),
        ({"type": "response.failed", "response": {"error": {"code": "server_error"}}}, True),
        ({"type": "response.created", "response": {"error": None}}, False),
        ({"error": None, "choices": []}, False),
        ({"choices": [{"delta": {"content": 'say "error": 1'}}]}, False),
    ],
)
def test_a_failure_that_the_server_says_is_told_from_an_answer_about_errors(told, failed):
    seen = Stream(wants_text=False, hides_usage=False)
    seen.saw(b"event: x\ndata: " + json.dumps(told).encode() + b"\n\n")
    assert seen.broken == failed
