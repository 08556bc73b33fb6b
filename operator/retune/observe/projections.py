"""From Kubernetes objects (dicts as they come from a watch) to facts. Pure: no I/O, no clock."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retune.decide.conditions import moment
from retune.decide.facts import Child, Meta, Pod, Stage, Termination
from retune.decide.naming import (
    ATTEMPT_LABEL,
    JOB_LABEL,
    JOB_UID_LABEL,
    REFRESHED_ANNOTATION,
    RUN_UID_LABEL,
    SERVES_CANARY,
    SERVING_DIGEST_ANNOTATION,
    SERVING_LABEL,
    STAGE_LABEL,
    canary_name,
)
from retune.decide.readings import RouteSeen, ServingPod
from retune.decide.watch import BOTH, COUNT, PROBE, WATCH_LABEL

Raw = Mapping[str, Any]


def meta(raw: Raw) -> Meta:
    """The part of an object's metadata that decisions read; annotations of other domains are left out."""
    m = raw["metadata"]
    annotations = {k: v for k, v in (m.get("annotations") or {}).items() if "retune.dev/" in k}
    return Meta(
        namespace=m.get("namespace", ""),
        name=m["name"],
        uid=m["uid"],
        generation=m.get("generation", 1),
        resource_version=m.get("resourceVersion", ""),
        created=moment(m.get("creationTimestamp")),
        deleting="deletionTimestamp" in m,
        annotations=annotations,
    )


def ours(raw: Raw) -> bool:
    """Whether a Job or pod carries all of our labels as we write them; anybody can write some of them."""
    labels = raw["metadata"].get("labels") or {}
    stage, attempt = labels.get(STAGE_LABEL), labels.get(ATTEMPT_LABEL, "")
    known = stage in {s.value for s in Stage} and attempt.isascii() and attempt.isdigit()
    return known and bool(labels.get(RUN_UID_LABEL))


