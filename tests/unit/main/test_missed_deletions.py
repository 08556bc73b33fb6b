"""What no watch has told, the sweep finds, and somebody acts on it."""

import asyncio
from types import SimpleNamespace
from typing import Any

from tests.unit import make
from tests.unit.make import virtually
from tests.unit.raw import Server, raw_job, raw_pod, raw_run

from retune.api import FineTuneRunStatus, Resolved, RunPhase
from retune.main.app import Operator
from retune.main.settings import Settings


def test_a_missed_end_of_a_pod_wakes_its_run() -> None:
    """A suspended run waits for its pod to go, with no timer. The sweep drops the pod and must enqueue the run."""

    async def scenario() -> None:
        status = FineTuneRunStatus(
            phase=RunPhase.QUEUED,
            resolved=Resolved.model_validate(make.RESOLVED),
            attempts=(make.attempt(1, started_at=make.NOW, job_uid="gone"),),
        )
        job, run = raw_job(spec=make.written(suspend=True)), raw_run(status)
        values: dict[str, Any] = dict.fromkeys(Settings.__dataclass_fields__, "")
        values |= {
            "namespaces": (),
            "workers": 1,
            "resync_seconds": 10,
            "trainer_image": "t:1",
            "waiting_deadline": 600,
        }
        operator = Operator(Settings(**values))
        operator._caches.job(job)
        operator._caches.run(run)
        operator._caches.pod(raw_pod())
        server = Server({"finetunejobs": [job], "finetuneruns": [run]})
        never, acquired = asyncio.Event(), asyncio.Event()
        acquired.set()
        operator._watch = lambda *_: never.wait()  # type: ignore[method-assign, assignment]
        leadership = SimpleNamespace(hold=never.wait, acquired=acquired)
        leading = asyncio.create_task(operator._lead(server, leadership, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(60)
        operator._stop.set()
        await leading
        assert len(operator._caches.pods) == 0, "the sweep has seen that it is gone"
        assert [r for r, _ in server.writes if r == "finetuneruns"]

    virtually(scenario())
