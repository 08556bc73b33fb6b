"""The manifest of a watch pod: its Job, owned by the FineTuneJob. A pure builder.

What the pod is told and what it answers: design/0015. It is told in an annotation of its own, so that one write makes
all of it: an operator that ends between two would leave a pod that waits for its configuration until its deadline.
"""

import json

from retune.act.manifests import API_VERSION, Raw, SourceOf, fixed, trainer_pod
from retune.api import Corrections, FineTuneJobSpec, Store
from retune.decide.actions import CreateWatch
from retune.decide.facts import JobFacts, Stage
from retune.decide.naming import ATTEMPT_LABEL, JOB_LABEL, JOB_UID_LABEL, MANAGED_BY_US, MANAGED_LABEL, STAGE_LABEL
from retune.decide.snapshot import Unresolvable, resolved
from retune.decide.watch import BOTH, COUNT, PROBE, WATCH_LABEL

DEADLINE = 900  # s, waiting for a node included
CPU, MEMORY, MEMORY_LIMIT = "100m", "256Mi", "1Gi"
CONFIG = "retune.dev/run-json"  # annotation of the pod
_ITEM = {"path": "run.json", "fieldRef": {"fieldPath": f"metadata.annotations['{CONFIG}']"}}


def job(facts: JobFacts, action: CreateWatch) -> Raw:
    """The Job of one watch pod: no retries of its own, its end told by its conditions, as those of runs.

    Raises:
        Unresolvable: no place for artifacts is known.
    """
    spec = _spec(facts)
    artifacts = _artifacts(facts, spec)
    labels = _labels(facts, action)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": action.name,
            "namespace": facts.meta.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "FineTuneJob",
                    "name": facts.meta.name,
                    "uid": facts.meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}},
                ]
            },
            "template": {
                "metadata": {"labels": dict(labels), "annotations": {CONFIG: _config(facts, action)}},
                "spec": trainer_pod(
                    spec.training,
                    stage=Stage.WATCH,
                    attempt=action.attempt,
                    image=spec.training.image or facts.policy.trainer_image,
                    config={"downwardAPI": {"items": [_ITEM]}},
                    deadline=DEADLINE,
                    resources=fixed(CPU, MEMORY, MEMORY_LIMIT),
                    sources=_sources(spec, artifacts, action),
                    artifacts=artifacts,
                    writes=False,
                ),
            },
        },
    }


def _config(facts: JobFacts, action: CreateWatch) -> str:
    """What its run.json holds."""
    content = {
        "run": {
            "namespace": facts.meta.namespace,
            "job": facts.meta.name,
            "name": "",
            "uid": facts.meta.uid,
            "number": 0,
        },
        "spec": _told(facts),
        "watch": {"count": action.count, "probe": _probe(facts, action) if action.probe else None},
    }
    return json.dumps(content, sort_keys=True)


def _spec(facts: JobFacts) -> FineTuneJobSpec:
    assert facts.spec is not None  # noqa: S101 - a watch is decided on with a valid spec only
    return resolved(facts.spec)


def _artifacts(facts: JobFacts, spec: FineTuneJobSpec) -> Store:
    if spec.artifacts is not None:
        return spec.artifacts
    if not facts.policy.artifacts_uri:
        raise Unresolvable("spec.artifacts.uri is not set, and this operator has no default place for artifacts.")
    return Store(uri=facts.policy.artifacts_uri)


def _told(facts: JobFacts) -> Raw:
    """What of the spec a watch reads. The base model is only named: nothing opens it."""
    spec = _spec(facts)
    parts = {"dataset": spec.dataset, "evaluation": spec.evaluation, "artifacts": _artifacts(facts, spec)}
    told: Raw = {name: part.model_dump(by_alias=True, exclude_none=True, mode="json") for name, part in parts.items()}
    told["baseModel"] = {"uri": spec.base_model.uri}
    corrections = spec.serving.corrections if spec.serving is not None else Corrections()
    told["serving"] = {"corrections": corrections.model_dump(by_alias=True, exclude_none=True, mode="json")}
    return told


def _probe(facts: JobFacts, action: CreateWatch) -> Raw:
    spec, arms = _spec(facts), facts.serving.arms
    serving = spec.serving
    assert serving is not None  # noqa: S101 - only what serves is probed
    # Taps know the name and the header that are in their document; what the spec says may be newer.
    model, split = next(iter(arms.models.items()), ("", None)) if arms is not None else ("", None)
    return {
        "url": f"http://{facts.meta.name}.{facts.meta.namespace}.svc:{serving.port}/v1",
        "model": model or serving.model_name or facts.meta.name,
        "header": split.opt_out_header if split is not None else serving.opt_out_header,
        "examples": spec.triggers.probe.examples,
        "seed": action.seed,
    }


def _sources(spec: FineTuneJobSpec, artifacts: Store, action: CreateWatch) -> list[SourceOf]:
    """What it opens: no more than what it is asked for needs. The artifacts' Secret opens S3 sources without one."""
    sources: list[SourceOf] = [("ARTIFACTS", artifacts.uri, artifacts.secret_ref)]
    if action.count:
        sources.append(("TRAIN", spec.dataset.train.uri, spec.dataset.train.secret_ref))
    if action.probe:
        sources.append(("GOLD", spec.dataset.gold.uri, spec.dataset.gold.secret_ref))
    return sources


def _labels(facts: JobFacts, action: CreateWatch) -> dict[str, str]:
    asked = BOTH if action.count and action.probe else COUNT if action.count else PROBE
    return {
        MANAGED_LABEL: MANAGED_BY_US,
        JOB_LABEL: facts.meta.name,
        JOB_UID_LABEL: facts.meta.uid,
        STAGE_LABEL: Stage.WATCH.value,
        ATTEMPT_LABEL: str(action.attempt),
        WATCH_LABEL: asked,
    }
