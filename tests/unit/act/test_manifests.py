"""The manifests of a run: golden files for a reader, and rules that every pod must meet.

RETUNE_UPDATE_GOLDEN=1 writes the golden files anew; read the difference before you keep it.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit import make

from retune.act import manifests
from retune.api import FineTuneJobSpec
from retune.decide.actions import CreateChild
from retune.decide.facts import RunFacts, Stage

CHECKOUT = Path(__file__).resolve().parents[3]
GOLDEN = CHECKOUT / "tests" / "unit" / "golden"
EXPECTED = json.dumps(make.RESOLVED, sort_keys=True)
Raw = dict[str, Any]


def facts(name: str) -> RunFacts:
    text = (CHECKOUT / "examples" / f"{name}.yaml").read_text()
    spec = FineTuneJobSpec.model_validate(yaml.safe_load(text.replace(" on:", ' "on":'))["spec"])
    return make.run_facts(spec=make.run_spec(spec=spec))


def of(**changes: Any) -> RunFacts:
    return make.run_facts(spec=make.run_spec(spec=make.job_spec(**changes)))


def job(found: RunFacts, stage: Stage = Stage.TRAIN, attempt: int = 1, expected: str = "") -> Raw:
    deadline = 3600 if stage is Stage.TRAIN else 0
    return manifests.child(found, CreateChild(stage, attempt, expected, deadline=deadline))


def pod(manifest: Raw) -> Raw:
    return manifest["spec"]["template"]["spec"]


def container(manifest: Raw) -> Raw:
    (only,) = pod(manifest)["containers"]
    return only


@pytest.mark.parametrize("name", ["minimal", "full"])
@pytest.mark.parametrize("what", ["preflight", "train", "config"])
def test_golden(name: str, what: str) -> None:
    found = facts(name)
    if what == "config":
        made = manifests.config(found)
        made["data"]["run.json"] = json.loads(made["data"]["run.json"])  # for the reader's sake
    else:
        stage = Stage(what)
        made = job(found, stage, 2, EXPECTED if stage is Stage.TRAIN else "")
    path = GOLDEN / f"{name}-{what}.yaml"
    if os.environ.get("RETUNE_UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump(made, sort_keys=False, width=120))
    assert yaml.safe_load(path.read_text()) == json.loads(json.dumps(made))


# ------------------------------------------------------------------------------------------- Pod Security "restricted"
# https://kubernetes.io/docs/concepts/security/pod-security-standards/

VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
EVERY = [(name, stage) for name in ("minimal", "full") for stage in Stage if stage is not Stage.WATCH]


def violations(spec: Raw) -> list[str]:
    """What Pod Security `restricted` finds wrong with a pod."""
    found = [f"{key}: true" for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(key)]
    for volume in spec.get("volumes", []):
        found += [f"volume {key}" for key in volume if key != "name" and key not in VOLUME_TYPES]
    outer = spec.get("securityContext", {})
    if outer.get("sysctls") or outer.get("runAsUser") == 0 or "windowsOptions" in outer:
        found.append("pod securityContext")
    for each in [*spec.get("initContainers", []), *spec["containers"]]:
        own = each.get("securityContext", {})
        if own.get("privileged"):
            found.append("privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("allowPrivilegeEscalation")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or set(own["capabilities"].get("add", [])) - {
            "NET_BIND_SERVICE"
        }:
            found.append("capabilities")
        if own.get("runAsNonRoot", outer.get("runAsNonRoot")) is not True or own.get("runAsUser") == 0:
            found.append("runAsNonRoot")
        profile = own.get("seccompProfile", outer.get("seccompProfile", {})).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            found.append("seccompProfile")
        found += [f"hostPort {p}" for p in each.get("ports", []) if p.get("hostPort")]
    return found


@pytest.mark.parametrize(("name", "stage"), EVERY)
def test_pods_meet_pod_security_restricted(name: str, stage: Stage) -> None:
    assert violations(pod(job(facts(name), stage))) == []


def test_the_check_finds_what_it_looks_for() -> None:
    bare = {"containers": [{"name": "x"}], "volumes": [{"name": "root", "hostPath": {"path": "/"}}], "hostPID": True}
    assert violations(bare) == [
        "hostPID: true",
        "volume hostPath",
        "allowPrivilegeEscalation",
        "capabilities",
        "runAsNonRoot",
        "seccompProfile",
    ]


@pytest.mark.parametrize(("name", "stage"), EVERY)
def test_no_pod_holds_a_token_of_the_cluster_or_can_write_to_its_root(name: str, stage: Stage) -> None:
    made = job(facts(name), stage)
    assert pod(made)["automountServiceAccountToken"] is False
    assert not any("projected" in volume for volume in pod(made)["volumes"])
    assert container(made)["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(("name", "stage"), EVERY)
def test_secrets_appear_as_references_only(name: str, stage: Stage) -> None:
    made = job(facts(name), stage, expected=EXPECTED)
    assert [set(e) for e in container(made)["envFrom"]] == [{"prefix", "secretRef"}] * len(container(made)["envFrom"])
    assert all(set(e) == {"name", "value"} for e in container(made)["env"])
    assert not any("secret" in volume for volume in pod(made)["volumes"])


# ------------------------------------------------------------------------------------------------------------ contract


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.WATCH])
def test_one_pod_per_job_and_its_end_told_by_conditions(stage: Stage) -> None:
    spec = job(of(), stage)["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert {r["action"] for r in spec["podFailurePolicy"]["rules"]} == {"FailJob"}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in spec, "the operator decides when a Job goes"


def test_users_labels_and_annotations_come_along_and_cannot_override_ours() -> None:
    ours = {"retune.dev/run": "other", "retune.dev/stage": "preflight", "app.kubernetes.io/managed-by": "me"}
    metadata = {"labels": {"team": "a", **ours}, "annotations": {"note": "b", "prometheus.io/scrape": "false"}}
    # The CRD refuses such keys; were one to get through, it would still change nothing.
    found = of(training=make.training(podMetadata=metadata))
    made = job(found)["spec"]["template"]["metadata"]
    assert made["labels"] == {**job(of())["spec"]["template"]["metadata"]["labels"], "team": "a"}
    assert made["labels"]["retune.dev/run"] == found.meta.name
    assert (made["annotations"]["note"], made["annotations"]["prometheus.io/scrape"]) == ("b", "true")
    assert "team" not in job(found, Stage.PREFLIGHT)["spec"]["template"]["metadata"]["labels"]


def test_everything_is_owned_by_its_run() -> None:
    found = of()
    for made in (job(found), job(found, Stage.PREFLIGHT), manifests.config(found)):
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("FineTuneRun", found.meta.uid, True)


@pytest.mark.parametrize(
    ("train", "artifacts", "expected"),
    [
        ("s3://d/x", {"secretRef": {"name": "store"}}, {"BASE_MODEL", "TRAIN", "GOLD", "ARTIFACTS"}),
        ("hf://org/x", {"secretRef": {"name": "store"}}, {"BASE_MODEL", "GOLD", "ARTIFACTS"}),
        ("pvc://claim/x", {"secretRef": {"name": "store"}}, {"BASE_MODEL", "GOLD", "ARTIFACTS"}),
        ("s3://d/x", {}, set()),
    ],
)
def test_s3_sources_without_a_secret_use_that_of_artifacts(train: str, artifacts: Raw, expected: set[str]) -> None:
    dataset = {"train": {"uri": train}, "gold": {"uri": "s3://data/gold"}}
    found = container(job(of(dataset=dataset, artifacts={"uri": "s3://m/r", **artifacts})))["envFrom"]
    assert {e["prefix"] for e in found} == {f"RETUNE_{role}_" for role in expected}
    assert all(e["secretRef"]["name"] == "store" for e in found)


@pytest.mark.parametrize(
    ("stage", "roles"),
    [
        (Stage.PREFLIGHT, {"ARTIFACTS", "BASE_MODEL", "TRAIN", "GOLD", "GUARD", "BASELINE"}),
        (Stage.TRAIN, {"ARTIFACTS", "BASE_MODEL", "TRAIN", "GOLD", "GUARD"}),
        (Stage.REPORT, {"ARTIFACTS", "MLFLOW", "WANDB"}),
    ],
)
def test_a_pod_gets_the_secrets_of_its_stage_and_no_others(stage: Stage, roles: set[str]) -> None:
    endpoint = {"url": "http://gateway:8000/v1", "model": "base", "secretRef": {"name": "gateway"}}
    guard = {"uri": "s3://data/guard.jsonl"}
    found = of(
        gates={"baseline": {"endpoint": endpoint}},
        evaluation={"metrics": [{"name": "ExactMatch"}], "guard": guard},
        tracking={
            "mlflow": {"uri": "http://mlflow:5000", "experiment": "x", "secretRef": {"name": "mlflow"}},
            "wandb": {"project": "x", "secretRef": {"name": "wandb"}},
        },
    )
    given = {e["prefix"] for e in container(job(found, stage))["envFrom"]}
    assert given == {f"RETUNE_{role}_" for role in roles}


def test_the_report_is_told_the_runs_status_and_given_up_by_the_job_controller() -> None:
    made = manifests.child(of(), CreateChild(Stage.REPORT, 1, status='{"phase":"Promoted","cost":"$(HOME)"}'))
    env = {e["name"]: e["value"] for e in container(made)["env"]}
    assert env["RETUNE_STATUS"] == '{"phase":"Promoted","cost":"$$(HOME)"}'
    assert made["spec"]["activeDeadlineSeconds"] == 600, "also while it waits for a node"
    assert container(made)["command"][-1] == "report"


def test_a_source_with_a_secret_of_its_own_uses_that() -> None:
    dataset = {"train": {"uri": "s3://d/x", "secretRef": {"name": "mine"}}, "gold": {"uri": "s3://d/y"}}
    found = {e["prefix"]: e["secretRef"]["name"] for e in container(job(of(dataset=dataset)))["envFrom"]}
    assert (found["RETUNE_TRAIN_"], found["RETUNE_GOLD_"]) == ("mine", "store")


def test_claims_are_mounted_once_and_only_artifacts_are_writable() -> None:
    claims = {
        "baseModel": {"uri": "pvc://models/base"},
        "dataset": {"train": {"uri": "pvc://data/a"}, "gold": {"uri": "pvc://data/b"}},
        "artifacts": {"uri": "pvc://models/out"},
    }
    made = job(of(**claims))
    mounts = {m["mountPath"]: m for m in container(made)["volumeMounts"] if m["mountPath"].startswith("/pvc/")}
    assert {path: mount["readOnly"] for path, mount in mounts.items()} == {"/pvc/models": False, "/pvc/data": True}
    volumes = {v["name"]: v for v in pod(made)["volumes"]}
    assert volumes[mounts["/pvc/data"]["name"]]["persistentVolumeClaim"] == {"claimName": "data", "readOnly": True}


@pytest.mark.parametrize("claim", ["a.b.c", "c" * 200])
def test_volumes_have_valid_names_whatever_the_claim_is_called(claim: str) -> None:
    made = job(of(baseModel={"uri": f"pvc://{claim}/base"}))
    names = [v["name"] for v in pod(made)["volumes"]]
    assert all(len(n) <= 63 and "." not in n for n in names)
    assert len(set(names)) == len(names)


def test_a_uri_is_data_not_a_reference_to_a_variable() -> None:
    """Kubernetes puts variables in the place of $(NAME) in env values, Secrets' among them; $$ stands for one $."""
    resolved = json.dumps({"uri": "s3://m/$(RETUNE_ARTIFACTS_AWS_SECRET_ACCESS_KEY)/$$x"})
    (value,) = [e["value"] for e in container(job(of(), expected=resolved))["env"] if e["name"] == "RETUNE_EXPECTED"]
    assert "$(" not in value.replace("$$", "")
    assert value.replace("$$", "$") == resolved


