"""Manifests of a run and its children: pure builders, from snapshots to dicts. The pods' contract: design/0002."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from retune.api import FineTuneRunSpec, SecretRef, Store, Training
from retune.decide.actions import CreateChild, CreateRun
from retune.decide.facts import JobFacts, RunFacts, Stage
from retune.decide.limits import GRACE
from retune.decide.naming import (
    ATTEMPT_LABEL,
    JOB_LABEL,
    RUN_LABEL,
    RUN_UID_LABEL,
    STAGE_LABEL,
    child_name,
)
from retune.decide.settle import (
    PREFLIGHT_CPU,
    PREFLIGHT_MEMORY,
    PREFLIGHT_MEMORY_LIMIT,
    REPORT_CPU,
    REPORT_MEMORY,
    REPORT_MEMORY_LIMIT,
)

API_VERSION = "retune.dev/v1alpha1"
PORT = 9090  # of the trainer's /metrics and /progress
NON_ROOT = 65532
PREFLIGHT_TIMEOUT = 3600  # s
REPORT_TIMEOUT = 600  # s, waiting for a node included: nobody waits for a report
Raw = dict[str, Any]
SourceOf = tuple[str, str, SecretRef | None]  # something that a pod opens: role, URI, Secret


def run(facts: JobFacts, action: CreateRun) -> Raw:
    """The FineTuneRun."""
    return {
        "apiVersion": API_VERSION,
        "kind": "FineTuneRun",
        "metadata": {
            "name": action.name,
            "namespace": facts.meta.namespace,
            "labels": {JOB_LABEL: facts.meta.name},
            "ownerReferences": [_owner("FineTuneJob", facts.meta.name, facts.meta.uid)],
        },
        "spec": action.spec.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }


def config(facts: RunFacts) -> Raw:
    """The immutable ConfigMap that tells the pods what to do."""
    content = {
        "run": {
            "namespace": facts.meta.namespace,
            "job": facts.spec.job_ref.name,
            "name": facts.meta.name,
            "uid": facts.meta.uid,
            "number": facts.spec.number,
        },
        "spec": facts.spec.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": facts.meta.name,
            "namespace": facts.meta.namespace,
            "labels": _labels(facts),
            "ownerReferences": [_owner("FineTuneRun", facts.meta.name, facts.meta.uid)],
        },
        "immutable": True,
        "data": {"run.json": json.dumps(content, sort_keys=True)},
    }


def child(facts: RunFacts, action: CreateChild) -> Raw:
    """The Kubernetes Job of one attempt: one pod, no retries of its own, its end told apart by its conditions."""
    labels = {**_labels(facts), STAGE_LABEL: action.stage.value, ATTEMPT_LABEL: str(action.attempt)}
    user = facts.spec.training.pod_metadata if action.stage is Stage.TRAIN else None
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": child_name(facts.meta.name, action.stage, action.attempt),
            "namespace": facts.meta.namespace,
            "labels": labels,
            "ownerReferences": [_owner("FineTuneRun", facts.meta.name, facts.meta.uid)],
        },
        "spec": {
            "backoffLimit": 0,
            **({"activeDeadlineSeconds": REPORT_TIMEOUT} if action.stage is Stage.REPORT else {}),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}},
                ]
            },
            "template": {
                "metadata": {
                    "labels": {**((user.labels if user else None) or {}), **labels},
                    "annotations": {
                        **((user.annotations if user else None) or {}),
                        **_scraped(action.stage),
                    },
                },
                "spec": _pod(facts, action),
            },
        },
    }


def _pod(facts: RunFacts, action: CreateChild) -> Raw:
    spec, training = facts.spec, facts.spec.training
    pod = trainer_pod(
        training,
        stage=action.stage,
        attempt=action.attempt,
        image=spec.image,
        config={"configMap": {"name": facts.meta.name}},
        deadline=_deadline(action),
        resources=_resources(spec, action.stage),
        sources=_sources(spec, action.stage),
        artifacts=spec.artifacts,
        writes=True,
        told={"RETUNE_EXPECTED": action.expected, "RETUNE_STATUS": action.status},
    )
    if action.stage is Stage.TRAIN:
        if training.node_selector:
            pod["nodeSelector"] = dict(training.node_selector)
        if training.tolerations:
            pod["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in training.tolerations]
        if training.priority_class_name:
            pod["priorityClassName"] = training.priority_class_name
    return pod


def trainer_pod(
    training: Training,
    *,
    stage: Stage,
    attempt: int,
    image: str,
    config: Raw,
    deadline: int,
    resources: Raw,
    sources: Sequence[SourceOf],
    artifacts: Store,
    writes: bool,
    told: Mapping[str, str] | None = None,
) -> Raw:
    """The spec of any pod of the trainer's image, as Pod Security `restricted` wants it.

    Args:
        training: `spec.training`, for the few fields of it that concern every pod.
        stage: which command it runs.
        attempt: number of the try.
        image: the trainer's.
        config: what the volume with run.json is made of.
        deadline: seconds after which the kubelet stops it.
        resources: of the container.
        sources: what it opens; it gets their Secrets and volumes.
        artifacts: the store of results; its Secret also opens S3 sources that name none.
        writes: whether it writes there.
        told: further variables of its environment, if they are not empty.
    """
    mounts, volumes = _claims(sources, artifacts if writes else None)
    pod: Raw = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE,
        "activeDeadlineSeconds": deadline,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NON_ROOT,
            "runAsGroup": NON_ROOT,
            "fsGroup": NON_ROOT,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "trainer",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["python", "-m", "retune_trainer", stage.value],
                "workingDir": "/work",
                "env": [
                    {"name": "RETUNE_ATTEMPT", "value": str(attempt)},
                    {"name": "HOME", "value": "/work"},
                    {"name": "RETUNE_IMAGE", "value": image},
                    # The kubelet would put Secrets in the place of $(NAME).
                    *({"name": n, "value": v.replace("$", "$$")} for n, v in (told or {}).items() if v),
                ],
                "envFrom": _secrets(sources, artifacts),
                "ports": [{"name": "metrics", "containerPort": PORT}],
                "resources": resources,
                "terminationMessagePolicy": "File",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/retune", "readOnly": True},
                    {"name": "work", "mountPath": "/work"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of its own
                    *mounts,
                ],
            }
        ],
        "volumes": [
            {"name": "config", **config},
            {"name": "work", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            *volumes,
        ],
    }
    if training.service_account_name:
        pod["serviceAccountName"] = training.service_account_name
    if training.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in training.image_pull_secrets]
    return pod


def _deadline(action: CreateChild) -> int:
    return action.deadline or {Stage.PREFLIGHT: PREFLIGHT_TIMEOUT, Stage.REPORT: REPORT_TIMEOUT}[action.stage]


def _resources(spec: FineTuneRunSpec, stage: Stage) -> Raw:
    if stage is Stage.PREFLIGHT:
        return fixed(PREFLIGHT_CPU, PREFLIGHT_MEMORY, PREFLIGHT_MEMORY_LIMIT)
    if stage is Stage.REPORT:
        return fixed(REPORT_CPU, REPORT_MEMORY, REPORT_MEMORY_LIMIT)
    training = spec.training
    given = training.resources.model_dump(by_alias=True, exclude_none=True, mode="json") if training.resources else {}
    requests, limits = dict(given.get("requests") or {}), dict(given.get("limits") or {})
    if training.gpus_per_node:
        limits[training.gpu_resource] = str(training.gpus_per_node)
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def fixed(cpu: str, memory: str, limit: str) -> Raw:
    """Resources of a pod that users do not size."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}}


