"""A canary that has nothing to show: a candidate like stable, users, for as long as the other tests run.

Operator and tap are real; behind the tap is the stand-in, so that the other tests have the cores. Works in a thread of
its own, in its own namespace, from the beginning of the session: `test_quiet_canary.py` judges it.
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
from tests.e2e import standin

JOB = "quiet"
RATE = 5.0  # requests a second; of two cores, most are for the other tests
OVERRIDDEN = 0.1
WEIGHT = standin.SHARE
PREPARED = 600.0  # s, until the candidate meets users, beside everything else


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
        standin.prepare(self.cluster)
        shop = standin.Shop(self.cluster, JOB, self._bucket, standin.put_base(self._bucket))
        stack.callback(shop.close)
        self.run = shop.candidate()
        load = stack.enter_context(shop.users(standin.ASKED, RATE, objects=now_and_then))
        self._got, self._feedback = load.traffic.answers, load.traffic.feedback
        shop.in_canary(self.run)
        self.began = time.time()
