"""The demo's users: from the first rollout on they ask the model that serves, and object to its errors.

Ties together the load generator, the taps' own view of it, and the way there; one object for the whole demo.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from hack.cluster.process import ClusterError
from hack.demo import store
from hack.demo.kubectl import Kubectl
from hack.demo.reach import Reach
from hack.demo.run import Run
from hack.demo.settings import CALM_RATE, JOB, PODS_EVERY, RATE, USERS, WINDOW
from hack.demo.taps import PORT, TapLook, TapWatch
from hack.load import answers, questions
from hack.load.answers import Answer, Summary
from hack.load.background import Background
from hack.load.questions import Question
from hack.load.traffic import Plan

PODS = f"retune.dev/job={JOB},retune.dev/serving=stable"


@dataclass(frozen=True)
class Scene:
    """What is to be seen of a rollout beside the run's status.

    Attributes:
        look: the taps, as last changed.
        arms: what users saw in this rollout, by arm.
        rates: answers a second by arm, of the last seconds.
    """

    look: TapLook | None = None
    arms: Mapping[str, Summary] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> int | None:
        """Percent that the taps really give to the candidate."""
        return self.look.weight if self.look else None


class Users:
    """From `look` on, which is to be called again and again, they ask; `__exit__` sends them home."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._open = ExitStack()
        self._reach = Reach(kubectl)
        self._taps = TapWatch()
        self._load: Background | None = None
        self._usual: list[Question] = []
        self._began: dict[str, float] = {}
        self._counted = float("-inf")

    def __enter__(self) -> Self:
        self._open.enter_context(self._reach)
        self._open.enter_context(self._taps)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def look(self, run: Run) -> Scene:
        """See where the run stands: users come with the first rollout, and ask less while something is trained."""
        meets = run.phase in run.stages
        if meets and run.name not in self._began:
            self._began[run.name] = time.time()
        if meets and self._load is None:
            with suppress(ClusterError):  # it does not answer now; there is a next look
                self._start(run)
        self.turn_to(RATE if meets else CALM_RATE)
        self.watch()
        return self.scene(run)

    def turn_to(self, rate: float) -> None:
        """Ask so many times a second from now on, if they have come."""
        if self._load is not None:
            self._load.set_rate(rate)

    def ask_also(self, uri: str) -> None:
        """Two of three requests are of those at `uri` from now on; who asks them says what would be right."""
        if self._load is not None:
            new = questions.read(store.lines(uri), taught=True)
            self._load.ask([*self._usual[: len(new) // 2], *new])

    def watch(self) -> None:
        """See now and then which taps there are."""
        if self._load is not None and time.monotonic() - self._counted >= PODS_EVERY:
            self._counted = time.monotonic()
            self._taps.watch(self._pods())

    def scene(self, run: Run) -> Scene:
        """What users and taps have seen of this rollout so far."""
        seen = self.answers(run)
        recent = answers.since(seen, time.time() - WINDOW)
        rates = {arm: found.requests / WINDOW for arm, found in answers.by_arm(recent).items()}
        looks = self.looks(run)
        return Scene(looks[-1] if looks else None, answers.by_arm(seen), rates)

    def answers(self, run: Run) -> list[Answer]:
        """What users got since the run met them, until its end."""
        if self._load is None or run.name not in self._began:
            return []
        end = run.status.ended_at.timestamp() if run.status.ended_at else float("inf")
        return answers.since(list(self._load.traffic.answers), self._began[run.name], end)

    def looks(self, run: Run) -> list[TapLook]:
        """How the taps changed since the run met users."""
        begin = self._began.get(run.name)
        return [look for look in list(self._taps.looks) if begin is not None and look.at >= begin]

    @property
    def all(self) -> list[Answer]:
        """Whatever users got so far."""
        return list(self._load.traffic.answers) if self._load else []

    @property
    def overridden(self) -> int:
        """Overrides that the taps took."""
        return self._load.traffic.feedback[202] if self._load else 0

    def _start(self, run: Run) -> None:
        service = self._kubectl.find("service", JOB)
        if service is None or not any(_ready(pod) for pod in self._kubectl.select("pods", PODS)):
            return  # the server still starts; the next look finds it
        job = self._kubectl.find("finetunejob", JOB) or {}
        self._usual = questions.read(store.lines(str(job["spec"]["dataset"]["gold"]["uri"])))
        model = job["spec"]["serving"].get("modelName") or JOB
        plan = Plan(self._reach.service(service), model, self._usual, users=USERS, seed=run.number)
        self._load = self._open.enter_context(Background(plan, RATE))

    def _pods(self) -> dict[str, str]:
        found = {}
        try:
            for pod in self._kubectl.select("pods", PODS):
                if _ready(pod):
                    found[pod["metadata"]["name"]] = self._reach.pod(pod, PORT)
        except ClusterError:  # the API server does not answer: the run's own watch says so
            return {}
        return found


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")
