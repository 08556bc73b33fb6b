"""A job that serves, as its users and its taps see it: where it is, who gets what, users that keep asking.

Reaches Services and pods of the local cluster through `hack/demo/reach.py`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from hack.cluster.process import ClusterError
from hack.demo import kubectl, taps
from hack.demo.reach import Reach
from hack.load.background import Background
from hack.load.questions import Question
from hack.load.traffic import Objects, Plan, to_what_is_wrong

from tests.cluster.cluster import Cluster, Raw, eventually

STARTS = 300.0  # s, for a model server on a busy machine
ENDS = ("Promoted", "Rejected", "Declined", "Failed", "Cancelled", "RolledBack", "Inconclusive")


class Served:
    """One job that serves, in a cluster. To be closed."""

    def __init__(self, cluster: Cluster, job: str) -> None:
        self.cluster, self.job = cluster, job
        self._reach = Reach(kubectl.connect(cluster.namespace))

    def close(self) -> None:
        """End what was started to reach it."""
        self._reach.__exit__()

    def pods(self) -> list[Raw]:
        """Its serving pods that are not on their way out."""
        selector = f"retune.dev/job={self.job},retune.dev/serving=stable"
        found = self.cluster.core.list_namespaced_pod(self.cluster.namespace, label_selector=selector).items
        pods: list[Raw] = self.cluster.api.sanitize_for_serialization(found)
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def ready(self, count: int = 1) -> list[Raw]:
        """Its pods, once `count` of them are ready, and no others there."""

        def check() -> list[Raw]:
            pods = self.pods()
            states = [{c["type"]: c["status"] for c in pod["status"].get("conditions", ())} for pod in pods]
            assert [state.get("Ready") for state in states] == ["True"] * count, [pod["status"] for pod in pods]
            return pods

        return eventually(check, STARTS)

    def states(self) -> dict[str, Raw]:
        """By pod, what its tap says of the job's one model; all of them must answer."""
        try:
            told = {pod["metadata"]["name"]: taps.state(self._reach.pod(pod, taps.PORT)) for pod in self.pods()}
        except (OSError, ValueError, ClusterError) as error:
            raise AssertionError(f"a tap does not answer: {error}") from error
        return {
            pod: {**next(iter(one["models"].values())), "generation": one["generation"]} for pod, one in told.items()
        }

    def weights(self) -> dict[str, int]:
        """By pod, percent that is really given to the candidate."""
        return {pod: state["weight"] for pod, state in self.states().items()}

    def url(self) -> str:
        """Where /v1/ is, for users."""
        found = eventually(lambda: self.cluster.core.read_namespaced_service(self.job, self.cluster.namespace), STARTS)
        return self._reach.service(self.cluster.api.sanitize_for_serialization(found))

    def ask(self, prompt: str, **headers: str) -> tuple[str, str]:
        """(arm, answer) of one question, outside of all traffic."""
        body = {"model": self.job, "prompt": prompt, "max_tokens": 4, "temperature": 0}
        answer = httpx.post(f"{self.url()}/v1/completions", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.headers["x-retune-arm"], str(answer.json()["choices"][0]["text"])

    @contextmanager
    def users(
        self, asked: Sequence[Question], rate: float, objects: Objects = to_what_is_wrong, users: int = 400
    ) -> Iterator[Background]:
        """Users that ask as long as the block runs, once the server is ready."""
        self.ready(len(self.pods()) or 1)
        plan = Plan(self.url(), self.job, asked, users=users, objects=objects, tokens=4)
        with Background(plan, rate) as load:
            yield load

    def change(self, spec: Raw) -> str:
        """Apply a spec that makes another model; the name of the run that comes of it, once it is there."""
        before = max((run["spec"]["number"] for run in self.cluster.runs(self.job)), default=0)
        self.cluster.apply_job(self.job, spec)
        later = eventually(lambda: [run for run in self.cluster.runs(self.job) if run["spec"]["number"] > before])
        return str(later[0]["metadata"]["name"])

    def digest(self, run: str) -> str:
        """The identity of what a run made."""
        found: Any = self.cluster.run(run)
        return str(found["status"]["artifact"]["digest"])

    def stable(self) -> str:
        """The run whose model serves; "" while that is the base."""
        found: Any = self.cluster.job(self.job)
        return str(found.get("status", {}).get("stable", {}).get("run", ""))

    def until(self, run: str, *phases: str, seconds: float, seen: list[str] | None = None) -> Raw:
        """The run's status, once it is in one of `phases`; any other end is an error at once.

        The phases on the way are noted in `seen`.
        """

        def check() -> Raw:
            found: Any = self.cluster.run(run)
            status: Raw = found.get("status", {})
            phase = str(status.get("phase"))
            if seen is not None and phase not in seen:
                seen.append(phase)
            if phase in ENDS and phase not in phases:
                raise WrongEndError(f"{run} ended as {phase}: {status.get('conditions')}")
            return status if phase in phases else {}

        return eventually(check, seconds)


class WrongEndError(Exception):
    """A run ended otherwise than it should have; waiting for longer is no use."""
