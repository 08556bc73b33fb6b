"""What taps tell of requests is believed as far as the contract goes, and no tap holds the others up."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.serves import JOB, pod

from retune.observe.features import LARGEST, MOST_ROWS, MOST_TOGETHER, Features, Prompts, read_features

VECTOR = base64.b64encode(bytes(range(64))).decode()


def told(*numbers: int, uid: str = "p1", version: Any = 1) -> dict[str, Any]:
    return {"podUid": uid, "version": version, "rows": [[n, 1790000000.5 + n, VECTOR] for n in numbers]}


class Tap:
    """Taps on loopback; `answers` are what they say by the address they are asked at."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.rows = 0

    def feature_rows(self, count: int) -> None:
        self.rows += count

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.query["model"], request.query["since"]))
        answer = self.answers.get(request.host.partition(":")[0], told())
        if answer is None:
            await asyncio.sleep(60)
        if isinstance(answer, web.HTTPException):
            raise answer
        return web.Response(body=answer if isinstance(answer, bytes) else json.dumps(answer).encode())


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    made, app = Tap(), web.Application()
    app.router.add_get("/v1/features", made.serve)
    async with TestServer(app, host="0.0.0.0") as server:
        made.port = server.port  # type: ignore[attr-defined]
        yield made


@pytest.fixture
async def features(tap: Tap) -> AsyncIterator[Features]:
    async with aiohttp.ClientSession() as session:
        yield Features(session, tap, tap.port)  # type: ignore[attr-defined]


async def test_each_tap_is_asked_for_what_comes_after_the_last_row_known(features: Features, tap: Tap) -> None:
    tap.answers = {"127.0.0.1": told(8, 9), "127.0.0.2": told(1, uid="p2")}
    found = await features.read(JOB, (pod(), pod("p2", "127.0.0.2"), pod("p3", ready=False)), {"p1": 7})
    assert sorted(tap.asked) == [(JOB, "0"), (JOB, "8")]
    assert [(row.pod, row.seq) for row in found.rows] == [("p1", 8), ("p1", 9), ("p2", 1)]
    assert (found.rows[0].vector, found.rows[0].at, found.version) == (bytes(range(64)), 1790000008.5, 1)
    assert tap.rows == 3


async def test_rows_of_an_older_image_are_not_mixed_with_newer_ones(features: Features, tap: Tap) -> None:
    tap.answers = {"127.0.0.1": told(1), "127.0.0.2": told(1, uid="p2", version=2)}
    found = await features.read(JOB, (pod(), pod("p2", "127.0.0.2")), {})
    assert ([row.pod for row in found.rows], found.version) == (["p2"], 2)


async def test_a_silent_tap_takes_its_rows_with_it_and_no_others(features: Features, tap: Tap) -> None:
    tap.answers = {"127.0.0.1": told(1), "127.0.0.5": None}
    start = time.monotonic()
    found = await features.read(JOB, (pod(), pod("p5", "127.0.0.5")), {})
    assert time.monotonic() - start < 2.5
    assert [row.pod for row in found.rows] == ["p1"]


async def test_where_no_tap_answers_nothing_is_known(features: Features, tap: Tap) -> None:
    tap.answers = {"127.0.0.1": web.HTTPNotFound()}
    assert await features.read(JOB, (pod(),), {}) == Prompts(version=None)
    assert await features.read(JOB, (), {}) == Prompts(version=None)


async def test_a_tap_cannot_send_the_operator_elsewhere_nor_fill_its_memory(features: Features, tap: Tap) -> None:
    tap.answers = {"127.0.0.1": web.HTTPFound("/v1/features?model=other&since=666")}
    assert (await features.read(JOB, (pod(),), {})).version is None
    tap.answers = {"127.0.0.1": json.dumps(told(1)).encode() + b" " * LARGEST}
    assert (await features.read(JOB, (pod(),), {})).version is None
    assert (JOB, "666") not in tap.asked
    assert ("other", "666") not in tap.asked


async def test_of_many_pods_each_gets_its_share_of_a_look(features: Features, tap: Tap) -> None:
    pods = tuple(pod(f"p{n}", f"127.0.1.{n}") for n in range(1, 65))
    tap.answers = {p.ip: told(*range(MOST_ROWS), uid=p.uid) for p in pods}
    found = await features.read(JOB, pods, {})
    assert len(found.rows) == MOST_TOGETHER
    assert {row.pod for row in found.rows} == {p.uid for p in pods}
    last = {row.pod: row.seq for row in found.rows}
    again = await features.read(JOB, pods, last)
    assert {row.seq for row in again.rows if row.pod == "p1"} == set(range(last["p1"] + 1, 2 * last["p1"] + 2))


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[" * 100_000,
        b"[]",
        json.dumps(told(1, uid="other")).encode(),
        json.dumps(told(1, version="1")).encode(),
        json.dumps(told(1, version=0)).encode(),
        json.dumps(told(1, version=True)).encode(),
        json.dumps({**told(), "rows": {}}).encode(),
        json.dumps(told(*range(MOST_ROWS + 1))).encode(),
        json.dumps(told(2, 1)).encode(),
        json.dumps(told(1, 1)).encode(),
        json.dumps({**told(), "rows": [[1, 2.0]]}).encode(),
        json.dumps({**told(), "rows": [[1.5, 2.0, VECTOR]]}).encode(),
        json.dumps({**told(), "rows": [[-1, 2.0, VECTOR]]}).encode(),
        json.dumps({**told(), "rows": [[2**60, 2.0, VECTOR]]}).encode(),
        json.dumps({**told(), "rows": [[1, float("nan"), VECTOR]]}).encode(),
        json.dumps({**told(), "rows": [[1, float("inf"), VECTOR]]}).encode(),
        json.dumps({**told(), "rows": [[1, "now", VECTOR]]}).encode(),
        json.dumps({**told(), "rows": [[1, 2.0, VECTOR[:-4]]]}).encode(),
        json.dumps({**told(), "rows": [[1, 2.0, "é" * 88]]}).encode(),
        json.dumps({**told(), "rows": [[1, 2.0, "A" * 10_000]]}).encode(),
        json.dumps({**told(), "rows": [[1, 2.0, None]]}).encode(),
    ],
)
def test_an_answer_that_breaks_the_contract_is_none(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_features(answer, "p1", 0, MOST_ROWS)


def test_rows_from_before_what_was_asked_for_are_left_out() -> None:
    found = read_features(json.dumps(told(1, 2, 3)).encode(), "p1", 2, MOST_ROWS)
    assert [row.seq for row in found.rows] == [2, 3]
