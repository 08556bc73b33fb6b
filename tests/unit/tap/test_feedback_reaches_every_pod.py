"""An id lives in the pod that answered; feedback may come to any. Three taps on loopback."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.unit.tap.running import Running
from tests.unit.tap.test_copies_and_endpoints import endpoint
from tests.unit.tap.test_odd_bytes_and_odd_words import says

from retune_tap import feedback
from retune_tap.arms import Builtin, Edge
from retune_tap.deadlines import Deadlines
from retune_tap.edges import Ticket
from retune_tap.peers import Peers

OVERRIDES = {"name": "overrides", "builtin": "Overrides", "window": 600.0}


@pytest.fixture
async def three(tmp_path):
    async with AsyncExitStack() as stack:
        taps = [await stack.enter_async_context(Running(tmp_path)) for _ in range(3)]
        named = ",".join(f"127.0.0.1:{tap.ports.cluster}" for tap in taps)
        for tap in taps:
            await stack.enter_async_context(peers := Peers(replace(tap.tap.settings, peers=named)))
            tap.tap.peers = peers
            await tap.serve(weight=100, edges=[OVERRIDES])
        yield taps


async def say(tap: Running, port: str, **said: object) -> int:
    async with tap.http.post(f"{port}/v1/feedback", json=said) as reply:
        return reply.status


async def test_what_one_tap_answered_may_be_spoken_of_at_any_and_counts_where_it_was_answered(three):
    first, second, third = three
    response = (await first.ask("ann")).headers["x-retune-id"]
    for tap in three:
        assert await say(tap, tap.users, id=response, override=True) == 202
        tap.later(601)
    assert await first.counts("overrides") == {"canary": (1, 1)}
    assert await second.counts("overrides") == {}
    assert await third.counts("overrides") == {}


async def test_an_id_that_nobody_gave_is_not_found_and_asked_for_once(three):
    assert await say(three[0], three[0].users, id="never", thumbs="up") == 404


async def test_a_peer_never_asks_on(three):
    response = (await three[0].ask("ann")).headers["x-retune-id"]
    assert await say(three[1], three[1].cluster, id=response, thumbs="up") == 404
    assert await say(three[0], three[0].cluster, id=response, thumbs="up") == 202
    assert await say(three[0], three[0].cluster, id=response, thumbs="sideways") == 400


async def test_a_peer_that_is_gone_and_one_that_hangs_keep_no_feedback_from_the_third(three):
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung.wait()
        writer.close()

    first, _, third = three
    hung = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    named = f"127.0.0.1:{port},127.0.0.1:1,127.0.0.1:{third.ports.cluster}"
    async with Peers(replace(first.tap.settings, peers=named)) as peers:
        first.tap.peers = peers
        response = (await third.ask("ann")).headers["x-retune-id"]
        assert await asyncio.wait_for(say(first, first.users, id=response, thumbs="down"), 5) == 202
        assert await asyncio.wait_for(say(first, first.users, id="never", thumbs="down"), 5) == 404
    hung.set()
    server.close()


async def test_a_name_that_does_not_resolve_is_no_peer(running):
    await running.serve()
    async with Peers(replace(running.tap.settings, peers="nobody.invalid")) as peers:
        running.tap.peers = peers
        assert await asyncio.wait_for(say(running, running.users, id="never", thumbs="up"), 5) == 404


async def test_answers_that_share_an_id_are_spoken_of_one_by_one(running):
    """The server takes its ids from the user's x-request-id, and a trace may name many requests alike."""
    answer = {"id": "chatcmpl-trace", "model": "m", "choices": [{"message": {"content": "hi"}}]}
    async with says(json.dumps(answer).encode(), kind="application/json") as url:
        await running.serve(weight=0, stable=endpoint(url, ""), edges=[OVERRIDES])
        ids = [(await running.ask(user)).headers["x-retune-id"] for user in ("ann", "bob")]
    assert len(set(ids)) == 2
    assert await say(running, running.users, id=ids[1], override=True) == 202
    running.later(601)
    assert await running.counts("overrides") == {"stable": (1, 2)}


class Watched(Ticket):
    """One that a weak reference can follow."""


def test_ids_beyond_the_most_are_forgotten_with_all_that_waits_for_them(monkeypatch):
    monkeypatch.setattr(feedback, "MOST_IDS", 10)
    answers, counted = feedback.Answers(), []
    edges = tuple(Edge(f"within-{window}", Builtin.OVERRIDES, window=window) for window in (60.0, 600.0))
    tickets = []
    for number in range(50):
        ticket = Watched(edges, {}, lambda name, bad: counted.append((name, bad)), 0.0, Deadlines())
        tickets.append(weakref.ref(ticket))
        answers.gave(f"a-{number}", feedback.Known("triage", "stable", float(number), ticket))
        del ticket
    assert sum(ticket() is not None for ticket in tickets) == 10
    answers.expire(700.0)
    assert Counter(counted) == {("within-60.0", False): 10, ("within-600.0", False): 10}
