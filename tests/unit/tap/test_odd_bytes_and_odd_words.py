"""What users, models, endpoints and authors write that nobody expects: it never costs an answer, nor the tap."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hack.images.standin.upstream import Behaviour
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tap.running import CANDIDATE, ERRORS, KEY, PUBLIC, envelope, payload
from tests.unit.tap.test_copies_and_endpoints import endpoint
from tests.unit.tap.test_the_network_misbehaves import BODY, post, raw

from retune_tap.feedback import Feedback, FeedbackError
from retune_tap.schema import Schema
from retune_tap.settings import Settings

SLOW = {"name": "slow", "builtin": "Slow", "seconds": 2.0, "of": "FirstToken"}


async def test_a_header_that_is_not_utf8_costs_nobody_an_answer(running):
    await running.serve(weight=100, edges=[ERRORS, SLOW])
    _, writer = await raw(running, post(b"Content-Length: %d" % len(BODY), b"x-user-name: Jos\xe9", b"x-user-id: \xff"))
    await asyncio.wait_for(running.upstream.arrived.wait(), 5)
    writer.close()


async def test_a_body_too_deep_to_be_written_again_is_the_clients_fault_and_counts_for_nobody(running):
    await running.serve(weight=100, edges=[ERRORS, SLOW])
    statuses = set()
    for depth in range(700, 1000, 10):
        body = b'{"messages": [], "x": ' + b"[" * depth + b"]" * depth + b"}"
        async with running.http.post(f"{running.users}/v1/chat/completions", data=body) as reply:
            statuses.add(reply.status)
    assert statuses <= {200, 400}
    running.later(5)
    counts = await running.counts("slow")
    assert all(bad == 0 for bad, _ in counts.values()), counts


@pytest.mark.parametrize("score", [10**400, -(10**400), float("nan"), float("inf"), True, "1"])
def test_a_score_that_is_none_is_named(score):
    with pytest.raises(FeedbackError) as raised:
        Feedback.of({"id": "x", "score": score})
    assert raised.value.field == "score"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one, max_size=2)))
def test_no_feedback_does_more_than_be_refused(value):
    for name in ("id", "thumbs", "override", "frustration", "score"):
        try:
            Feedback.of({"id": "x", name: value})
        except FeedbackError:
            continue


@pytest.mark.parametrize("named", [5, [], {}])
async def test_a_schema_that_is_none_never_keeps_a_rollback_out(running, named):
    await running.serve(weight=100)
    edges = [ERRORS, {"name": "json", "builtin": "InvalidOutput", "schema": {"$schema": named}}]
    assert await running.push(envelope(payload(2, weight=0, edges=edges))) == 200
    assert (await running.ask("ann")).headers["x-retune-arm"] == "stable"


async def test_a_number_beyond_all_bounds_is_invalid_output_and_still_the_users_answer(running):
    schema = {"properties": {"n": {"multipleOf": 0.5}}}
    await running.serve(weight=100, edges=[{"name": "json", "builtin": "InvalidOutput", "schema": schema}])
    running.upstream.behaviours[CANDIDATE] = Behaviour(text='{"n": 1e999}')
    reply = await running.ask("ann")
    assert (reply.status, reply.headers["x-retune-arm"]) == (200, "canary")
    assert await running.counts("json") == {"canary": (1, 1)}


def test_a_weight_too_large_for_a_float_is_refused_not_fatal():
    from retune_tap.arms import ArmsError
    from retune_tap.envelope import Desk

    with pytest.raises(ArmsError):
        Desk(PUBLIC, "support", "triage", "uid-1").take(envelope(payload(1, weight=10**400), KEY))


def test_a_key_with_a_line_end_is_the_key():
    told = {f"RETUNE_{name}": "x" for name in ("NAMESPACE", "JOB", "JOB_UID", "MODEL", "POD", "POD_UID")}
    told |= {"RETUNE_ARMS_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "RETUNE_ARMS_FILE": "/x"}
    told |= {"RETUNE_UPSTREAM": "http://127.0.0.1:1", "RETUNE_MODELS": "/m"}
    assert Settings.of({**told, "RETUNE_BASELINE_OPENAI_API_KEY": "secret\n"}).endpoint_key == "secret"


def test_a_schema_that_cannot_be_read_holds_for_nothing():
    assert not Schema({"$ref": "#/nope"}).holds("1")


@asynccontextmanager
async def says(*parts: bytes, kind: str = "text/event-stream"):
    """An endpoint that answers these bytes, each in a packet of its own; its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": kind, "openai-organization": "ours"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0)
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def chunk(text: str, **more: object) -> bytes:
    told = {"id": "a-1", "model": "inner", "choices": [{"index": 0, "delta": {"content": text}}], **more}
    return b"data: " + json.dumps(told, ensure_ascii=False).encode()


