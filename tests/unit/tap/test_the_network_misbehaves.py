"""Clients and servers that leave, dawdle, say half, or try to smuggle: real sockets."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest
from hack.images.standin.upstream import Behaviour
from tests.unit.tap.running import CANDIDATE, STABLE, Running

from retune_tap import serve

BODY = b'{"model": "triage", "messages": [], "stream": true}'


async def raw(running, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.ports.users)
    writer.write(data)
    await writer.drain()
    return reader, writer


def post(*headers: bytes, body: bytes = BODY) -> bytes:
    return b"\r\n".join((b"POST /v1/chat/completions HTTP/1.1", b"Host: tap", *headers, b"", body))


async def test_a_client_that_leaves_a_stream_stops_the_server(running):
    await running.serve(weight=0)
    running.upstream.behaviours[STABLE] = Behaviour(endless=True, between=(go := asyncio.Event()))
    reply = await running.ask("ann", stream=True)
    await reply.content.readany()
    reply.close()
    await asyncio.wait_for(running.upstream.cancelled.wait(), 5)
    go.set()
    assert await running.counts() == {}


async def test_a_slow_client_holds_the_server_back_instead_of_filling_memory(running):
    await running.serve(weight=0)
    running.upstream.behaviours[STABLE] = Behaviour(endless=True, bulk=50_000)
    client = socket.create_connection(("127.0.0.1", running.ports.users))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(post(b"Content-Length: %d" % len(BODY)))
    # The server sends until nobody takes any more: then two looks, with other requests between, see the same.
    before = -1
    while before != running.upstream.bytes_sent or before <= 0:
        before = running.upstream.bytes_sent
        for _ in range(20):
            async with running.http.get(f"{running.cluster}/healthz"):
                pass
    assert before < 40_000_000
    client.close()
    await asyncio.wait_for(running.upstream.cancelled.wait(), 5)


async def test_a_request_that_never_ends_is_given_up_and_keeps_nobody_waiting(tmp_path):
    async with Running(tmp_path, body_time=0.2) as running:
        await running.serve(weight=0)
        reader, writer = await raw(running, post(b"Content-Length: 1000"))
        assert (await running.ask("ann")).status == 200
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_a_server_that_accepts_and_says_nothing_is_left_for_stable(tmp_path):
    async with Running(tmp_path, candidate_whole_time=0.2) as running:
        await running.serve(weight=100)
        running.upstream.behaviours[CANDIDATE] = Behaviour(before=asyncio.Event())
        reply = await running.ask("ann")
        assert (reply.status, reply.headers["x-retune-arm"]) == (200, "stable")
        assert await running.counts() == {"canary": (1, 1)}
        await asyncio.wait_for(running.upstream.cancelled.wait(), 5)


async def test_a_slow_servers_events_come_one_by_one(running):
    await running.serve(weight=0)
    running.upstream.behaviours[STABLE] = Behaviour(between=(go := asyncio.Event()))
    reply = await running.ask("ann", stream=True)
    first = await asyncio.wait_for(reply.content.readany(), 5)
    assert first.count(b"data:") == 1
    go.set()
    assert b"[DONE]" in await reply.read()


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: 51", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 51", b"Content-Length: 5"),
        (b"Content-Length: +51",),
        (b"Content-Length: 5 1",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding : chunked",),
        (b"X-A: b\nTransfer-Encoding: chunked",),
        (b"X-A: \x00",),
    ],
)
async def test_a_request_with_two_readings_is_refused_and_reaches_no_server(running, headers):
    await running.serve(weight=0)
    inner = b"0\r\n\r\nPOST /v1/load_lora_adapter HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    reader, writer = await raw(running, post(*headers, body=inner))
    answer = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert not running.upstream.seen


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_a_tap_that_is_stopped_ends_what_is_in_flight_and_takes_nothing_new(running):
    await running.serve(weight=0)
    running.upstream.behaviours[STABLE] = Behaviour(between=(go := asyncio.Event()))
    reply = await running.ask("ann", stream=True)
    draining = asyncio.create_task(serve.drain(running.tap, running.ports))
    async with asyncio.timeout(5):
        while await accepts(running.ports.users):
            pass
    assert not draining.done()
    go.set()
    assert b"[DONE]" in await reply.read()
    reply.close()
    await asyncio.wait_for(draining, 10)
    assert not running.tap.ready


async def test_sigterm_ends_the_program_after_its_requests(tmp_path, running):
    from tests.unit.tap.running import InMemory, settings

    config = settings(running.upstream.url, tmp_path / "none.json")
    program = asyncio.create_task(serve.run(config, InMemory(running.upstream)))
    # The handler stands before the first await of the program.
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(program, 10)
