"""A canary that has nothing to show: a candidate like stable, real users, for as long as the other tests run.

Works in a thread of its own, in its own namespace, from the beginning of the session: `test_quiet_canary.py` judges it.
"""

import threading
import time
from collections import Counter
from contextlib import ExitStack
from random import Random
from typing import Any

from hack.load.answers import Answer, since
from hack.load.questions import Question

from tests.cluster.cluster import Cluster, Raw
from tests.e2e import tiny
from tests.e2e.served import STARTS, Served
from tests.e2e.tiny import GOOD

JOB = "quiet"
RATE = 2.0  # requests a second; of two cores, most are for the other tests
OVERRIDDEN = 0.1
WEIGHT = 50
PREPARED = 1200.0  # s, until the candidate meets users, beside everything else


def now_and_then(question: Question, text: str, rng: Random) -> bool:
    """Override one answer in ten, whoever gave it: both arms are alike."""
    return rng.random() < OVERRIDDEN


class Quiet:
    """`ready` is set once the candidate meets users, or never will: then `error` says why."""

    def __init__(self, cluster: Cluster, bucket: Any) -> None:
        self.cluster = cluster
        self.ready = threading.Event()
        self.error: BaseException | None = None
        self.run = ""
        self.began = float("inf")
        self._feedback: Counter[int] = Counter()
        self._bucket = bucket
        self._got: list[Answer] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="quiet", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Send the users home."""
        self._over.set()
        self._thread.join()

    def status(self) -> Raw:
        """The candidate's run."""
        found: Any = self.cluster.run(self.run)
        return dict(found["status"])

    def weight(self) -> int:
        """The candidate's share that the operator has decided on, in percent."""
        return int(self.status()["rollout"]["weight"])

    def answers(self) -> list[Answer]:
        """What users have got since the candidate met them."""
        return since(list(self._got), self.began)

    @property
    def overridden(self) -> int:
        """Overrides that the tap took."""
        return self._feedback[202]

    def _work(self) -> None:
        try:
            with ExitStack() as stack:
                self._prepare(stack)
                self.ready.set()
                self._over.wait()
        except BaseException as error:  # noqa: BLE001 — told to the test that judges
            self.error = error
        finally:
            self.ready.set()

    def _prepare(self, stack: ExitStack) -> None:
        tiny.put_answers(self._bucket, GOOD)
        served = Served(self.cluster, JOB)
        stack.callback(served.close)
        quick = tiny.rollout(steps=[{"weight": 50, "hold": "1s"}], bake="1s", promotion="NoHarm", minRequests=1)
        first = served.change(tiny.served(GOOD, seed=1, rollout=quick))
        asked = tiny.questions(self._bucket, GOOD)
        load = stack.enter_context(served.users(asked, RATE, objects=now_and_then))
        self._got, self._feedback = load.traffic.answers, load.traffic.feedback
        served.until(first, "Promoted", seconds=PREPARED)
        stays = tiny.rollout(steps=[{"weight": WEIGHT, "hold": "1h"}], timeout="2h")
        self.run = served.change(tiny.served(GOOD, seed=2, rollout=stays))
        served.until(self.run, "Canary", seconds=PREPARED + STARTS)
        self.began = time.time()