@pytest.mark.parametrize(("gpus", "limits"), [(0, {}), (1, {"nvidia.com/gpu": "1"}), (8, {"nvidia.com/gpu": "8"})])
def test_gpus_are_asked_for_training_only(gpus: int, limits: Raw) -> None:
    found = of(training=make.training(gpusPerNode=gpus))
    assert container(job(found))["resources"].get("limits", {}) == limits
    assert "nvidia.com/gpu" not in json.dumps(job(found, Stage.PREFLIGHT))


def test_the_pod_is_told_what_the_contract_says() -> None:
    found = of()
    made = container(job(found, attempt=3, expected=EXPECTED))
    assert made["command"] == ["python", "-m", "retune_trainer", "train"]
    env = {e["name"]: e["value"] for e in made["env"]}
    assert (env["RETUNE_ATTEMPT"], env["HOME"]) == ("3", "/work")
    assert json.loads(env["RETUNE_EXPECTED"]) == make.RESOLVED
    assert "/etc/retune" in {m["mountPath"] for m in made["volumeMounts"]}
    config = manifests.config(found)
    assert (config["metadata"]["name"], config["immutable"]) == (found.meta.name, True)
    told = json.loads(config["data"]["run.json"])
    assert told["run"] == {
        "namespace": "support", "job": "triage", "name": found.meta.name, "uid": found.meta.uid, "number": 1,
    }  # fmt: skip
    assert told["spec"]["training"]["learningRate"] == 0.0002
