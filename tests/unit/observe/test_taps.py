"""Taps are asked together, for no longer than a second and a half, and once for all who want to know."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.serves import JOB, pod, state

from retune.observe.taps import LARGEST, Taps

PLACE = "support/job-uid"


class Counted(list[bool]):
    def poll(self, *, ok: bool) -> None:
        self.append(ok)


class Tap:
    """A tap on loopback; `answer` is what it says."""

    def __init__(self) -> None:
        self.answer: Any = state()
        self.asked: list[float] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(float(request.query["windows"]))
        if callable(self.answer):
            return await self.answer(request)
        return web.Response(body=self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode())


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    made, app = Tap(), web.Application()
    app.router.add_get("/v1/state", made.serve)
    async with TestServer(app, host="127.0.0.1") as server:
        made.port = server.port  # type: ignore[attr-defined]
        yield made


@pytest.fixture
async def taps(tap: Tap) -> AsyncIterator[Taps]:
    async with aiohttp.ClientSession() as session:
        yield Taps(session, Counted(), tap.port)  # type: ignore[attr-defined]


async def test_a_ready_pods_tap_is_read(taps: Taps) -> None:
    said = await taps.read(PLACE, JOB, (pod(), pod("p9", ready=False), pod("p8", ip="")), 3)
    assert (set(said.taps), said.silent) == ({"p1"}, {})
    assert said.taps["p1"].weight == 25


async def test_a_silent_tap_holds_nobody_up_and_is_named_with_its_reason(taps: Taps, tap: Tap) -> None:
    server = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.2", tap.port)  # type: ignore[attr-defined]
    start = time.monotonic()
    said = await taps.read(PLACE, JOB, (pod(), pod("p2", "127.0.0.2"), pod("p3", "127.0.0.3")), 3)
    assert time.monotonic() - start < 2.5
    assert (set(said.taps), set(said.silent)) == ({"p1"}, {"p2", "p3"})
    assert "no answer" in said.silent["p2"]
    server.close()


@pytest.mark.parametrize("answer", [b"<html>", b"{}", json.dumps(state(uid="other")).encode(), b"x" * (LARGEST + 1)])
async def test_garbage_is_silence_with_a_reason(taps: Taps, tap: Tap, answer: bytes) -> None:
    tap.answer = answer
    said = await taps.read(PLACE, JOB, (pod(),), 3)
    assert (said.taps, "it makes no sense" in said.silent["p1"]) == ({}, True)


async def test_a_tap_cannot_send_the_operator_elsewhere(taps: Taps, tap: Tap) -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/v1/state?windows=666")

    tap.answer = elsewhere
    said = await taps.read(PLACE, JOB, (pod(),), 3)
    assert set(said.silent) == {"p1"}
    assert 666 not in tap.asked


async def test_the_runs_and_the_jobs_look_share_one_question(taps: Taps, tap: Tap) -> None:
    first, second = await asyncio.gather(
        taps.read(PLACE, JOB, (pod(),), 3, windows="all"), taps.read(PLACE, JOB, (pod(),), 3)
    )
    assert first == second
    assert len(tap.asked) == 1


@pytest.mark.parametrize("changed", ["generation", "pods", "windows", "job"])
async def test_an_answer_from_before_a_change_is_not_shared(taps: Taps, tap: Tap, changed: str) -> None:
    await taps.read(PLACE, JOB, (pod(),), 3)
    await taps.read(
        "support/other" if changed == "job" else PLACE,
        JOB,
        (pod(), pod("p2")) if changed == "pods" else (pod(),),
        4 if changed == "generation" else 3,
        windows="new" if changed == "windows" else "none",
    )
    assert len(tap.asked) > 1


async def test_all_windows_are_asked_for_until_something_is_kept_and_then_the_new_ones(taps: Taps, tap: Tap) -> None:
    for generation, windows in enumerate(("all", "all", "new")):
        await taps.read(PLACE, JOB, (pod(),), generation, windows=windows)
    assert tap.asked[:2] == [0.0, 0.0]
    assert 1790000100.5 - 3600 < tap.asked[2] < 1790000100.5, "with an overlap, should a decision have been lost"


async def test_after_a_restart_the_first_answer_is_whole_whatever_is_kept(taps: Taps, tap: Tap) -> None:
    await taps.read(PLACE, JOB, (pod(),), 1, windows="new")
    assert tap.asked == [0.0]


async def test_polls_are_counted(tap: Tap) -> None:
    counted = Counted()
    async with aiohttp.ClientSession() as session:
        await Taps(session, counted, tap.port).read(PLACE, JOB, (pod(), pod("p2")), 1)  # type: ignore[attr-defined]
    assert sorted(counted) == [False, True], "the second has another uid than the one that answers"
