"""A thousand events a second for a minute, of every kind at once: one run starts."""

import asyncio
import contextlib

from tests.unit import make
from tests.unit.decide.triggers.place import Place, firing

from retune.api import DriftState, DriftStatus
from retune.decide.naming import RETRY_ANNOTATION
from retune.main.queue import Key, Queue

TRIGGERS = {
    "schedule": {"cron": "* * * * *"},
    "newExamples": {"count": 1},
    "drift": [{"name": "mix", "query": "up", "threshold": 0.2}],
    "cooldown": "0s",
}
KEY = Key("FineTuneJob", "support", "triage")
RECONCILE = 0.05  # s, as long as it takes to ask an API server twice


def test_a_trigger_storm_starts_one_run() -> None:
    place = Place(TRIGGERS).first()
    place.count(1)
    place.settle()

    async def storm(queue: Queue) -> None:
        clock, begin = asyncio.get_running_loop().time, make.NOW
        for number in range(60_000):
            # Every event brings something new of each kind.
            place.now = begin + make.timedelta(seconds=clock())
            place.count(2 + number)
            place.drift(firing(value=0.3 + number / 1e6))
            place.annotations = {RETRY_ANNOTATION: f"{number // 1000}"}
            queue.add(KEY)
            await asyncio.sleep(0.001)

    async def worker(queue: Queue) -> None:
        while True:
            key = await queue.get()
            place.look()
            await asyncio.sleep(RECONCILE)
            queue.done(key)

    async def main() -> None:
        queue = Queue()
        task = asyncio.create_task(worker(queue))
        await storm(queue)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    make.virtually(main())
    assert len(place.runs) == 2, "the first run of the job, and one for the whole storm"
    place.end()
    place.drift(DriftStatus(name="mix", state=DriftState.OK))
    place.settle()
    assert place.kinds[2:] == ["Retry"], "what was asked for during the run is done by one more"
    place.end()
    place.settle()
    assert len(place.runs) == 3