DONE = b"data: [DONE]\n\n"


async def test_comments_before_a_stream_are_no_answer_yet(running):
    async with says(b": PROCESSING\n\n", b": PROCESSING\n\n", chunk("hi") + b"\n\n", DONE) as url:
        await running.serve(weight=0, stable=endpoint(url, ""))
        reply = await running.ask("ann", stream=True)
        text = await reply.text()
    assert reply.headers["x-retune-id"] == "a-1"
    assert '"triage"' in text
    assert "inner" not in text


async def test_comments_and_then_nothing_is_a_failure_before_the_first_byte(running):
    async with says(b": PROCESSING\n\n") as url:
        await running.serve(weight=0, stable=endpoint(url, ""))
        assert (await running.ask("ann", stream=True)).status == 502
    assert await running.counts() == {"stable": (1, 1)}


async def test_a_stream_in_pieces_with_any_line_ends_comes_whole(running):
    data = (chunk("größe", error=None) + b"\r\n\r\n") * 2 + b"data: [DONE]\r\n\r\n"
    for size in (1, 3, 1000):
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        async with says(*parts) as url:
            await running.serve(size, weight=0, stable=endpoint(url, ""))
            text = await (await running.ask("ann", stream=True)).text()
        events = [event for event in text.split("\n\n") if event]
        assert [json.loads(event[6:])["choices"][0]["delta"]["content"] for event in events[:-1]] == ["größe"] * 2
        assert events[-1] == "data: [DONE]"
    assert await running.counts() == {"stable": (0, 3)}


async def test_an_end_without_its_empty_line_is_an_end(running):
    async with says(chunk("hi") + b"\n\n", b"data: [DONE]\n") as url:
        await running.serve(weight=0, stable=endpoint(url, ""))
        assert (await (await running.ask("ann", stream=True)).text()).endswith("data: [DONE]\n\n")
    assert await running.counts() == {"stable": (0, 1)}


@pytest.mark.parametrize("named", ["a\r\nx-evil: 1", "\ud800", "é" * 9, "x" * 600])
async def test_an_id_that_is_no_header_is_replaced(running, named):
    answer = {"id": named, "model": "m", "choices": [{"message": {"content": "hi"}}]}
    async with says(json.dumps(answer).encode(), kind="application/json") as url:
        await running.serve(weight=0, stable=endpoint(url, ""))
        reply = await running.ask("ann")
    assert reply.status == 200
    assert reply.headers["x-retune-id"].startswith("retune-")
    assert "x-evil" not in reply.headers
    assert "openai-organization" not in reply.headers


async def test_nothing_that_users_say_is_logged(running, caplog):
    caplog.set_level(logging.INFO)
    await running.serve(weight=50, edges=[ERRORS, SLOW])
    running.upstream.behaviours[CANDIDATE] = Behaviour(status=500)
    private = "my-own-matter"
    for number in range(6):
        await running.ask(f"{private}-{number}", messages=[{"role": "user", "content": private}])
    said = {"id": private, "thumbs": [private]}
    async with running.http.post(f"{running.users}/v1/feedback", json=said) as reply:
        assert reply.status == 400
    for headers in ((b"Content-Length: x", b"x-a: my-own-matter"), (b"x-a: my-own-matter\x00",)):
        reader, writer = await raw(running, post(*headers))
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
    async with running.http.post(
        f"{running.users}/v1/chat/completions", data=private.encode(), headers={"Content-Encoding": "gzip"}
    ) as reply:
        assert reply.status == 400
    assert private not in caplog.text
