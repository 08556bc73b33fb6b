"""The CRDs on a real API server: what is accepted, what is refused and in which words, what can never change."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernetes import client, config
from retune.api import (
    FineTuneJobSpec,
    FineTuneRunSpec,
    FineTuneRunStatus,
    RunPhase,
)
from retune_stores.privacy import KNOWN
from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import eventually, read_and_write

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = {name: CHECKOUT / "examples" / f"{name}.yaml" for name in ("minimal", "full")}
INVALID = yaml.safe_load((Path(__file__).with_name("invalid_manifests.yaml")).read_text())
TERMINAL = [phase for phase in RunPhase if phase.is_terminal]

Manifest = dict[str, Any]


def example(name: str) -> Manifest:
    """An example as JSON, the way kubectl reads it: a bare `on` becomes "true"."""
    return json.loads(json.dumps(yaml.safe_load(EXAMPLES[name].read_text())))


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Objects:
    """Retune's objects in one namespace, as strictly as kubectl would send them."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.api = client.CustomObjectsApi(config.new_client_from_config(str(kubeconfig)))
        self.at = {"group": "retune.dev", "version": "v1alpha1", "namespace": namespace}

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        body = copy.deepcopy(manifest)
        body["metadata"]["namespace"] = self.at["namespace"]
        more = {"dry_run": "All"} if dry_run else {}
        return self.api.create_namespaced_custom_object(
            **self.at, plural=plural(manifest), body=body, field_validation="Strict", **more
        )

    def replace(self, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        return self.api.replace_namespaced_custom_object(
            **self.at, plural=plural(manifest), name=name, body=manifest, field_validation="Strict"
        )

    def replace_status(self, manifest: Manifest, status: Manifest | None) -> Manifest:
        """Write the whole status, over whatever the operator has written there."""
        at = {**self.at, "plural": plural(manifest), "name": manifest["metadata"]["name"]}

        def once() -> Manifest:
            body = self.api.get_namespaced_custom_object(**at)
            body.pop("status", None)
            if status is not None:
                body["status"] = status
            return self.api.replace_namespaced_custom_object_status(**at, body=body, field_validation="Strict")

        return read_and_write(once)


def plural(manifest: Manifest) -> str:
    return f"{manifest['kind'].lower()}s"


def complaints(error: client.ApiException) -> list[tuple[str, str]]:
    """Field and message of everything that the API server complains of."""
    answer = json.loads(error.body)
    causes = answer.get("details", {}).get("causes", [])
    if causes:
        return [(cause.get("field", ""), cause["message"]) for cause in causes]
    return [(part.split('"')[1], part) for part in answer["message"].split("strict decoding error: ")[1].split(", ")]


@pytest.fixture(scope="module")
def objects(apiserver: ApiServer) -> Iterator[Objects]:
    namespace = f"crd-{uuid.uuid4().hex[:8]}"
    assert apiserver.run("create", "namespace", namespace).returncode == 0
    yield Objects(apiserver.kubeconfig, namespace)
    apiserver.run("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("name", EXAMPLES)
def test_kubectl_takes_the_examples_as_they_stand(apiserver: ApiServer, objects: Objects, name: str) -> None:
    text = EXAMPLES[name].read_text().replace("  namespace: support\n", "")
    for how in (["--dry-run=server"], []):
        answer = apiserver.run(
            "create", f"--namespace={objects.at['namespace']}", "--validate=strict", *how, "-f", "-", stdin=text
        )
        assert answer.returncode == 0, answer.stderr
    stored = apiserver.run("delete", f"--namespace={objects.at['namespace']}", "ftj", "support-triage")
    assert stored.returncode == 0, stored.stderr


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["name"].replace(" ", "-"))
def test_refuses_with_field_and_reason(objects: Objects, case: dict[str, Any]) -> None:
    manifest = merged(example(case.get("base", "minimal")), case["patch"])
    with pytest.raises(client.ApiException) as refused:
        objects.create(manifest, dry_run=True)
    found = complaints(refused.value)
    assert any(field == case["field"] and case["reason"] in message for field, message in found), found


def test_the_table_is_long_enough_and_names_each_case_once() -> None:
    names = [case["name"] for case in INVALID]
    assert len(names) >= 50
    assert len(set(names)) == len(names)


def test_defaults_are_visible_and_those_of_the_model(objects: Objects) -> None:
    stored = objects.create(example("minimal"), dry_run=True)["spec"]
    assert stored["training"]["epochs"] == 3
    assert stored["method"] == {
        "type": "LoRA",
        "lora": {"rank": 16, "alpha": 32, "dropout": 0, "targetModules": ["all-linear"]},
    }
    assert stored["triggers"]["cooldown"] == "24h"
    assert FineTuneJobSpec.model_validate(stored) == FineTuneJobSpec.model_validate(example("minimal")["spec"])


def test_defaults_fill_blocks_that_are_partly_written(objects: Objects) -> None:
    written = merged(example("minimal"), {"spec": {"gates": {"data": {"minExamples": 10}}, "rollout": {}}})
    stored = objects.create(written, dry_run=True)["spec"]
    assert stored["gates"]["data"] == {
        "mode": "Enforce",
        "minExamples": 10,
        "maxDuplicateFraction": 0.05,
        "maxConflictFraction": 0.01,
    }
    assert stored["gates"]["leakage"]["maxNearFraction"] == 0.02
    assert [step["weight"] for step in stored["rollout"]["steps"]] == [10, 25, 50]
    assert FineTuneJobSpec.model_validate(stored) == FineTuneJobSpec.model_validate(written["spec"])


def test_what_is_off_when_absent_stays_absent(objects: Objects) -> None:
    stored = objects.create(merged(example("minimal"), {"spec": {"serving": None}}), dry_run=True)["spec"]
    off = {"serving", "rollout", "budget", "notifications", "tracking"}
    assert not off & stored.keys()
    assert not {"schedule", "newExamples", "drift"} & stored["triggers"].keys()
    assert not {"payback", "approvals"} & stored["gates"].keys()


@pytest.mark.parametrize("window", ["7d", "6d24h", "168h", "10080m", "604800s", "1h30m", "0007d", "0s"])
def test_a_reference_of_up_to_a_week_is_taken_however_it_is_written(objects: Objects, window: str) -> None:
    written = merged(example("minimal"), {"spec": {"triggers": {"reference": {"window": window}}}})
    assert objects.create(written, dry_run=True)["spec"]["triggers"]["reference"]["window"] == window


def test_every_kind_of_personal_data_that_can_be_found_may_be_named(objects: Objects) -> None:
    objects.create(
        merged(example("minimal"), {"spec": {"gates": {"privacy": {"entities": list(KNOWN)}}}}), dry_run=True
    )


def test_artifacts_may_be_left_to_the_operator(objects: Objects) -> None:
    objects.create(merged(example("minimal"), {"spec": {"artifacts": None}}), dry_run=True)


def test_bare_and_quoted_on_mean_the_same(objects: Objects) -> None:
    for key in ("on", "true"):
        notification = {"channel": "slack", key: ["Halted"]}
        stored = objects.create(merged(example("minimal"), {"spec": {"notifications": [notification]}}), dry_run=True)
        spec = FineTuneJobSpec.model_validate(stored["spec"])
        assert [event.value for event in spec.notifications[0].on] == ["Halted"]


def test_a_bare_off_switches_a_gate_off(apiserver: ApiServer, objects: Objects) -> None:
    text = (
        EXAMPLES["minimal"]
        .read_text()
        .replace("\nspec:\n", "\nspec:\n  gates: {data: {mode: Off}, leakage: {mode: 'Off'}}\n")
    )
    into = f"--namespace={objects.at['namespace']}"
    answer = apiserver.run("create", into, "--dry-run=server", "-o", "json", "-f", "-", stdin=text)
    assert answer.returncode == 0, answer.stderr
    gates = FineTuneJobSpec.model_validate(json.loads(answer.stdout)["spec"]).gates
    assert [gates.data.mode, gates.leakage.mode, gates.privacy.mode] == ["Off", "Off", "Enforce"]


def test_everything_set_fits_into_ten_kilobytes(apiserver: ApiServer, objects: Objects) -> None:
    text = (
        EXAMPLES["full"].read_text().replace("  namespace: support\n", "  namespace: " + objects.at["namespace"] + "\n")
    )
    answer = apiserver.run("apply", "--server-side", "-o", "json", "--show-managed-fields", "-f", "-", stdin=text)
    assert answer.returncode == 0, answer.stderr
    stored = json.loads(answer.stdout)
    assert stored["metadata"]["managedFields"]
    assert len(json.dumps(stored, separators=(",", ":"))) < 10_000
    apiserver.run("delete", f"--namespace={objects.at['namespace']}", "ftj", "support-triage")


def run_manifest(name: str) -> Manifest:
    job = FineTuneJobSpec.model_validate(example("full")["spec"])
    spec = FineTuneRunSpec.model_validate(
        {
            "jobRef": {"name": "support-triage", "uid": str(uuid.uuid4())},
            "number": 1,
            "trigger": {"kind": "Created"},
            **{
                part: getattr(job, part)
                for part in ("dataset", "gates", "method", "training", "evaluation", "artifacts", "budget", "rollout")
            },
            "serving": job.serving,
            "baseModel": {**job.base_model.model_dump(by_alias=True), "digest": "sha256:0"},
            "prices": {"currency": "EUR", "gpuHour": "3.20", "cpuHour": 0},
            "image": "trainer:dev",
            "modelDigest": "sha256:1",
            "operatorVersion": "0.1.0",
        }
    )
    return {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "FineTuneRun",
        "metadata": {"name": name},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


RESOLVED = {
    "baseModel": {"uri": "hf://org/name@abc", "digest": "hf:abc"},
    "train": {"digest": "sha256:2", "examples": 600, "format": "Messages"},
    "gold": {"digest": "sha256:3", "examples": 240, "format": "Messages"},
}
STATUS: Manifest = {
    "phase": "Training",
    "conditions": [
        {
            "type": "GatesPassed",
            "status": "True",
            "reason": "Passed",
            "message": "all gates passed",
            "lastTransitionTime": "2027-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "attempts": [
        {"stage": "Preflight", "number": 1, "startedAt": "2027-01-01T00:00:00Z", "gpuSeconds": 0, "cpuSeconds": 3.5},
        {"stage": "Train", "number": 1, "startedAt": "2027-01-01T00:01:00Z", "gpuSeconds": 12.5, "cpuSeconds": 50},
    ],
    "progress": {"step": 12, "steps": 40, "loss": 1.93, "tokensPerSecond": 140.2, "display": "12/40"},
    "scores": {"metric": "TokenF1", "base": 0.1, "candidate": 0.8, "uplift": 0.7, "interval": [0.6, 0.8], "n": 240},
    "metrics": {"TokenF1": {"base": 0.1, "candidate": 0.8}},
    "cost": {"gpuSeconds": 12.5, "cpuSeconds": 53.5, "amount": "0.01", "currency": "EUR"},
    "resolved": RESOLVED,
    "versions": {"trainer": "0.1.0"},
    "observedGeneration": 1,
}


def test_a_run_as_the_operator_writes_it_is_accepted(objects: Objects) -> None:
    manifest = run_manifest("round-trip-1")
    stored = objects.create(manifest)
    assert stored["spec"] == manifest["spec"], "the API server adds nothing to a snapshot"
    status = objects.replace_status(manifest, STATUS)["status"]
    assert status == STATUS
    written = FineTuneRunStatus.model_validate(status)
    assert FineTuneRunStatus.model_validate(written.model_dump(mode="json", by_alias=True)) == written
    whole = objects.replace_status(manifest, written.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert FineTuneRunStatus.model_validate(whole["status"]) == written


def test_the_spec_of_a_run_never_changes(objects: Objects) -> None:
    stored = objects.create(run_manifest("immutable-1"))
    stored["spec"]["training"]["seed"] = 8
    with pytest.raises(client.ApiException) as refused:
        objects.replace(stored)
    assert any(
        field == "spec" and "change the FineTuneJob instead" in message for field, message in complaints(refused.value)
    )


@pytest.mark.parametrize("phase", TERMINAL)
def test_a_terminal_phase_stays(objects: Objects, phase: RunPhase) -> None:
    manifest = run_manifest(f"terminal-{phase.lower()}-1")
    objects.create(manifest)
    objects.replace_status(manifest, {"phase": "Training"})
    objects.replace_status(manifest, {"phase": phase})
    objects.replace_status(manifest, {"phase": phase, "reportUri": "s3://models/report.html"})
    other = "Failed" if phase != "Failed" else "Promoted"
    for status in ({"phase": "Training"}, {"phase": other}, {"reportUri": "s3://models/report.html"}, None):
        with pytest.raises(client.ApiException) as refused:
            objects.replace_status(manifest, status)
        found = complaints(refused.value)
        assert any("make a new run instead" in message for _, message in found), found


def test_what_was_resolved_is_written_once(objects: Objects) -> None:
    manifest = run_manifest("resolved-1")
    objects.create(manifest)
    objects.replace_status(manifest, {"phase": "Preflight"})
    objects.replace_status(manifest, {"phase": "Preflight", "resolved": RESOLVED})
    objects.replace_status(manifest, {"phase": "Training", "resolved": RESOLVED})
    changed = merged(RESOLVED, {"gold": {"examples": 241}})
    for status in ({"phase": "Training"}, {"phase": "Training", "resolved": changed}):
        with pytest.raises(client.ApiException) as refused:
            objects.replace_status(manifest, status)
        found = complaints(refused.value)
        assert any(field == "status.resolved" and "written once" in message for field, message in found), found


def test_kubectl_shows_the_columns(apiserver: ApiServer, objects: Objects) -> None:
    manifest = run_manifest("columns-1")
    objects.create(manifest)
    objects.replace_status(manifest, STATUS | {"rollout": {"stage": "Canary", "weight": 25}})
    runs = apiserver.run("get", f"--namespace={objects.at['namespace']}", "ftr", "columns-1").stdout.splitlines()
    assert runs[0].split() == ["NAME", "TRIGGER", "PHASE", "PROGRESS", "UPLIFT", "WEIGHT", "COST", "AGE"]
    assert runs[1].split()[:7] == ["columns-1", "Created", "Training", "12/40", "0.7", "25", "0.01"]

    job = merged(example("minimal"), {"metadata": {"name": "columns"}})
    objects.create(job)
    condition = STATUS["conditions"][0] | {"type": "DriftDetected", "status": "False"}
    status = {
        "phase": "Running",
        "conditions": [condition],
        "stable": {"run": "columns-1", "digest": "sha256:4"},
        "candidate": {"run": "columns-2", "weight": 10},
        "budget": {"spent": "12.34"},
    }
    objects.replace_status(job, status)
    at = f"--namespace={objects.at['namespace']}"

    def shown() -> list[str]:
        return apiserver.run("get", at, "ftj", "columns").stdout.splitlines()

    assert shown()[0].split() == ["NAME", "PHASE", "STABLE", "CANDIDATE", "WEIGHT", "DRIFT", "SPENT", "AGE"]
    assert shown()[1].split()[2:6] == ["columns-1", "columns-2", "10", "False"]

    def spent() -> str:  # where an operator runs, it knows better than what was written above
        return apiserver.run("get", at, "ftj", "columns", "-o", "jsonpath={.status.budget.spent}").stdout

    eventually(lambda: shown()[1].split()[6] == spent() != "")
    category = apiserver.run("get", f"--namespace={objects.at['namespace']}", "retune", "-o", "name").stdout.split()
    assert "finetunejob.retune.dev/columns" in category
    assert "finetunerun.retune.dev/columns-1" in category