def _sources(spec: FineTuneRunSpec, stage: Stage) -> list[SourceOf]:
    """What a pod of that stage opens. The report needs the artifacts, and where it is tracked."""
    sources: list[SourceOf] = [("ARTIFACTS", spec.artifacts.uri, spec.artifacts.secret_ref)]
    if stage is Stage.REPORT:
        return sources + _tracking(spec)
    sources += [
        ("BASE_MODEL", spec.base_model.uri, spec.base_model.secret_ref),
        ("TRAIN", spec.dataset.train.uri, spec.dataset.train.secret_ref),
        ("GOLD", spec.dataset.gold.uri, spec.dataset.gold.secret_ref),
    ]
    endpoint, guard = spec.gates.baseline.endpoint, spec.evaluation.guard
    if stage is Stage.PREFLIGHT and endpoint is not None:
        sources.append(("BASELINE", endpoint.url, endpoint.secret_ref))
    if guard is not None:
        sources.append(("GUARD", guard.uri, guard.secret_ref))
    return sources


def _tracking(spec: FineTuneRunSpec) -> list[SourceOf]:
    tracking = spec.tracking
    found: list[SourceOf] = []
    if tracking is not None and tracking.mlflow is not None:
        found.append(("MLFLOW", tracking.mlflow.uri, tracking.mlflow.secret_ref))
    if tracking is not None and tracking.wandb is not None:
        found.append(("WANDB", "", tracking.wandb.secret_ref))  # it has a project, and no address
    return found


def _secrets(sources: Sequence[SourceOf], artifacts: Store) -> list[Raw]:
    """Each Secret under the prefix of its role; an S3 source without one of its own uses the artifacts' Secret."""
    shared = artifacts.secret_ref
    named = ((role, ref or (shared if uri.startswith("s3://") else None)) for role, uri, ref in sources)
    return [{"prefix": f"RETUNE_{role}_", "secretRef": {"name": ref.name}} for role, ref in named if ref]


def _claims(sources: Sequence[SourceOf], written_to: Store | None) -> tuple[list[Raw], list[Raw]]:
    """Mounts and volumes of every `pvc://claim/…`, once each; only the claim that is written to is writable."""
    read = {urlsplit(uri).netloc for _, uri, _ in sources if uri.startswith("pvc://")}
    place = written_to.uri if written_to is not None else ""
    written = {urlsplit(place).netloc} if place.startswith("pvc://") else set()
    mounts: list[Raw] = []
    volumes: list[Raw] = []
    for claim in sorted(read | written):
        name = f"pvc-{len(volumes)}"  # a claim's name may hold dots, a volume's may not
        mounts.append({"name": name, "mountPath": f"/pvc/{claim}", "readOnly": claim not in written})
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": claim not in written}})
    return mounts, volumes


def _scraped(stage: Stage) -> dict[str, str]:
    if stage is not Stage.TRAIN:
        return {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT), "prometheus.io/path": "/metrics"}


def _labels(facts: RunFacts) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "retune",
        JOB_LABEL: facts.spec.job_ref.name,
        RUN_LABEL: facts.meta.name,
        RUN_UID_LABEL: facts.meta.uid,
    }


def _owner(kind: str, name: str, uid: str) -> Raw:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
