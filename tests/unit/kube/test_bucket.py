"""The token bucket: a burst at once, then the rate, in the order of coming."""

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.make import virtually

from retune.kube.bucket import TokenBucket


async def times(count: int, rate: float, burst: int, idle: float = 0.0) -> list[float]:
    loop = asyncio.get_running_loop()
    bucket = TokenBucket(rate, burst, loop.time)
    await asyncio.sleep(idle)
    start, taken = loop.time(), []

    async def take() -> None:
        await bucket.take()
        taken.append(loop.time() - start)

    await asyncio.gather(*(take() for _ in range(count)))
    return taken


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    taken = virtually(times(150, rate=50, burst=100))
    assert taken[:100] == [0.0] * 100
    assert [round(t, 6) for t in taken[100:103]] == [0.02, 0.04, 0.06]
    assert round(taken[-1], 6) == 1.0


def test_idleness_saves_up_no_more_than_the_burst() -> None:
    taken = virtually(times(6, rate=10, burst=5, idle=3600))
    assert [round(t, 6) for t in taken[4:]] == [0.0, 0.1]


def test_waiters_are_served_in_the_order_they_came() -> None:
    async def scenario() -> list[int]:
        bucket, order = TokenBucket(10, 1, asyncio.get_running_loop().time), []

        async def take(number: int) -> None:
            await bucket.take()
            order.append(number)

        await asyncio.gather(*(take(n) for n in range(20)))
        return order

    assert virtually(scenario()) == list(range(20))


def test_one_who_gives_up_waiting_takes_nothing() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        bucket = TokenBucket(1, 1, loop.time)
        await bucket.take()
        impatient = asyncio.create_task(bucket.take())
        await asyncio.sleep(0.5)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        await bucket.take()
        return loop.time()

    assert round(virtually(scenario()), 6) == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.sampled_from([1.0, 5.0, 50.0]), st.integers(1, 20))
def test_in_no_span_more_than_burst_and_rate_allow(count: int, rate: float, burst: int) -> None:
    taken = virtually(times(count, rate, burst))
    assert all(a <= b for a, b in pairwise(taken))
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - start) * rate + 1e-6
