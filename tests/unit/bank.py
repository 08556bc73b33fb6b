"""An API server in memory that can crash the operator at any write, and the operator's job side at work on it.

Everything between decision and object is the real thing (observer, caches, hands, ledgers); runs and pods are played by
the test, which also keeps its own account of what they truly cost.
"""

import copy
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

from tests.unit import make

from retune.act.carry_out import Hands
from retune.decide.ledger import Ledger, read
from retune.decide.naming import ledger_name
from retune.kube.client import ApiError
from retune.main.handlers import JOB
from retune.main.queue import Key
from retune.main.reconcile import Reconciler
from retune.observe import facts as observing
from retune.observe.cache import Caches
from retune.observe.facts import Observer
from retune.observe.ledgers import Ledgers

Raw = dict[str, Any]
NS, NAME, HOME = "support", "triage", "retune-system"
PER_SECOND = Decimal("0.001")  # of a training pod: 3.60 an hour, so whole seconds cost what four places can say
BUDGET = {"currency": "EUR", "total": "40", "gpuHourPrice": "3.60"}
POLICY = replace(make.POLICY, cpu_hour_price="0", gpu_hour_price="0")


class Crash(BaseException):
    """The operator is killed."""


class Bank:
    """Objects by (resource, namespace, name). `fuse`: writes until the crash; `late`: it comes after the commit."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Raw] = {}
        self.versions = 0
        self.fuse: int | None = None
        self.late = False
        self.lost = False  # instead of a crash, only the answer is lost

    def put(self, resource: str, namespace: str, name: str, body: Raw) -> Raw:
        self.versions += 1
        body = copy.deepcopy(body)
        uid = self.objects.get((resource, namespace, name), body)["metadata"].get("uid", f"uid-{self.versions}")
        body["metadata"] |= {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(self.versions)}
        self.objects[resource, namespace, name] = body
        return copy.deepcopy(body)

    def _burn(self, *, committed: bool) -> None:
        if self.fuse is None or committed is not self.late:
            return
        self.fuse -= 1
        if self.fuse < 0:
            self.fuse = None
            if self.lost:
                raise ApiError(0, "Unreachable", "the answer was lost")
            raise Crash

    async def create(self, resource: str, namespace: str, body: Raw) -> Raw | None:
        self._burn(committed=False)
        if (resource, namespace, body["metadata"]["name"]) in self.objects:
            return None
        made = self.put(resource, namespace, body["metadata"]["name"], body)
        self._burn(committed=True)
        return made

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str = "") -> Raw:
        self._burn(committed=False)
        name, old = body["metadata"]["name"], self.objects.get((resource, namespace, body["metadata"]["name"]))
        if old is None:
            raise ApiError(404, "NotFound", name)
        if body["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", name)
        made = self.put(resource, namespace, name, {**old, **{k: v for k, v in body.items() if k != "metadata"}})
        self._burn(committed=True)
        return made

    async def get(self, resource: str, namespace: str, name: str) -> Raw | None:
        return copy.deepcopy(self.objects.get((resource, namespace, name)))

    async def list_page(self, resource: str, namespace: str, query: Raw) -> Raw:
        found = [copy.deepcopy(o) for (r, n, _), o in self.objects.items() if (r, n) == (resource, namespace)]
        return {"metadata": {}, "items": found}

    async def delete(self, resource: str, namespace: str, name: str, uid: str, *, foreground: bool = False) -> None:
        self._burn(committed=False)
        self.objects.pop((resource, namespace, name), None)
        self._burn(committed=True)

    async def merge(self, *_: Any) -> None:
        """Events; nobody reads them here."""


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


@dataclass
class PodOfRun:
    """A training pod and what is true about it."""

    run: str
    uid: str
    attempt: int
    start: datetime
    end: datetime | None = None


class World:
    """A job, its operator, and the truth."""

    def __init__(self, spec: Raw | None = None) -> None:
        self.now, self.bank, self.pods = make.NOW, Bank(), []  # type: ignore[var-annotated]
        self.spec = spec or make.written(budget=BUDGET, training=make.training(timeout="1h"))
        self.apply()
        self.start()

    # ------------------------------------------------------------------------------------------------- the operator

    def start(self) -> None:
        """A new process: it knows what a list tells."""
        self.caches = Caches.empty()
        self.watch()
        observer = Observer(self.caches, None, POLICY)  # type: ignore[arg-type]
        ledgers = Ledgers(self.caches, self.bank, HOME)  # type: ignore[arg-type]
        drive(ledgers.load())
        hands = Hands(self.bank, self.caches, HOME)  # type: ignore[arg-type]
        self.reconciler = Reconciler(None, observer, hands, ledgers, None)  # type: ignore[arg-type]

    def watch(self) -> None:
        """The caches see what is."""
        caches = {"finetunejobs": self.caches.jobs, "finetuneruns": self.caches.runs, "pods": self.caches.pods}
        takers = {"finetunejobs": self.caches.job, "finetuneruns": self.caches.run, "pods": self.caches.pod}
        for resource, cache in caches.items():
            there = {(n, name): o for (r, n, name), o in self.bank.objects.items() if r == resource}
            for raw in cache.unseen({o["metadata"]["uid"] for o in there.values()}, self.bank.versions):  # type: ignore[attr-defined]
                cache.drop(raw)  # type: ignore[attr-defined]
            for raw in there.values():
                takers[resource](raw)

    def look(self) -> None:
        """Reconcile the job until nothing is written; a crash on the way starts a new process."""
        self.watch()
        with mock.patch.object(observing, "_now", return_value=self.now):
            for _ in range(20):
                before = self.bank.versions
                try:
                    drive(self.reconciler._job(Key(JOB, NS, NAME)))
                except Crash:
                    self.start()
                except ApiError as error:
                    if error.code not in (0, 409):
                        raise
                else:
                    if self.bank.versions == before:
                        return
                self.watch()
        raise AssertionError("it never comes to rest")

    # ---------------------------------------------------------------------------------------- what people and pods do

    def apply(self, **annotations: str) -> None:
        """Create the job, or annotate it."""
        old = self.bank.objects.get(("finetunejobs", NS, NAME), {"metadata": {"generation": 1}, "status": {}})
        known = old["metadata"].get("annotations", {})
        said = {f"retune.dev/{k}": v for k, v in annotations.items()}
        metadata = {**old["metadata"], "annotations": {**known, **said}}
        self.bank.put("finetunejobs", NS, NAME, {**old, "metadata": metadata, "spec": self.spec})

    def delete_job(self) -> None:
        """Delete the job; its runs and their pods go later."""
        self.bank.objects.pop(("finetunejobs", NS, NAME), None)

    def runs(self) -> list[Raw]:
        """All runs that there are, by age."""
        return [o for (r, _, _), o in self.bank.objects.items() if r == "finetuneruns"]

    def flying(self) -> Raw | None:
        """The newest run, if it is in flight and belongs to a job that is there."""
        job = self.bank.objects.get(("finetunejobs", NS, NAME))
        theirs = [r for r in self.runs() if job and r["spec"]["jobRef"]["uid"] == job["metadata"]["uid"]]
        newest = max(theirs, key=lambda r: r["spec"]["number"], default=None)
        return newest if newest is not None and "endedAt" not in newest.get("status", {}) else None

    def begin(self, run: Raw) -> None:
        """A training pod of the run starts, if none runs: the run side writes that down."""
        attempts = run.get("status", {}).get("attempts", [])
        if len(attempts) >= 60 or any("endedAt" not in a for a in attempts):
            return
        pod = PodOfRun(run["metadata"]["name"], run["metadata"]["uid"], len(attempts) + 1, self.now)
        self.pods.append(pod)
        self._pod(pod)
        new = {"stage": "Train", "number": pod.attempt, "startedAt": _text(self.now), "jobUid": "j"}
        self._status(run, phase="Training", attempts=[*attempts, new])

    def kill(self, run: Raw) -> None:
        """The pod that runs ends, and the run side closes its attempt."""
        attempts = run.get("status", {}).get("attempts", [])
        if not attempts or "endedAt" in attempts[-1]:
            return
        seconds = self._stop(run["metadata"]["uid"])
        closed = {**attempts[-1], "endedAt": _text(self.now), "exit": "Crashed", "gpuSeconds": seconds}
        self._status(run, phase="Queued", attempts=[*attempts[:-1], {**closed, "cpuSeconds": seconds / 2}])

    def finish(self, run: Raw, phase: str) -> None:
        """The run ends."""
        self.kill(run)
        run = self.bank.objects["finetuneruns", NS, run["metadata"]["name"]]
        self._status(run, phase=phase, endedAt=_text(self.now))

    def remove(self, run: Raw) -> None:
        """Somebody deletes the run; its pod lives on for a while."""
        self.bank.objects.pop(("finetuneruns", NS, run["metadata"]["name"]), None)

    def sweep(self, *, seen: bool) -> None:
        """Pods whose run is gone end. `seen`: the end itself is seen, and not only that the pod is gone."""
        there = {r["metadata"]["uid"] for r in self.runs()}
        for uid in {p.uid for p in self.pods if p.end is None and p.uid not in there}:
            self._stop(uid, keep=seen)

    def collect(self) -> None:
        """The garbage collector takes the runs of jobs that are gone."""
        job = self.bank.objects.get(("finetunejobs", NS, NAME))
        for run in self.runs():
            if job is None or run["spec"]["jobRef"]["uid"] != job["metadata"]["uid"]:
                self.remove(run)

    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    def _status(self, run: Raw, **changes: Any) -> None:
        self.bank.put(
            "finetuneruns", NS, run["metadata"]["name"], {**run, "status": {**run.get("status", {}), **changes}}
        )

    def _stop(self, uid: str, *, keep: bool = False) -> float:
        (pod,) = (p for p in self.pods if p.uid == uid and p.end is None)
        pod.end = self.now
        if keep:
            self._pod(pod)
        else:
            self.bank.objects.pop(("pods", NS, f"{pod.run}-t{pod.attempt}-x"), None)
        return (pod.end - pod.start).total_seconds()

    def _pod(self, pod: PodOfRun) -> None:
        times = {"startedAt": _text(pod.start)}
        ended = {"terminated": {**times, "exitCode": 143, "finishedAt": _text(pod.end)}} if pod.end else None
        labels = {"run": pod.run, "run-uid": pod.uid, "stage": "train", "attempt": str(pod.attempt), "job": NAME}
        container = {"name": "trainer", "state": ended or {"running": times}}
        body = {
            "metadata": {"labels": {f"retune.dev/{k}": v for k, v in labels.items()}},
            "status": {"phase": "Failed" if pod.end else "Running", "containerStatuses": [container]},
        }
        self.bank.put("pods", NS, f"{pod.run}-t{pod.attempt}-x", body)

    # --------------------------------------------------------------------------------------------------- the accounts

    def truth(self) -> Decimal:
        """What all pods have cost until now, added up pod by pod."""
        return sum((int(((p.end or self.now) - p.start).total_seconds()) * PER_SECOND for p in self.pods), Decimal(0))

    def ledger(self) -> Ledger:
        """The ledger as it is written."""
        raw = self.bank.objects.get(("configmaps", HOME, ledger_name(NS, NAME)))
        return read(raw["data"]["ledger.json"], "1") if raw is not None else Ledger()

    def status(self) -> Raw:
        """The job's status."""
        status: Raw = self.bank.objects["finetunejobs", NS, NAME].get("status", {})
        return status

    def progressing(self) -> tuple[str, str]:
        """Reason and message of the condition Progressing."""
        said = next(c for c in self.status()["conditions"] if c["type"] == "Progressing")
        return said["reason"], said["message"]


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
