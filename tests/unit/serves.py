"""Builders for the tests of what serves: the decided action, pods as the API server shows them, a tap's state."""

import base64
import json
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit import make

from retune.api import FineTuneJobSpec, Serving
from retune.decide.actions import ApplyServing, ServingTemplate
from retune.decide.arms import Arm, ArmKind, Arms, Split
from retune.decide.facts import Meta
from retune.decide.readings import ServingPod
from retune.kube.client import ApiError
from retune.kube.envelope import Signer

Raw = dict[str, Any]
NS, JOB, UID = "support", "triage", "job-uid"
META = Meta(NS, JOB, UID)
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
CHECKOUT = Path(__file__).resolve().parents[2]


def action(spec: FineTuneJobSpec | None = None, digest: str = "sha256:d1", refresh: str = "", **serving: Any) -> Any:
    """ApplyServing for a job of that spec; `serving` replaces its serving."""
    spec = spec or make.job_spec()
    told = Serving.model_validate(serving) if serving or spec.serving is None else spec.serving
    template = ServingTemplate(
        serving=told,
        model=told.model_name or JOB,
        base=spec.base_model,
        base_digest=make.DIGEST,
        artifacts=spec.artifacts,  # type: ignore[arg-type]
        endpoint=spec.gates.baseline.endpoint,
        max_rank=16,
    )
    return ApplyServing(template, digest, refresh)


def example(name: str) -> FineTuneJobSpec:
    """The spec of one of the examples."""
    text = (CHECKOUT / "examples" / f"{name}.yaml").read_text()
    return FineTuneJobSpec.model_validate(yaml.safe_load(text.replace(" on:", ' "on":'))["spec"])


def arms(weight: int = 0, generation: int = 0) -> Arms:
    """A document of the job."""
    return Arms(NS, JOB, UID, {JOB: Split(Arm(ArmKind.BASE), weight=weight)}, generation)


def pod(uid: str = "p1", ip: str = "127.0.0.1", **changes: Any) -> ServingPod:
    """A ready pod."""
    return ServingPod(**{"name": f"triage-{uid}", "uid": uid, "ip": ip, "ready": True, **changes})


def configmap(envelope: str, version: int = 1, uid: str = UID) -> Raw:
    """The ConfigMap with an envelope, as the API server gives it."""
    metadata = {
        "namespace": NS,
        "name": f"{JOB}-arms",
        "uid": "cm",
        "resourceVersion": str(version),
        "labels": {"retune.dev/kept": "arms", "retune.dev/job": JOB, "retune.dev/job-uid": uid},
        "ownerReferences": [{"kind": "FineTuneJob", "uid": uid, "controller": True}],
    }
    return {"metadata": metadata, "data": {"arms.json": envelope}}


def raw_server(name: str = "triage-1", *, ready: bool = True, ip: str = "10.0.0.1", version: int = 1) -> Raw:
    """A serving pod as the API server gives it."""
    labels = {
        "app.kubernetes.io/managed-by": "retune",
        "retune.dev/job": JOB,
        "retune.dev/job-uid": UID,
        "retune.dev/serving": "stable",
    }
    owner = {"kind": "ReplicaSet", "uid": "rs", "controller": True}
    metadata = {"namespace": NS, "name": name, "uid": name, "resourceVersion": str(version), "labels": labels}
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-03-01T12:00:00Z"}
    return {
        "metadata": {**metadata, "ownerReferences": [owner]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [condition]},
    }


def state(uid: str = "p1", generation: int = 3, **model: Any) -> Raw:
    """What a tap says, as in design/0012."""
    zeros = [0] * 32
    counts = {"3:0": {"bad": zeros, "total": [7, *zeros[1:]]}}
    arm = {"name": "base", "digest": "", "state": "Ready", "message": ""}
    told = {
        "stage": "Canary",
        "stratum": "3:1",
        "weight": 25,
        "held": None,
        "arms": {"stable": arm, "canary": {**arm, "name": "triage-abc", "digest": make.ADAPTER}},
        "counters": {"errors": {"stable": counts, "canary": counts}},
        "routed": {"3:1": {"stable": 900, "canary": 301}},
        "fallbacks": 3,
        "heaviest": 0.04,
        "quota": {"requests": 301, "bad": 2},
        "shadow": {"sent": 5, "dropped": 1, "failed": 0, "agreed": 3, "compared": 4},
        "latency": {"firstToken": {"p50": 0.1, "p95": 0.4}, "response": {"p50": 1.0, "p95": None}},
        "windows": {"errors": [[1790000010, 0, 14]]},
        **model,
    }
    times = {"startedAt": 1790000000.1, "now": 1790000100.5}
    return {"pod": f"triage-{uid}", "podUid": uid, **times, "generation": generation, "models": {JOB: told}}


class Server:
    """An API server that keeps objects by (resource, name), with versions, and can be told to be overtaken."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Raw] = {}
        self.log: list[tuple[str, str]] = []
        self.version = 10

    def put(self, resource: str, body: Raw, **metadata: Any) -> Raw:
        self.version += 1
        known = self.objects.get((resource, body["metadata"]["name"]), {"metadata": {"uid": f"uid-{self.version}"}})
        merged = {**body["metadata"], "uid": known["metadata"]["uid"], "resourceVersion": str(self.version), **metadata}
        self.objects[resource, body["metadata"]["name"]] = {**body, "metadata": merged}
        return self.objects[resource, body["metadata"]["name"]]

    async def get(self, resource: str, namespace: str, name: str) -> Raw | None:
        return self.objects.get((resource, name))

    async def create(self, resource: str, namespace: str, body: Raw) -> Raw | None:
        if (resource, body["metadata"]["name"]) in self.objects:
            return None
        self.log.append(("create", resource))
        return self.put(resource, body)

    async def delete(self, resource: str, namespace: str, name: str, uid: str) -> None:
        if self.objects.get((resource, name), {"metadata": {"uid": ""}})["metadata"]["uid"] == uid:
            self.log.append(("delete", resource))
            del self.objects[resource, name]

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str = "") -> Raw:
        known, wanted = self.objects.get((resource, body["metadata"]["name"])), body["metadata"].get("resourceVersion")
        # The job itself is played by the test, and has no version here. What is gone is created, whatever the version.
        if wanted and known is not None and not subresource and known["metadata"]["resourceVersion"] != wanted:
            raise ApiError(409, "Conflict", "the object has been modified")
        self.log.append(("apply", f"{resource}/{subresource}" if subresource else resource))
        return self.put(resource, body)


def payload(envelope: str) -> bytes:
    """What an envelope holds, whoever signed it."""
    return base64.b64decode(json.loads(envelope)["payload"])
