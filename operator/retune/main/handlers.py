"""kopf's handlers: each takes an object into its cache and enqueues the key it concerns, and nothing else.

`on.event` only: kopf's other handlers write annotations and finalizers of their own into users' objects.
"""

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from retune.api import GROUP, VERSION
from retune.decide.naming import JOB_LABEL, RUN_LABEL, SERVING_LABEL
from retune.decide.watch import WATCH_LABEL
from retune.main.queue import Key, Queue
from retune.observe.cache import Cache, Caches

Raw = Mapping[str, Any]
JOB, RUN = "FineTuneJob", "FineTuneRun"


class Watches:
    """Connects the watches of the five kinds with the caches and the queue."""

    def __init__(self, caches: Caches, queue: Queue) -> None:
        self._caches, self._queue = caches, queue

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """Declare the handlers."""
        kopf.on.event(GROUP, VERSION, "finetunejobs", registry=registry)(self._on_job)
        kopf.on.event(GROUP, VERSION, "finetuneruns", registry=registry)(self._on_run)
        kopf.on.event("batch", "v1", "jobs", labels={RUN_LABEL: kopf.PRESENT}, registry=registry)(self._on_child)
        kopf.on.event("", "v1", "pods", labels={RUN_LABEL: kopf.PRESENT}, registry=registry)(self._on_pod)
        watches = {WATCH_LABEL: kopf.PRESENT}
        kopf.on.event("batch", "v1", "jobs", labels=watches, registry=registry)(self._on_watch)
        kopf.on.event("", "v1", "pods", labels=watches, registry=registry)(self._on_watch_pod)
        serves = {SERVING_LABEL: kopf.PRESENT}
        kopf.on.event("", "v1", "pods", labels=serves, registry=registry)(self._on_server)
        kopf.on.event("apps", "v1", "deployments", labels=serves, registry=registry)(self._on_deployment)

    async def _on_job(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        raw = event["object"]
        _take(event, self._caches.jobs, self._caches.job)
        if event["type"] == "DELETED":
            self._caches.arms(raw["metadata"]["namespace"], raw["metadata"]["name"], None)
            self._caches.drifts.pop((raw["metadata"]["namespace"], raw["metadata"]["name"]), None)
        self._queue.add(Key(JOB, raw["metadata"]["namespace"], raw["metadata"]["name"]))
        for run in self._caches.runs.of(raw["metadata"]["uid"]):  # suspension concerns the run in flight
            if not run.ended:
                self._queue.add(Key(RUN, run.meta.namespace, run.meta.name))

    async def _on_run(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        raw = event["object"]
        _take(event, self._caches.runs, self._caches.run)
        if event["type"] == "DELETED":
            self._caches.evidence(raw["metadata"]["namespace"], raw["metadata"]["name"], None)
        self.concerns(RUN, raw)

    async def _on_child(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        _take(event, self._caches.children, self._caches.child)
        self.concerns("", event["object"])

    async def _on_pod(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        _take(event, self._caches.pods, self._caches.pod)
        self.concerns("", event["object"])

    async def _on_watch(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        _take(event, self._caches.watchers, self._caches.watcher)
        self.serves(event["object"])

    async def _on_watch_pod(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        _take(event, self._caches.watch_pods, self._caches.watch_pod)
        self.serves(event["object"])

    async def _on_server(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        _take(event, self._caches.servers, self._caches.server)
        self.serves(event["object"])

    async def _on_deployment(self, event: Raw, **_: Any) -> None:  # noqa: ANN401 - kopf's keyword arguments
        _take(event, self._caches.deployments, self._caches.deployment)
        self.serves(event["object"])

    def serves(self, raw: Raw) -> None:
        """Enqueue the job that something serves for or watches for, and its run in flight."""
        metadata = raw["metadata"]
        namespace, name = metadata.get("namespace", ""), (metadata.get("labels") or {}).get(JOB_LABEL, "")
        job = self._caches.jobs.get(namespace, name)
        if job is None:
            return
        self._queue.add(Key(JOB, namespace, name))
        for run in self._caches.runs.of(job.meta.uid):
            if not run.ended:
                self._queue.add(Key(RUN, namespace, run.meta.name))

    def concerns(self, kind: str, raw: Raw) -> None:
        """Enqueue the run that an object is or belongs to, and the job of a run."""
        metadata = raw["metadata"]
        namespace, labels = metadata.get("namespace", ""), metadata.get("labels") or {}
        if kind == RUN:
            self._queue.add(Key(RUN, namespace, metadata["name"]))
            job = (raw.get("spec") or {}).get("jobRef", {}).get("name")
            if job:
                self._queue.add(Key(JOB, namespace, job))
        elif labels.get(RUN_LABEL):
            self._queue.add(Key(RUN, namespace, labels[RUN_LABEL]))
            if labels.get(JOB_LABEL) and self._caches.runs.get(namespace, labels[RUN_LABEL]) is None:
                self._queue.add(Key(JOB, namespace, labels[JOB_LABEL]))  # what is left of a deleted run still costs


def _take(event: Raw, cache: Cache[Any], put: Callable[[Raw], None]) -> None:
    if event["type"] == "DELETED":
        cache.drop(event["object"])
    else:
        put(event["object"])
