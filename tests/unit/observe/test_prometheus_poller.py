"""The shared poller: an answer is a number, nothing, or a reason; nobody waits for it long, and nobody asks twice."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from retune.api import StopLoss
from retune.decide.readings import QueryReading
from retune.observe.prometheus import AT_ONCE, Prometheus, for_arm

NOW = 1790000007.0
OWN = StopLoss(name="refunds", bad='bad{model="$arm"}', total='total{model="$arm"}')
Answer = tuple[int, Any]


def vector(*values: str) -> Answer:
    samples = [{"metric": {}, "value": [NOW, value]} for value in values]
    return 200, {"status": "success", "data": {"resultType": "vector", "result": samples}}


def error(status: int, kind: str) -> Answer:
    return status, {"status": "error", "errorType": kind, "error": "parse error"}


class Fake:
    """A Prometheus that says what it is told to; `say` maps a query to an answer."""

    def __init__(self) -> None:
        self.say: Callable[[dict[str, str]], Answer] = lambda _: vector("7")
        self.asked: list[dict[str, str]] = []
        self.now, self.most, self.gate = 0, 0, asyncio.Event()
        self.gate.set()
        self.queries: list[str] = []
        self.clock = NOW
        self.url = ""

    def query(self, result: str) -> None:
        self.queries.append(result)

    async def serve(self, request: web.Request) -> web.Response:
        form = {k: str(v) for k, v in (await request.post()).items()}
        self.asked.append(form)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.wait_for(self.gate.wait(), 10)
        await asyncio.sleep(0)
        self.now -= 1
        status, body = self.say(form)
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    made, app = Fake(), web.Application()
    app.router.add_post("/api/v1/query", made.serve)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = str(server.make_url(""))
        yield made
        made.gate.set()


@pytest.fixture
async def poller(fake: Fake) -> AsyncIterator[Prometheus]:
    async with aiohttp.ClientSession() as session:
        made = Prometheus(fake.url, session, fake, lambda: fake.clock)
        yield made
        await made.close()


def by_arm(readings: tuple[QueryReading, ...]) -> dict[str, QueryReading]:
    return {r.arm: r for r in readings}


def test_the_arm_is_put_in_as_data_and_nothing_else_is_touched() -> None:
    query = 'sum(x{m="$arm", r=~"a$", e="$army", s="${arm}"}) # $arm'
    assert for_arm(query, "canary") == 'sum(x{m="canary", r=~"a$", e="$army", s="${arm}"}) # canary'


async def test_both_arms_counters_are_read_at_one_instant(fake: Fake, poller: Prometheus) -> None:
    numbers = {'bad{model="stable"}': "1", 'total{model="stable"}': "90", 'bad{model="canary"}': "2"}
    fake.say = lambda form: vector(numbers.get(form["query"], "10"))
    found = by_arm(await poller.read((OWN,)))
    assert (found["stable"].bad, found["stable"].total) == (1.0, 90.0)
    assert (found["canary"].bad, found["canary"].total, found["canary"].error) == (2.0, 10.0, "")
    assert {form["time"] for form in fake.asked} == {f"{NOW - 2:.3f}"}
    assert found["stable"].at == found["canary"].at == NOW - 2


async def test_builtins_are_not_prometheus_affair(fake: Fake, poller: Prometheus) -> None:
    assert await poller.read((StopLoss(name="errors", builtin="Errors"),)) == ()
    assert fake.asked == []


async def test_a_hundred_canaries_ask_once(fake: Fake, poller: Prometheus) -> None:
    await asyncio.gather(*(poller.read((OWN,)) for _ in range(100)))
    assert len(fake.asked) == 4
    fake.clock += 5
    await poller.read((OWN,))
    assert len(fake.asked) == 8, "and again in the next slot"


async def test_at_most_eight_queries_are_under_way(fake: Fake, poller: Prometheus) -> None:
    many = [StopLoss(name=f"m{i}", bad=f'b{i}{{m="$arm"}}', total=f't{i}{{m="$arm"}}') for i in range(16)]
    found = await poller.read(many)
    assert all(reading.bad == 7 for reading in found)
    assert fake.most <= AT_ONCE
    assert len(fake.asked) == 64


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (vector("1", "2"), "Invalid: "),
        (vector("NaN"), "Invalid: "),
        (vector("+Inf"), "Invalid: "),
        (vector("-3"), "Invalid: "),
        ((200, {"status": "success", "data": {"resultType": "scalar", "result": [NOW, "1"]}}), "Invalid: "),
        ((200, {"status": "success", "data": {"resultType": "matrix", "result": []}}), "Invalid: "),
        (error(400, "bad_data"), "Invalid: "),
        (error(422, "execution"), "Invalid: "),
        (error(503, "timeout"), "SourceDown: "),
        (error(500, "internal"), "SourceDown: "),
        ((401, "who are you"), "SourceDown: "),
        ((200, "<html>"), "SourceDown: "),
        ((200, "[]"), "SourceDown: "),
        ((200, {"status": "success"}), "SourceDown: "),
        ((302, ""), "SourceDown: "),
    ],
)
async def test_what_is_no_number_is_a_reason(fake: Fake, poller: Prometheus, answer: Answer, state: str) -> None:
    fake.say = lambda _: answer
    for reading in await poller.read((OWN,)):
        assert (reading.bad, reading.total) == (None, None)
        assert reading.error.startswith(state), reading.error
    assert set(fake.queries) == {state.rstrip(": ")}


async def test_no_series_is_no_value_and_no_error(fake: Fake, poller: Prometheus) -> None:
    fake.say = lambda form: vector() if "canary" in form["query"] else vector("5")
    found = by_arm(await poller.read((OWN,)))
    assert (found["canary"].bad, found["canary"].error) == (None, "")
    assert found["stable"].bad == 5


async def test_counters_that_have_stopped_coming_are_stale(fake: Fake, poller: Prometheus) -> None:
    fake.say = lambda form: vector() if "lookback_delta" in form else vector("5")
    for reading in await poller.read((OWN,)):
        assert reading.error.startswith("Invalid: ")
        assert "no new sample" in reading.error


async def test_nobody_waits_longer_than_a_second_and_the_answer_before_stands_in(
    fake: Fake, poller: Prometheus
) -> None:
    await poller.read((OWN,))
    fake.gate.clear()
    fake.clock += 5
    start = time.monotonic()
    found = await poller.read((OWN,))
    assert time.monotonic() - start < 1.5
    assert [(r.bad, r.at) for r in found] == [(7.0, NOW - 2)] * 2
    fake.clock += 60
    found = await poller.read((OWN,))
    assert all(r.error.startswith("SourceDown: ") for r in found), "but not for ever"


async def test_a_prometheus_that_is_not_there_is_down() -> None:
    async with aiohttp.ClientSession() as session:
        for reading in await Prometheus("http://127.0.0.1:1", session, Fake()).read((OWN,)):
            assert reading.error.startswith("SourceDown: ")


async def test_an_operator_without_prometheus_says_who_can_change_that() -> None:
    async with aiohttp.ClientSession() as session:
        found = await Prometheus("", session, Fake()).read((OWN,))
    assert [r.arm for r in found] == ["stable", "canary"]
    assert all("prometheus.url" in r.error and r.error.startswith("SourceDown: ") for r in found)
