"""Jobs that serve a promoted model, in an API server without a kubelet: what is written there before any is watched."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from tests.cluster.cluster import GROUP, VERSION, Cluster, Kubelet
from tests.cluster.cluster import spec as cluster_spec

from retune.act.serving import owned
from retune.api import FineTuneJobSpec, FineTuneJobStatus, Trigger, TriggerKind
from retune.api.job import StableModel
from retune.api.triggers import DriftReference, DriftTrigger
from retune.decide.drift.evidence import DriftEvidence, Row
from retune.decide.drift.watch import Memory, dump, watch
from retune.decide.facts import JobFacts, Meta, Policy
from retune.decide.naming import JOB_LABEL, JOB_UID_LABEL, KEPT_DRIFT, KEPT_LABEL, drift_name, run_name
from retune.decide.snapshot import snapshot

DIGEST = "sha256:" + "a" * 64
ADAPTER = "sha256:" + "c" * 64
BASE = {"uri": "s3://models/tiny", "digest": DIGEST}
SET = {"digest": DIGEST, "examples": 640, "format": "PromptCompletion"}
PROBED = {"asked": 50, "answered": 50, "score": 40.0, "right": 40, "metric": "ExactMatch"}
T, R = TypeVar("T"), TypeVar("R")
Raw = dict[str, Any]


def spec(*triggers: Raw) -> Raw:
    """A job that serves and is rolled out with the default stop-losses."""
    serving = {"replicas": 1, "image": "registry.example/server:1"}
    return cluster_spec(serving=serving, rollout={}, triggers={"drift": list(triggers)})


def triggers(query: str) -> list[Raw]:
    """One of each kind; none ever fires."""
    return [
        {"name": "prompts", "builtin": "PromptDrift", "threshold": 0.2, "for": "30m"},
        {"name": "quality", "builtin": "QualityDrop", "threshold": 0.2, "for": "30m", "minSamples": 50},
        {"name": "overrides", "builtin": "OverrideRate", "threshold": 0.5, "for": "30m", "minSamples": 200},
        {"name": "own", "query": query, "threshold": 1e9, "for": "30m"},
    ]


def at_once(what: Callable[[T], R], of: Iterable[T]) -> list[R]:
    """`what` of all of them, a few at a time."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(what, of))


@dataclass(frozen=True)
class Made:
    """A job, and the run that made what it serves."""

    name: str
    uid: str
    run: str


def job(cluster: Cluster, name: str) -> Made:
    """A job whose first run was promoted eight days ago."""
    made = cluster.apply_job(name, spec())
    uid, number = made["metadata"]["uid"], 1
    meta, policy = Meta(cluster.namespace, name, uid), Policy("localhost/retune/trainer:none", "0.1.0")
    read = FineTuneJobSpec.model_validate(made["spec"])
    facts = JobFacts(meta, read, FineTuneJobStatus(), (), policy, datetime.now(UTC))
    body = snapshot(facts, read, Trigger(kind=TriggerKind.CREATED), number)
    run = run_name(name, uid, number)
    metadata = owned(run, cluster.namespace, (name, uid))
    metadata["labels"] = {JOB_LABEL: name, JOB_UID_LABEL: uid}
    at = (GROUP, VERSION, cluster.namespace, "finetuneruns")
    raw = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "FineTuneRun",
        "metadata": metadata,
        "spec": body.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }
    cluster.custom.create_namespaced_custom_object(*at, raw)
    cluster.custom.patch_namespaced_custom_object_status(*at, run, {"status": _promoted(run)})
    return Made(name, uid, run)


def _promoted(run: str) -> Raw:
    ended = (datetime.now(UTC) - timedelta(days=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "phase": "Promoted",
        "endedAt": ended,
        "resolved": {"baseModel": BASE, "train": SET, "gold": SET},
        "scores": {"metric": "ExactMatch", "base": 0.1, "candidate": 0.8, "n": 240},
        "artifact": {"uri": f"s3://models/retune/{run}/adapter/cccccccccccc", "digest": ADAPTER},
    }


def memory() -> Memory:
    """What is remembered after eight days of looks: the reference of a week is there, and nothing has drifted."""
    random = np.random.default_rng(5)
    trigger = DriftTrigger.model_validate({"name": "prompts", "builtin": "PromptDrift", "threshold": 0.2})
    served = StableModel(run="none", digest=ADAPTER)
    known, seq, hours, an_hour = None, 0, 8 * 24, 300
    for hour in range(hours):
        now = datetime.now(UTC) - timedelta(hours=hours - 1 - hour)
        vectors = np.clip(np.rint(random.normal(size=(an_hour, 64)) * 16), -127, 127).astype(np.int8)
        begin = now.timestamp() - 3600
        rows = tuple(
            Row("gone", seq + n, begin + n * 3600 / an_hour, vector.tobytes()) for n, vector in enumerate(vectors)
        )
        seq += an_hour
        evidence = DriftEvidence(rows=rows, version=1, served=served)
        known = watch([trigger], DriftReference(), evidence, known, now).memory
    assert known is not None
    return known


def remember(cluster: Cluster, made: Made, known: Memory) -> int:
    """Write a job's memory where the operator reads it when it starts; its size in bytes."""
    text = dump(replace(known, served=f"{made.run}/{ADAPTER}"))
    body = {
        "metadata": owned(drift_name(made.name), cluster.namespace, (made.name, made.uid), {KEPT_LABEL: KEPT_DRIFT}),
        "data": {"drift.json": text},
    }
    cluster.core.create_namespaced_config_map(cluster.namespace, body)
    return len(text)


def serve(cluster: Cluster, pod: str, ip: str) -> None:
    """Play the kubelet: the pod is ready, and has this address."""
    status = {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": _now()}],
    }
    cluster.core.patch_namespaced_pod_status(pod, cluster.namespace, {"status": status})


def answer_probe(cluster: Cluster, pod: str) -> None:
    """Play the kubelet: the watch pod has asked its gold questions, and found the model as good as it was."""
    said = {"outcome": "Succeeded", "error": None, "watch": {"examples": None, "probe": PROBED}}
    Kubelet(cluster).ended(pod, 0, said)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
