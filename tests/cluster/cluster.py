"""A cluster as a test sees it: apply, read, wait; and a kubelet played by hand, for what a pod may report.

Talks to the API server only. `eventually` waits for a condition, never for a time.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from kubernetes.client import ApiException

import kubernetes

# What a trainer's pods report is the same here as in the unit tests.
from tests.unit.make import ADAPTER, CHECKED, DIGEST, MEASURED, REPORTED, comparison, failed, trained

__all__ = ["ADAPTER", "CHECKED", "DIGEST", "MEASURED", "REPORTED", "comparison", "failed", "trained"]

GROUP, VERSION = "retune.dev", "v1alpha1"
T = TypeVar("T")
Raw = dict[str, Any]


def eventually(check: Callable[[], T], seconds: float = 20.0) -> T:
    """The first truthy value of `check`; its last value, or its last exception, is told when there is none in time."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except (AssertionError, KeyError, IndexError, ApiException) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s; last seen: {last!r}")


def read_and_write(once: Callable[[], T]) -> T:
    """What `once` returns, which writes over a version that it has just read: again if the operator was quicker."""
    for _ in range(20):
        try:
            return once()
        except ApiException as error:
            if error.status != 409:
                raise
    raise AssertionError("the object was never at rest")


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, api: kubernetes.client.ApiClient, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.core = kubernetes.client.CoreV1Api(api)
        self.batch = kubernetes.client.BatchV1Api(api)
        self.custom = kubernetes.client.CustomObjectsApi(api)

    def apply_job(self, name: str, spec: Raw, annotations: dict[str, str] | None = None) -> Raw:
        """Create or change a FineTuneJob."""
        metadata = {"name": name, "annotations": annotations or {}}
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "FineTuneJob", "metadata": metadata, "spec": spec}
        at = (GROUP, VERSION, self.namespace, "finetunejobs")

        def once() -> Raw:
            known = self.job(name)
            if known is None:
                return self.custom.create_namespaced_custom_object(*at, body)
            known["spec"] = spec
            known["metadata"]["annotations"] = annotations or {}
            return self.custom.replace_namespaced_custom_object(*at, name, known)

        return read_and_write(once)

    def annotate(self, plural: str, name: str, annotations: Raw) -> None:
        """Set annotations."""
        body = {"metadata": {"annotations": annotations}}
        self.custom.patch_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, name, body)

    def delete_job(self, name: str) -> None:
        """Delete a FineTuneJob."""
        self.custom.delete_namespaced_custom_object(GROUP, VERSION, self.namespace, "finetunejobs", name)

    def job(self, name: str) -> Raw | None:
        """A FineTuneJob, or None."""
        return self._custom("finetunejobs", name)

    def run(self, name: str) -> Raw | None:
        """A FineTuneRun, or None."""
        return self._custom("finetuneruns", name)

    def _custom(self, plural: str, name: str) -> Raw | None:
        try:
            return self.custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def runs(self, job: str) -> list[Raw]:
        """Runs of a job, by number."""
        items = self.custom.list_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "finetuneruns", label_selector=f"retune.dev/job={job}"
        )["items"]
        return sorted(items, key=lambda r: r["spec"]["number"])

    def first_run(self, job: str, number: int = 1) -> str:
        """The name of run `number`, once it is there, whatever has been pruned before it."""
        return eventually(lambda: {r["spec"]["number"]: r for r in self.runs(job)}[number])["metadata"]["name"]

    def phase(self, run: str, phase: str, seconds: float = 20.0) -> Raw:
        """The run, once it is in `phase`."""

        def check() -> Raw | None:
            found = self.run(run)
            assert found is not None
            status = found.get("status", {})
            assert status.get("phase") == phase, (status.get("phase"), status.get("conditions"))
            return found

        return eventually(check, seconds)

    def jobs(self, run: str) -> dict[str, Any]:
        """Kubernetes Jobs of a run, by stage and attempt, such as `train-1`."""
        items = self.batch.list_namespaced_job(self.namespace, label_selector=f"retune.dev/run={run}").items
        return {f"{i.metadata.labels['retune.dev/stage']}-{i.metadata.labels['retune.dev/attempt']}": i for i in items}

    def pod(self, run: str, attempt: str) -> str:
        """The name of the pod of an attempt such as `train-1`, once it is there."""
        stage, number = attempt.split("-")
        selector = f"retune.dev/run={run},retune.dev/stage={stage},retune.dev/attempt={number}"
        return eventually(lambda: self.core.list_namespaced_pod(self.namespace, label_selector=selector).items)[
            0
        ].metadata.name

    def whoami(self) -> str:
        """The user that this cluster's client is."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        said = kubernetes.client.AuthenticationV1Api(self.api).create_self_subject_review(review)
        return str(said.status.user_info.username)

    def events(self, name: str) -> list[Any]:
        """Events about an object of ours."""
        items = self.core.list_namespaced_event(self.namespace).items
        return [e for e in items if e.involved_object.name == name]


def condition(found: Raw, type_: str) -> Raw:
    """One condition of a job or run."""
    return {c["type"]: c for c in found["status"]["conditions"]}[type_]


class Kubelet:
    """Writes into pods' statuses what a kubelet (and a trainer) would."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def waiting(self, pod: str, reason: str, message: str) -> None:
        """The container cannot start."""
        self._status(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def unschedulable(self, pod: str, message: str) -> None:
        """No node fits."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self._patch(pod, {"phase": "Pending", "conditions": [condition]})

    def running(self, pod: str) -> None:
        """The container runs."""
        self._status(pod, "Running", {"running": {"startedAt": _now()}})

    def ended(
        self, pod: str, code: int, message: Raw | str = "", reason: str = "", conditions: list[Raw] | None = None
    ) -> None:
        """The container has ended."""
        text = message if isinstance(message, str) else json.dumps(message)
        terminated = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "message": text,
            "startedAt": _now(),
            "finishedAt": _now(),
        }
        self._status(pod, "Succeeded" if code == 0 else "Failed", {"terminated": terminated}, conditions)

    def _status(self, pod: str, phase: str, state: Raw, conditions: list[Raw] | None = None) -> None:
        container = {"name": "trainer", "state": state, "image": "x", "imageID": "x", "ready": False, "restartCount": 0}
        body: Raw = {"phase": phase, "containerStatuses": [container]}
        if conditions:
            body["conditions"] = conditions
        self._patch(pod, body)

    def _patch(self, pod: str, status: Raw) -> None:
        self._cluster.core.patch_namespaced_pod_status(pod, self._cluster.namespace, {"status": status})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spec(**changes: Any) -> Raw:
    """A small valid spec; `changes` replace its parts."""
    base: Raw = {
        "baseModel": {"uri": "s3://models/tiny"},
        "dataset": {"train": {"uri": "s3://data/t/train.jsonl"}, "gold": {"uri": "s3://data/t/gold.jsonl"}},
        "training": {"gpusPerNode": 0, "epochs": 1, "resources": {"requests": {"cpu": "500m"}}},
        "evaluation": {"metrics": [{"name": "ExactMatch"}], "acceptance": {"metric": "ExactMatch", "minUplift": 0.02}},
        "artifacts": {"uri": "s3://models/retune", "secretRef": {"name": "store"}},
    }
    return {**base, **changes}
