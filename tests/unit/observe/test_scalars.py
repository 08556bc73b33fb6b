"""A drift trigger's own query: one finite number, or the reason why there is none; asked twice a minute, not more."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.unit.observe.test_prometheus_poller import NOW, OWN, Answer, Fake, error, fake, vector

from retune.observe.prometheus import Prometheus
from retune.observe.scalars import AT_ONCE, EVERY, USABLE, Scalars

__all__ = ["fake"]
QUERY = "job:slow:ratio"


def scalar(value: str) -> Answer:
    return 200, {"status": "success", "data": {"resultType": "scalar", "result": [NOW, value]}}


def typed(kind: str, result: object) -> Answer:
    return 200, {"status": "success", "data": {"resultType": kind, "result": result}}


@pytest.fixture
async def scalars(fake: Fake) -> AsyncIterator[Scalars]:
    async with aiohttp.ClientSession() as session:
        made = Scalars(Prometheus(fake.url, session, fake, lambda: fake.clock), lambda: fake.clock)
        yield made
        fake.gate.set()
        await made.close()


@pytest.mark.parametrize(
    ("answer", "value"),
    [(vector("0.25"), 0.25), (vector("-3e2"), -300.0), (scalar("-1.5"), -1.5), (vector("0"), 0.0)],
)
async def test_any_finite_number_is_a_value(fake: Fake, scalars: Scalars, answer: Answer, value: float) -> None:
    fake.say = lambda _: answer
    (found,) = (await scalars.read({"slow": QUERY})).values()
    assert (found.value, found.error, found.at) == (value, "", NOW)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (vector("NaN"), "Invalid: 'job:slow:ratio' is nan, not a number"),
        (scalar("NaN"), "Invalid: 'job:slow:ratio' is nan, not a number"),
        (vector("+Inf"), "Invalid: 'job:slow:ratio' is inf, not a number"),
        (vector("1", "2"), "Invalid: 'job:slow:ratio' gives 2 series; sum() them into one"),
        (typed("string", [NOW, "words"]), "Invalid: 'job:slow:ratio' gives a string"),
        (typed("matrix", []), "Invalid: 'job:slow:ratio' gives a matrix"),
        (error(400, "bad_data"), "Invalid: Prometheus refuses 'job:slow:ratio': parse error"),
        (error(503, "timeout"), "SourceDown: "),
        ((502, "<html>"), "SourceDown: "),
        (typed("scalar", None), "SourceDown: "),
        (typed("scalar", [NOW, "words"]), "SourceDown: "),
    ],
)
async def test_what_is_no_number_has_its_reason(fake: Fake, scalars: Scalars, answer: Answer, reason: str) -> None:
    fake.say = lambda _: answer
    (found,) = (await scalars.read({"slow": QUERY})).values()
    assert found.value is None
    assert found.error.startswith(reason)
    assert fake.queries == [reason.partition(":")[0]]


async def test_a_hundred_thousand_series_are_refused_with_the_cure(fake: Fake, scalars: Scalars) -> None:
    series = [{"metric": {"user": f"u{n}"}, "value": [NOW, "1"]} for n in range(100_000)]
    fake.say = lambda _: (200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}}))
    (found,) = (await scalars.read({"slow": QUERY})).values()
    assert found.error.startswith("Invalid: ")
    assert "let the query sum its series" in found.error


async def test_no_series_is_no_value_and_one_that_stopped_coming_says_so(fake: Fake, scalars: Scalars) -> None:
    fake.say = lambda _: vector()
    assert (await scalars.read({"slow": QUERY}))["slow"].value is None
    fake.clock += EVERY
    fake.say = lambda form: vector() if "lookback_delta" in form else vector("0.3")
    found = (await scalars.read({"slow": QUERY}))["slow"]
    assert (found.value, found.error) == (None, "Invalid: 'job:slow:ratio' has had no new sample for 120 s")


async def test_a_hundred_jobs_with_the_same_query_ask_twice_a_minute(fake: Fake, scalars: Scalars) -> None:
    for _ in range(120):
        await asyncio.gather(*(scalars.read({f"t{job}": QUERY}) for job in range(100)))
        fake.clock += 0.5
    assert len(fake.asked) == 2 + (NOW % EVERY > 0)


async def test_at_most_four_are_under_way_whoever_asks(fake: Fake, scalars: Scalars) -> None:
    found = await scalars.read({f"t{n}": f"q{n}" for n in range(16)})
    assert len(found) == 16
    assert fake.most <= AT_ONCE


async def test_a_slow_prometheus_holds_nobody_up_and_its_answer_counts_at_the_next_look(
    fake: Fake, scalars: Scalars
) -> None:
    fake.gate.clear()
    assert await scalars.read({"slow": QUERY}) == {}
    fake.gate.set()
    found = await scalars.read({"slow": QUERY})  # it waits for what is under way
    assert found["slow"].value == 7
    assert len(fake.asked) == 1


async def test_an_answer_does_not_stand_in_for_others_for_ever(fake: Fake, scalars: Scalars) -> None:
    assert await scalars.read({"slow": QUERY})
    fake.gate.clear()
    fake.clock += USABLE + 1
    assert await scalars.read({"slow": QUERY}) == {}


async def test_after_prometheus_was_away_its_values_are_there_again(fake: Fake, scalars: Scalars) -> None:
    fake.say = lambda _: (503, "starting")
    assert (await scalars.read({"slow": QUERY}))["slow"].error.startswith("SourceDown: ")
    fake.clock += EVERY
    fake.say = lambda _: vector("0.4")
    assert (await scalars.read({"slow": QUERY}))["slow"].value == 0.4


async def test_without_a_prometheus_each_says_what_is_missing() -> None:
    async with aiohttp.ClientSession() as session:
        scalars = Scalars(Prometheus("", session, Fake()))
        found = await scalars.read({"slow": QUERY})
    assert "prometheus.url" in found["slow"].error
    assert OWN.name not in found
