"""Jobs that serve without a model: real operator, real taps, real store; the stand-in of hack/images for vLLM.

Nothing is trained. A quota lets no pod of preflight or training come to be, and what they would have found is written
into the run's status here; from the verdict on all is the operator's. How an adapter answers stands in its own files.
"""

import hashlib
import itertools
import json
import struct
from contextlib import AbstractContextManager
from random import Random
from typing import Any

from hack.cluster import images
from hack.load.background import Background
from hack.load.questions import Question

from tests.cluster.cluster import GROUP, MEASURED, VERSION, Cluster, Raw, comparison, eventually
from tests.e2e import tiny
from tests.e2e.served import STARTS, Served

BASE = "s3://models/standin"
ASKED = [Question(f"Where is parcel {number}?", "anywhere") for number in range(20)]
SHARE = 50
NO_JOBS: Raw = {"metadata": {"name": "nothing-is-trained"}, "spec": {"hard": {"count/jobs.batch": "0"}}}


def no_override(question: Question, text: str, rng: Random) -> bool:
    """Everybody is content with whatever comes."""
    return False


def prepare(cluster: Cluster) -> None:
    """Keep the operator from starting any pod in this namespace but those that serve."""
    cluster.core.create_namespaced_resource_quota(cluster.namespace, NO_JOBS)
    name = NO_JOBS["metadata"]["name"]
    eventually(lambda: cluster.core.read_namespaced_resource_quota(name, cluster.namespace).status.hard)


def spec(seed: int, replicas: int = 1, **rollout: Any) -> Raw:
    """A job whose rollout stays in its first step until something ends it; another seed makes another model."""
    stays: Raw = {"steps": [{"weight": SHARE, "hold": "1h"}], "bake": "1m", "timeout": "2h"}
    return {
        **tiny.spec(training=tiny.training(seed=seed), baseModel={"uri": BASE}),
        "triggers": {"haltAfterFruitlessRuns": 100},
        "history": {"unsuccessful": 100},  # whoever looks afterwards finds them all
        "serving": tiny.serving(
            image=images.noted()["standin"],
            args=[],
            replicas=replicas,
            resources={"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        ),
        "rollout": tiny.rollout(**{**stays, **rollout}),
    }


def put_base(bucket: Any) -> str:
    """What passes for a base model; its digest, as the store tells it (design 0002)."""
    files = {"config.json": b"{}", "model.safetensors": struct.pack("<Q", 2) + b"{}"}
    for name, body in files.items():
        bucket.put(f"{BASE}/{name}", body)
    # For an object put in one piece the store's tag is its MD5.
    lines = [f"{name} {len(body)} {hashlib.md5(body).hexdigest()}" for name, body in files.items()]
    return _digest(lines)


def put_adapter(bucket: Any, place: str, seed: int, **knobs: Any) -> tuple[str, str]:
    """(URI, digest) of an adapter that changes nothing but what `knobs` say; see hack/images/standin/upstream.py."""
    shapes = {"x.lora_A.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}
    shapes["x.lora_B.weight"] = {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]}
    header = json.dumps(shapes).encode()
    config = {"peft_type": "LORA", "r": 1, "seed": seed, "standin": knobs}
    files = {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": struct.pack("<Q", len(header)) + header + bytes(8),
    }
    digest = _digest([f"{name} {hashlib.sha256(body).hexdigest()}" for name, body in files.items()])
    uri = f"{place}/adapter/{digest.removeprefix('sha256:')[:12]}"
    for name, body in files.items():
        bucket.put(f"{uri}/{name}", body)
    return uri, digest


def _digest(lines: list[str]) -> str:
    return "sha256:" + hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


class Shop(Served):
    """A job whose candidates are made up, and the users it serves. To be closed."""

    def __init__(self, cluster: Cluster, job: str, bucket: Any, base: str, replicas: int = 1) -> None:
        super().__init__(cluster, job)
        self.replicas = replicas
        self._bucket, self._base = bucket, base
        self._seeds = itertools.count(1)

    def candidate(self, **knobs: Any) -> str:
        """The name of a new run, whose model answers as `knobs` say, at the verdict of its evaluation."""
        seed = next(self._seeds)
        run = self.change(spec(seed, self.replicas))
        uri, digest = put_adapter(self._bucket, f"s3://models/e2e/{self.cluster.namespace}/{run}", seed, **knobs)
        self._trained(run, uri, digest)
        return run

    def shoppers(self, rate: float, users: int = 400) -> AbstractContextManager[Background]:
        """Users that ask as long as the block runs."""
        return self.users(ASKED, rate, objects=no_override, users=users)

    def in_canary(self, run: str) -> None:
        """Return once every tap gives the candidate its share."""
        self.until(run, "Canary", seconds=STARTS)
        eventually(lambda: set(self.weights().values()) == {SHARE}, STARTS)

    def _trained(self, run: str, uri: str, digest: str) -> None:
        """Write what preflight, gates and training would have left in the run's status."""
        status = {
            "phase": "Evaluating",
            "attempts": [],
            "resolved": {
                "baseModel": {"uri": BASE, "digest": self._base},
                "train": {"digest": digest, "examples": 640, "format": "PromptCompletion"},
                "gold": {"digest": digest, "examples": MEASURED["leakage"]["gold"], "format": "PromptCompletion"},
            },
            "look": {"number": 1, "alpha": 0.025},
            "comparisons": [comparison()],
            "artifact": {"uri": uri, "digest": digest},
            "conditions": [_so("GatesPassed"), _so("Trained")],
        }

        def write() -> bool:
            found: Any = self.cluster.run(run)
            said = found.get("status", {})
            if "artifact" in said:
                return True
            version = found["metadata"]["resourceVersion"]
            # Of two writers the slower one asks again: the operator writes here, too.
            self.cluster.custom.patch_namespaced_custom_object_status(
                GROUP,
                VERSION,
                self.cluster.namespace,
                "finetuneruns",
                run,
                {"metadata": {"resourceVersion": version}, "status": status},
            )
            return False

        eventually(write)


def _so(type_: str) -> Raw:
    at = "2026-01-01T00:00:00Z"
    return {"type": type_, "status": "True", "reason": type_, "message": "Made up.", "lastTransitionTime": at}
