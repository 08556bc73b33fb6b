"""From Kubernetes objects (dicts as they come from a watch) to facts. Pure: no I/O, no clock."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from retune.decide.conditions import moment
from retune.decide.facts import Child, Meta, Pod, Stage, Termination
from retune.decide.naming import ATTEMPT_LABEL, RUN_UID_LABEL, STAGE_LABEL

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
