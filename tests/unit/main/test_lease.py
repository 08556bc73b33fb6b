"""Leadership: never two at once, quickly handed over, quickly lost. One clock for all, moved by the test."""

import asyncio
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.make import virtually

from retune.kube.client import ApiError
from retune.main.lease import DEADLINE, DURATION, RETRY, Leadership


class Leases:
    """A Lease in memory. Each call takes `before` s to arrive and `after` s to be answered; `down` answers nothing."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.before, self.after = 0.0, 0.0
        self.down: set[str] = set()

    def seen_by(self, who: str) -> "View":
        return View(self, who)


class View:
    def __init__(self, leases: Leases, who: str) -> None:
        self._leases, self._who = leases, who

    async def _way(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._who in self._leases.down:
            raise ApiError(0, "Unreachable", "no answer")

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        await self._way(self._leases.before)
        found = deepcopy(self._leases.lease)
        await self._way(self._leases.after)
        return found

    async def replace_lease(self, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._way(self._leases.before)
        leases = self._leases
        known = leases.lease["metadata"].get("resourceVersion") if leases.lease else None
        if body["metadata"].get("resourceVersion") != known:
            raise ApiError(409, "Conflict", "the lease has moved on")
        leases.version += 1
        leases.lease = deepcopy({**body, "metadata": {**body["metadata"], "resourceVersion": str(leases.version)}})
        await self._way(leases.after)
        return leases.lease


def candidate(leases: Leases, name: str) -> Leadership:
    return Leadership(leases.seen_by(name), "ns", "retune", name, asyncio.get_running_loop().time)


async def until(check: Any, limit: float = 120.0) -> float:
    """Wait until `check` holds; how long that took."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not check():
        assert loop.time() - start < limit, "it never came"
        await asyncio.sleep(0.1)
    return loop.time() - start


def test_the_first_candidate_leads_and_the_second_waits() -> None:
    async def scenario() -> None:
        leases = Leases()
        one, two = candidate(leases, "one"), candidate(leases, "two")
        tasks = [asyncio.create_task(one.hold())]
        await asyncio.sleep(0.1)
        tasks.append(asyncio.create_task(two.hold()))
        for _ in range(600):
            await asyncio.sleep(1)
            assert one.held()
            assert not two.held()
        assert leases.lease is not None
        assert leases.lease["spec"]["leaseTransitions"] == 0
        for task in tasks:
            task.cancel()

    virtually(scenario())


def test_a_dead_leader_is_followed_after_fifteen_seconds_and_not_before() -> None:
    async def scenario() -> None:
        leases = Leases()
        one, two = candidate(leases, "one"), candidate(leases, "two")
        first = asyncio.create_task(one.hold())
        second = asyncio.create_task(two.hold())
        await asyncio.sleep(20)
        first.cancel()  # killed: nothing is released
        waited = await until(two.held)
        assert DURATION - RETRY <= waited <= DURATION + 2 * RETRY
        assert leases.lease is not None
        assert leases.lease["spec"]["leaseTransitions"] == 1
        second.cancel()

    virtually(scenario())


def test_a_leader_that_cannot_renew_stops_acting_within_ten_seconds_and_its_process_ends() -> None:
    async def scenario() -> None:
        leases = Leases()
        one = candidate(leases, "one")
        task = asyncio.create_task(one.hold())
        await asyncio.sleep(20)
        assert one.held()
        leases.down.add("one")
        assert await until(lambda: not one.held()) <= DEADLINE + 0.1
        await asyncio.wait_for(task, 2 * RETRY)

    virtually(scenario())


def test_a_renewal_counts_from_when_it_was_sent() -> None:
    async def scenario() -> None:
        loop, leases = asyncio.get_running_loop(), Leases()
        leases.before = leases.after = 2.0  # four seconds for each of the two calls
        one = candidate(leases, "one")
        task = asyncio.create_task(one.hold())
        await asyncio.wait_for(one.acquired.wait(), 60)
        acquired = loop.time()
        leases.down.add("one")
        lost = acquired + await until(lambda: not one.held())
        assert lost <= acquired - 8.0 + DEADLINE + 0.2
        task.cancel()

    virtually(scenario())


def test_release_hands_over_at_once() -> None:
    async def scenario() -> None:
        leases = Leases()
        one, two = candidate(leases, "one"), candidate(leases, "two")
        first, second = asyncio.create_task(one.hold()), asyncio.create_task(two.hold())
        await asyncio.sleep(20)
        first.cancel()
        await one.release()
        assert not one.held()
        assert await until(two.held) <= RETRY + 0.2
        second.cancel()

    virtually(scenario())


def test_release_never_takes_the_lease_from_another() -> None:
    async def scenario() -> None:
        leases = Leases()
        one, two = candidate(leases, "one"), candidate(leases, "two")
        await two.release()  # never held: nothing happens
        first = asyncio.create_task(one.hold())
        await asyncio.sleep(5)
        await two.release()
        assert leases.lease is not None
        assert leases.lease["spec"]["holderIdentity"] == "one"
        first.cancel()

    virtually(scenario())


@pytest.mark.parametrize("code", [409, 500, 0])
def test_an_error_while_acquiring_is_tried_again(code: int) -> None:
    async def scenario() -> None:
        leases = Leases()
        one, view = candidate(leases, "one"), leases.seen_by("one")
        real, errors = view.replace_lease, [ApiError(code, "x", "y")] * 3

        async def replace_lease(*args: Any) -> Any:
            if errors:
                raise errors.pop()
            return await real(*args)

        one._leases.replace_lease = replace_lease  # type: ignore[method-assign]
        task = asyncio.create_task(one.hold())
        assert await until(one.held) <= 3 * RETRY + 0.2
        task.cancel()

    virtually(scenario())


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["one down", "two down", "one up", "two up", "slow", "quick", "wait", "restart"]),
        st.floats(0.1, 20),
    ),
    max_size=15,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@example([("restart", 3.0), ("two down", 2.0), ("two down", 14.0)])
@given(EVENTS)
def test_never_two_leaders_at_once_and_in_the_end_one(events: list[tuple[str, float]]) -> None:  # noqa: C901
    async def scenario() -> None:  # noqa: C901 - one line for each thing that can happen
        leases = Leases()
        process: dict[str, tuple[Leadership, asyncio.Task[None]]] = {}
        running = True

        def start(name: str) -> None:
            leadership = candidate(leases, name)
            process[name] = leadership, asyncio.create_task(leadership.hold())

        async def watch() -> None:
            while running:
                assert sum(leadership.held() for leadership, _ in process.values()) <= 1
                for name, (_, task) in list(process.items()):
                    if task.done():  # the process ends when the lease is lost; its Deployment starts it again
                        start(name)
                await asyncio.sleep(0.05)

        start("one")
        start("two")
        watching = asyncio.create_task(watch())
        for what, seconds in events:
            match what.split():
                case [name, "down"]:
                    leases.down.add(name)
                case [name, "up"]:
                    leases.down.discard(name)
                case ["slow"]:
                    leases.before = leases.after = 1.2
                case ["quick"]:
                    leases.before = leases.after = 0.0
                case ["restart"]:
                    leadership, task = process.pop("one")  # else `watch` would start it, too
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    await leadership.release()
                    start("one")
            await asyncio.sleep(seconds)
        leases.down.clear()
        leases.before = leases.after = 0.0
        await asyncio.sleep(2 * DURATION + 10)
        assert sum(leadership.held() for leadership, _ in process.values()) == 1
        running = False
        await watching
        for _, task in process.values():
            task.cancel()

    virtually(scenario())