def child(raw: Raw) -> Child:
    """A Kubernetes Job of a run."""
    labels, conditions = raw["metadata"]["labels"], (raw.get("status") or {}).get("conditions") or []
    true = {c["type"]: c for c in conditions if c["status"] == "True"}
    failed = true.get("Failed")
    return Child(
        name=raw["metadata"]["name"],
        uid=raw["metadata"]["uid"],
        stage=Stage(labels[STAGE_LABEL]),
        attempt=int(labels[ATTEMPT_LABEL]),
        deleting="deletionTimestamp" in raw["metadata"],
        complete="Complete" in true,
        failed=(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        created=moment(raw["metadata"].get("creationTimestamp")),
    )


def pod(raw: Raw) -> Pod:
    """A pod of a run, and its container `trainer`."""
    m, status = raw["metadata"], raw.get("status") or {}
    labels = m["labels"]
    # A mesh may have added sidecars, and their statuses come in the order of names.
    container: Raw = next((c for c in status.get("containerStatuses") or [] if c["name"] == "trainer"), {})
    state = container.get("state") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    disrupted = conditions.get("DisruptionTarget")
    phase = status.get("phase", "Pending")
    return Pod(
        name=m["name"],
        uid=m["uid"],
        stage=Stage(labels[STAGE_LABEL]),
        attempt=int(labels[ATTEMPT_LABEL]),
        phase=phase,
        ip=status.get("podIP", ""),
        created=moment(m.get("creationTimestamp")),
        deleting="deletionTimestamp" in m,
        disrupted=_text(disrupted) if disrupted and disrupted["status"] == "True" else "",
        evicted=status.get("reason", "") if phase == "Failed" else "",
        waiting=_waiting(phase, state, conditions),
        running_since=moment((state.get("running") or {}).get("startedAt")),
        termination=_termination(state.get("terminated")),
    )


@dataclass(frozen=True)
class Watcher:
    """A Kubernetes Job of the stage watch, and what it was asked for."""

    child: Child
    count: bool
    probe: bool


def watches(raw: Raw) -> bool:
    """Whether a Job is a watch of a FineTuneJob: its labels, and that job as its controller."""
    return _watch_labels(raw) and _controller(raw).get("uid") == raw["metadata"]["labels"][JOB_UID_LABEL]


def watch_pod(raw: Raw) -> bool:
    """Whether a pod is that of a watch: anybody can write the labels, but a Job must have made it."""
    return _watch_labels(raw) and _controller(raw).get("kind") == "Job"


def watcher(raw: Raw) -> Watcher:
    """A Kubernetes Job of the stage watch."""
    asked = raw["metadata"]["labels"][WATCH_LABEL]
    return Watcher(child(raw), count=asked in (COUNT, BOTH), probe=asked in (PROBE, BOTH))


def owner_place(raw: Raw) -> str:
    """Namespace and uid of an object's controller."""
    return f"{raw['metadata'].get('namespace', '')}/{_controller(raw).get('uid', '')}"


def _watch_labels(raw: Raw) -> bool:
    labels = raw["metadata"].get("labels") or {}
    attempt = labels.get(ATTEMPT_LABEL, "")
    told = labels.get(STAGE_LABEL) == Stage.WATCH.value and attempt.isascii() and attempt.isdigit()
    return told and labels.get(WATCH_LABEL) in (COUNT, PROBE, BOTH) and bool(labels.get(JOB_UID_LABEL))


@dataclass(frozen=True)
class Deployed:
    """A Deployment that serves: what it was last applied with, and how many of its pods are there and ready."""

    name: str
    digest: str
    refreshed: str
    replicas: int
    ready: int


def deploys(raw: Raw) -> bool:
    """Whether a Deployment is what serves for a job: its labels, and the job as its controller."""
    return _is_of_job(raw, "FineTuneJob") and _controller(raw).get("uid") == raw["metadata"]["labels"][JOB_UID_LABEL]


def serves(raw: Raw) -> bool:
    """Whether a pod serves for a job: anybody can write the labels, but a ReplicaSet must have made it."""
    return _is_of_job(raw, "ReplicaSet")


def _is_of_job(raw: Raw, controller: str) -> bool:
    found = raw["metadata"].get("labels") or {}
    told = all(found.get(label) for label in (SERVING_LABEL, JOB_LABEL, JOB_UID_LABEL))
    return told and _controller(raw).get("kind") == controller


def _controller(raw: Raw) -> Raw:
    return next((o for o in raw["metadata"].get("ownerReferences") or [] if o.get("controller")), {})


def deployed(raw: Raw) -> Deployed:
    """A Deployment that serves."""
    m, status = raw["metadata"], raw.get("status") or {}
    annotations = m.get("annotations") or {}
    return Deployed(
        name=m["name"],
        digest=annotations.get(SERVING_DIGEST_ANNOTATION, ""),
        refreshed=annotations.get(REFRESHED_ANNOTATION, ""),
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
    )


def serving_pod(raw: Raw) -> ServingPod:
    """A pod that serves, and why it does not run yet: the first of its containers that waits says so."""
    m, status = raw["metadata"], raw.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    ready = conditions.get("Ready", {})
    is_ready = ready.get("status") == "True"
    phase = status.get("phase", "Pending")
    return ServingPod(
        name=m["name"],
        uid=m["uid"],
        ip=status.get("podIP", ""),
        ready=is_ready,
        deleting="deletionTimestamp" in m,
        over=phase in ("Succeeded", "Failed"),
        created=moment(m.get("creationTimestamp")),
        ready_since=moment(ready.get("lastTransitionTime")) if is_ready else None,
        waiting=None if is_ready else _held_up(status, conditions),
        canary=(m.get("labels") or {}).get(SERVING_LABEL) == SERVES_CANARY,
    )


def route(raw: Raw) -> RouteSeen:
    """The HTTPRoute of a job: the share that its weights give to the candidate, and whether its Gateways follow."""
    m, rules = raw["metadata"], raw["spec"].get("rules") or []
    ours = (m["name"], canary_name(m["name"]))
    backends = rules[0].get("backendRefs") or [] if len(rules) == 1 else []
    weights = {b["name"]: b.get("weight", 1) for b in backends}
    as_written = len(weights) == len(backends) and set(weights) <= set(ours) and sum(weights.values()) == 100
    annotations = m.get("annotations") or {}
    return RouteSeen(
        digest=annotations.get(SERVING_DIGEST_ANNOTATION, ""),
        weight=weights.get(ours[1], 0) if as_written else None,
        refused=_refused(raw),
    )


def _refused(raw: Raw) -> str:
    """Gateways say of each generation whether they accept it, and whether its Services are there.

    What one has said that the route has left since, stays there if its controller is gone, too.
    """
    meta = raw["metadata"]
    generation, own = meta.get("generation", 1), meta.get("namespace")

    def place(ref: Raw) -> tuple[str | None, str, str | None]:
        return ref.get("namespace") or own, ref["name"], ref.get("sectionName")

    hangs_on = {place(ref) for ref in raw["spec"].get("parentRefs") or []}
    for parent in (raw.get("status") or {}).get("parents") or []:
        name = parent["parentRef"]["name"]
        if place(parent["parentRef"]) not in hangs_on:
            continue
        conditions = {c["type"]: c for c in parent.get("conditions") or []}
        for type_ in ("Accepted", "ResolvedRefs"):
            found = conditions.get(type_)
            if found is None or found.get("observedGeneration", generation) < generation:
                return f"Gateway {name} has not said {type_} of it yet"
            if found["status"] != "True":
                return f"Gateway {name}: {type_} is {found['status']}: {found.get('reason')}: {found.get('message')}"
    return ""


def _held_up(status: Raw, conditions: Mapping[str, Raw]) -> tuple[str, str] | None:
    """Unlike a run's pod, one that serves is asked also while it runs: a server that crashes waits in a running pod."""
    scheduled = conditions.get("PodScheduled")
    if scheduled and scheduled["status"] == "False":
        return scheduled.get("reason", "Unschedulable"), scheduled.get("message", "")
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") != "PodInitializing":  # it waits for another one, which says more
            return waiting.get("reason", "ContainerCreating"), f"{container['name']}: {waiting.get('message', '')}"
    return None


def _text(condition: Raw) -> str:
    return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")


def _waiting(phase: str, state: Raw, conditions: Mapping[str, Raw]) -> tuple[str, str] | None:
    if phase != "Pending":
        return None
    scheduled = conditions.get("PodScheduled")
    if scheduled and scheduled["status"] == "False":
        return scheduled.get("reason", "Unschedulable"), scheduled.get("message", "")
    waiting = state.get("waiting")
    return (waiting.get("reason", "ContainerCreating"), waiting.get("message", "")) if waiting else None


def _termination(raw: Raw | None) -> Termination | None:
    if not raw:
        return None
    return Termination(
        exit_code=raw.get("exitCode", -1),
        reason=raw.get("reason", ""),
        message=_message(raw.get("message", "")),
        started=_known(moment(raw.get("startedAt"))),
        finished=_known(moment(raw.get("finishedAt"))),
    )


def _known(when: datetime | None) -> datetime | None:
    # The kubelet writes year 1 or 1970 where it lost track of a container.
    return when if when is not None and when.year > 1970 else None


def _message(text: str) -> dict[str, Any]:
    """The termination message: one JSON object by contract, but a foreign image may say anything."""
    try:
        message = json.loads(text, parse_constant=lambda _: None)  # NaN and Infinity are no JSON, and mean: unknown
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
