"""The queue: each key once, at one worker at a time, at the earliest of its times, and later after failures."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.make import virtually

from retune.main.queue import Key, Queue

A, B = Key("FineTuneRun", "ns", "a"), Key("FineTuneRun", "ns", "b")


async def handed_out(queue: Queue, seconds: float) -> list[tuple[float, str]]:
    """What one quick worker gets within `seconds`, and when."""
    loop, got = asyncio.get_running_loop(), []
    start = loop.time()
    try:
        async with asyncio.timeout(seconds):
            while True:
                key = await queue.get()
                got.append((round(loop.time() - start, 6), key.name))
                queue.done(key)
    except TimeoutError:
        return got


def run(fill: Callable[[Queue], Any], seconds: float = 1000) -> list[tuple[float, str]]:
    async def scenario() -> list[tuple[float, str]]:
        queue = Queue()
        fill(queue)
        return await handed_out(queue, seconds)

    return virtually(scenario())


def test_a_key_added_often_is_handed_out_once() -> None:
    assert run(lambda q: [q.add(A), q.add(B), q.add(A), q.add(A)]) == [(0.0, "a"), (0.0, "b")]


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        ([5], [5.0]),
        ([5, 3], [3.0]),
        ([3, 5], [3.0]),
        ([5, 3, 4], [3.0]),
        ([0], [0.0]),
        ([-1], [0.0]),
    ],
)
def test_of_several_delays_the_earliest_counts(delays: list[float], expected: list[float]) -> None:
    assert [t for t, _ in run(lambda q: [q.add_after(A, d) for d in delays])] == expected


def test_a_delay_stays_when_the_key_is_looked_at_before() -> None:
    assert run(lambda q: [q.add_after(A, 5), q.add(A)]) == [(0.0, "a"), (5.0, "a")]


def test_delays_are_served_in_the_order_of_their_times() -> None:
    assert run(lambda q: [q.add_after(A, 2), q.add_after(B, 1)]) == [(1.0, "b"), (2.0, "a")]


def with_queue(scenario: Callable[[Queue], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await scenario(Queue())

    virtually(main())


def test_a_key_is_at_one_worker_at_a_time_and_comes_again_if_added_meanwhile() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add(A)
        assert await queue.get() == A
        queue.add(A)
        queue.add(A)
        assert await handed_out(queue, 10) == [], "while a worker is at it, nobody else gets it"
        queue.done(A)
        assert await handed_out(queue, 10) == [(0.0, "a")]
        assert await handed_out(queue, 10) == []

    with_queue(scenario)


def test_a_timer_that_ripens_while_a_worker_is_at_the_key_waits_for_it() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add(A)
        await queue.get()
        queue.add_after(A, 1)
        assert await handed_out(queue, 10) == []
        queue.done(A)
        assert await handed_out(queue, 10) == [(0.0, "a")]

    with_queue(scenario)


def test_a_sleeping_worker_wakes_for_what_is_added_and_for_an_earlier_timer() -> None:
    async def scenario(queue: Queue) -> None:
        loop = asyncio.get_running_loop()
        queue.add_after(A, 100)
        worker = asyncio.create_task(queue.get())
        await asyncio.sleep(1)
        queue.add_after(B, 2)
        assert await worker == B
        assert loop.time() == 3.0

    with_queue(scenario)


def test_many_workers_share_and_none_is_lost() -> None:
    async def scenario(queue: Queue) -> None:
        seen: list[str] = []

        async def work() -> None:
            while True:
                key = await queue.get()
                await asyncio.sleep(0.5)
                seen.append(key.name)
                queue.done(key)

        workers = [asyncio.create_task(work()) for _ in range(8)]
        await asyncio.sleep(0)
        for number in range(100):
            queue.add(Key("FineTuneJob", "ns", f"{number:03}"))
        await asyncio.sleep(100)
        for worker in workers:
            worker.cancel()
        assert sorted(seen) == [f"{n:03}" for n in range(100)]

    with_queue(scenario)


def test_back_off_doubles_with_jitter_up_to_a_limit_and_is_forgotten_after_success() -> None:
    async def scenario(queue: Queue) -> None:
        delays = [queue.failed(A) for _ in range(40)]
        for number, delay in enumerate(delays):
            full = min(0.1 * 2**number, 60.0)
            assert full / 2 <= delay <= full
        assert queue.failed(B) <= 0.1, "each key has failures of its own"
        queue.succeeded(A)
        assert queue.failed(A) <= 0.1

    with_queue(scenario)


def test_back_off_is_never_shorter_than_the_server_asked_for() -> None:
    async def scenario(queue: Queue) -> None:
        assert queue.failed(A, at_least=7.0) == 7.0
        assert await handed_out(queue, 20) == [(7.0, "a")]

    with_queue(scenario)


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]), st.sampled_from([0.0, 1.0])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_is_added_is_looked_at_after_that_and_no_later_than_its_delay(
    steps: list[tuple[str, float, float]],
) -> None:
    async def scenario() -> None:
        loop, queue = asyncio.get_running_loop(), Queue()
        looks: list[tuple[float, str]] = []

        async def work() -> None:
            while True:
                key = await queue.get()
                looks.append((loop.time(), key.name))
                queue.done(key)

        worker = asyncio.create_task(work())
        wanted = []
        for name, delay, pause in steps:
            key = Key("FineTuneRun", "ns", name)
            queue.add_after(key, delay) if delay else queue.add(key)
            wanted.append((loop.time(), loop.time() + delay, name))
            await asyncio.sleep(pause)
        await asyncio.sleep(20)
        worker.cancel()
        for asked, due, name in wanted:
            assert any(asked <= when <= due + 1e-6 for when, who in looks if who == name)

    virtually(scenario())
